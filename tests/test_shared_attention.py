"""attention="attnlrp": attention weights get their share, through their softmax, in LRP and RAP."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import value_of
from layer_rules import random_weights
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers
from test_attention import BRANCHES, softmax, tokens, transformer

from rap_keras import NotAnalyzeableModelException, create_analyzer
from rap_keras.engine.checks.conservation import check
from rap_keras.engine.equations import attn_lrp
from rap_keras.engine.keras_graph import KERAS_3
from rap_keras.engine.rules.layer_records import OPERATIONS

pytestmark = pytest.mark.usefixtures("double_precision")

TINY = 1e-11
MAPS = {"neuron_selection_mode": "all", "disable_model_checks": True}
"""Options that explain all outputs, which may be averages of the input by attention weights."""


def attn(model, **options):
    return create_analyzer("lrp.attn", model, **{**MAPS, "epsilon": TINY, **options})


def test_one_head_by_hand():
    """Every step in numpy: half of y to the values, half to A, then the softmax, then half to query and key."""
    query, value, key = keras.Input((5, 4)), keras.Input((6, 3)), keras.Input((6, 4))
    model = keras.Model([query, value, key], layers.Attention()([query, value, key]))
    q, v, k = tokens(1), tokens(1, (6, 3), seed=2), tokens(1, (6, 4), seed=3)
    found = attn(model).analyze([q, v, k])
    q, v, k = q[0], v[0], k[0]
    scores = q @ k.T
    A = softmax(scores)
    R_y = A @ v  # all logits are explained, each by itself
    c = R_y / (A @ v) / 2
    R_v, R_A = v * (A.T @ c), A * (c @ v.T)
    R_scores = scores * (R_A - A * R_A.sum(1, keepdims=True))
    d = R_scores / scores / 2
    for R, expected in zip(found, (q * (d @ k), R_v, k * (d.T @ q))):
        np.testing.assert_allclose(R[0], expected, rtol=1e-6, atol=1e-9)


def additive(scale):
    def by_hand(q, k, v):
        parts = keras.activations.tanh(ops.expand_dims(q, 2) + ops.expand_dims(k, 1))
        return ops.matmul(ops.softmax(ops.sum(parts * scale, axis=-1)), v)

    return by_hand


def dot(q, k, v):
    return ops.matmul(ops.softmax(0.7 * ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)


def causal(q, k, v):
    hidden = -1e9 * (1 - np.tril(np.ones((6, 6))))
    return ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) + hidden), v)


def pooled(q, k, v):
    """Weights of tokens, which are broadcast to their vectors."""
    weights = layers.Softmax(axis=1)(ops.sum(q * k, axis=-1))
    return ops.expand_dims(weights, -1) * v


SCALE = np.array([0.5, -1.0, 2.0, 0.3])
# A layer, its weights, and the same in operations.
SAME = {
    "AdditiveAttention": (lambda q, k, v: layers.AdditiveAttention()([q, v, k]), [SCALE], additive(SCALE)),
    "Attention": (lambda q, k, v: layers.Attention(use_scale=True)([q, v, k]), [np.array(0.7)], dot),
    "by concatenation": (
        lambda q, k, v: layers.Attention(score_mode="concat")([q, v, k]), [np.array(0.4)], additive(0.4)
    ),
    "causal": (lambda q, k, v: layers.Attention()([q, v, k], use_causal_mask=True), [], causal),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_layer_and_its_operations_are_the_same(name):
    layer, own, by_hand = SAME[name]
    values = [tokens(2, (6, 4), seed=seed) for seed in range(3)]
    found = []
    for attend in (layer, by_hand):
        inputs = [keras.Input((6, 4)) for _ in range(3)]
        model = keras.Model(inputs, attend(*inputs))
        model.set_weights(own if attend is layer else [])
        found.append((model.predict_on_batch(values), *attn(model).analyze(values)))
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert all(np.abs(R).max() > 1e-3 for R in found[0])


def test_weights_of_tokens_take_half():
    inputs = [keras.Input((6, 4)) for _ in range(3)]
    values = [tokens(2, (6, 4), seed=seed) for seed in range(3)]
    model = keras.Model(inputs, pooled(*inputs))
    R_q, R_k, R_v = attn(model).analyze(values)
    q, k, v = values
    scores = (q * k).sum(-1)
    s = softmax(scores)
    R = (s[..., None] * v).sum(-1)
    expected = scores * (R / 2 - s * R.sum(1, keepdims=True) / 2)
    np.testing.assert_allclose(R_v, s[..., None] * v / 2, rtol=1e-9)
    np.testing.assert_allclose(R_q.sum(-1), expected / 2, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(R_k, R_q, rtol=1e-6, atol=1e-9)
    constant = attn(model, attention="constant").analyze(values)
    assert not constant[0].any()


def test_a_softmax_fused_into_a_dense_layer():
    x = keras.Input((6, 4))
    fused = layers.Dense(6, activation="softmax")
    apart = layers.Dense(6)
    models = [
        random_weights(keras.Model(x, layers.Dense(2)(ops.matmul(weights, x))))
        for weights in (fused(x), ops.softmax(apart(x)))
    ]
    found, expected = (attn(model).analyze(tokens(2, (6, 4))) for model in models)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_what_a_mask_leaves_out_gets_nothing():
    x = keras.Input((6, 4))
    shown = np.array([[True, True, False, True, False, True]])
    y = layers.Attention()([layers.Dense(4)(x), layers.Dense(4)(x)], mask=[tf.constant(shown), tf.constant(shown)])
    model = random_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(y))))
    for name in ("lrp.attn", "rap", "lrp.alpha_2_beta_1"):
        R = create_analyzer(name, model, attention="attnlrp").analyze(tokens(2, (6, 4)))
        assert (R[:, ~shown[0]] == 0).all(), name
        assert (R[:, shown[0]] != 0).any(), name


def test_constant_queries_leave_all_to_the_keys():
    x = keras.Input((6, 4))
    learned = tokens(1, (3, 4), seed=7)
    q = learned if KERAS_3 else tf.constant(learned)
    model = keras.Model(x, layers.Attention()([q, x, x]))
    X = tokens(1, (6, 4))
    (R,) = attn(model).analyze(X)
    scores = learned[0] @ X[0].T
    A = softmax(scores)
    c = np.full((3, 4), 0.5)
    R_A = A * (c @ X[0].T)
    R_scores = scores * (R_A - A * R_A.sum(1, keepdims=True))
    np.testing.assert_allclose(R, X[0] * (A.T @ c) + X[0] * ((R_scores / scores).T @ learned[0]), rtol=1e-6)


def test_relevance_of_rap_is_conserved():
    inputs = [keras.Input((6, 4)) for _ in BRANCHES]
    parts = [layers.Dense(1)(branch(x)) for x, branch in zip(inputs, BRANCHES.values())]
    model = random_weights(keras.Model(inputs, layers.Concatenate()(parts)))
    X = [tokens(shape=(6, 4), seed=seed) for seed in range(len(inputs))]
    shared = create_analyzer("rap", model, neuron_selection_mode="all", attention="attnlrp")
    found, logits = shared.analyze(X), model.predict_on_batch(X)
    for number, (name, R) in enumerate(zip(BRANCHES, found)):
        np.testing.assert_allclose(R.sum((1, 2)), logits[:, number], rtol=1e-7, err_msg=name)
    assert check(shared, X).passed()


def test_every_method_takes_the_option():
    model, X = transformer(), tokens(shape=(6, 4))
    for method in ("rap", "rap.contrastive", "lrp.gamma", "lrp.w_square", "lrp.alpha_1_beta_0.contrastive"):
        constant, shared = (
            create_analyzer(method, model, attention=a).analyze(X) for a in ("constant", "attnlrp")
        )
        assert np.isfinite(shared).all(), method
        assert np.abs(shared - constant).max() > 1e-6, method


def test_the_softmax_by_hand():
    """s = (1/4, 3/4), R = (2, 1), x = (0, log 3); what a mask leaves out gets nothing, whatever x is there."""

    def found():
        x = tf.constant([[0.0, np.log(3), -np.inf]], tf.float64)
        s, R = tf.constant([[0.25, 0.75, 0]], tf.float64), tf.constant([[2.0, 1, 0]], tf.float64)
        return [attn_lrp.softmax(x, s, R), attn_lrp.unchanged_softmax(x, s, R)]

    plain, unchanged = value_of(found)
    np.testing.assert_allclose(plain, [[0, np.log(3) * (1 - 0.75 * 3), 0]])
    np.testing.assert_allclose(unchanged, [[2, 1, 0]])


def with_norm(layer, shape=(6, 4)):
    x = keras.Input(shape)
    model = keras.Model(x, layers.Flatten()(layer(x)))
    random = np.random.default_rng(3)
    model.set_weights([random.normal(1, 0.5, w.shape) for w in model.get_weights()])
    return model


NORMS = {
    "layer": lambda: layers.LayerNormalization(),
    "layer over two axes": lambda: layers.LayerNormalization(axis=[1, 2]),
    "without scale and offset": lambda: layers.LayerNormalization(scale=False, center=False),
    "groups": lambda: layers.GroupNormalization(2),
    "groups, channels first": lambda: layers.GroupNormalization(3, axis=1),
}
if KERAS_3 and "layernorm" in OPERATIONS:
    NORMS["operation"] = lambda: OfOperations()


class OfOperations(layers.LayerNormalization):
    """A layer of the user's, which is taken apart."""

    def call(self, x):
        return keras.ops.layer_normalization(x, self.gamma, self.beta, epsilon=self.epsilon)


@pytest.mark.parametrize("kind", NORMS)
def test_normalisation_as_a_linear_map(kind):
    """R_i = sum_j x_i J_ij R_j / y_j, with the Jacobian J of the layer whose deviation is held constant."""
    layer = NORMS[kind]()
    model, X = with_norm(layer), tokens(1, (6, 4))
    R = create_analyzer("lrp.z", model, layer_norm="linear", neuron_selection_mode="all").analyze(X)
    x = X[0]
    axes = (0, 1) if kind == "layer over two axes" else None if kind.startswith("groups") else (1,)
    groups = {"groups": [np.s_[:, :2], np.s_[:, 2:]], "groups, channels first": [np.s_[:2], np.s_[2:4], np.s_[4:]]}
    mean = np.zeros_like(x) + (x.mean(axes, keepdims=True) if axes else 0)
    square = np.zeros_like(x) + ((x - mean) ** 2).mean(axes, keepdims=True) if axes else np.zeros_like(x)
    for part in groups.get(kind, []):
        mean[part], square[part] = x[part].mean(), x[part].var()
    weights = model.get_weights() or [np.ones(4), np.zeros(4)]
    gamma, beta = (w.reshape(-1, 1) if kind.endswith("first") else w for w in weights)
    scale = gamma / np.sqrt(square + layer.epsilon)
    y = (x - mean) * scale + beta
    np.testing.assert_allclose(model.predict_on_batch(X)[0], y.ravel(), rtol=1e-6)
    expected = np.zeros(x.size)
    for j in range(x.size):
        one = np.zeros(x.size)
        one[j] = 1  # R_j / y_j = 1
        unit = np.eye(x.size).reshape(x.size, *x.shape)
        if axes:
            centred = unit - unit.mean(tuple(a + 1 for a in axes), keepdims=True)
        else:
            centred = unit.copy()
            for part in groups[kind]:
                inner = (slice(None), *(part if isinstance(part, tuple) else (part,)))
                centred[inner] -= unit[inner].mean((1, 2), keepdims=True)
        expected += x.ravel() * (centred * scale).reshape(x.size, -1)[:, j]
    np.testing.assert_allclose(R[0].ravel(), expected, rtol=1e-5, atol=1e-7)


def with_constants():
    """A class token and positions behind a layer with weights."""
    x = keras.Input((6, 4))
    y = layers.Dense(4, use_bias=False)(x)
    y = layers.ZeroPadding1D((1, 0))(y)
    y = y + tokens(1, (7, 4), seed=9)[0]
    return random_weights(keras.Model(x, layers.Dense(2, use_bias=False)(layers.Flatten()(y))))


def test_constants_absorb_their_part_or_share_it():
    model, X = with_constants(), tokens(2, (6, 4))
    logits = model.predict_on_batch(X).max(1)
    shared = create_analyzer("lrp.z", model)
    assert shared.analyze(X).sum((1, 2)) == pytest.approx(logits, rel=1e-6)
    absorbing = create_analyzer("lrp.z", model, constants="absorb")
    W, V = model.get_weights()
    of_logit = V[:, model.predict_on_batch(X).argmax(1)].T.reshape(2, 7, 4)
    np.testing.assert_allclose(absorbing.analyze(X), X * (of_logit[:, 1:] @ W.T), rtol=1e-6, atol=1e-9)
    (added,) = [layer for layer in check(absorbing, X).layers if "keeps its part" in layer.rule]
    assert np.abs(added.arriving - added.given_back).max() > 1e-3  # the check reports what constants keep
    # In front of the first weights a constant is part of how the input is prepared.
    x = keras.Input((4,))
    prepared = random_weights(keras.Model(x, layers.Dense(2, use_bias=False)(x + np.full(4, 0.5))))
    found = [create_analyzer("lrp.z", prepared, constants=c).analyze(X[:, 0]) for c in ("share", "absorb")]
    assert (found[0] == found[1]).all()


def test_the_parts_of_attnlrp_are_options():
    model, X = transformer(), tokens(shape=(6, 4))
    whole = create_analyzer("lrp.attn", model).analyze(X)
    same = create_analyzer("lrp.epsilon", model, epsilon=1e-6, attention="attnlrp").analyze(X)
    np.testing.assert_allclose(whole, same, rtol=1e-9)
    for other in ({"attention": "constant"}, {"layer_norm": "identity"}, {"gamma": 0.25}):
        assert np.abs(create_analyzer("lrp.attn", model, **other).analyze(X) - whole).max() > 1e-4, other


def of_softmax(softmax_of):
    x = keras.Input((6, 4))
    return keras.Model(
        x, layers.Dense(2)(layers.Flatten()(ops.matmul(softmax_of(ops.matmul(x, ops.transpose(x, (0, 2, 1)))), x)))
    )


def test_what_is_refused():
    x = keras.Input((6, 4))
    plain = random_weights(keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Dense(3)(x)))))
    for name in ("rap", "rap.contrastive", "lrp.epsilon", "lrp.attn", "lrp.gamma"):
        with pytest.raises(ValueError, match=r"the network has no attention.*'lrp\.epsilon' and 'lrp\.gamma'"):
            create_analyzer(name, plain, attention="attnlrp")
    assert create_analyzer("lrp.gamma", plain).analyze(tokens(shape=(6, 4))).any()  # the way out
    for name in ("rap", "lrp.epsilon", "lrp.attn"):
        with pytest.raises(ValueError, match="attention='all': must be one of 'constant', 'attnlrp'"):
            create_analyzer(name, transformer(), attention="all")
    for option in ("layer_norm", "constants"):
        with pytest.raises(ValueError, match=f"{option}='no': must be one of"):
            create_analyzer("lrp.attn", transformer(), **{option: "no"})

    def written(z):
        e = ops.exp(z)
        return e / ops.sum(e, axis=-1, keepdims=True)

    with pytest.raises(
        NotAnalyzeableModelException, match=r"a softmax that is written out.*use keras\.ops\.softmax"
    ):
        create_analyzer("lrp.attn", of_softmax(written))

    def own(z):
        return ops.softmax(z, axis=-1)

    with pytest.raises(ValueError, match=r"a softmax of your own.*Softmax\(axis="):
        create_analyzer("lrp.attn", of_softmax(lambda z: layers.Activation(own)(z)))
    for way_out in (ops.softmax, lambda z: layers.Softmax(axis=-1)(z)):
        assert create_analyzer("lrp.attn", of_softmax(way_out)).analyze(tokens(shape=(6, 4))).any()


def test_a_file_keeps_the_option(tmp_path):
    from rap_keras import RAP

    model, X = transformer(), tokens(shape=(6, 4))
    analyzer = RAP(model, attention="attnlrp")
    assert "attention='attnlrp'" in repr(analyzer)
    analyzer.save_npz(tmp_path / "shared.npz")
    np.testing.assert_allclose(RAP.load_npz(tmp_path / "shared.npz").analyze(X), analyzer.analyze(X), rtol=1e-9)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 has no such option")
def test_the_gate_of_attention_is_a_constant_factor():
    x = keras.Input((6, 4))
    layer = layers.MultiHeadAttention(2, 3, use_gate=True)
    model = random_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(layer(x, x)))))
    X = tokens(shape=(6, 4))
    for options in ({}, {"attention": "attnlrp"}):
        analyzer = create_analyzer("rap", model, **options)
        assert analyzer.analyze(X).sum((1, 2)) == pytest.approx(model.predict_on_batch(X).max(1), rel=1e-6)
    gate = layer._gate_dense
    gate.set_weights([np.zeros_like(gate.kernel), np.full_like(gate.bias, 30.0)])  # wide open
    open_gate = create_analyzer("lrp.epsilon", model).analyze(X)
    plain_layer = layers.MultiHeadAttention(2, 3)
    plain = keras.Model(x, layers.Dense(3)(layers.Flatten()(plain_layer(x, x))))
    for name in ("query", "key", "value", "output"):
        getattr(plain_layer, f"_{name}_dense").set_weights(getattr(layer, f"_{name}_dense").get_weights())
    plain.layers[-1].set_weights(model.layers[-1].get_weights())
    np.testing.assert_allclose(open_gate, create_analyzer("lrp.epsilon", plain).analyze(X), rtol=1e-6)


@pytest.mark.skipif(not KERAS_3, reason="of Keras 3")
@pytest.mark.parametrize("method", ["rap", "rap.contrastive", "lrp.attn", "gradient"])
def test_group_query_attention_is_taken_apart(method):
    x = keras.Input((5, 8))
    y = keras.layers.GroupQueryAttention(4, 4, 2)(x, x)
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(y)))
    samples = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    analyzer = create_analyzer(method, model)
    found = analyzer.analyze(samples)
    if method == "rap":
        np.testing.assert_allclose(found.sum((1, 2)), model.predict(samples, verbose=0).max(1), rtol=1e-4)
    if method == "gradient":
        with tf.GradientTape() as tape:
            given = tf.constant(samples)
            tape.watch(given)
            logits = tf.reduce_sum(tf.reduce_max(model(given), 1))
        np.testing.assert_allclose(found, tape.gradient(logits, given), rtol=1e-3, atol=1e-5)
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0
