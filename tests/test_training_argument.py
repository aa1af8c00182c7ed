"""A call with `training=...`: what `predict` computes is explained, or refused by name."""

from __future__ import annotations

import re

import numpy as np
import pytest
from host import KERAS_3, NotAnalyzeableModelException
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras

pytestmark = pytest.mark.usefixtures("as_built")


def nested(*inner):
    def part(x):
        return keras.Sequential([keras.Input((6, 4)), *inner], name="nested")(x, training=True)

    return part


# Keras 3 itself predicts with training=False.
WITH_AN_EFFECT = {
    "batch_norm": lambda x: layers.BatchNormalization(name="batch_norm")(x, training=True),
    "dropout": lambda x: layers.Dropout(0.5, name="dropout")(x, training=True),
    "noise": lambda x: layers.GaussianNoise(0.5, name="noise")(x, training=True),
    "lstm": lambda x: layers.LSTM(4, dropout=0.5, return_sequences=True, name="lstm")(x, training=True),
    "heads": lambda x: layers.MultiHeadAttention(2, 4, dropout=0.5, name="heads")(x, x, training=True),
    "steps": lambda x: layers.TimeDistributed(layers.Dropout(0.5), name="steps")(x, training=True),
    "nested": nested(layers.Dense(4), layers.BatchNormalization()),
}
WITHOUT = {
    "frozen by the call": lambda x: layers.BatchNormalization()(x, training=False),
    "dropout of nothing": lambda x: layers.Dropout(0.0)(x, training=True),
    "recurrent": lambda x: layers.GRU(4, return_sequences=True, unroll=True)(x, training=True),
    "attention": lambda x: layers.MultiHeadAttention(2, 4)(x, x, training=True),
    "nested relu": nested(layers.Dense(4), layers.ReLU()),
}
if not KERAS_3:  # which takes only tensors by their place
    WITH_AN_EFFECT["placed"] = lambda x: layers.BatchNormalization(name="placed")(x, True)
    WITHOUT["placed False"] = lambda x: layers.BatchNormalization()(x, False)
else:  # which drops the argument where a layer does not take it
    WITHOUT["pooling"] = lambda x: layers.MaxPooling1D(2)(x, training=False)
    WITHOUT["addition"] = lambda x: layers.Add()([x, x], training=True)


def network(part):
    x = keras.Input((6, 4))
    y = layers.GlobalMaxPooling1D()(part(layers.Dense(4)(x)))
    return keras.Model(x, layers.Dense(3)(y))


def samples():
    return np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")


@pytest.mark.parametrize("name", [*WITHOUT, *(WITH_AN_EFFECT if KERAS_3 else ())])
def test_what_predict_computes_is_explained(name):
    model, X = network({**WITHOUT, **WITH_AN_EFFECT}[name]), samples()
    for method in ("rap", "gradient"):
        assert rap_keras.create_analyzer(method, model).analyze(X).any()
    explanation = rap_keras.explain(model, X[0], target=1)
    assert explanation.logit == pytest.approx(model.predict(X, verbose=0)[0, 1], rel=1e-4)
    assert explanation.relevance.sum() == pytest.approx(explanation.logit, rel=1e-4)


@pytest.mark.skipif(KERAS_3, reason="Keras 3 predicts with training=False")
@pytest.mark.parametrize("name", WITH_AN_EFFECT)
def test_what_depends_on_chance_or_on_the_batch_is_refused_by_name(name):
    model, X = network(WITH_AN_EFFECT[name]), samples()
    for refused in (
        lambda: rap_keras.create_analyzer("rap", model),
        lambda: rap_keras.create_analyzer("gradient", model),
        lambda: rap_keras.explain(model, X[0]),
    ):
        with pytest.raises(NotAnalyzeableModelException, match=rf"'{name}'.*with training=True.*without it"):
            refused()


@pytest.mark.skipif(KERAS_3, reason="Keras 3 predicts with training=False")
def test_the_way_out_works():
    model, X = network(WITH_AN_EFFECT["batch_norm"]), samples()
    other = network(lambda x: layers.BatchNormalization()(x))
    other.set_weights(model.get_weights())
    explanation = rap_keras.explain(other, X[0], target=1)
    assert explanation.logit == pytest.approx(other.predict(X, verbose=0)[0, 1], rel=1e-4)


class Block(layers.Layer):
    """Hands `training` on to all of its layers, whether they take it or not."""

    def __init__(self, force=None, default=False, **options):
        super().__init__(**options)
        self.parts = [layers.Dense(4), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling1D(2)]
        self.force, self.default = force, default

    def call(self, x, training=None):
        for part in self.parts:
            x = part(x, training=training if self.force is None else self.force)
        return x


class Trains(layers.Layer):
    """Its own default is training."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dropout = layers.Dropout(0.5)

    def call(self, x, training=True):
        return self.dropout(x, training=training)


class Around(layers.Layer):
    """Does not take the argument, and does not hand it on."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = Trains(name="inner")

    def call(self, x):
        return self.inner(x) * 2


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not take layers apart")
@pytest.mark.parametrize("make", [Block, Trains, Around, lambda **o: Block(force=False, **o)])
def test_within_a_layer_that_is_taken_apart(make):
    model, X = network(make(name="block")), samples()
    analyzer = rap_keras.create_analyzer("rap", model)
    assert "block" not in [call.name for call in analyzer.network.calls]
    assert analyzer.analyze(X).sum((1, 2)) == pytest.approx(model.predict(X, verbose=0).max(1), rel=1e-4)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not take layers apart")
def test_training_that_a_layer_asks_for_within_is_refused_by_name():
    model = network(lambda x: Block(force=True, name="block")(x))
    message = "'block/batch_normalization' (BatchNormalization) is called with training=True"
    with pytest.raises(NotAnalyzeableModelException, match=re.escape(message)):
        rap_keras.create_analyzer("rap", model)
