"""Shared by all tests: the host, a fresh Keras state per test, a folder of its own, the path of the real data.

Where iNNvestigate is installed, the tests run within it, with eager execution off. RAP_KERAS_TEST_HOST=native asks
for the native host there too. Elsewhere they run in the native host, with eager execution on.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import KERAS_3, PLUGIN, tf

_SKIPPED = {
    "plugin": (not PLUGIN, "about iNNvestigate, which is not the host here"),
    "keras2": (KERAS_3, "about what Keras 3 does not have"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests of another host or Keras than the installed one."""
    for item in items:
        for marker, (skipped, reason) in _SKIPPED.items():
            if skipped and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Python looks for garbage less often, and not among TensorFlow's modules: graphs are many objects."""
    gc.freeze()
    gc.set_threshold(30_000, 10, 10)


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    """A graph, session and name counter of its own for every test."""
    # Otherwise Keras 3 searches all of memory for garbage, which takes half a second each time.
    tf.keras.backend.clear_session(**({"free_memory": False} if KERAS_3 else {}))
    tf.keras.utils.set_random_seed(0)
    yield
    tf.keras.backend.set_floatx("float32")


@pytest.fixture
def as_built(fresh_graph: None) -> Iterator[None]:
    """TensorFlow runs graphs as they are built. To improve each takes it a quarter of a test of large graphs."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture
def double_precision(as_built: None) -> None:
    """Models of float64; `fresh_graph` goes back to float32."""
    tf.keras.backend.set_floatx("float64")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test: one of its own, which is also the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


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
