"""Samples that see each other, or leave the first axis, are refused: relevance is that of one sample."""

from __future__ import annotations

import numpy as np
import pytest
from host import KERAS_3, NotAnalyzeableModelException, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine.conservation import lively_weights


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
KEPT = {
    "mean": lambda x: x - ops.mean(x, axis=1, keepdims=True),
    "roll": lambda x: ops.roll(x, 1, 1),
    "flip": lambda x: ops.flip(x, axis=(1, 2)),
    "softmax": lambda x: ops.softmax(x, axis=1),
    "concatenation": lambda x: layers.Concatenate(axis=1)([x, x]),
    "transposition": lambda x: ops.transpose(x, (0, 2, 1)),
}


@pytest.mark.parametrize("front", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("method", ["rap", "gradient"])
def test_refused(front, method):
    model = network(front)
    with pytest.raises(NotAnalyzeableModelException, match=r"works along the first axis.*such as axis=1"):
        rap_keras.create_analyzer(method, model)


@pytest.mark.parametrize("front", KEPT.values(), ids=KEPT)
def test_along_another_axis_a_sample_is_explained_as_it_would_be_alone(front):
    analyzer = create_analyzer("rap", lively_weights(network(front)))
    x = np.random.default_rng(0).normal(size=(3, 6, 3)).astype(np.float32)
    alone = np.concatenate([analyzer.analyze(x[number : number + 1]) for number in range(3)])
    np.testing.assert_allclose(analyzer.analyze(x), alone, rtol=1e-4, atol=1e-6)


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
