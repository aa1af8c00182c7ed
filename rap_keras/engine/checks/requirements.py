"""Checks for users' mistakes, made before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.network import Network


def require_graph_execution() -> None:
    """Raises RuntimeError while eager execution is on."""
    if tf.executing_eagerly():
        raise RuntimeError(
            "iNNvestigate needs TensorFlow's graph execution, but eager execution is on. Create the analyzer with "
            "rap_keras.create_analyzer, which works with both, or switch eager execution off at the top of your "
            "program, before any model is built or loaded: "
            "tf.compat.v1.disable_eager_execution()"
        )


def require_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError if an option's value is not one of its choices."""
    if value not in choices:
        raise ValueError(f"{option}={value!r}: must be one of {', '.join(map(repr, choices))}")


def require_positive(option: str, value: Any) -> int:
    """Returns the value if it is a positive integer; raises ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{option}={value!r}: must be a positive integer")
    return int(value)


def require_number(option: str, value: Any, least: float) -> float:
    """Returns the value if it is a finite number, `least` or more; raises ValueError otherwise."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or value < least:
        bound = f", {least:g} or more" if np.isfinite(least) else ""
        raise ValueError(f"{option}={value!r}: must be a finite number{bound}")
    return float(value)


def require_model(model: object) -> None:
    """Raises TypeError unless `model` is a model of the Keras that runs here; the message says what to give."""
    if not isinstance(model, keras.Model):
        raise TypeError(_way_to_a_model(model))


def _way_to_a_model(thing: Any) -> str:
    if isinstance(thing, (str, Path)):
        return f"the model is a name: load it first, with rap_keras.models.load_model({str(thing)!r})"
    kind, bases = type(thing).__name__, {base.__module__.split(".")[0] for base in type(thing).__mro__}
    holders = ("model_", "model", "__self__")
    inner = [name for name in holders if isinstance(getattr(thing, name, None), keras.Model)]
    way = "give a Keras model, or load one with rap_keras.models.load_model"
    if isinstance(thing, type):
        kind, way = f"class {thing.__name__}", "give a model, which is an object of a class"
    elif inner:
        way = f"give the network in it, its attribute {inner[0]}"
    elif bases.intersection(("keras", "tf_keras")) and hasattr(thing, "save"):
        kind = f"{kind} of another Keras ({type(thing).__module__.split('.')[0]})"
        way = "save it with model.save('model.h5'), and load it with rap_keras.models.load_model('model.h5')"
    elif isinstance(thing, keras.layers.Layer):
        way = "make a model of the layer, keras.Sequential([keras.Input(shape), layer])"
    elif isinstance(thing, (list, tuple)) and any(isinstance(one, keras.Model) for one in thing):
        way = "give one of these models at a time"
    elif "KerasTensor" in kind or tf.is_tensor(thing):
        way = "make a model that ends in it, keras.Model(inputs, tensor)"
    elif isinstance(thing, tf.Module) or callable(thing):
        way = "its layers are unknown: give the Keras model that it was made from"
    return f"the model is a {kind}, not a model of Keras: {way}"


def require_model_of_this_mode(model: keras.Model) -> None:
    """Refuses what is no model of the Keras that runs here, with eager execution as it is now.

    Raises:
        NotAnalyzeableModelException: with eager execution off, the model takes ragged or sparse samples.
        RuntimeError: it was built with eager execution on and it is off now, or the reverse, or in another graph.
    """
    require_model(model)
    keras_graph.require_tensorflow()
    if keras_graph.KERAS_3 and not tf.executing_eagerly():
        raise RuntimeError(
            "Keras 3 does not work while eager execution is off: remove tf.compat.v1.disable_eager_execution() "
            "from your program"
        )
    inputs = getattr(model, "inputs", None) or []
    of_graph = all(isinstance(tensor, tf.Tensor) for tensor in inputs)
    of_rows = [tensor for tensor in inputs if isinstance(tensor, (tf.RaggedTensor, tf.SparseTensor))]
    if of_rows and not tf.executing_eagerly():
        raise NotAnalyzeableModelException(
            f"model '{model.name}' takes a {type(of_rows[0]).__name__}: build it with keras.Input(shape), not "
            "ragged or sparse, give it the same weights, and explain each sample on its own"
        )
    if not of_graph and not tf.executing_eagerly():
        raise RuntimeError(
            f"model '{model.name}' was built while eager execution was on, so it cannot be part of a graph: "
            "load or build it again after tf.compat.v1.disable_eager_execution()"
        )
    if of_graph and inputs and tf.executing_eagerly():
        raise RuntimeError(
            f"model '{model.name}' was built while eager execution was off: load or build it again with eager "
            "execution on"
        )
    if of_graph and any(
        tensor.graph is not tf.compat.v1.get_default_graph() for tensor in getattr(model, "inputs", None) or []
    ):
        raise RuntimeError(
            f"model '{model.name}' belongs to another graph than this thread's: with eager execution off, each "
            "thread has its own graph and session. Create the analyzer in the thread that built the model; "
            "analyze() then works in any. Or give this thread the other's: "
            "with graph.as_default(), session.as_default(): ..., where graph is model.inputs[0].graph and "
            "session is tf.compat.v1.keras.backend.get_session(), called in the thread that built the model"
        )


def require_batch_of(model: keras.Model, count: int | None) -> None:
    """Raises ValueError if a model is built for another number of samples than `count`; None stands for any."""
    built_for = [tensor.shape[0] for tensor in model.inputs if tensor.shape[0] not in (None, count)]
    if built_for:
        raise ValueError(
            f"model '{model.name}' is built for batches of {built_for[0]} samples: build it for any number, with "
            "keras.Input(shape) without batch_size or batch_shape, and give it the same weights"
        )


def refuse_half_precision(network: Network) -> None:
    """Raises NotAnalyzeableModelException if weights, or an operation's values, have fewer than 32 bits."""
    for call in network.calls:
        if keras_graph.calculates_in_half_precision(call.layer):
            kind = keras_graph.operation_text(call.layer)
            raise NotAnalyzeableModelException(
                f"operation '{call.name}'{f' ({kind})' if kind else ''} calculates in half precision, but "
                "relevance needs more digits: build the model in float32, or use a layer instead of the operation"
            )
        for weight in getattr(call.layer, "weights", ()):
            dtype = keras_graph.dtype(weight)
            if dtype.is_floating and dtype.size < 4:
                raise NotAnalyzeableModelException(
                    f"the weights of layer '{call.name}' are {dtype.name}, but relevance needs more digits"
                    ": build the model in float32, or with the policy mixed_float16, which keeps float32 weights"
                )


def refuse_activations_of_another_shape(network: Network) -> None:
    """Raises NotAnalyzeableModelException if an activation, such as Keras 3's glu, changes its tensor's shape."""
    kept: dict[int, bool] = {}
    for call in network.calls:
        activation = getattr(call.layer, "activation", None)
        if not callable(activation):
            continue
        if id(activation) not in kept:
            kept[id(activation)] = _keeps_shape(activation)
        if not kept[id(activation)]:
            raise NotAnalyzeableModelException(
                f"the activation of layer '{call.name}' changes the shape of its tensor, which Keras itself does "
                "not expect: leave the activation out of the layer, and build it from layers"
            )


def _keeps_shape(function: Callable) -> bool:
    """Whether a function keeps the shape of its tensor, as far as this can be tried."""
    for shape in ((2, 4, 6, 8), (2, 8), (2, 4, 8)):
        try:
            with tf.Graph().as_default():
                return bool(function(tf.zeros(shape)).shape.is_compatible_with(shape))
        # The function is the user's and may refuse a tensor of this shape.
        except Exception:
            continue
    return True


def require_layers(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises KeyError if a name is not one of the network's layers."""
    known = list(known)
    missing = [name for name in names if name not in known]
    if missing:
        raise KeyError(
            f"no layer {', '.join(map(repr, missing))} in the network; its layers are {', '.join(known)}"
        )
