"""The host that the tests run in, and how to create analyzers and read tensors there."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

from rap_keras.engine import keras_graph

PLUGIN = importlib.util.find_spec("innvestigate") is not None and os.environ.get("RAP_KERAS_TEST_HOST") != "native"
"""Whether the tests run within iNNvestigate, with eager execution off."""

if PLUGIN:
    tf.compat.v1.disable_eager_execution()
    from innvestigate import NotAnalyzeableModelException, create_analyzer
else:
    from rap_keras import NotAnalyzeableModelException, create_analyzer

KERAS_3 = keras_graph.KERAS_3

WEIGHTS = "weights.weights.h5" if KERAS_3 else "weights.h5"
"""A name for a file of weights only; Keras 3 reads such files only with this ending."""

__all__ = [
    "KERAS_3",
    "PLUGIN",
    "WEIGHTS",
    "NotAnalyzeableModelException",
    "create_analyzer",
    "cumulated_product",
    "keras_home",
    "save_as_keras_2",
    "value_of",
]


def cumulated_product(x):
    """An operation without a rule."""
    return tf.keras.ops.cumprod(x, axis=1) if KERAS_3 else tf.math.cumprod(x, axis=1)


def keras_home(folder: Path, monkeypatch: Any) -> Path:
    """The folder inside the given one in which Keras puts its downloads from now on."""
    home = folder / ("of-keras" if KERAS_3 else ".keras")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("KERAS_HOME", str(folder / "of-keras"))
    if KERAS_3:  # reads the variable when it is imported
        monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(home))
    return home


def save_as_keras_2(model: Any, path: Path) -> None:
    """Writes weights in the old format, which either Keras reads; Keras 3 writes it only with the whole model."""
    model.save(path, include_optimizer=False) if KERAS_3 else model.save_weights(path)


def value_of(build: Callable[[], Any]) -> Any:
    """The arrays of the tensors that `build` makes, as a graph, with eager execution on or off."""
    if tf.executing_eagerly():
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), tf.function(build, autograph=False)())
    return tf.compat.v1.keras.backend.get_session().run(build())
