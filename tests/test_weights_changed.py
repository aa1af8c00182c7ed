"""Weights that change after an analyzer was made: each is read at `analyze`, or the change is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, PLUGIN, NotAnalyzeableModelException, create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine import registered_rules
from rap_keras.engine.rules.unweighted import unchanged

pytestmark = pytest.mark.usefixtures("as_built")
adapts = pytest.mark.skipif(PLUGIN, reason="Keras 2 cannot adapt layers with eager execution off")
no_keras_2 = pytest.mark.skipif(not KERAS_3, reason="only Keras 3 has LoRA")


class Scale(layers.Layer):
    """A layer of one's own, with a weight and with a plain variable of TensorFlow."""

    def build(self, shape):
        self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="ones", trainable=False)
        self.plain = tf.Variable(2.0, trainable=False, name="plain")

    def call(self, x):
        return x * self.factor * self.plain


@pytest.fixture(autouse=True)
def rule_of_own_layers(monkeypatch):
    monkeypatch.setitem(registered_rules.RULES, Scale, unchanged)


def pixels(*inner):
    return keras.Sequential([keras.Input((6, 4)), layers.Reshape((3, 4, 2)), *inner])


# Layers that take a sequence of 6 steps and 4 features.
KINDS = {
    "dense": lambda: layers.Dense(3, "relu"),
    "frozen": lambda: layers.Dense(3, "relu", trainable=False),
    "conv1d": lambda: layers.Conv1D(3, 2),
    "conv2d": lambda: pixels(layers.Conv2D(3, 2, activation="relu")),
    "depthwise": lambda: pixels(layers.DepthwiseConv2D(2, activation="relu")),
    "separable": lambda: pixels(layers.SeparableConv2D(3, 2, activation="relu")),
    "transposed": lambda: pixels(layers.Conv2DTranspose(3, 2, activation="relu")),
    "einsum": lambda: layers.EinsumDense("abc,cd->abd", (6, 3), bias_axes="d", activation="relu"),
    "two directions": lambda: layers.Bidirectional(
        layers.GRU(3), backward_layer=layers.LSTM(3, go_backwards=True)
    ),
    "over time": lambda: layers.TimeDistributed(layers.Dense(3, "relu")),
    "batch normalization": layers.BatchNormalization,
    "layer normalization": layers.LayerNormalization,
    "normalization": layers.Normalization,
    "prelu": layers.PReLU,
    "own": Scale,
}
if hasattr(layers, "SpectralNormalization"):
    KINDS["spectral normalization"] = lambda: layers.SpectralNormalization(layers.Dense(3, "relu"))


def network():
    """A branch for each kind, and one for tokens."""
    x, tokens = keras.Input((6, 4), name="x"), keras.Input((2,), dtype="int32", name="tokens")
    parts = [make() for make in KINDS.values()]
    embedding = layers.Embedding(5, 3)
    y = [layers.Flatten()(part(x)) for part in parts] + [layers.Flatten()(embedding(tokens))]
    y = layers.Dense(6, "relu")(layers.Concatenate()(y))
    model = keras.Model([x, tokens], layers.Dense(3)(y))
    return model, dict(zip([*KINDS, "embedding"], [*parts, embedding]))


def variables(layer):
    known = list(layer.weights)
    own = [layer.plain] if isinstance(layer, Scale) else []  # Keras 3 does not know it
    return [*known, *(variable for variable in own if all(variable is not one for one in known))]


def set_value(variable, value):
    keras.backend.set_value(variable, value) if not KERAS_3 else variable.assign(value)


def change(layer, random):
    """Other values for all variables of a layer; variances stay positive, and counts stay whole."""
    for variable in variables(layer):
        if tf.as_dtype(variable.dtype).is_floating:
            set_value(variable, np.abs(random.normal(1, 0.5, tuple(variable.shape))) + 0.1)


def sum_of(found):
    return sum(np.abs(R).sum() for R in found)


@pytest.mark.parametrize("method", ["rap", "lrp.epsilon", "gradient"])
def test_every_variable_is_read_at_analyze(method):
    model, by_kind = network()
    random = np.random.default_rng(0)
    X = [random.normal(size=(2, 6, 4)).astype(np.float32), np.array([[1, 2], [3, 4]], np.int32)]
    make = create_analyzer if method == "rap" else rap_keras.create_analyzer
    for layer in by_kind.values():
        change(layer, random)  # later changes add nothing to a graph of Keras 2, which takes long to look at again
    analyzer = make(method, model)
    found = analyzer.analyze(X)
    for kind, layer in by_kind.items():
        change(layer, random)
        before, found = found, analyzer.analyze(X)
        is_read = abs(sum_of(found) - sum_of(before)) > 1e-6 * sum_of(before)
        assert is_read or (method, kind) == ("gradient", "embedding"), f"{kind} is not read"
    for R, fresh in zip(found, make(method, model).analyze(X)):
        np.testing.assert_allclose(R, fresh, rtol=1e-5, atol=1e-6 * np.abs(fresh).max())


def small(*inner, shape=(6,)):
    inputs = keras.Input(shape)
    y = inputs
    for layer in inner:
        y = layer(y)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(y)))


def x_of(model):
    return np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype(np.float32)


@adapts
@pytest.mark.parametrize("method", ["rap", "lrp.epsilon", "gradient", "integrated_gradients"])
def test_normalization_that_is_adapted_again(method):
    random, layer = np.random.default_rng(0), layers.Normalization()
    layer.adapt(random.normal(1, 2, (50, 6)).astype(np.float32))
    model = small(layer, layers.Dense(8, "relu"))
    analyzer = rap_keras.create_analyzer(method, model)
    before = analyzer.analyze(x_of(model))
    layer.adapt(random.normal(-3, 0.5, (50, 6)).astype(np.float32))
    found = analyzer.analyze(x_of(model))
    np.testing.assert_allclose(found, rap_keras.create_analyzer(method, model).analyze(x_of(model)), rtol=1e-5)
    assert np.abs(found - before).max() > 0.1 * np.abs(before).max()


def test_a_normalization_of_given_numbers_keeps_them():
    model = small(layers.Normalization(mean=[3.0] * 6, variance=[4.0] * 6), layers.Dense(8, "relu"))
    R = create_analyzer("rap", model).analyze(x_of(model))
    np.testing.assert_allclose(R.sum(1), model.predict(x_of(model), verbose=0).max(1), rtol=1e-4)


WITH_LORA = {
    "Dense": (lambda: layers.Dense(8, "relu"), (6,)),
    "EinsumDense": (lambda: layers.EinsumDense("abc,cd->abd", (4, 5), activation="relu"), (4, 3)),
    "Conv1D": (lambda: layers.Conv1D(8, 3, activation="relu"), (9, 4)),
    "Conv2D": (lambda: layers.Conv2D(8, 3, activation="relu"), (5, 5, 3)),
    "Conv3D": (lambda: layers.Conv3D(4, 2, activation="relu"), (3, 3, 3, 2)),
}


@no_keras_2
@pytest.mark.parametrize("method", ["rap", "lrp.epsilon", "gradient"])
@pytest.mark.parametrize("kind", WITH_LORA)
def test_lora(kind, method):
    make, shape = WITH_LORA[kind]
    model = small(layer := make(), shape=shape)
    layer.enable_lora(2)
    analyzer = rap_keras.create_analyzer(method, model)
    before = analyzer.analyze(x_of(model))
    layer.lora_kernel_b.assign(np.random.default_rng(0).normal(size=layer.lora_kernel_b.shape))
    found = analyzer.analyze(x_of(model))
    merged = small(plain := make(), shape=shape)  # the same network without LoRA
    merged.set_weights([np.zeros_like(w) for w in merged.get_weights()])
    plain.kernel.assign(layer.kernel)
    merged.layers[-1].set_weights(model.layers[-1].get_weights())
    expected = rap_keras.create_analyzer(method, merged).analyze(x_of(model))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert np.abs(found - before).max() > 1e-2 * np.abs(before).max()


@no_keras_2
def test_lora_of_attention_and_embedding():
    tokens = keras.Input((5,), dtype="int32")
    embedding, attention = layers.Embedding(9, 4), layers.MultiHeadAttention(2, 3)
    y = embedding(tokens)
    model = keras.Model(tokens, layers.Dense(2)(layers.Flatten()(attention(y, y))))
    changed = [embedding, attention._value_dense, attention._query_dense, attention._output_dense]
    for layer in changed:
        layer.enable_lora(2)
    x = np.array([[1, 4, 2, 8, 5]])
    analyzer = rap_keras.create_analyzer("rap", model)
    found = analyzer.analyze(x)
    for layer in changed:
        name = "lora_embeddings_b" if layer is embedding else "lora_kernel_b"
        variable = getattr(layer, name)
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
        before, found = found, analyzer.analyze(x)
        assert np.abs(found - before).max() > 1e-4 * np.abs(before).max()
    np.testing.assert_allclose(found, rap_keras.create_analyzer("rap", model).analyze(x), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.sum(), model.predict(x, verbose=0).max(), rtol=1e-4)


@no_keras_2
def test_other_variables_need_a_new_analyzer():
    model = small(dense := layers.Dense(8, "relu"))
    analyzers = {name: rap_keras.create_analyzer(name, model) for name in ("rap", "lrp.z", "gradient")}
    analyzers["rap"].analyze(x_of(model))
    dense.trainable = False  # moves variables, and changes none
    analyzers["rap"].analyze(x_of(model))
    dense.enable_lora(2)
    for analyzer in analyzers.values():
        with pytest.raises(RuntimeError, match=r"other variables.*enable_lora\(\).*create the analyzer again"):
            analyzer.analyze(x_of(model))
    with pytest.raises(RuntimeError, match="create the analyzer again"):
        analyzers["rap"].analyze_layers(x_of(model))
    dense.lora_kernel_b.assign(np.ones(dense.lora_kernel_b.shape))
    analyzer = rap_keras.create_analyzer("rap", model)  # the way out
    np.testing.assert_allclose(
        analyzer.analyze(x_of(model)).sum(1), model.predict(x_of(model), verbose=0).max(1), rtol=1e-4
    )
    model.quantize("int8")
    with pytest.raises(RuntimeError, match=r"quantize\(\)"):
        analyzer.analyze(x_of(model))
    with pytest.raises(NotAnalyzeableModelException, match="quantized"):
        rap_keras.create_analyzer("rap", model)


@adapts
def test_other_boundaries_need_a_new_analyzer():
    layer = layers.Discretization(num_bins=4)
    layer.adapt(np.linspace(0, 1, 50)[:, None])
    inputs = keras.Input((3,))
    bins = layers.CategoryEncoding(4, output_mode="count")(layer(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(8, "relu")(layers.Concatenate()([inputs, bins]))))
    analyzer = rap_keras.create_analyzer("gradient", model)
    analyzer.analyze(x_of(model))
    layer.adapt(np.linspace(5, 9, 50)[:, None])
    with pytest.raises(RuntimeError, match=r"other variables or tables.*adapt\(\): create the analyzer again"):
        analyzer.analyze(x_of(model))
    rap_keras.create_analyzer("gradient", model).analyze(x_of(model))


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not take layers apart")
@pytest.mark.parametrize("method", ["rap", "gradient", "lrp.z"])
def test_code_that_changed_is_refused(method):
    factor = [2.0]

    class Times(layers.Layer):
        def call(self, x):
            return x * factor[0]

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, use_bias=False)(Times()(inputs)))
    stays, changes = (rap_keras.create_analyzer(method, model) for _ in range(2))
    X = x_of(model)
    np.testing.assert_allclose(stays.analyze(X), rap_keras.create_analyzer(method, model).analyze(X))
    factor[0] = -3.0
    with pytest.raises(RuntimeError, match=r"does something else than .* create the analyzer again"):
        changes.analyze(X)
    found = rap_keras.create_analyzer(method, model).analyze(X)  # the way out
    if method != "gradient":
        expected = (X * factor[0] @ model.get_weights()[0]).max(1)
        np.testing.assert_allclose(found.sum(1), expected, rtol=1e-3)
