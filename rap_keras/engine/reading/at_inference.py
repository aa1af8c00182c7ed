"""What a call computes at inference, as `predict` does, and calls that relevance cannot follow there."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import numpy as np
from tensorflow import keras

from rap_keras.engine.errors import QUANTIZED, NotAnalyzeableModelException
from rap_keras.engine.keras_graph import KERAS_3, Node, is_of_keras, is_operation


def bound(layer: Any, args: tuple, kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """Arguments by their names in a layer's `call`; Keras 3 drops those that `call` does not take."""
    signature = inspect.signature(layer.call)
    of_context = getattr(layer, "_call_context_args", {"training"}) if KERAS_3 else ()
    kept = {n: value for n, value in kwargs.items() if n in signature.parameters or n not in of_context}
    return signature.bind(*args, **kept)


def arguments(layer: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments of a layer's `call` at inference."""
    given = bound(layer, args, kwargs)
    if "training" not in given.signature.parameters:
        return given.args, given.kwargs
    given.arguments.pop("training", None)
    return given.args, {**given.kwargs, "training": False}


def require_own_call(layer: Any, name: str) -> None:
    """Raises NotAnalyzeableModelException for a layer that Keras 3 quantized: it does not use its `call`."""
    mode = getattr(layer, "quantization_mode", None)
    if mode is not None:
        raise NotAnalyzeableModelException(QUANTIZED.format(name, mode))


def require_stateless(layer: Any, name: str) -> None:
    """Raises NotAnalyzeableModelException for a recurrent layer that continues from the last batch."""
    if getattr(layer, "stateful", False):
        raise NotAnalyzeableModelException(
            f"layer '{name}' ({type(layer).__name__}) is stateful, so its output depends on earlier batches: "
            "build it with stateful=False"
        )


def require_inference(node: Node, name: str) -> None:
    """Refuses a call with training=True that `predict` keeps; Keras 3 does so only in the code of a layer.

    Raises:
        NotAnalyzeableModelException: it makes a difference.
    """
    given, default = node.kwargs.get("training"), None
    with suppress(TypeError, ValueError):  # functions of TensorFlow may not tell their arguments
        signature = inspect.signature(node.layer.call)
        given = signature.bind(*node.args, **node.kwargs).arguments.get("training")
        default = signature.parameters["training"].default if "training" in signature.parameters else None
    if given is default and KERAS_3:  # which fills it in; `predict` does so, too, with False
        return
    if isinstance(given, (bool, int, np.bool_)) and given and _is_changed_by_training(node.layer):
        raise NotAnalyzeableModelException(
            f"layer '{name}' ({type(node.layer).__name__}) is called with training=True: what it gives depends on "
            "chance or on the other samples of the batch. Build the model without it, and give it the same weights"
        )


def _is_changed_by_training(layer: Any) -> bool:
    """Whether a layer, or one in it, may give something else with training=True than at inference."""
    return not is_operation(layer) and any(map(_depends_on_training, layer._flatten_layers()))


def _depends_on_training(layer: Any) -> bool:
    if "training" not in inspect.signature(layer.call).parameters:
        return False
    if isinstance(layer, keras.layers.BatchNormalization):  # a graph of Keras 2 may be older than `trainable`
        return layer.trainable or not KERAS_3
    changes_images = ".preprocessing." in type(layer).__module__
    if not is_of_keras(layer) or changes_images or type(layer).__name__ == "SpectralNormalization":
        return True
    rates = "rate dropout recurrent_dropout stddev drop_path_rate".split()
    return any(isinstance(rate, float) and rate > 0 for rate in (getattr(layer, name, 0) for name in rates))
