"""Whether photos have been scaled: by a network itself at its beginning, or not yet at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from rap_keras.engine import keras_graph
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.kinds import factor

_OF_PIXELS = 0.01  # x / 255 and x / 127.5 scale photos


def may_be_unprepared(batch: np.ndarray, tensor: Any) -> bool:
    """Whether samples for an input of floats look like photos that have not been preprocessed."""
    is_photo = batch.dtype == np.uint8 and batch.ndim == 4 and batch.shape[-1] in (1, 3)
    return is_photo and bool(keras_graph.dtype(tensor).is_floating)


def scaling_layer(network: Network) -> str | None:
    """The name of the layer or operation that scales pixels, before the first layer with weights; else None."""
    for call in network.calls:
        kind = type(call.layer).__name__
        if kind in ("Rescaling", "Normalization") or 0 < factor(call) <= _OF_PIXELS:
            return call.name
        # Operations of Keras 3 have no list of weights, and augmentation keeps the state of its seed there.
        if getattr(call.layer, "weights", ()) and not kind.startswith("Random"):
            return None
    return None
