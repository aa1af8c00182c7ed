"""What the code of a user's layer calculates from shapes and weights: constants, for any length of the inputs."""

from __future__ import annotations

import numpy as np
import pytest
from host import KERAS_3

if not KERAS_3:
    pytest.skip("layers are taken apart in Keras 3", allow_module_level=True)

import tensorflow as tf
from tensorflow import keras

import rap_keras
from rap_keras import NotAnalyzeableModelException, conservation, create_analyzer
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules.kinds import key_of

layers, ops = keras.layers, keras.ops
pytestmark = pytest.mark.usefixtures("as_built")
WORDS, WIDTH = 9, 4


class Sines(layers.Layer):
    """Positions that depend on the length alone; returned, not added."""

    def call(self, x):
        places = ops.cast(ops.arange(ops.shape(x)[1]), "float32")[:, None]
        return ops.broadcast_to(ops.sin(places * ops.arange(1.0, 1 + x.shape[2])), ops.shape(x))


class Table(layers.Layer):
    """Positions from a table of weights, as many as the input is long, and two values that are not used."""

    def build(self, shape):
        self.table = self.add_weight(shape=(40, shape[-1]), initializer="random_normal")

    def call(self, x):
        return x + ops.convert_to_tensor(self.table)[: ops.shape(x)[1]], None


class Causal(layers.Layer):
    """A mean over earlier places, by a matrix that depends on the length."""

    def call(self, x):
        length = ops.shape(x)[1]
        earlier = ops.cast(ops.arange(length)[:, None] >= ops.arange(length)[None], "float32")
        return ops.matmul(earlier / ops.sum(earlier, axis=1, keepdims=True), x)


class Functions(layers.Layer):
    """Functions of TensorFlow itself."""

    def call(self, x):
        return tf.nn.relu(tf.transpose(tf.reverse(x, axis=[1]), (0, 2, 1)) * 2.0)


class Outer(layers.Layer):
    """A layer in a layer that gives None beside its output."""

    def __init__(self):
        super().__init__()
        self.inner = Table()

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        y, nothing = self.inner(x)
        assert nothing is None
        return ops.reshape(y, (ops.shape(y)[0], ops.shape(y)[1], 2, 2))[..., 0] if ops.ndim(y) == 3 else y


class Lookup(layers.Layer):
    """An embedding by hand."""

    def build(self, shape):
        self.table = self.add_weight(shape=(WORDS, WIDTH), initializer="random_normal")

    def call(self, tokens):
        return ops.take(self.table, tokens, axis=0)


BLOCKS = {
    "output of shapes": lambda x: layers.Add()([x, Sines()(x)]),
    "matrix of lengths": lambda x: Causal()(x),
    "functions of TensorFlow": lambda x: ops.transpose(Functions()(x), (0, 2, 1)),
    "None in a layer": lambda x: Outer()(x),
}


def network(block, length):
    x = keras.Input((length, WIDTH))
    y = BLOCKS[block](layers.Dense(WIDTH)(x))
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Dense(3, activation="relu")(y))))


@pytest.mark.parametrize("block", BLOCKS)
def test_any_length_is_explained_as_the_network_of_that_length(block):
    any_length = lively_weights(network(block, None))
    analyzers = [create_analyzer(name, any_length) for name in ("rap", "gradient", "lrp.epsilon")]
    random = np.random.default_rng(0)
    for length in (6, 11):
        fixed = network(block, length)
        fixed.set_weights(any_length.get_weights())
        x = random.normal(size=(3, length, WIDTH)).astype("float32")
        assert conservation.check(analyzers[0], x).excess <= 1
        for analyzer in analyzers:
            of_length = create_analyzer(analyzer.name, fixed).analyze(x)
            np.testing.assert_allclose(analyzer.analyze(x), of_length, rtol=1e-4, atol=1e-6)
        with tf.GradientTape() as tape:
            tensor = tf.constant(x)
            tape.watch(tensor)
            logit = tf.reduce_max(any_length(tensor), axis=1)
        np.testing.assert_allclose(analyzers[1].analyze(x), tape.gradient(logit, tensor), rtol=1e-4, atol=1e-6)


def test_constants_of_lengths_follow_the_weights():
    x = keras.Input((None, WIDTH))
    y = layers.ReLU()(Outer()(x))
    model = keras.Model(x, layers.Dense(1, use_bias=False)(layers.GlobalAveragePooling1D()(y)))
    lively_weights(model)
    analyzer = create_analyzer("gradient", model)
    array = np.ones((1, 5, WIDTH), "float32")
    before = analyzer.analyze(array)
    weights = model.get_weights()
    weights[0] = weights[0] - 3  # nothing passes the ReLU
    model.set_weights(weights)
    assert before.any()
    with pytest.warns(UserWarning, match="zero everywhere"):
        assert not analyzer.analyze(array).any()


def test_a_constant_gets_no_relevance():
    """x + position: all of it goes to x, also where the position is far larger."""
    x = keras.Input((3, WIDTH))
    scaled = layers.Rescaling(1e-3)(x)
    y = layers.Add()([scaled, Sines()(scaled)])
    model = keras.Model(x, layers.Dense(1, use_bias=False, kernel_initializer="ones")(layers.Flatten()(y)))
    array = np.random.default_rng(0).uniform(1, 2, (1, 3, WIDTH)).astype("float32")
    found = create_analyzer("rap", model, input_rule=None).analyze(array)
    assert found.sum() == pytest.approx(float(model(array)[0, 0]), rel=1e-4)


def test_where_sends_relevance_to_the_value_that_was_chosen():
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([a, b], layers.Dense(1, use_bias=False, kernel_initializer="ones")(ops.where(a > 0, a, b)))
    xs = [np.array([[1.0, -2, 3, -4]], "float32"), np.array([[10.0, 20, 30, 40]], "float32")]
    found = create_analyzer("rap", model).analyze(xs)
    of_a, of_b = found.values() if isinstance(found, dict) else found
    np.testing.assert_allclose(of_a != 0, [[True, False, True, False]])
    np.testing.assert_allclose(of_b != 0, [[False, True, False, True]])
    assert of_a.sum() + of_b.sum() == pytest.approx(64, rel=1e-5)


@pytest.mark.parametrize("name", ["rap", "lrp.epsilon", "gradient", "input_t_gradient"])
def test_a_lookup_by_hand_is_an_embedding(name):
    def model(look_up):
        x = keras.Input((6,), dtype="int32")
        return keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Conv1D(3, 2)(look_up(x)))))

    own, known = lively_weights(model(Lookup())), model(layers.Embedding(WORDS, WIDTH))
    known.set_weights(own.get_weights())
    tokens = np.array([[1, 2, 3, 4, 5, 6], [8, 7, 7, 0, 1, 1]])
    np.testing.assert_allclose(
        create_analyzer(name, own).analyze(tokens), create_analyzer(name, known).analyze(tokens), rtol=1e-5
    )


def test_a_product_with_a_matrix_of_lengths_is_a_linear_layer():
    """Its relevance is that of a Dense layer with the same matrix."""
    x = keras.Input((None, WIDTH))
    model = keras.Model(x, layers.Dense(2, use_bias=False)(layers.GlobalMaxPooling1D()(Causal()(x))))
    assert "product with constant" in {key_of(call) for call in flatten(model).calls}
    fixed = keras.Input((3, WIDTH))
    matrix = layers.Dense(3, use_bias=False)
    turned = layers.Permute((2, 1))(matrix(layers.Permute((2, 1))(fixed)))
    dense = keras.Model(fixed, layers.Dense(2, use_bias=False)(layers.GlobalMaxPooling1D()(turned)))
    earlier = np.tril(np.ones((3, 3)))
    matrix.set_weights([(earlier / earlier.sum(1, keepdims=True)).T])
    dense.layers[-1].set_weights(model.layers[-1].get_weights())
    array = np.random.default_rng(0).normal(size=(2, 3, WIDTH)).astype("float32")
    np.testing.assert_allclose(
        create_analyzer("rap", model, input_rule=None).analyze(array),
        create_analyzer("rap", dense, input_rule=None).analyze(array),
        rtol=1e-4,
        atol=1e-6,
    )


def test_reversed_embeddings_are_linear():
    """Logits by the table of the embedding: as a Dense layer with its transpose."""
    x = keras.Input((5,), dtype="int32")
    table = layers.ReversibleEmbedding(WORDS, WIDTH)
    hidden = layers.GlobalAveragePooling1D()(layers.Conv1D(WIDTH, 2, activation="relu")(table(x)))
    model = lively_weights(keras.Model(x, table(hidden, reverse=True)))
    dense = layers.Dense(WORDS, use_bias=False)
    twin = keras.Model(x, dense(hidden))
    dense.set_weights([table.get_weights()[0].T])
    tokens = np.array([[1, 2, 3, 4, 5]])
    for name in ("rap", "lrp.epsilon", "gradient"):
        np.testing.assert_allclose(
            create_analyzer(name, model).analyze(tokens),
            create_analyzer(name, twin).analyze(tokens),
            rtol=1e-4,
            atol=1e-7,
        )


def test_an_operation_without_a_rule_is_named_with_its_reason():
    x = keras.Input((4, 4))
    y = layers.Flatten()(ops.cumprod(x, axis=1))
    model = keras.Model(x, layers.Dense(2)(y))
    with pytest.raises(
        NotAnalyzeableModelException, match=r"'cumprod' \(Cumprod\).*no share of relevance"
    ) as refused:
        rap_keras.RAP(model)
    assert "rules={'layer name': rule}" in str(refused.value)

    def rule(Xs, Ys, Rs, state):
        return Rs

    found = rap_keras.RAP(model, rules={"cumprod": rule}).analyze(np.ones((1, 4, 4), "float32"))
    assert np.isfinite(found).all()
