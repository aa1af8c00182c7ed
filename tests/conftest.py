"""Shared by all tests: the host, a fresh Keras state per test, the path of the real data.

Where iNNvestigate is installed, the tests run within it, with eager execution off. RAP_KERAS_TEST_HOST=native asks
for the native host there too. Elsewhere they run in the native host, with eager execution on.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf

PLUGIN = importlib.util.find_spec("innvestigate") is not None and os.environ.get("RAP_KERAS_TEST_HOST") != "native"

if PLUGIN:
    tf.compat.v1.disable_eager_execution()

# What the native host is tested with so far; the other files need the graphs and sessions of Keras 2.
_NATIVE = {"test_metrics_perturbation.py", "test_native_methods.py"}
collect_ignore = (
    [] if PLUGIN else [file.name for file in Path(__file__).parent.glob("test_*.py") if file.name not in _NATIVE]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is about iNNvestigate in the native host."""
    for item in items:
        if not PLUGIN and item.get_closest_marker("plugin"):
            item.add_marker(pytest.mark.skip(reason="about iNNvestigate, which is not the host here"))


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
