"""A classifier with everything that explains its decisions, for one sample after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.explanation import class_names, maps, questions
from rap_keras.explanation.answers import Explanation, Explanations
from rap_keras.explanation.classifiers import Classifier
from rap_keras.explanation.photos_and_arrays import Sample

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from rap_keras.explanation.classifiers import Inputs
    from rap_keras.explanation.questions import Question
    from rap_keras.patterns import Patterns


class Explainer(NamedTuple):
    """What is the same for all samples.

    `values` is as `Classifier.values` gives it. A target is None for the class with the largest logit, and for a
    map the class that is the highest at most places. `against` is the class that targets are compared with, or
    None; `names` is None where the classes have only numbers.
    """

    classifier: Classifier
    values: Callable[[Inputs], tuple[np.ndarray, np.ndarray | None]]
    analyzers: Mapping[str, Any]
    targets: Sequence[int | None]
    against: int | None
    names: Sequence[str] | None

    def questions(self, sample: Sample, logits: np.ndarray | None = None) -> list[Question]:
        """What is asked of a sample, each class once; raises ValueError as `of_classes` and `of_places` do."""
        import numpy as np

        logits = self.values(sample.x)[0] if logits is None else logits
        if self.classifier.map is not None:
            return questions.of_places(logits[0], self.targets, sample.region, self.names, sample.name)
        return questions.of_classes(np.ravel(logits), self.targets, self.against, self.names, sample.name)

    def answers(self, sample: Sample) -> Explanations:
        """The answer of every method to every question; raises ValueError as `questions` does."""
        logits, probabilities = self.values(sample.x)
        return Explanations(
            self._answer(sample, question, method, logits, probabilities)
            for question in self.questions(sample, logits)
            for method in self.analyzers
        )

    def choice(self, question: Question) -> dict[str, Any]:
        """What the analyzers are told of a question."""
        return question.choice if is_by_index(self.classifier, self.targets, self.against) else {}

    def _answer(
        self,
        sample: Sample,
        question: Question,
        method: str,
        logits: np.ndarray,
        probabilities: np.ndarray | None,
    ) -> Explanation:
        import numpy as np

        start = perf_counter()
        analyzer, choice = self.analyzers[method], self.choice(question)
        found = analyzer.analyze(sample.x, **choice)
        milliseconds = 1000 * (perf_counter() - start)
        of_path = hasattr(analyzer, "differences")
        arrays = found if isinstance(found, list) else [found]
        if method.startswith(("lrp.", "deep_taylor")):
            self._warn_of_innvestigate(sample, question, method, logits, arrays)
        return Explanation(
            method=method,
            target=question.target,
            label=class_names.name_of(question.target, self.names),
            against=None if self.against is None else class_names.name_of(self.against, self.names),
            logit=question.logit,
            probability=None if probabilities is None else float(probabilities[question.target]),
            score=float(analyzer.differences(sample.x, **choice)[0]) if of_path else _score(method, question),
            places=question.places,
            relevances={name: np.asarray(array[0], np.float32) for name, array in zip(sample.inputs, arrays)},
            sample=sample,
            milliseconds=milliseconds,
            quantity=class_names.quantity_of(self.names),
            lost_at=getattr(analyzer, "lost_at", ""),
        )

    def _warn_of_innvestigate(
        self, sample: Sample, question: Question, method: str, logits: np.ndarray, arrays: list[Any]
    ) -> None:
        """Warns of what iNNvestigate's own analyzers do not say, as native ones do themselves."""
        import warnings

        import numpy as np
        from tensorflow.keras.layers import BatchNormalization

        from rap_keras.hosts.native import lrp_scale
        from rap_keras.hosts.native.base import Analyzer

        if isinstance(self.analyzers[method], Analyzer):
            return
        if question.logit < 0 and method.startswith("deep_taylor") and not any(R.any() for R in arrays):
            reason = lrp_scale.of_negative(question.logit)
            warnings.warn(f"the heatmap of {sample.name} is zero everywhere: {reason}", stacklevel=2)
        largest = np.abs(logits).max(keepdims=True)
        (factor,) = lrp_scale.factors(arrays, np.array([question.logit]), largest.ravel())
        if factor != 1:
            kinds = [type(layer) for layer in self.classifier.model._flatten_layers()]
            cause = ", most by the rule of its BatchNormalization layers" * (BatchNormalization in kinds)
            warnings.warn(lrp_scale.text(method, "0", factor, cause), stacklevel=2)


def is_by_index(classifier: Classifier, targets: Sequence[int | None], against: int | None) -> bool:
    """Whether analyzers must be told which class to explain."""
    return classifier.map is not None or list(targets) != [None] or against is not None


def _score(method: str, question: Question) -> float | None:
    """What a method shares out; None for those that share out nothing."""
    if not method.startswith(("rap", "lrp.")):
        return None
    return question.score if method.endswith(".contrastive") else question.logit


class Spelling(NamedTuple):
    """How errors write an option, with or without a value, and the option for the class with the largest logit.

    `blaming` is a context that turns an error that some options are to blame for into another.
    """

    option: Callable[..., str]
    highest: str
    blaming: Callable[..., AbstractContextManager[None]]


IN_PYTHON = Spelling(
    lambda name, value="": f"{name}={value!r}" if value else name, "target=None", lambda *names: nullcontext()
)


class Asked(NamedTuple):
    """What is asked of a network, as the user gives it; a target of None is the class with the largest logit.

    `references` has what Integrated Gradients begin with at each input; it is given where the samples are texts.
    """

    methods: Sequence[str]
    targets: Sequence[Any]
    against: Any
    classes: Sequence[str] | str | Path | None
    patterns: Patterns | str | Path | None
    steps: int | None
    spelling: Spelling = IN_PYTHON
    references: Sequence[Any] | None = None

    def require_methods(self) -> None:
        """Raises ValueError if there is no such method, or none that has steps."""
        from rap_keras.hosts import methods as known_methods

        with self.spelling.blaming("method"):
            for name in self.methods:
                known_methods.find(name)
        with self.spelling.blaming("steps"):
            if self.steps is not None:
                known_methods.require_steps(self.methods)

    def explainer(
        self, classifier: Classifier, network: object, make: Callable[[tuple[Any, ...], Callable[[], Any]], Any]
    ) -> Explainer:
        """What answers the questions.

        Args:
            classifier: the network.
            network: what was given as the network; its classes have names if it is known by its name.
            make: gives what a function builds for a key: the name of the method and its options, or ("values",).

        Raises:
            ConnectionError: ImageNet's names cannot be downloaded.
            NotAnalyzeableModelException: a method cannot explain such a network.
            OSError: a file cannot be opened.
            ValueError: there is no such class, or an option does not fit the network.
        """
        count = maps.count_classes(classifier.scores)
        with self.spelling.blaming("classes"):
            names = class_names.given_names(self.classes, network, count, classifier.is_regression)
        with self.spelling.blaming("target"):
            targets = [None if given is None else self._number(given, names, count) for given in self.targets]
            targets = list(dict.fromkeys(targets))
        with self.spelling.blaming("against"):
            against = self._other_class(classifier, targets, names, count)
        by_index = is_by_index(classifier, targets, against)
        analyzers = {
            name: make(
                (name, by_index, self.steps, *(self.references or ())),
                partial(analyzer_of, name, classifier, by_index, self.patterns, self.steps, self.references),
            )
            for name in self.methods
        }
        return Explainer(classifier, make(("values",), classifier.values), analyzers, targets, against, names)

    def _other_class(
        self, classifier: Classifier, targets: list[int | None], names: list[str] | None, count: int
    ) -> int | None:
        """The class to compare with, if one is given and the network and the methods can be asked about it."""
        if self.against is None:
            return None
        option = self.spelling.option("against")
        if classifier.map is not None:
            raise ValueError(
                f"{option} is for networks that have one score for each class, and this one's output is a map: "
                f"leave {option} out. A contrastive method compares a class with all others at each place"
            )
        others = [name for name in self.methods if not name.endswith(".contrastive")]
        if others:
            raise ValueError(
                f"{option} is for contrastive methods, but {others[0]} is not one: give "
                f"{self.spelling.option('method', 'rap.contrastive')}, or leave {option} out"
            )
        number = self._number(self.against, names, count)
        if number in targets:
            raise ValueError(questions.of_itself(number, names))
        return number

    def _number(self, given: Any, names: list[str] | None, count: int) -> int:
        """The number of a class given by its number or name."""
        import numpy as np

        if isinstance(given, (bool, np.bool_)) or not isinstance(given, (str, int, np.integer)):
            raise ValueError(f"{given!r} as the class: give its number, from 0 to {count - 1}, or its name")
        if given == "max" and not (names and "max" in names):
            raise ValueError(
                f"'max' as the class: give {self.spelling.highest} for the class with the largest logit"
            )
        by_name = isinstance(given, str) or class_names.quantity_of(names) == "value"
        return class_names.find_class(str(given), names if by_name else None, count)


def analyzer_of(
    name: str,
    classifier: Classifier,
    by_index: bool,
    patterns: Patterns | str | Path | None,
    steps: int | None = None,
    references: Sequence[Any] | None = None,
) -> Any:
    """An analyzer of a method for a classifier; a native one of a network that takes tokens.

    Raises:
        NotAnalyzeableModelException: the method cannot explain such a model.
        ValueError: there is no such method, or it needs patterns or options.
    """
    from rap_keras.hosts import methods

    if references is not None:
        mode = "index" if by_index else "max_activation"
        return methods.create_native(name, classifier.model, patterns, steps, mode, references)
    if classifier.map is not None:
        return methods.create_native(name, classifier.map, patterns, steps)
    if by_index and len(classifier.model.inputs) > 1:
        return methods.create_native(name, classifier.model, patterns, steps)
    return methods.create(name, classifier.model, "index" if by_index else "max_activation", patterns, steps=steps)
