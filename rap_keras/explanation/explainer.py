"""A classifier with everything that explains its decisions, for one sample after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.explanation import questions
from rap_keras.explanation.answers import Explanation, Explanations
from rap_keras.explanation.class_names import name_of, quantity_of
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

    @property
    def by_index(self) -> bool:
        """Whether the analyzers are told which class to explain."""
        return is_by_index(self.classifier, self.targets, self.against)

    def questions(self, sample: Sample) -> list[Question]:
        """What is asked of a sample, each class once.

        Raises:
            ValueError: a class is to be compared with itself, or there is no place to explain it at.
        """
        import numpy as np

        logits, _ = self.values(sample.x)
        if self.classifier.map is not None:
            return questions.of_places(logits[0], self.targets, sample.region, self.names, sample.name)
        return questions.of_classes(np.ravel(logits), self.targets, self.against, self.names, sample.name)

    def answers(self, sample: Sample) -> Explanations:
        """The answer of every method to every question.

        Raises:
            ValueError: as `questions` has it.
        """
        asked = self.questions(sample)
        _, probabilities = self.values(sample.x)
        return Explanations(
            self._answer(sample, question, method, probabilities)
            for question in asked
            for method in self.analyzers
        )

    def _answer(
        self, sample: Sample, question: Question, method: str, probabilities: np.ndarray | None
    ) -> Explanation:
        import numpy as np

        start = perf_counter()
        analyzer, choice = self.analyzers[method], self.choice(question)
        found = analyzer.analyze(sample.x, **choice)
        milliseconds = 1000 * (perf_counter() - start)
        of_path = hasattr(analyzer, "differences")
        arrays = found if isinstance(found, list) else [found]
        if method.startswith(("lrp.", "deep_taylor")):
            self._warn_of_innvestigate(sample, question, method, arrays)
        return Explanation(
            method=method,
            target=question.target,
            label=name_of(question.target, self.names),
            against=None if self.against is None else name_of(self.against, self.names),
            logit=question.logit,
            probability=None if probabilities is None else float(probabilities[question.target]),
            score=float(analyzer.differences(sample.x, **choice)[0]) if of_path else _score(method, question),
            places=question.places,
            relevances={name: np.asarray(array[0], np.float32) for name, array in zip(sample.inputs, arrays)},
            sample=sample,
            milliseconds=milliseconds,
            quantity=quantity_of(self.names),
            lost_at=getattr(analyzer, "lost_at", ""),
        )

    def _warn_of_innvestigate(self, sample: Sample, question: Question, method: str, arrays: list[Any]) -> None:
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
        largest = np.abs(self.values(sample.x)[0]).max(keepdims=True)
        (factor,) = lrp_scale.factors(arrays, np.array([question.logit]), largest.ravel())
        if factor != 1:
            kinds = [type(layer) for layer in self.classifier.model._flatten_layers()]
            cause = ", most by the rule of its BatchNormalization layers" * (BatchNormalization in kinds)
            warnings.warn(lrp_scale.text(method, "0", factor, cause), stacklevel=2)

    def choice(self, question: Question) -> dict[str, Any]:
        """What the analyzers are told of a question."""
        return question.choice if self.by_index else {}


def is_by_index(classifier: Classifier, targets: Sequence[int | None], against: int | None) -> bool:
    """Whether analyzers must be told which class to explain."""
    return classifier.map is not None or list(targets) != [None] or against is not None


def _score(method: str, question: Question) -> float | None:
    """What a method shares out; None for those that share out nothing."""
    if not method.startswith(("rap", "lrp.")):
        return None
    return question.score if method.endswith(".contrastive") else question.logit


def analyzer_of(
    name: str,
    classifier: Classifier,
    by_index: bool,
    patterns: Patterns | str | Path | None,
    steps: int | None = None,
) -> Any:
    """An analyzer of a method for a classifier.

    Raises:
        NotAnalyzeableModelException: the method cannot explain such a model.
        ValueError: there is no such method, or it needs patterns or options.
    """
    from rap_keras.hosts import methods

    if classifier.map is not None:
        return methods.create_native(name, classifier.map, patterns, steps)
    if by_index and len(classifier.model.inputs) > 1:
        return methods.create_native(name, classifier.model, patterns, steps)
    return methods.create(name, classifier.model, "index" if by_index else "max_activation", patterns, steps=steps)
