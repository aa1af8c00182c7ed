"""Shared by all tests: graph execution, a fresh Keras graph per test, the path of the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf

tf.compat.v1.disable_eager_execution()


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    """A graph, session and name counter of its own for every test."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(0)
    yield
    tf.keras.backend.set_floatx("float32")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of trained networks, photos and reference files."""
    value = os.environ.get("RAP_KERAS_SHARED")
    if not value:
        pytest.skip("RAP_KERAS_SHARED is unset: it names the folder of trained networks and photos")
    path = Path(value).resolve()
    if not (path / "models").is_dir():
        pytest.fail(f"RAP_KERAS_SHARED={value}: no folder 'models' in there")
    return path
