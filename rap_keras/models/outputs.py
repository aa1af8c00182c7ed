"""The output of a model to explain, in a form in which its classes have numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.keras_graph import output_names, producer
from rap_keras.engine.regions import class_axis
from rap_keras.engine.rules.kinds import lookup


def as_graph(model: keras.Model) -> keras.Model:
    """A model whose layers are known: the given one, or a functional one around a subclassed model.

    A subclassed model of Keras 3 knows the shape of its input once it was called or built.
    """
    if not keras_graph.KERAS_3 or not isinstance(model, keras.Model) or getattr(model, "outputs", None):
        return model
    shape = None if keras_graph.is_chain(model) else (model.get_build_config() or {}).get("input_shape")
    try:
        inputs = shape and _inputs(shape)
        return keras.Model(inputs, keras_graph.called_again(model, inputs), name=model.name) if shape else model
    except Exception:  # the user's code may not take symbolic tensors, or more than this
        return model


def _inputs(shape: Any) -> Any:
    """Symbolic inputs for one shape with its batch axis, or for a list or dict of shapes."""
    if isinstance(shape, dict):
        return {name: _inputs(one) for name, one in shape.items()}
    if isinstance(shape[0], (list, tuple)):
        return [_inputs(one) for one in shape]
    return keras.Input(tuple(shape[1:]))


def one_output(model: keras.Model, output: str | int | None = None) -> keras.Model:
    """The model with one of its outputs; the given model if it has only one.

    Args:
        model: functional or Sequential. The new one shares its layers.
        output: a name of `model.output_names`, or the output's number.

    Raises:
        NotAnalyzeableModelException: the model has several outputs and none is chosen.
        ValueError: there is no such output.
    """
    model = as_graph(model)
    names = output_names(model)
    if output is None:
        if len(names) > 1:
            raise NotAnalyzeableModelException(
                f"the model has {len(names)} outputs ({', '.join(names)}), but only one is explained at a time: "
                f"choose it by name or number, output='{names[0]}' or output=0 (--output-layer in the command), "
                "or make a model of it, keras.Model(model.inputs, model.outputs[0])"
            )
        return model
    number = _number(output, names)
    return model if len(names) == 1 else keras.Model(model.inputs, model.outputs[number], name=model.name)


def _number(output: str | int, names: list[str]) -> int:
    is_number = isinstance(output, (int, np.integer)) and not isinstance(output, bool)
    if is_number and 0 <= int(output) < len(names):
        return int(output)
    if not isinstance(output, str) or names.count(output) != 1:
        raise ValueError(
            f"output={output!r}: the model has the outputs {', '.join(names) or '(none)'}, numbered from 0"
        )
    return names.index(output)


def flat_output(model: keras.Model) -> keras.Model:
    """The model with its output flattened to (N, classes); the given model if it already is.

    Raises:
        ValueError: The model has several outputs.
    """
    if len(model.outputs) != 1:
        raise ValueError(f"model {model.name!r} has {len(model.outputs)} outputs, but must have one")
    if len(model.outputs[0].shape) <= 2:
        return model
    return keras.Model(model.inputs, keras.layers.Flatten()(model.outputs[0]), name=model.name)


def two_classes(model: keras.Model) -> keras.Model:
    """A model with one logit z, that of class 1, as one with two logits: -z for class 0 and z for class 1.

    So any method can explain class 0, too: what speaks against class 1. The model decides for the class with the
    positive logit.

    Args:
        model: (N, ...) to (N, 1), or to a map of one channel, (N, height, width, 1); without sigmoid: see
            `to_logits`. The new model shares its layers except a last Dense layer or convolution, whose weights
            are copied.

    Raises:
        ValueError: the model does not have exactly one output of one unit or channel.
    """
    shape = tuple(model.outputs[0].shape) if len(model.outputs) == 1 else ()
    axis = class_axis(len(shape))
    if len(shape) < 2 or shape[axis] != 1:
        raise ValueError(
            f"model '{model.name}' must have one output of shape (None, 1), but it has {model.output_shape}"
        )
    (logit,) = model.outputs
    node, _ = producer(logit)
    layer = node.layer
    size = lookup(layer, {keras.layers.Dense: "units", keras.layers.Conv2D: "filters"})
    if size and layer.activation is keras.activations.linear:
        # LRP must see the weights of class 0: through a layer of one unit it would follow those of class 1.
        config = {**layer.get_config(), size: 2}
        twin = type(layer).from_config(config)
        both = twin(node.args[0])
        twin.set_weights([np.concatenate([-weight, weight], axis=-1) for weight in layer.get_weights()])
    else:
        minus = keras.layers.Rescaling(-1.0, name=f"{layer.name}_class_0")(logit)
        both = keras.layers.Concatenate(axis, name=f"{layer.name}_classes")([minus, logit])
    return keras.Model(model.inputs, both, name=model.name)
