"""Networks as they are explained: up to the logits, with the probabilities beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from rap_keras.explanation import maps

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras.datasets.images import Preprocessing

    Inputs = Union[np.ndarray, list[np.ndarray]]


@dataclass(frozen=True)
class Classifier:
    """A network up to its logits, which takes samples of any kind.

    `model` has all its scores along one axis. If the output is a map, with scores of all classes at several
    places, `map` is the network before its scores were put along one axis; else it is None. `whole` is the network
    with its final activation, and `activation` its kind, one of `final_activation.NAMES`, or None where there is
    none. `is_regression` is as `models.is_regression` has it.
    """

    model: keras.Model
    map: keras.Model | None
    whole: keras.Model
    activation: str | None
    is_regression: bool

    @property
    def classes(self) -> int:
        """The number of scores: classes, and for a map those of all places."""
        return maps.count_classes(self.model)

    @property
    def scores(self) -> keras.Model:
        """The network up to the logits that are explained."""
        return self.model if self.map is None else self.map

    def places(self, option: str) -> tuple[int, ...]:
        """The places of its map; raises ValueError, with the option that asks for them, if it has none."""
        if self.map is None:
            raise ValueError(
                f"{option} is for networks whose output is a map, with scores at every place, and this one has "
                f"one score for each class: leave {option} out"
            )
        return maps.places_of(self.map)

    def values(self) -> Callable[[Inputs], tuple[np.ndarray, np.ndarray | None]]:
        """A function from one network input to its logits and to the probability of each class.

        The probabilities are None where the network makes none, or makes them for each place of a map.
        """
        import numpy as np

        from rap_keras.engine.reading.flattening import predictor

        logits = predictor(self.scores)
        if self.activation is None or self.map is not None:
            return lambda x: (logits(x), None)
        output = predictor(self.whole)  # not beside the logits in one graph, which would round them otherwise

        def values(x: Inputs) -> tuple[np.ndarray, np.ndarray]:
            given = np.ravel(output(x)).astype(float)
            if self.activation == "log_softmax":
                given = np.exp(given)
            return logits(x), np.array([1 - given[0], given[0]]) if len(given) == 1 < self.classes else given

        return values


@dataclass(frozen=True)
class PhotoClassifier(Classifier):
    """A network that takes photos, and how they become its input.

    `size` and `short_side` are as `images.fit` takes them.
    """

    preprocessing: Preprocessing
    size: tuple[int, int] | None
    short_side: int | None

    @property
    def is_grey(self) -> bool:
        """Whether it takes photos of one channel, and not RGB."""
        return tuple(self.model.inputs[0].shape)[-1] == 1


def classifier_of(whole: keras.Model) -> Classifier:
    """A model with one output as a classifier; one unit behind a sigmoid, or trained as one, becomes two classes.

    Raises:
        NotAnalyzeableModelException: its final activation cannot be removed.
        ValueError: its output has no fixed size.
    """
    from rap_keras import models
    from rap_keras.engine.reading.flattening import flatten
    from rap_keras.models import final_activation

    found = final_activation.find(flatten(whole))
    shape = tuple(whole.outputs[0].shape)
    if None in shape[1:]:
        raise ValueError(
            f"model {whole.name!r} has an output of no fixed size, {shape}: build it for photos of "
            "one size, with keras.Input((height, width, 3)), or for other samples of one size"
        )
    logits, activation = models.to_logits(whole), found[0].kind if found else None
    flat, is_regression = models.flat_output(logits), models.is_regression(whole)
    if activation in ("sigmoid", None) and maps.count_classes(flat) == 1 and not is_regression:
        flat = models.two_classes(flat)
    of_places = maps.map_of_classes(logits, is_regression)
    return Classifier(flat, of_places, models.flat_output(whole), activation, is_regression)


def warn_of_preprocessing(network: keras.Model, how: Preprocessing) -> None:
    """Warns if photos are scaled twice, here and by the network, or not by the preprocessor that belongs to it."""
    import warnings

    from rap_keras import models
    from rap_keras.datasets.images import PREPROCESSINGS
    from rap_keras.engine.checks.input_scaling import scaling_layer
    from rap_keras.engine.reading.flattening import flatten

    if models.preprocessor_of(network) is not None:
        warnings.warn(
            "the model has a preprocessor of its own, which is not used, since preprocessing is given: in Python "
            "leave preprocessing out, and photos are prepared by it",
            stacklevel=2,
        )
    names = [name for name, function in PREPROCESSINGS.items() if how in (name, function) and name != "raw"]
    layer = scaling_layer(flatten(network)) if names else None
    if layer is not None:
        warnings.warn(
            f"the network scales photos itself, by its layer '{layer}', and preprocessing {names[0]!r} scales "
            "them before: give 'raw', unless it was trained with both",
            stacklevel=2,
        )
