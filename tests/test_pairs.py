"""Two inputs compared: distances, products and cosines of two tensors."""

from __future__ import annotations

import jacobian
import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, NotAnalyzeableModelException
from layer_rules import back, random_weights
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.checks.conservation import check
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = pytest.mark.usefixtures("double_precision")


def pair(shape=(5,), count=3):
    random = np.random.default_rng(1)
    return [random.normal(size=(count, *shape)) for _ in range(2)]


def shared_encoder():
    x = keras.Input((5,))
    return keras.Model(x, layers.Dense(4, activation="tanh")(layers.Dense(6, activation="relu")(x)))


def normalized(x):
    return ops.normalize(x, axis=-1) if KERAS_3 else tf.math.l2_normalize(x, axis=-1)


COMPARED = {
    "absolute difference": lambda a, b: ops.abs(a - b),
    "squared difference": lambda a, b: ops.square(layers.Subtract()([a, b])),
    "euclidean distance": lambda a, b: ops.sqrt(ops.sum(ops.square(a - b), axis=1, keepdims=True)),
    "power": lambda a, b: (a - b) ** 2.0,
    "margin": lambda a, b: ops.maximum(ops.abs(a - b) - 0.1, 0.0),
    "product": lambda a, b: layers.Dot(1)([a, b]),
    "cosine": lambda a, b: layers.Dot(1, normalize=True)([a, b]),
    "unit vectors": lambda a, b: layers.Dot(1)([normalized(a), normalized(b)]),
    "einsum": lambda a, b: ops.einsum("ni,nj->nij", a, b),
    "with itself": lambda a, b: layers.Concatenate()([layers.Dot(1)([a, a]), b]),
}
if not KERAS_3:
    COMPARED["squared difference in one"] = lambda a, b: tf.math.squared_difference(a, b)


@pytest.mark.parametrize("name", COMPARED)
def test_relevance_of_a_pair_is_conserved(name):
    a, b = keras.Input((5,)), keras.Input((5,))
    encode = shared_encoder()
    y = layers.Flatten()(COMPARED[name](encode(a), encode(b)))
    model = random_weights(keras.Model([a, b], layers.Dense(3)(y)))
    X = pair()
    analyzer = RAP(model)
    R = analyzer.analyze(X)
    assert check(analyzer, X).passed()
    total = R[0].sum(1) + R[1].sum(1)
    np.testing.assert_allclose(total, model.predict_on_batch(X).max(1), rtol=1e-8)
    for method in ("rap.contrastive", "lrp.epsilon", "lrp.alpha_1_beta_0"):
        assert all(np.isfinite(part).all() for part in create_natively(method, model).analyze(X))


@pytest.mark.parametrize("normalize", [False, True])
def test_each_factor_of_a_product_has_half(normalize):
    a, b = keras.Input((5, 2)), keras.Input((5, 3))
    model = keras.Model([a, b], layers.Dot(1, normalize=normalize)([a, b]))
    x, y = pair((5, 2))[0], pair((5, 3))[1]
    R = np.random.default_rng(2).normal(size=(3, 2, 3))
    found = back(model, [x, y], R)
    if normalize:
        x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    for sample in range(3):
        half = R[sample].reshape(1, -1) / 2
        J_x = np.einsum("ij,dk->idkj", y[sample], np.eye(2)).reshape(10, 6)
        J_y = np.einsum("ik,ej->iekj", x[sample], np.eye(3)).reshape(15, 6)
        for side, v, J in ((0, x, J_x), (1, y, J_y)):
            (expected,) = jacobian.relative_attribution(v[sample].reshape(1, -1), J, half, False)
            np.testing.assert_allclose(found[side][sample].ravel(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("activation", "share"), [("sigmoid", 0), ("tanh", 0.5)])
def test_one_side_is_taken_for_a_gate_only_if_it_is_never_negative(activation, share):
    a, b = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([a, b], layers.Dot(1)([layers.Activation(activation)(a), b]))
    R_a, R_b = back(model, pair(), np.ones((3, 1)))
    np.testing.assert_allclose(R_a.sum(1), share, atol=1e-10)
    np.testing.assert_allclose(R_b.sum(1), 1 - share, rtol=1e-10)


def test_lrp_of_a_product_is_its_terms():
    a, b = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([a, b], layers.Dot(1)([a, b]))
    x, y = pair()
    R_x, R_y = create_natively("lrp.z", model, neuron_selection_mode="all").analyze([x, y])
    np.testing.assert_allclose(R_x, x * y / 2, rtol=1e-7)
    np.testing.assert_allclose(R_y, x * y / 2, rtol=1e-7)


@pytest.mark.skipif(KERAS_3, reason="Keras 3 has no such operation")
def test_lrp_shares_a_squared_difference_by_value():
    a, b = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([a, b], tf.math.squared_difference(a, b))
    x, y = pair()
    R_x, R_y = create_natively("lrp.z", model, neuron_selection_mode="all").analyze([x, y])
    np.testing.assert_allclose(R_x, x * (x - y), rtol=1e-7)
    np.testing.assert_allclose(R_y, -y * (x - y), rtol=1e-7)


@pytest.mark.parametrize("compare", ["absolute difference", "squared difference", "margin"])
@pytest.mark.parametrize("method", ["rap", "rap.contrastive", "lrp.epsilon"])
def test_relevance_lies_where_the_pair_differs(compare, method):
    a, b = keras.Input((6, 6, 1)), keras.Input((6, 6, 1))
    encode = keras.Sequential([keras.Input((6, 6, 1)), layers.Conv2D(1, 1, use_bias=False)])
    places = layers.Flatten()(COMPARED[compare](encode(a), encode(b)))
    model = keras.Model([a, b], layers.Dense(2, use_bias=False)(places))
    model.set_weights([np.full((1, 1, 1, 1), 2.0), np.tile([[1.0, -1.0]], (36, 1))])
    x = np.random.default_rng(3).uniform(1, 2, (2, 6, 6, 1))
    y = x.copy()
    y[0, 1, 4], y[1, 5, 0] = 5.0, 6.0
    options = {"input_rule": None} if method.startswith("rap") else {}
    R = np.abs(create_natively(method, model, **options).analyze([x, y])).sum((0, 4))
    for sample, place in ((0, (1, 4)), (1, (5, 0))):
        assert R[sample][place] > 0.99 * R[sample].sum()


def test_a_power_with_a_tensor_for_exponent_is_refused():
    a, b = keras.Input((5,)), keras.Input((5,))
    with pytest.raises(NotAnalyzeableModelException, match="no rule for this layer"):
        RAP(keras.Model([a, b], layers.Dense(2)(ops.abs(a) ** b)))
