"""Networks as the commands explain them: up to the logits, and how photos become their input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from rap_keras.cli import maps

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras.datasets.images import Preprocessing

    Inputs = Union[np.ndarray, list[np.ndarray]]


@dataclass(frozen=True)
class Network:
    """A network up to its logits, which takes samples of any kind.

    `model` has all its scores along one axis. `map` is the network before that, if its output is a map, which has
    scores of all classes at several places; else None. `whole` is the network with its final activation, which is
    `activation`, one of `final_activation.NAMES`; that is None where it has none.
    """

    model: keras.Model
    map: keras.Model | None
    whole: keras.Model
    activation: str | None

    @property
    def classes(self) -> int:
        """How many scores it has: classes, for a map those of all places."""
        return maps.count_classes(self.model)

    @property
    def scores(self) -> keras.Model:
        """The network up to the logits that are explained."""
        return self.model if self.map is None else self.map

    def probabilities(self) -> Callable[[Inputs], np.ndarray] | None:
        """A function from one network input to the probability of each class.

        None where the network has none, or one for each place of a map.
        """
        import numpy as np

        from rap_keras.engine.network import predictor

        if self.activation is None or self.map is not None:
            return None
        predict = predictor(self.whole)

        def probabilities(x: Inputs) -> np.ndarray:
            given = np.ravel(predict(x)).astype(float)
            if self.activation == "log_softmax":
                given = np.exp(given)
            return np.array([1 - given[0], given[0]]) if len(given) == 1 < self.classes else given

        return probabilities


@dataclass(frozen=True)
class PhotoNetwork(Network):
    """A network that takes photos, and how they become its input.

    `size` and `short_side` are as `images.fit` takes them.
    """

    preprocessing: Preprocessing
    size: tuple[int, int]
    short_side: int | None

    @property
    def is_grey(self) -> bool:
        """Whether it takes photos of one channel, and not RGB."""
        return tuple(self.model.inputs[0].shape)[-1] == 1
