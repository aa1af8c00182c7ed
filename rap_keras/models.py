"""Keras models by name or from a file, up to their logits."""

from __future__ import annotations

import difflib
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras import shapes
from rap_keras.checks import require_graph_execution
from rap_keras.final_activation import to_logits
from rap_keras.outputs import flat_output, two_classes


def applications() -> dict[str, Callable[..., keras.Model]]:
    """The networks of keras.applications: lower-case name to the function that builds it."""
    members = vars(keras.applications).items()
    return {name.lower(): member for name, member in members if callable(member) and not name.startswith("_")}


__all__ = [
    "EMBEDDED",
    "applications",
    "flat_output",
    "load_model",
    "own_preprocessing",
    "photo_size",
    "to_logits",
    "two_classes",
    "without_softmax",
]

EMBEDDED = {"shapes-vgg": "vgg", "shapes-resnet": "resnet"}
"""The networks in this package, trained on the images of `rap_keras.shapes`."""


def is_network_name(text: str) -> bool:
    """Whether a text names a network: such a name goes before a file or folder of the same name."""
    return text.lower() in EMBEDDED or text.lower() in applications()


def own_preprocessing(name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """What a network known by name does with photos before it sees them, None for any other name."""
    if name.lower() in EMBEDDED:
        return shapes.preprocess
    build = applications().get(name.lower())
    return None if build is None else sys.modules[build.__module__].preprocess_input


def load_model(name_or_path: str | Path, weights: str | None = "imagenet") -> keras.Model:
    """A network of keras.applications or of this package, or a model from a file. It is not compiled.

    A name goes before a file of the same name: write ./vgg16 for a file named vgg16.

    Args:
        name_or_path: Name of a network, upper or lower case, also "shapes-vgg" or "shapes-resnet", the
            trained ones of this package; or a `.h5` file, a `.keras` file, or
            the folder of a SavedModel, each with the whole model, not only its weights.
        weights: For a name, what keras.applications takes: "imagenet", a file of weights, or None
            for random weights. For a path it is not used.

    Raises:
        RuntimeError: TensorFlow executes eagerly.
        FileNotFoundError: There is no such file.
        ConnectionError: The weights are not on this machine and could not be downloaded.
        ValueError: There is no such network; or the file holds no Keras model, only weights,
            Lambda layers, custom layers, or a model that is no graph of layers.
    """
    require_graph_execution()
    if str(name_or_path).lower() in EMBEDDED:
        return shapes.load_network(EMBEDDED[str(name_or_path).lower()])
    build = applications().get(str(name_or_path).lower())
    if build is not None:
        return _application(build, weights)
    path = Path(name_or_path)
    if path.exists():
        return _from_file(path)
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


def _from_file(path: Path) -> keras.Model:
    config, version = _stored_config(path)
    if re.search(r'"class_name":\s*"Lambda"', config):
        names = re.findall(r'"class_name":\s*"Lambda",\s*"config":\s*{"name":\s*"([^"]*)"', config)
        raise ValueError(
            f"{path}: Lambda layer {', '.join(map(repr, dict.fromkeys(names)))}. Such a layer is "
            "Python code inside the file, which would be run, and no rule of relevance is known "
            "for it: replace it by layers of Keras. If you trust the file, load it with "
            "tf.keras.models.load_model and give the analyzer allow_lambda_layers=True"
        )
    try:
        if path.is_file() and h5py.is_hdf5(path):
            return keras.models.load_model(str(path), compile=False)
        return _rebuilt(path)
    # What a broken or foreign file makes Keras raise has no type of its own.
    except Exception as error:
        written = f" (written by Keras {version}, this is {tf.__version__})" if version else ""
        raise ValueError(f"{path} could not be loaded{written}: {error}") from error


def _stored_config(path: Path) -> tuple[str, str]:
    """The architecture in a model file, as JSON or with JSON in it, and the Keras that wrote it."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError(f"{path}: a folder without saved_model.pb, so no SavedModel")
        metadata = path / "keras_metadata.pb"
        if not metadata.is_file():
            raise ValueError(
                f"{path}: a SavedModel without keras_metadata.pb, so its layers are unknown: save "
                "the Keras model with model.save, not with tf.saved_model.save or model.export"
            )
        return metadata.read_bytes().decode("utf-8", "replace"), ""
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            config, version = (file.attrs.get(key) for key in ("model_config", "keras_version"))
        if config is None:
            raise ValueError(
                f"{path}: no model in this HDF5 file; if it holds weights only, build the model, "
                "load them with model.load_weights and save it with model.save"
            )
        return _text(config), _text(version or "")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "config.json" in archive.namelist() and path.suffix == ".keras":
                version = json.loads(archive.read("metadata.json")).get("keras_version", "")
                return archive.read("config.json").decode(), version
    raise ValueError(f"{path}: no Keras model: give a .h5 file, a .keras file or a SavedModel")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _rebuilt(path: Path) -> keras.Model:
    """The model of a `.keras` file or SavedModel, built anew from its configuration and weights.

    Without eager execution Keras 2 loads both only by half. Of a `.keras` file it makes operations
    that assign the weights and never runs them, so that the model has random weights, silently. A
    SavedModel that was compiled before it was saved can no longer predict.
    """
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        loaded = keras.models.load_model(str(path), compile=False)
        _require_known_layers(loaded)
        if path.is_file():
            initializers = {variable.initializer for variable in tf.compat.v1.global_variables()}
            assignments = [
                operation
                for operation in graph.get_operations()
                if operation.type == "AssignVariableOp" and operation not in initializers
            ]
            if len(assignments) < len(loaded.weights):
                raise ValueError("not all of its weights were found: save it as .h5")
            session.run(assignments)
        config, weights = loaded.get_config(), loaded.get_weights()
    model = type(loaded).from_config(config)
    model.set_weights(weights)
    return model


def _require_known_layers(loaded: Any) -> None:
    if not getattr(loaded, "_is_graph_network", False) or not loaded.built:
        raise ValueError(
            "it is no graph of layers but a subclassed or unbuilt model: build it with the "
            "functional API or as a Sequential that begins with keras.Input(shape)"
        )
    for layer in loaded._flatten_layers(include_self=False):
        # Keras stands in with such a class where a SavedModel has a class that it does not know.
        if type(layer).__module__.endswith("saved_model.load"):
            raise ValueError(
                f"layer {layer.name!r} is of the custom class {type(layer).__name__}: save the "
                "model as .keras and register the class before loading it"
            )


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


without_softmax = to_logits
"""The former name of `to_logits`."""
