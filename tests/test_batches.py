"""More samples than one batch: arrays cut to size, generators, Sequences; always the result of one by one."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.conservation import lively_weights


@pytest.fixture
def model() -> keras.Model:
    inputs = keras.Input((5, 5, 2))
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return lively_weights(keras.Model(inputs, layers.Dense(3)(y)))


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 5, 5, 2)).astype(np.float32)


class Photos(keras.utils.Sequence):
    """Batches of photos and labels; like some of Keras' own it iterates without end."""

    def __init__(self, X: np.ndarray, size: int) -> None:
        self._X, self._size = X, size

    def __len__(self) -> int:
        return -(-len(self._X) // self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self._X[index * self._size : (index + 1) * self._size]
        return batch, np.zeros(len(batch))

    def __iter__(self):
        while True:
            yield self[0]


@pytest.mark.parametrize("size", [1, 3, 7, 100, np.int64(2)])
def test_batch_size_changes_nothing(model, X, size):
    analyzer = RAP(model)
    np.testing.assert_allclose(analyzer.analyze(X, batch_size=size), analyzer.analyze(X), rtol=1e-5, atol=1e-7)


def test_no_batch_is_larger_than_asked_for(model, X, tmp_path):
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    stored = np.memmap(tmp_path / "photos", np.float32, "w+", shape=X.shape)
    stored[:] = X
    predict, sizes = analyzer._analyzer_model.predict_on_batch, []

    def recorded(feeds):
        sizes.append(len(feeds[0]))
        return predict(feeds)

    analyzer._analyzer_model.predict_on_batch = recorded
    np.testing.assert_allclose(analyzer.analyze(stored, batch_size=3), expected, rtol=1e-5, atol=1e-7)
    assert sizes == [3, 3, 1]


def test_each_sample_keeps_its_index(model, X):
    analyzer = RAP(model, neuron_selection_mode="index")
    chosen = [0, 1, 2, 2, 1, 0, 1]
    found = analyzer.analyze(X, chosen, batch_size=2)
    assert found.sum((1, 2, 3)) == pytest.approx(model.predict_on_batch(X)[range(7), chosen], rel=1e-4)
    np.testing.assert_allclose(found, analyzer.analyze(X, chosen), rtol=1e-5, atol=1e-7)


def test_generators_and_sequences(model, X):
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    for stream in (
        (X[start : start + 3] for start in (0, 3, 6)),
        iter([(X[:5],), (X[5:], "labels")]),
        Photos(X, 4),
    ):
        np.testing.assert_allclose(analyzer.analyze(stream), expected, rtol=1e-5, atol=1e-7)
    parts = analyzer.analyze_batches([X[:5], X[5:]])
    np.testing.assert_allclose(next(parts), expected[:5], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(next(parts), expected[5:], rtol=1e-5, atol=1e-7)
    by_index = RAP(model, neuron_selection_mode="index")
    np.testing.assert_allclose(by_index.analyze(Photos(X, 4), 1), by_index.analyze(X, 1), rtol=1e-5, atol=1e-7)


def test_several_inputs():
    a, b = keras.Input((3,)), keras.Input((2,))
    model = keras.Model([a, b], layers.Dense(2)(layers.Dense(4)(layers.Concatenate()([a, b]))))
    random = np.random.default_rng(0)
    X = [random.normal(size=(5, 3)), random.normal(size=(5, 2))]
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    batched = analyzer.analyze(X, batch_size=2)
    streamed = analyzer.analyze(iter([([X[0][:2], X[1][:2]], "labels"), [X[0][2:], X[1][2:]]]))
    for found in (batched, streamed):
        for part, whole in zip(found, expected):
            np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [0, -1, 2.0, "4", True])
def test_batch_size_must_be_positive(model, X, size):
    with pytest.raises(ValueError, match=r"batch_size=.*must be a positive integer"):
        RAP(model).analyze(X, batch_size=size)


def test_errors_name_the_batch_and_the_sample(model, X):
    broken = X.copy()
    broken[4, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN or Inf in sample 4$"):
        RAP(model).analyze(broken, batch_size=2)
    with pytest.raises(ValueError, match=r"batch 1: input .* NaN or Inf in sample 1$"):
        RAP(model).analyze(broken[start : start + 3] for start in (0, 3))
    with pytest.raises(ValueError, match="gave no batch"):
        RAP(model).analyze(iter([]))
    with pytest.raises(ValueError, match="brings batches of its own"):
        RAP(model).analyze(iter([X]), batch_size=2)


class Output(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


def test_progress_is_shown_on_a_terminal(model, X, monkeypatch):
    terminal = Output(terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    analyzer = RAP(model)
    analyzer.analyze(X)
    analyzer.analyze(X, batch_size=7)
    assert terminal.getvalue() == ""  # of one batch there is nothing to tell
    analyzer.analyze(X, batch_size=2)
    assert "7/7" in terminal.getvalue()
    analyzer.analyze(Photos(X, 2))
    assert "4/4" in terminal.getvalue()


def test_progress_is_shown_in_notebooks_and_not_in_files(model, X, monkeypatch):
    output = Output(terminal=False)
    monkeypatch.setattr(sys, "stderr", output)
    analyzer = RAP(model)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    analyzer.analyze(X, batch_size=2)
    assert output.getvalue() == ""
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    analyzer.analyze(X, batch_size=2)
    assert "7/7" in output.getvalue()
