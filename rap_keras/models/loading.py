"""Keras models by name or from a file."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

import numpy as np
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.models import files, shapes_networks

EMBEDDED = {"shapes-vgg": "vgg", "shapes-resnet": "resnet"}
"""The networks in this package, trained on the images of `rap_keras.shapes`."""


def applications() -> dict[str, Callable[..., keras.Model]]:
    """The networks of keras.applications: lower-case name to the function that builds it."""
    members = vars(keras.applications).items()
    return {name.lower(): member for name, member in members if callable(member) and not name.startswith("_")}


def is_network_name(text: str) -> bool:
    """Whether a text is the name of a network, which takes precedence over a file or folder of that name."""
    return text.lower() in EMBEDDED or text.lower() in applications()


def own_preprocessing(name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """The preprocessing of photos that belongs to a network known by name; None for any other name."""
    if name.lower() in EMBEDDED:
        return shapes_networks.preprocess
    build = applications().get(name.lower())
    return None if build is None else sys.modules[build.__module__].preprocess_input


def preprocessor_of(model: keras.Model) -> Callable[[np.ndarray], Any] | None:
    """The preprocessor of photos of a task of keras_hub, such as an image classifier; else None."""
    found = getattr(model, "preprocessor", None)
    return None if getattr(found, "image_converter", None) is None else found


def load_model(
    name_or_path: str | Path, weights: str | None = "imagenet", custom_objects: Mapping[str, Any] | None = None
) -> keras.Model:
    """A network of keras.applications or of this package, or a model from a file. It is not compiled.

    A name takes precedence over a file of the same name: write ./vgg16 for a file named vgg16. Code in a file is
    never run: files with Lambda layers, or with anything not known to only calculate, are refused.

    Args:
        name_or_path: Name of a network in upper or lower case, including "shapes-vgg" and "shapes-resnet", the
            trained ones of this package; or a `.h5` file, a `.keras` file, or with Keras 2 the folder of a
            SavedModel, each with the whole model, not only its weights.
        weights: For a name, what keras.applications takes: "imagenet", a file of weights, or None
            for random weights. Not used for a path.
        custom_objects: Your own layers, losses and functions, by their names in the file. Registered ones
            (`keras.utils.register_keras_serializable`) are known already.

    Raises:
        FileNotFoundError: There is no such file.
        ConnectionError: The weights are not on this machine and could not be downloaded.
        ValueError: There is no such network; or the file holds no Keras model, only weights, Lambda layers,
            unknown layers or operations, or a model that is not a graph of layers; or it was written by another
            Keras, is damaged, or would fill the memory.
    """
    name = str(name_or_path).lower()
    if name in EMBEDDED:
        return shapes_networks.load_network(EMBEDDED[name])
    build = applications().get(name)
    if build is not None:
        return _application(build, weights)
    path = Path(name_or_path)
    if path.exists():
        return files.load(path, custom_objects or {})
    if path.suffix or len(path.parts) > 1:
        raise FileNotFoundError(f"{path}: no such model file")
    close = difflib.get_close_matches(path.name.lower(), applications(), n=5)
    meant = f"did you mean {', '.join(close)}? " if close else ""
    raise ValueError(
        f"unknown network {path.name!r}: {meant}Give the name of any network of keras.applications, such as "
        "vgg16, or the path of a .h5 file, a .keras file or, with Keras 2, a SavedModel"
    )


def _application(build: Callable[..., keras.Model], weights: str | None) -> keras.Model:
    try:
        return build(weights=weights)
    # keras.utils.get_file raises a plain Exception if a download fails.
    except Exception as error:
        if not str(error).startswith("URL fetch failure"):
            raise ValueError(f"{build.__name__} could not be built: {error}") from error
        folder = keras_graph.downloads()
        raise ConnectionError(
            f"the weights of {build.__name__} are not in {folder} and could not be downloaded ({error}). Download "
            f"that file on a machine that has a network connection and put it into {folder}, or give the path of "
            "a model file instead of the name"
        ) from error


def photo_size(model: keras.Model, grey: bool = False) -> tuple[int, int] | None:
    """Height and width of the photos that a model takes, None if it takes any size.

    Raises:
        ValueError: The model takes anything other than one RGB photo per sample, (N, H, W, 3), or if `grey` one of
            one channel, (N, H, W, 1).
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    channels = (1, 3, None) if grey else (3, None)
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in channels:
        raise ValueError(
            f"model {model.name!r} takes {' and '.join(map(str, shapes))}: it must take RGB "
            f"photos, (None, height, width, 3){', or grey ones, (None, height, width, 1)' * grey}"
        )
    _, height, width, _ = shapes[0]
    return None if height is None or width is None else (height, width)
