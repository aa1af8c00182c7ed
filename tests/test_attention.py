"""Attention: its weights are constant factors; the values take the relevance, in RAP as an average shares it."""

from __future__ import annotations

import jacobian
import numpy as np
import pytest
import tensorflow as tf
from host import NotAnalyzeableModelException
from layer_rules import back, random_weights
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.checks.conservation import check
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = pytest.mark.usefixtures("double_precision")


def tokens(count=3, shape=(5, 4), seed=1):
    return np.random.default_rng(seed).normal(size=(count, *shape))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense_attention(kind):
    query, value, key = keras.Input((5, 4)), keras.Input((6, 3)), keras.Input((6, 4))
    return random_weights(keras.Model([query, value, key], kind()([query, value, key])))


def test_attention_equals_numpy_on_its_weights():
    model = dense_attention(layers.Attention)
    q, v, k = tokens(), tokens(shape=(6, 3), seed=2), tokens(shape=(6, 4), seed=3)
    R = np.random.default_rng(4).normal(size=(3, 5, 3))
    R_q, R_v, R_k = back(model, [q, v, k], R)
    assert not R_q.any()
    assert not R_k.any()
    A = softmax(np.einsum("ntd,nsd->nts", q, k))
    for sample in range(3):
        J = np.einsum("ts,de->sdte", A[sample], np.eye(3)).reshape(18, 15)
        (expected,) = jacobian.shares(v[sample].reshape(1, -1), J, R[sample].reshape(1, -1))
        np.testing.assert_allclose(R_v[sample].ravel(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["rap", "rap.contrastive", "lrp.epsilon", "lrp.gamma", "lrp.alpha_1_beta_0"])
def test_attention_of_operations_equals_the_layer(method):
    def layer(q, v, k):
        return layers.Attention()([q, v, k])

    def operations(q, v, k):
        return ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)

    X = [tokens(), tokens(shape=(6, 3), seed=2), tokens(shape=(6, 4), seed=3)]
    found = []
    for attend in (layer, operations):
        inputs = [keras.Input((5, 4)), keras.Input((6, 3)), keras.Input((6, 4))]
        head = layers.Dense(2, name="head")(layers.Flatten()(attend(*inputs)))
        model = random_weights(keras.Model(inputs, head))
        found.append(create_natively(method, model).analyze(X))
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)


def test_multi_head_attention_equals_numpy_on_its_weights():
    x = keras.Input((5, 4))
    layer = layers.MultiHeadAttention(2, 3, value_dim=2)
    model = random_weights(keras.Model(x, layer(x, x)))
    X, R = tokens(), np.random.default_rng(4).normal(size=(3, 5, 4))
    (found,) = back(model, [X], R)
    (W_q, b_q), (W_k, b_k), (W_v, b_v), (W_o, _) = (
        part.get_weights()
        for part in (layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense)
    )
    q, k = np.einsum("ntc,chd->nhtd", X, W_q), np.einsum("ntc,chd->nhtd", X, W_k)
    q, k = q + b_q[:, None], k + b_k[:, None]
    A = softmax(np.einsum("nhtd,nhsd->nhts", q, k) / np.sqrt(3))
    v = np.einsum("ntc,chd->nthd", X, W_v) + b_v
    context = np.einsum("nhts,nshd->nthd", A, v)
    one = np.eye(5)
    J_o = np.einsum("hdc,ts->thdsc", W_o, one).reshape(20, 20)
    J_v = np.einsum("chd,ts->tcshd", W_v, one).reshape(20, 20)
    for sample in range(3):
        J = np.einsum("hts,hg,de->shdtge", A[sample], np.eye(2), np.eye(2)).reshape(20, 20)
        r = jacobian.relative_attribution(context[sample].reshape(1, -1), J_o, R[sample].reshape(1, -1), False)
        r = jacobian.shares(v[sample].reshape(1, -1), J, r)
        (expected,) = jacobian.relative_attribution(X[sample].reshape(1, -1), J_v, r, False)
        np.testing.assert_allclose(found[sample].ravel(), expected, rtol=1e-6, atol=1e-7)  # a softmax in float32


def test_lrp_of_attention_equals_a_derivation_by_hand():
    """AttnLRP's rule for values: R_s = sum_t v_s A_ts / (sum_s A_ts v_s + eps sign) R_t, and nothing for A."""
    model = dense_attention(layers.Attention)
    q, v, k = tokens(), tokens(shape=(6, 3), seed=2), tokens(shape=(6, 4), seed=3)
    analyzer = create_natively("lrp.epsilon", model, epsilon=1e-2, neuron_selection_mode="all")
    R_q, R_v, R_k = analyzer.analyze([q, v, k])
    A = softmax(np.einsum("ntd,nsd->nts", q, k))
    y = A @ v
    expected = v * (A.transpose(0, 2, 1) @ (y / (y + 1e-2 * np.where(y >= 0, 1, -1))))
    np.testing.assert_allclose(R_v, expected, rtol=1e-8, atol=1e-12)
    assert not R_q.any()
    assert not R_k.any()


def transformer(**options):
    """One block as in a vision transformer, with the mean in place of a class token."""
    x = keras.Input((6, 4))
    return random_weights(keras.Model(x, layers.Dense(3)(block(x, **options))))


def block(x, **options):
    normed = layers.LayerNormalization()(x)
    y = layers.Add()([x, layers.MultiHeadAttention(2, 3)(normed, normed, **options)])
    z = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(y))
    y = layers.Add()([y, layers.Dense(4)(z)])
    return layers.GlobalAveragePooling1D()(y)


# One network has a branch for each, with a Dense layer and an output of its own.
BRANCHES = {
    "self": lambda x: block(x),
    "causal": lambda x: block(x, use_causal_mask=True),
    "additive": lambda x: of_dense(layers.AdditiveAttention(), x),
    "scaled": lambda x: of_dense(layers.Attention(use_scale=True), x),
    "by concatenation": lambda x: of_dense(layers.Attention(score_mode="concat"), x),
    "by hand": lambda x: by_hand(x),
    "over two axes": lambda x: over_two_axes(x),
}


def of_dense(layer, x):
    return layers.Flatten()(layer([layers.Dense(4)(x), layers.Dense(4)(x)]))


def by_hand(x):
    q, k, v = (layers.Dense(3)(x) for _ in range(3))
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / 3.0)
    return layers.Flatten()(ops.matmul(weights, v))


def over_two_axes(x):
    image = layers.Reshape((3, 2, 4))(x)
    return layers.Flatten()(layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(image, image))


def test_relevance_is_conserved():
    inputs = [keras.Input((6, 4)) for _ in BRANCHES]
    parts = [layers.Dense(1)(branch(x)) for x, branch in zip(inputs, BRANCHES.values())]
    model = random_weights(keras.Model(inputs, layers.Concatenate()(parts)))
    X = [tokens(shape=(6, 4), seed=seed) for seed in range(len(inputs))]
    analyzer = create_natively("rap", model, neuron_selection_mode="all")
    found, logits = analyzer.analyze(X), model.predict_on_batch(X)
    for number, (name, R) in enumerate(zip(BRANCHES, found)):
        np.testing.assert_allclose(R.sum((1, 2)), logits[:, number], rtol=1e-8, err_msg=name)
    assert check(analyzer, X).passed()
    for R, alone in zip(found, analyzer.analyze([x[1:2] for x in X])):
        np.testing.assert_allclose(alone, R[1:2], rtol=1e-8, atol=1e-11)
    for method in ("rap.contrastive", "lrp.epsilon", "lrp.alpha_1_beta_0", "gradient"):
        for R in create_natively(method, model).analyze(X):
            assert np.isfinite(R).all()


def test_attention_by_hand_is_attention():
    x, values = keras.Input((6, 4)), keras.Input((6, 4))
    layer = keras.Model([x, values], layers.Attention()([x, values]))
    weights = ops.softmax(ops.matmul(x, ops.transpose(values, (0, 2, 1))))
    by_hand = keras.Model([x, values], ops.matmul(weights, values))
    q, v = tokens(shape=(6, 4)), tokens(shape=(6, 4), seed=2)
    R = np.random.default_rng(4).normal(size=(3, 6, 4))
    for found, expected in zip(back(by_hand, [q, v], R), back(layer, [q, v], R)):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_relevance_lies_on_the_token_that_is_looked_at():
    """The query asks for a key of 1 in feature 0; the value is feature 1 of the token that has this key."""
    x = keras.Input((7, 2))
    query = layers.Dense(1, name="query")(x)
    key, value = layers.Dense(1, use_bias=False, name="key")(x), layers.Dense(1, use_bias=False, name="value")(x)
    y = layers.GlobalAveragePooling1D()(layers.Attention()([query, value, key]))
    model = keras.Model(x, layers.Dense(2, use_bias=False, name="logits")(y))
    model.get_layer("query").set_weights([np.zeros((2, 1)), np.array([50.0])])
    model.get_layer("key").set_weights([np.array([[1.0], [0.0]])])
    model.get_layer("value").set_weights([np.array([[0.0], [1.0]])])
    model.get_layer("logits").set_weights([np.array([[1.0, -1.0]])])
    X = np.random.default_rng(5).uniform(0.5, 1, (4, 7, 2))
    looked_at = np.array([0, 2, 5, 6])
    X[:, :, 0] = 0
    X[np.arange(4), looked_at, 0] = 1
    for method in ("rap", "rap.contrastive", "lrp.epsilon"):
        options = {"input_rule": None} if method.startswith("rap") else {}
        R = np.abs(create_natively(method, model, **options).analyze(X))
        assert R[np.arange(4), looked_at].sum() > 0.99 * R.sum()
        assert R[:, :, 0].max() == 0  # feature 0 only opens the gate, and is not what is seen


def masked_attention(x, masks):
    y = layers.Attention(name="attention")([layers.Dense(4)(x), x], mask=masks)
    return random_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(y))))


def test_constant_masks_hide_values():
    x = keras.Input((6, 4))
    constant = np.array([[True, True, False, True, False, True]])
    (R,) = back(masked_attention(x, [None, constant]), [tokens(shape=(6, 4))], np.ones((3, 3)))
    assert (R[:, ~constant[0]] == 0).all()
    assert (R[:, constant[0]] != 0).all()
    np.testing.assert_allclose(R.sum((1, 2)), 3, rtol=1e-9)


def test_values_that_are_constant_are_refused():
    x = keras.Input((6, 4))
    y = layers.MultiHeadAttention(2, 3, name="attention")(x, tf.constant(tokens(3, (3, 4))))
    with pytest.raises(NotAnalyzeableModelException, match=r"'attention'.*do not depend on the.*use 'gradient'"):
        RAP(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))))


def test_the_second_output_with_the_scores_is_refused():
    x = keras.Input((6, 4))
    y, scores = layers.MultiHeadAttention(2, 3, name="attention")(x, x, return_attention_scores=True)
    y = layers.Concatenate()([layers.Flatten()(y), layers.Flatten()(scores)])
    with pytest.raises(NotAnalyzeableModelException, match=r"'attention'.*without return_attention_scores=True"):
        RAP(keras.Model(x, layers.Dense(2)(y)))
    assert RAP(transformer()).analyze(tokens(shape=(6, 4))).any()  # the way out
