"""What a user can get wrong, found before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.network import Network


def require_graph_execution() -> None:
    """Raises RuntimeError while eager execution is on."""
    if tf.executing_eagerly():
        raise RuntimeError(
            "iNNvestigate needs TensorFlow's graph execution, and eager execution is on. Make the analyzer with "
            "rap_keras.create_analyzer, which takes both, or switch eager execution off at the top of your "
            "program, before any model is built or loaded: "
            "tf.compat.v1.disable_eager_execution()"
        )


def require_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError if an option's value is none of its choices."""
    if value not in choices:
        raise ValueError(f"{option}={value!r}: must be one of {', '.join(map(repr, choices))}")


def require_positive(option: str, value: Any) -> int:
    """The value, if it is a positive integer; raises ValueError else."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{option}={value!r}: must be a positive integer")
    return int(value)


def require_number(option: str, value: Any, least: float) -> float:
    """The value, if it is a finite number of at least `least`; raises ValueError else."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value < least:
        bound = f", {least:g} or more" if np.isfinite(least) else ""
        raise ValueError(f"{option}={value!r}: must be a finite number{bound}")
    return float(value)


def require_model_of_this_mode(model: keras.Model) -> None:
    """Raises RuntimeError for a model that was built with eager execution on, if it is off now, or the reverse."""
    keras_graph.require_tensorflow()
    if keras_graph.KERAS_3 and not tf.executing_eagerly():
        raise RuntimeError(
            "Keras 3 can do nothing while eager execution is off: leave tf.compat.v1.disable_eager_execution() "
            "out of your program"
        )
    of_graph = all(isinstance(tensor, tf.Tensor) for tensor in getattr(model, "inputs", None) or [])
    if not of_graph and not tf.executing_eagerly():
        raise RuntimeError(
            f"model '{model.name}' was built while eager execution was on, so that it cannot be part of a graph: "
            "load or build it again, after tf.compat.v1.disable_eager_execution()"
        )
    if of_graph and getattr(model, "inputs", None) and tf.executing_eagerly():
        raise RuntimeError(
            f"model '{model.name}' was built while eager execution was off: load or build it again, with eager "
            "execution on"
        )


def refuse_half_precision(network: Network) -> None:
    """Raises NotAnalyzeableModelException if weights, or an operation's values, have less than 32 bits."""
    for call in network.calls:
        if keras_graph.calculates_in_half_precision(call.layer):
            kind = keras_graph.operation_text(call.layer)
            raise NotAnalyzeableModelException(
                f"operation '{call.name}'{f' ({kind})' if kind else ''} calculates in half precision, and "
                "relevance needs more digits: build the model in float32, or use a layer in place of the operation"
            )
        for weight in getattr(call.layer, "weights", ()):
            dtype = keras_graph.dtype(weight)
            if dtype.is_floating and dtype.size < 4:
                raise NotAnalyzeableModelException(
                    f"the weights of layer '{call.name}' are {dtype.name}, and relevance needs more digits"
                    ": build the model in float32, or with the policy mixed_float16, which keeps float32 weights"
                )


def refuse_activations_of_another_shape(network: Network) -> None:
    """Raises NotAnalyzeableModelException if an activation, as Keras 3's glu, changes its tensor's shape."""
    kept: dict[int, bool] = {}
    for call in network.calls:
        activation = getattr(call.layer, "activation", None)
        if not callable(activation):
            continue
        if id(activation) not in kept:
            kept[id(activation)] = _keeps_shape(activation)
        if not kept[id(activation)]:
            raise NotAnalyzeableModelException(
                f"the activation of layer '{call.name}' gives a tensor of another shape than it takes, which "
                "Keras itself does not expect: give the layer no activation, and build what it does out of layers"
            )


def _keeps_shape(function: Callable) -> bool:
    """Whether a function of a tensor gives one of the same shape, as far as it can be tried."""
    for shape in ((2, 4, 6, 8), (2, 8), (2, 4, 8)):
        try:
            with tf.Graph().as_default():
                return bool(function(tf.zeros(shape)).shape.is_compatible_with(shape))
        # It is the user's function, which may not take a tensor of that shape.
        except Exception:
            continue
    return True


def require_layers(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises KeyError for a name that is none of the network's layers."""
    known = list(known)
    missing = [name for name in names if name not in known]
    if missing:
        raise KeyError(
            f"no layer {', '.join(map(repr, missing))} in the network; its layers are {', '.join(known)}"
        )
