"""The output of a model to explain, in a form in which its classes have numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from tensorflow import keras

from rap_keras.basics.wording import counted
from rap_keras.engine.checks.regions import class_axis
from rap_keras.engine.checks.requirements import require_model
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.keras_graph import as_graph, output_names, producer
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules.kinds import lookup
from rap_keras.models import final_activation


def one_output(model: keras.Model, output: str | int | None = None) -> keras.Model:
    """The model with one of its outputs, whose layers it shares; the given model if it has only one.

    Args:
        model: functional or Sequential.
        output: a name of `model.output_names`, or the output's number.

    Raises:
        NotAnalyzeableModelException: the model has several outputs and none is chosen.
        ValueError: there is no such output.
    """
    require_model(model)
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
    is_number = isinstance(output, (int, np.integer)) and not isinstance(output, bool)
    if is_number and 0 <= int(output) < len(names):
        number = int(output)
    elif isinstance(output, str) and names.count(output) == 1:
        number = names.index(output)
    else:
        raise ValueError(
            f"output={output!r}: the model has the outputs {', '.join(names) or '(none)'}, numbered from 0"
        )
    if len(names) == 1:
        return model
    chosen = keras.Model(model.inputs, model.outputs[number], name=model.name)
    return remember_loss(chosen, loss_of(model, number))


def is_regression(model: keras.Model) -> bool:
    """Whether the outputs of a model are values, and not scores of classes.

    A model that ends in a softmax or sigmoid has classes. Else the loss decides with which it was compiled, here
    or in its file: a cross-entropy or hinge loss is for classes, a squared error and its like for values. Where
    that is unknown, a single unit is a value, and several outputs are classes. What a TFSMLayer gives may be
    probabilities as well as logits, so it counts as values. The model has one output.
    """
    network = flatten(model)
    if final_activation.find(network):
        return False
    if type(network.calls[-1].layer).__name__ == "TFSMLayer":
        return True
    name = loss_name(loss_of(model, 0))
    if any(part in name for part in _OF_CLASSES):
        return False
    return name in _OF_VALUES or prod(tuple(model.outputs[0].shape)[1:]) == 1


_OF_CLASSES = ("crossentropy", "hinge")
_OF_VALUES = set(
    "mse mae mape msle meansquarederror meanabsoluteerror meanabsolutepercentageerror logcosh huber huberloss "
    "meansquaredlogarithmicerror poisson cosinesimilarity cosineproximity".split()
)
_LOSS = "_loss_for_words"


def remember_loss(model: keras.Model, loss: Any) -> keras.Model:
    """The model, which is not compiled, with the loss that it was trained with, for `is_regression`."""
    vars(model)[_LOSS] = loss  # not by Keras, which would track it
    return model


def loss_of(model: keras.Model, number: int) -> Any:
    """The loss that an output was trained with, as Keras takes or saves it; None if it is unknown."""
    loss = vars(model).get(_LOSS) or getattr(model, "loss", None)
    if isinstance(loss, (list, tuple)):
        return loss[number] if number < len(loss) else None
    if isinstance(loss, Mapping) and "class_name" not in loss:
        return loss.get(output_names(model)[number])
    return loss


def loss_name(loss: Any) -> str:
    """The name of a loss in lower-case letters, "" for none: "meansquarederror" of mean_squared_error."""
    if isinstance(loss, Mapping):  # as files have it
        loss = loss.get("config" if loss.get("class_name") == "function" else "class_name")
    if not (loss is None or isinstance(loss, str)):
        loss = getattr(loss, "__name__", type(loss).__name__)
    return re.sub("[^a-z]", "", (loss or "").lower())


def flat_output(model: keras.Model) -> keras.Model:
    """The model with its output flattened to (N, classes); the given model if it already is.

    Raises:
        ValueError: The model has several outputs.
    """
    if len(model.outputs) != 1:
        raise ValueError(f"model {model.name!r} has {counted(len(model.outputs), 'output')}, but must have one")
    if len(model.outputs[0].shape) <= 2:
        return model
    return keras.Model(model.inputs, keras.layers.Flatten()(model.outputs[0]), name=model.name)


def two_classes(model: keras.Model) -> keras.Model:
    """A model with one logit z, that of class 1, as one with two logits: -z for class 0 and z for class 1.

    So any method can explain class 0, too: what speaks against class 1. The model decides for the class with the
    positive logit. The new model shares the layers of the given one except a last Dense layer or convolution,
    whose weights are copied.

    Args:
        model: (N, ...) to (N, 1), or to a map of one channel, (N, height, width, 1); without sigmoid: see
            `to_logits`.

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
