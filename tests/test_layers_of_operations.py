"""Layers of the user's, made of operations and weights, in every form that their code may have (Keras 3)."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from layer_rules import random_weights
from layers_of_layers import Own, network_of, of_keras_3, tokens
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine.reading.flattening import flatten
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = of_keras_3


class Weights(layers.Layer):
    """A layer without layers in it, whose code a test gives."""

    def __init__(self, code, **options):
        super().__init__(**options)
        self.code = code

    def build(self, shape):
        self.gamma = self.add_weight(shape=(4,), name="gamma")
        self.places = self.add_weight(shape=(6, 4), name="places")

    def call(self, x, training=None):
        return self.code(x, self.gamma, self.places) if not training else x * 0


def patches(x, gamma, places):
    return ops.reshape(ops.transpose(ops.reshape(x, (-1, 2, 3, 2, 2)), (0, 2, 1, 3, 4)), (-1, 6, 4))


def distance(x, gamma, places):
    return ops.sqrt(ops.sum(ops.square(x - places), axis=-1, keepdims=True) + 1) * x


def class_token(x, gamma, places):
    token = ops.tile(ops.reshape(places[0], (1, 1, 4)), (ops.shape(x)[0], 1, 1))
    return ops.concatenate([token, x], axis=1)[:, :6]


def array_first(x, gamma, places):
    return np.arange(1.0, 5) * x


# Each beside the same with operations of a functional model, where a weight is an array.
FORMS = {
    "patches": (patches, patches),
    "x * gamma": (lambda x, g, p: x * g, lambda x, g, p: ops.multiply(x, g)),
    "gamma * x": (lambda x, g, p: g * x, lambda x, g, p: ops.multiply(x, g)),
    "x + places": (lambda x, g, p: x + p, lambda x, g, p: ops.add(x, p)),
    "places + x": (lambda x, g, p: p + x, lambda x, g, p: ops.add(x, p)),
    "x - places": (lambda x, g, p: x - p, lambda x, g, p: ops.subtract(x, p)),
    "places - x": (lambda x, g, p: p - x, lambda x, g, p: ops.subtract(p, x)),
    "x / gamma": (lambda x, g, p: x / g, lambda x, g, p: ops.divide(x, g)),
    "expression first": (lambda x, g, p: (g * 2 + 1) * x + -p, lambda x, g, p: x * (g * 2 + 1) - p),
    "array first": (array_first, lambda x, g, p: ops.multiply(x, np.arange(1.0, 5))),
    "distance": (distance, distance),
    "nothing": (lambda x, g, p: x, lambda x, g, p: x),
}


def both(code, same):
    """A network of the layer, and one of the operations of a functional model."""
    model = network_of(Weights(code, name="own"))
    own = model.get_layer("own")
    x = keras.Input((6, 4))
    y = same(x, np.asarray(own.gamma), np.asarray(own.places))
    return model, keras.Model(x, model.layers[-1](layers.Flatten()(y)))


@pytest.mark.parametrize("form", FORMS)
def test_relevance_is_that_of_the_same_operations_in_a_functional_model(form):
    model, twin = both(*FORMS[form])
    X = tokens()
    assert "own" not in [call.name for call in flatten(model).calls]
    np.testing.assert_allclose(twin.predict_on_batch(X), model.predict_on_batch(X), rtol=1e-9)
    R = RAP(model).analyze(X)
    np.testing.assert_allclose(R.sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)
    np.testing.assert_allclose(R, RAP(twin).analyze(X), rtol=1e-8, atol=1e-11)
    for method in ("lrp.epsilon", "rap.contrastive"):
        found, expected = (create_natively(method, network).analyze(X) for network in (model, twin))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_max(model(x, training=False), axis=1)
    np.testing.assert_allclose(create_natively("gradient", model).analyze(X), tape.gradient(y, x), rtol=1e-8)


def test_a_class_token_made_of_operations():
    model = network_of(Weights(class_token, name="own"))
    X = tokens()
    R = RAP(model).analyze(X)
    np.testing.assert_allclose(R.sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)
    assert [call.name for call in flatten(model).calls][:2] == ["own/concatenate", "own/getitem"]


def test_operators_of_variables_are_as_before():
    variable = keras.Variable([2.0, 3.0])
    flatten(network_of(Weights(lambda x, g, p: g * x)))
    assert not hasattr(keras.KerasTensor, "__array_priority__")
    np.testing.assert_array_equal(variable * variable, [4, 9])
    with pytest.raises(ValueError, match="KerasTensor"):
        variable * keras.Input((2,))


class Windows(layers.Layer):
    """Calls a layer on windows of tokens, which looks at all windows of a sample."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm, self.inner = layers.LayerNormalization(), Own(by_sample, name="inner")

    def call(self, x):
        return x + ops.reshape(self.inner(ops.reshape(self.norm(x), (-1, 2, 4))), (-1, 6, 4))


def by_sample(layer, windows):
    y = ops.reshape(layer.dense(windows), (-1, 3, 2, 4))
    return ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, 2, 4))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_layer_within_that_gets_windows_as_samples(count):
    model, X = network_of(Windows(name="windows")), tokens(count)
    names = [call.name for call in flatten(model).calls]
    assert "windows/inner/dense" in names
    assert "windows" not in names
    np.testing.assert_allclose(RAP(model).analyze(X).sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)


def rows(layer, x):
    samples, height, width, channels = ops.shape(x)
    return ops.reshape(layer.dense(x), (samples, height * width, channels))


def halves(layer, x):
    return ops.reshape(x, (-1, ops.shape(x)[1], ops.shape(x)[2] * 2, 2)) * ops.sigmoid(layer.table[0, 0, 0])


def there_and_back(layer, x):  # what a reshape of a reshape makes of an unknown size cannot be told
    return x + ops.reshape(ops.relu(rows(layer, x)), ops.shape(x))


@pytest.mark.parametrize(
    ("code", "outer"),
    [
        (rows, (None, None, 4)),
        (halves, (None, None, 4)),
        (rows, (6, None, 4)),
        (rows, (6, 10, 4)),
        (there_and_back, (6, 10, 4)),
    ],
)
def test_inputs_of_unknown_size(code, outer):
    x = keras.Input((None, None, 4))
    y = Own(code, name="own")(layers.Conv2D(4, 1, strides=2)(x))
    y = ops.max(y, axis=tuple(range(1, len(y.shape) - 1)))
    backbone = random_weights(keras.Model(x, layers.Dense(3)(y), name="backbone"))
    x = keras.Input(outer)
    model = keras.Model(x, backbone(keras.Model(x, layers.ReLU()(x))(x)))
    assert "backbone/own" not in [call.name for call in flatten(model).calls]
    for shape in ((6, 10, 4), (6, 8, 4))[: 2 if None in outer else 1]:
        X = tokens(shape=shape)
        found = RAP(model, input_rule=None).analyze(X)
        np.testing.assert_allclose(found.sum((1, 2, 3)), model.predict_on_batch(X).max(1), rtol=1e-8)


WITH_WEIGHTS = {
    "matmul": (lambda x, w: ops.matmul(x, w), lambda: layers.Dense(4, use_bias=False)),
    "@": (lambda x, w: x @ w, lambda: layers.Dense(4, use_bias=False)),
    "einsum": (lambda x, w: ops.einsum("ntc,cd->ntd", x, w), lambda: layers.Dense(4, use_bias=False)),
    "tensordot": (lambda x, w: ops.tensordot(x, w, axes=1), lambda: layers.Dense(4, use_bias=False)),
    "conv": (lambda x, w: ops.conv(x, w[None], padding="valid"), lambda: layers.Conv1D(4, 1, use_bias=False)),
}


@pytest.mark.parametrize("form", WITH_WEIGHTS)
def test_a_product_with_a_weight_has_the_rule_of_a_layer_with_weights(form):
    code, layer = WITH_WEIGHTS[form]
    model = network_of(Weights(lambda x, gamma, places: ops.relu(code(x, places[:4]))))
    x = keras.Input((6, 4))
    dense = layer()
    twin = keras.Model(x, model.layers[-1](layers.Flatten()(layers.ReLU()(dense(x)))))
    dense.set_weights([np.reshape(model.layers[1].places[:4], dense.kernel.shape)])
    X = tokens()
    for method in ("rap", "rap.contrastive", "lrp.epsilon", "lrp.alpha_1_beta_0"):
        found, expected = (create_natively(method, network).analyze(X) for network in (model, twin))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)


def test_threads_get_what_one_gets():
    def slow(x, gamma, places):
        time.sleep(0.02)  # so that the threads meet here
        return gamma * x

    model, X, wrong = network_of(Weights(slow, name="own")), tokens(4), []
    expected = RAP(model).analyze(X)

    def explain(number):
        try:
            found = RAP(model).analyze(X[number : number + 1])[0]
            np.testing.assert_allclose(found, expected[number], rtol=1e-8)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=explain, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class Subclassed(keras.Model):
    def __init__(self, units=3, activation="softmax"):
        super().__init__(name="subclassed")
        self.blocks = [layers.Conv1D(4, 2, activation="relu"), layers.Flatten()]
        self.last = layers.Dense(units, activation=activation)

    def call(self, x, training=None):
        for block in self.blocks:
            x = block(x, training=training)
        return self.last(x)


@pytest.mark.parametrize("form", ["itself", "wrapped", "nested", "softmax behind"])
def test_a_subclassed_model_is_explained_like_the_functional_one(form):
    own = Subclassed(activation=None if form == "softmax behind" else "softmax")
    own(tokens())
    own.set_weights(random_weights(own).get_weights())
    x = keras.Input((6, 4))
    twin = keras.Model(x, layers.Dense(3)(layers.Flatten()(layers.Conv1D(4, 2, activation="relu")(x))))
    twin.set_weights(own.get_weights())
    nodes = len(own._inbound_nodes)
    model = {
        "itself": lambda: own,
        "wrapped": lambda: keras.Model(x, own(x)),
        "nested": lambda: keras.Model(x, layers.Reshape((3,))(keras.Model(x, own(x))(x))),
        "softmax behind": lambda: keras.Model(x, layers.Softmax()(own(x))),
    }[form]()
    X = tokens()
    logits = rap_keras.to_logits(model)
    np.testing.assert_allclose(logits.predict_on_batch(X), twin.predict_on_batch(X), rtol=1e-6, atol=1e-8)
    for method in ("rap", "gradient", "lrp.epsilon"):
        found, expected = (create_natively(method, network).analyze(X) for network in (logits, twin))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    explanation = rap_keras.explain(model, X[0], target=1)
    np.testing.assert_allclose(explanation.logit, twin.predict_on_batch(X)[0, 1], rtol=1e-5)
    np.testing.assert_allclose(explanation.probability, tf.nn.softmax(twin(X)[0])[1], rtol=1e-5)
    if form == "itself":
        assert len(own._inbound_nodes) == nodes


def test_a_softmax_in_layers_of_layers_is_removed():
    class Head(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = Own(lambda layer, x: ops.softmax(layer.dense(x)), name="inner")

        def call(self, x):
            return self.inner(x)

    x = keras.Input((6, 4))
    model = random_weights(keras.Model(x, layers.Reshape((24,))(Head(name="head")(x))))
    twin = keras.Model(x, layers.Reshape((24,))(model.get_layer("head").inner.dense(x)))
    X = tokens()
    np.testing.assert_allclose(rap_keras.to_logits(model).predict_on_batch(X), twin.predict_on_batch(X), rtol=1e-8)


class MixedBlock(layers.Layer):
    def __init__(self, closed=False):
        super().__init__()
        self.parts = {"a": layers.Dense(4, "relu"), "b": [layers.Dense(4)]}
        self.relu = tf.nn.relu if closed else ops.relu

    def call(self, x):
        return x + self.parts["b"][0](self.relu(self.parts["a"](x)))


MIXED = {
    "block": (lambda x: MixedBlock()(x), ["rap", "gradient"]),
    "block that stays closed": (lambda x: MixedBlock(closed=True)(x), ["gradient"]),
    "attention": (lambda x: layers.MultiHeadAttention(2, 4)(x, x), ["rap", "gradient"]),
    "LSTM": (lambda x: layers.LSTM(4, return_sequences=True)(x), ["rap", "lrp.epsilon"]),
    "both ways": (lambda x: layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True))(x), ["rap"]),
    "in each step": (lambda x: layers.TimeDistributed(layers.Dense(4))(x), ["rap", "gradient"]),
}


@pytest.mark.parametrize("body", MIXED)
def test_mixed_precision_is_explained_as_single(body):
    def network(policy):
        keras.config.set_dtype_policy(policy)
        try:
            x = keras.Input((6, 4))
            y = layers.GlobalAveragePooling1D()(make(x))
            return random_weights(keras.Model(x, layers.Dense(3, dtype="float32")(y)))
        finally:
            keras.config.set_dtype_policy("float32")

    keras.backend.set_floatx("float32")
    make, methods = MIXED[body]
    X = tokens().astype("float32")
    for method in methods:
        single, mixed = (
            create_natively(method, network(policy), neuron_selection_mode="all").analyze(X)
            for policy in ("float32", "mixed_float16")
        )
        np.testing.assert_allclose(mixed, single, rtol=1e-4, atol=1e-5 * np.abs(single).max())
