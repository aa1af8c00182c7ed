"""Samples that see each other, or leave the first axis, are refused: relevance is that of one sample."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, PLUGIN, NotAnalyzeableModelException, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine.checks import sample_independence
from rap_keras.engine.checks.conservation import lively_weights


def network(front) -> keras.Model:
    inputs = keras.Input((6, 3))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(front(inputs))))


def swapped(x):
    return ops.transpose(x, (1, 0, 2))


REFUSED = {
    "moved and moved back": lambda x: swapped(layers.Dense(4)(swapped(x))),
    "mean": lambda x: x - ops.mean(x, axis=0, keepdims=True),
    "mean, by position": lambda x: x - ops.mean(x, 0, True),
    "sum of all": lambda x: x + ops.sum(x),
    "roll": lambda x: ops.roll(x, 1, 0),
    "flip": lambda x: ops.flip(x, axis=0),
    "flip of all": lambda x: ops.flip(x),
    "softmax": lambda x: ops.softmax(x, axis=0),
    "softmax, counted from the end": lambda x: ops.softmax(x, axis=-3),
    "softmax layer": lambda x: layers.Softmax(axis=0)(x),
    "concatenation": lambda x: layers.Concatenate(axis=0)([x, x]),
}
# What these do to the samples is not seen, but found when several samples are explained.
MIXED = {
    "tile": lambda x: ops.tile(x, (2, 1, 1)),
    "pad": lambda x: ops.pad(x, ((1, 0), (0, 0), (0, 0))),
    "reshape": lambda x: ops.reshape(x, (-1, 9)),
    "einsum": lambda x: ops.einsum("bij,cij->bci", x, x)[:, 0],
    "own layer": lambda x: MinusMean()(x),
}
if not KERAS_3:  # Keras 3 has no such slices
    MIXED |= {
        "reversed": lambda x: x[::-1],
        "without the first": lambda x: x[1:],
        "minus the first": lambda x: x - x[:1],
        "plus the last": lambda x: x + x[-1:],
    }
KEPT = {
    "mean": lambda x: x - ops.mean(x, axis=1, keepdims=True),
    "roll": lambda x: ops.roll(x, 1, 1),
    "flip": lambda x: ops.flip(x, axis=(1, 2)),
    "softmax": lambda x: ops.softmax(x, axis=1),
    "concatenation": lambda x: layers.Concatenate(axis=1)([x, x]),
    "transposition": lambda x: ops.transpose(x, (0, 2, 1)),
    "tile": lambda x: ops.tile(x, (1, 2, 1)),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 0))),
    "samples and places in one axis, as in TimeDistributed": lambda x: ops.reshape(
        layers.Dense(4, "relu")(ops.reshape(x, (-1, 3))), (-1, 6, 4)
    ),
    "einsum": lambda x: ops.einsum("bij,bkj->bik", x, x),
    "slice": lambda x: x[:, 1:],
}


class MinusMean(layers.Layer):
    def call(self, x):
        return x - tf.reduce_mean(x, axis=0, keepdims=True)


X = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("front", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_refused(front, method):
    model = network(front)
    with pytest.raises(NotAnalyzeableModelException, match=r"works along the first axis.*such as axis=1"):
        rap_keras.create_analyzer(method, model)


@pytest.mark.parametrize("front", KEPT.values(), ids=KEPT)
def test_along_another_axis_a_sample_is_explained_as_it_would_be_alone(front):
    analyzer = create_analyzer("rap", lively_weights(network(front)))
    alone = np.concatenate([analyzer.analyze(X[number : number + 1]) for number in range(3)])
    np.testing.assert_allclose(analyzer.analyze(X), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("front", MIXED.values(), ids=MIXED)
def test_mixed_samples_are_refused(front):
    analyzer = rap_keras.create_analyzer("gradient", lively_weights(network(front)))
    for x in (X, X[:2]):
        with pytest.raises(NotAnalyzeableModelException, match=r"outputs for|changes with the other samples"):
            analyzer.analyze(x)


def test_equal_samples_say_nothing_of_others():
    analyzer = rap_keras.create_analyzer("gradient", lively_weights(network(MinusMean())))
    assert np.isfinite(analyzer.analyze(np.zeros_like(X))).all()
    with pytest.raises(NotAnalyzeableModelException, match=r"let layer '\S*minus_mean\S*' work along other axes"):
        analyzer.analyze(X)


@pytest.mark.plugin
def test_a_model_for_a_number_of_samples_within_innvestigate():
    inputs = keras.Input(batch_shape=(3, 6, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs)))
    analyzer = create_analyzer("rap", model)
    np.testing.assert_allclose(analyzer.analyze(X).sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-4)
    for refused in (lambda: analyzer.analyze(X[:2]), lambda: rap_keras.methods.create("gradient", model)):
        with pytest.raises(ValueError, match=r"built for batches of 3 samples.*keras\.Input\(shape\)"):
            refused()


@pytest.mark.skipif(PLUGIN, reason="models of iNNvestigate take the number of samples that they are built for")
def test_a_model_that_is_built_for_a_number_of_samples():
    """As Keras 3 builds a Sequential without an input shape, at the first batch that it is given."""

    def built(**shape):
        keras.utils.set_random_seed(0)
        inputs = keras.Input(**shape)
        y = layers.BatchNormalization()(layers.Conv1D(4, 3, activation="relu")(inputs))
        return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(y)))

    fixed, free = built(batch_shape=(4, 6, 3)), built(shape=(6, 3))
    for name in ("rap", "integrated_gradients"):
        for count in (1, 2, 3):
            expected = rap_keras.create_analyzer(name, free).analyze(X[:count])
            found = rap_keras.create_analyzer(name, fixed).analyze(X[:count])
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert rap_keras.explain(fixed, X[0]).logit == pytest.approx(free.predict(X[:1], verbose=0).max(), rel=1e-5)
    inputs = keras.Input(batch_shape=(4, 6, 3))
    joined = layers.Flatten()(layers.Concatenate(axis=0)([inputs, inputs]))
    with pytest.raises(NotAnalyzeableModelException, match="works along the first axis"):
        rap_keras.create_analyzer("gradient", keras.Model(inputs, layers.Dense(3)(joined)))


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 leaves the number of samples open")
def test_a_sequential_that_is_first_called_on_a_batch():
    model = keras.Sequential([layers.Conv1D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)])
    logits = model.predict(X, verbose=0)
    relevance = rap_keras.create_analyzer("rap", model).analyze(X[:1])
    assert relevance.sum() == pytest.approx(logits[0].max(), rel=1e-4)


def test_each_model_is_tried_once(monkeypatch):
    tried = []
    original = sample_independence.predictor
    monkeypatch.setattr(sample_independence, "predictor", lambda model: tried.append(model) or original(model))
    analyzer = rap_keras.create_analyzer("gradient", lively_weights(network(KEPT["einsum"])))
    for x in (X[:1], X[:1], X, X[:2], X[:1]):
        analyzer.analyze(x)
    assert len(tried) == 2  # with one sample, and with several


def test_rap_refuses_mixed_samples_too():
    front = MIXED["einsum"]
    with pytest.raises(NotAnalyzeableModelException, match="changes with the other samples"):
        create_analyzer("rap", lively_weights(network(front))).analyze(X)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not quantize")
def test_a_quantized_model_is_refused():
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(8, activation="relu", name="first"), layers.Dense(3)]
    )
    unchanged = rap_keras.explain(model, np.ones(5, np.float32), "gradient")
    model.quantize("int8")
    for method in ("rap", "gradient"):
        with pytest.raises(NotAnalyzeableModelException, match=r"'first' is quantized \(int8\).*before quantize"):
            rap_keras.explain(model, np.ones(5, np.float32), method)
    assert unchanged.is_finite()


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 resizes samples of any size")
def test_a_layer_that_no_graph_of_any_size_takes():
    def model(*size):
        inputs = keras.Input((*size, 3))
        y = layers.UpSampling2D(2, interpolation="bilinear")(layers.Conv2D(4, 1)(inputs))
        return lively_weights(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(y))))

    x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    with pytest.raises(NotAnalyzeableModelException, match="build the model with a fixed size"):
        create_analyzer("rap", model(None, None)).analyze(x)
    fixed = model(4, 4)
    relevance = create_analyzer("rap", fixed).analyze(x)
    assert relevance.sum() == pytest.approx(fixed.predict(x, verbose=0).max(), rel=1e-4)
