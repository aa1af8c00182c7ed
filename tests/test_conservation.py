from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from rap_keras import RAP
from rap_keras.engine.checks.conservation import check, excess, excess_by_layer, lively_weights

layers = keras.layers


def halved(Xs, Ys, Rs, state):
    return [R / 2 for R in Rs]


def spoilt(Xs, Ys, Rs, state):
    return [R * np.nan for R in Rs]


def residual_network():
    x = keras.Input((6, 6, 3))
    stem = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(x)
    branch = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same", name="branch")(stem))
    total = layers.ReLU(name="relu")(layers.Add(name="add")([stem, branch]))
    gate = layers.Dense(4, "sigmoid", name="gate")(layers.GlobalAveragePooling2D(name="squeeze")(total))
    gated = layers.Multiply(name="gated")([total, layers.Reshape((1, 1, 4), name="reshape")(gate)])
    separable = layers.SeparableConv2D(5, 3, name="separable")(gated)
    pooled = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(separable))
    return lively_weights(keras.Model(x, layers.Dense(4, name="logits")(pooled)))


def batch(shape=(6, 6, 3), size=3):
    return np.random.default_rng(1).normal(size=(size, *shape)).astype(np.float32)


def sums(R):
    """Sums per sample; R is an array or a list."""
    return sum(part.astype(float).reshape(len(part), -1).sum(1) for part in (R if isinstance(R, list) else [R]))


def test_sums_are_those_of_the_layers():
    model, x = residual_network(), batch()
    analyzer = RAP(model)
    found = check(analyzer, x)
    by_layer = analyzer.analyze_layers(x)
    assert [layer.name for layer in found.layers] == list(by_layer)
    for layer in found.layers:
        np.testing.assert_allclose(layer.given_back, sums(by_layer[layer.name]), rtol=1e-5, atol=1e-6)
    logits = model.predict_on_batch(x).max(axis=1)
    np.testing.assert_allclose(found.seed, logits, rtol=1e-5)
    np.testing.assert_allclose(found.heatmap, sums(analyzer.analyze(x)), rtol=1e-5)
    arriving = {layer.name: layer.arriving for layer in found.layers}
    np.testing.assert_allclose(arriving["logits"], logits, rtol=1e-5)
    shortcut, branch = by_layer["add"]
    np.testing.assert_allclose(arriving["norm"], sums(branch), rtol=1e-5)
    np.testing.assert_allclose(arriving["stem"], sums(shortcut) + sums(by_layer["branch"]), rtol=1e-5)
    np.testing.assert_allclose(arriving["gate"], 0, atol=1e-7)
    assert found.passed()
    assert found.excess <= 1
    assert found.not_conserved() == found.not_finite() == []
    assert {layer.name: layer.kind for layer in found.layers}["norm"] == "BatchNormalization"


def rules(analyzer, x):
    return {layer.name: layer.rule for layer in check(analyzer, x).layers}


def test_rules():
    found = rules(RAP(residual_network()), batch())
    assert found == {
        "stem": "z^B (Eq. 10)",
        "branch": "relative attribution (Eq. 7-9), non-negative",
        "norm": "unchanged",
        "add": "shared in proportion to |x|",
        "relu": "unchanged",
        "squeeze": "shared in proportion to |x|",
        "gate": "relative attribution (Eq. 7-9), non-negative",
        "reshape": "moved to where the value came from",
        "gated": "gate: all to the gated branch",
        "separable": "relative attribution (Eq. 7-9), non-negative",
        "pool": "moved to where the value came from",
        "flatten": "moved to where the value came from",
        "logits": "absolute influence (Eq. 5, 6)",
    }


@pytest.mark.slow
def test_rules_of_options():
    model, x = residual_network(), batch()
    assert rules(RAP(model, variant="reference"), x)["add"] == "shared in proportion to x"
    folded = rules(RAP(model, batch_norm="fold"), x)
    assert folded["norm"] == "folded into its neighbour"
    assert rules(RAP(model, input_rule=None), x)["stem"] == "relative attribution (Eq. 7-9), mixed signs"
    own = RAP(model, rules={"relu": halved, "pool": lambda Xs, Ys, Rs, state: Xs})
    assert rules(own, x)["relu"] == "own rule: halved"
    assert rules(own, x)["pool"] == "own rule: <lambda>"


def test_rules_of_a_separable_convolution_at_either_end():
    x = keras.Input((6, 6, 3))
    first = layers.SeparableConv2D(4, 3, name="first")(x)
    last = layers.SeparableConv2D(2, 3, name="last")(layers.ReLU()(first))
    model = keras.Model(x, layers.GlobalAveragePooling2D()(last))
    found = rules(RAP(model), batch())
    assert found["first"] == "z^B (Eq. 10); its other map relative attribution (Eq. 7-9)"
    assert found["last"] == "absolute influence (Eq. 5, 6); its other map relative attribution (Eq. 7-9)"


def test_tells_where_relevance_is_lost():
    analyzer = RAP(residual_network(), rules={"relu": halved})
    found = check(analyzer, batch())
    assert found.not_conserved() == ["relu"]
    assert not found.passed()
    assert found.finite
    layer = next(layer for layer in found.layers if layer.name == "relu")
    np.testing.assert_allclose(layer.given_back, layer.arriving / 2, rtol=1e-6)
    np.testing.assert_allclose(layer.excess, 500, rtol=1e-3)
    np.testing.assert_allclose(found.heatmap, found.seed / 2, rtol=1e-4)
    np.testing.assert_allclose(found.excess, 500, rtol=1e-3)


def test_tells_where_relevance_is_not_finite():
    found = check(RAP(residual_network(), rules={"relu": spoilt}), batch())
    before = [layer.name for layer in found.layers[: [layer.name for layer in found.layers].index("relu") + 1]]
    assert found.not_finite() == before
    assert set(found.not_conserved()) == set(before)
    assert not found.finite
    assert found.excess == np.inf
    assert not found.passed()


def test_the_drift_over_all_layers_counts_even_if_each_is_small():
    x = keras.Input((8,))
    y = layers.Dense(6, "relu")(x)
    names = [f"drift{number}" for number in range(12)]
    for name in names:
        y = layers.Activation("linear", name=name)(y)
    model = lively_weights(keras.Model(x, layers.Dense(3)(y)))

    def drifting(Xs, Ys, Rs, state):
        return [Rs[0] * 1.0005]

    found = check(RAP(model, rules=dict.fromkeys(names, drifting)), batch((8,)))
    assert found.not_conserved() == []
    np.testing.assert_allclose(found.excess, (1.0005**12 - 1) / 1e-3, rtol=1e-2)
    assert not found.passed()


@pytest.mark.parametrize(("mode", "selection"), [("index", 2), ("index", [0, 1, 3]), ("all", None)])
def test_selected_neurons(mode, selection):
    model, x = residual_network(), batch()
    found = check(RAP(model, neuron_selection_mode=mode), x, selection)
    logits = model.predict_on_batch(x)
    expected = logits.sum(axis=1) if mode == "all" else logits[np.arange(3), selection]
    np.testing.assert_allclose(found.seed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.keras2
def test_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    used, _ = tf.split(layers.Concatenate(axis=1)([a, b]), [6, 2], axis=1)
    model = lively_weights(keras.Model([a, b], layers.Dense(3)(layers.Dense(5, "relu")(used))))
    analyzer = RAP(model)
    x = [batch((4,)), batch((4,)) + 1]
    found = check(analyzer, x)
    assert found.passed()
    one, two = analyzer.analyze(x)
    np.testing.assert_allclose(found.heatmap, sums([one, two]), rtol=1e-5)


def test_after_analyze_and_on_other_batches():
    model = residual_network()
    analyzer = RAP(model)
    analyzer.analyze(batch())
    for size in (1, 5):
        found = check(analyzer, batch(size=size))
        np.testing.assert_allclose(found.seed, model.predict_on_batch(batch(size=size)).max(axis=1), rtol=1e-5)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"has shape \(3, 5, 6, 3\)"):
        check(RAP(residual_network()), batch((5, 6, 3)))


@pytest.mark.parametrize(
    ("R", "arriving", "scale", "expected"),
    [
        ([[1.0, 2.0]], [3.0], [3.0], 0),
        ([[1.0, 2.0]], [3.0015], [3.0], 0.5),
        ([[1.0, 2.0], [4.0, 4.0]], [3.0, 8.032], [3.0, 8.0], 4),
        ([[1e6, 3.0, -1e6]], [23.00006], [3.0], 1),
        ([[0.0, 0.0]], [0.0], [0.0], 0),
        ([[0.0, 0.0]], [1.0], [0.0], np.inf),
        ([[np.nan, 0.0]], [1.0], [1.0], np.inf),
        ([[np.inf, 0.0]], [1.0], [1.0], np.inf),
    ],
)
def test_excess(R, arriving, scale, expected):
    np.testing.assert_allclose(excess(np.array(R), np.array(arriving), np.array(scale)), expected, rtol=1e-5)


def test_excess_of_parts_adds_them_up():
    parts = [np.array([[1.0, 2.0]]), np.array([[[4.0], [-3.0]]])]
    np.testing.assert_allclose(excess(parts, np.array([4.008]), np.array([4.0])), 2, rtol=1e-5)


def test_excess_of_arrays_is_that_of_the_graph():
    model, x = residual_network(), batch()
    analyzer = RAP(model, rules={"relu": halved})
    found = check(analyzer, x)
    arrays = excess_by_layer(analyzer, analyzer.analyze_layers(x), found.seed)
    assert {name for name, value in arrays.items() if value > 1} == {"relu"}
    np.testing.assert_allclose(arrays["relu"], 500, rtol=1e-3)
    assert set(arrays) == {layer.name for layer in found.layers}


def test_lively_weights():
    x = keras.Input((8, 8, 3))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(64, 3, name="conv")(x))
    y = layers.DepthwiseConv2D(3, name="depthwise", depth_multiplier=4)(y)
    model = keras.Model(x, layers.Dense(500, name="dense")(layers.Flatten()(y)))
    assert lively_weights(model) is model
    gamma, beta, mean, variance = model.get_layer("norm").get_weights()
    for scale in (gamma, variance):
        assert 0.5 <= scale.min() < 0.7
        assert 1.3 < scale.max() <= 1.5
    for offset in (beta, mean, model.get_layer("dense").get_weights()[1]):
        np.testing.assert_allclose(offset.std(), 0.3, rtol=0.25)
    for name, fan_in in (("conv", 27), ("depthwise", 9), ("dense", 4 * 64 * 16)):
        kernel = model.get_layer(name).get_weights()[0]
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan_in), rtol=0.1)
    once = model.get_weights()
    for a, b in zip(once, lively_weights(model).get_weights()):
        np.testing.assert_array_equal(a, b)
