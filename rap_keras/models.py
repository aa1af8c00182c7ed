"""Keras models by name or from a file, and without their softmax."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras import model_files, shapes
from rap_keras.checks import require_graph_execution


def applications() -> dict[str, Callable[..., keras.Model]]:
    """The networks of keras.applications: lower-case name to the function that builds it."""
    members = vars(keras.applications).items()
    return {name.lower(): member for name, member in members if callable(member) and not name.startswith("_")}


EMBEDDED = {"shapes-vgg": "vgg", "shapes-resnet": "resnet"}
"""The networks in this package, trained on the images of `rap_keras.shapes`."""


def own_preprocessing(name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """What a network known by name does with photos before it sees them, None for any other name."""
    if name.lower() in EMBEDDED:
        return shapes.preprocess
    build = applications().get(name.lower())
    return None if build is None else sys.modules[build.__module__].preprocess_input


def load_model(
    name_or_path: str | Path,
    weights: str | None = "imagenet",
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """A network of keras.applications or of this package, or a model from a file. It is not compiled.

    A name goes before a file of the same name: write ./vgg16 for a file named vgg16. Code in a file is never
    run: files with Lambda layers, or with anything that is not known to calculate and no more, are refused.

    Args:
        name_or_path: Name of a network, upper or lower case, also "shapes-vgg" or "shapes-resnet", the
            trained ones of this package; or a `.h5` file, a `.keras` file, or
            the folder of a SavedModel, each with the whole model, not only its weights.
        weights: For a name, what keras.applications takes: "imagenet", a file of weights, or None
            for random weights. For a path it is not used.
        custom_objects: Layers, losses and functions of your own in a file, by the name that the file
            has for them. What is registered (`keras.utils.register_keras_serializable`) is known already.

    Raises:
        RuntimeError: TensorFlow executes eagerly.
        FileNotFoundError: There is no such file.
        ConnectionError: The weights are not on this machine and could not be downloaded.
        ValueError: There is no such network; or the file holds no Keras model, only weights,
            Lambda layers, layers or operations that are not known, or a model that is no graph of
            layers; or it was written by another Keras, is damaged, or would fill the memory.
    """
    require_graph_execution()
    if str(name_or_path).lower() in EMBEDDED:
        return shapes.load_network(EMBEDDED[str(name_or_path).lower()])
    build = applications().get(str(name_or_path).lower())
    if build is not None:
        return _application(build, weights)
    path = Path(name_or_path)
    if path.exists():
        return model_files.load(path, custom_objects or {})
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"{path}: no such model file")
    close = difflib.get_close_matches(path.name.lower(), applications(), n=5)
    raise ValueError(
        f"unknown network {path.name!r}: "
        + (f"did you mean {', '.join(close)}? " if close else "")
        + "Give the name of any network of keras.applications, such as vgg16, or the path of a "
        ".h5 file, a .keras file or a SavedModel"
    )


def _application(build: Callable[..., keras.Model], weights: str | None) -> keras.Model:
    try:
        return build(weights=weights)
    # keras.utils.get_file raises plain Exception where a download fails.
    except Exception as error:
        if not str(error).startswith("URL fetch failure"):
            raise ValueError(f"{build.__name__} could not be built: {error}") from error
        folder = Path.home() / ".keras" / "models"
        raise ConnectionError(
            f"the weights of {build.__name__} are not in {folder} and could not be downloaded "
            f"({error}). Download that file where there is a network and put it into {folder}, or "
            "give the path of a model file instead of the name"
        ) from error


def without_softmax(model: keras.Model) -> keras.Model:
    """The model up to the logits: a softmax at its end taken away, whatever form it has.

    That is a softmax as the activation of the last layer or as a layer of its own, also behind it
    layers that only move values (Flatten, Reshape, Permute, Dropout), also inside a model that is
    the last layer. The new model has the same weights, not copies; the given one keeps working.

    Returns:
        The new model; the given one itself if it does not end in a softmax.

    Raises:
        ValueError: The model is subclassed or not built, so that its layers are unknown.
    """
    if not model.outputs:
        raise ValueError(
            f"model {model.name!r} has no outputs yet: build it with the functional API, or as a "
            "Sequential that begins with keras.Input(shape)"
        )
    logits = [_before_softmax(output) for output in model.outputs]
    if all(tensor is None for tensor in logits):
        return model
    outputs = [old if new is None else new for old, new in zip(model.outputs, logits)]
    return keras.Model(model.inputs, outputs, name=model.name)


def flat_output(model: keras.Model) -> keras.Model:
    """The model with its output flattened to (N, classes); the given one if it is so already.

    Raises:
        ValueError: The model has several outputs.
    """
    if len(model.outputs) != 1:
        raise ValueError(f"model {model.name!r} has {len(model.outputs)} outputs, it must have one")
    if len(model.outputs[0].shape) <= 2:
        return model
    return keras.Model(model.inputs, keras.layers.Flatten()(model.outputs[0]), name=model.name)


def photo_size(model: keras.Model) -> tuple[int, int] | None:
    """Height and width of the photos that a model takes, None if it takes any size.

    Raises:
        ValueError: The model takes anything else than one RGB photo per sample, (N, H, W, 3).
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (3, None):
        raise ValueError(
            f"model {model.name!r} takes {' and '.join(map(str, shapes))}: it must take RGB "
            "photos, (None, height, width, 3)"
        )
    _, height, width, _ = shapes[0]
    return None if height is None or width is None else (height, width)


_MOVING = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.Reshape,
)


def _before_softmax(tensor: Any) -> Any:
    """What `tensor` would be without a softmax at its end, None if there is none."""
    layer, node, position = tensor._keras_history
    if isinstance(layer, keras.Model):
        inner = without_softmax(layer)
        if inner is layer:
            return None
        outputs = tf.nest.flatten(inner(layer.get_input_at(node)))
        return outputs[position]
    linear = getattr(layer, "activation", None) is keras.activations.linear
    if isinstance(layer, _MOVING) or (linear and isinstance(layer, keras.layers.Activation)):
        before = _before_softmax(layer.get_input_at(node))
        return None if before is None else type(layer).from_config(layer.get_config())(before)
    if isinstance(layer, keras.layers.Softmax) or _has_softmax(layer):
        given = layer.get_input_at(node)
        if isinstance(layer, (keras.layers.Activation, keras.layers.Softmax)):
            return given
        return _without_activation(layer, given)
    return None


def _has_softmax(layer: keras.layers.Layer) -> bool:
    # softmax_v2 is the name that tf.nn.softmax has.
    name = getattr(getattr(layer, "activation", None), "__name__", "")
    return name in ("softmax", "softmax_v2")


def _without_activation(layer: keras.layers.Layer, given: Any) -> Any:
    """Output of the layer for the tensor `given` without its activation, its variables shared."""
    copy = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    # Calling the layer itself would give it another node, and changing its activation would change
    # the user's model. The copy gets the layer's variables when it asks for new ones.
    with tf.variable_creator_scope(lambda _, **wanted: getattr(layer, wanted["name"])):
        return copy(given)
