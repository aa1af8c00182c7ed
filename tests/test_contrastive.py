"""Contrastive RAP: its signed contributions, what its relevance sums to, and that it tells classes apart."""

from __future__ import annotations

import jacobian
import numpy as np
import pytest
from contrastive_networks import (
    NETWORKS,
    batch_norm_in_the_head,
    dense_head,
    gradient_of_score,
    inputs_of,
    lively,
    log_odds_weights,
    one_unit,
    pooled_head,
)
from host import create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import shapes
from rap_keras.engine.checks import conservation
from rap_keras.engine.reading.flattening import predictor
from rap_keras.models import load_model, own_preprocessing

pytestmark = pytest.mark.usefixtures("as_built")

NAME = "rap.contrastive"


@pytest.mark.parametrize("kind", ["log_odds", "logit"])
@pytest.mark.parametrize("build", [dense_head, batch_norm_in_the_head, pooled_head], ids=lambda b: b.__name__)
def test_equals_numpy_on_jacobians(build, kind):
    """The signed head is checked by differences of its own logits, the convolution by numpy on its Jacobian."""
    model = lively(build)
    conv = model.get_layer("conv")
    feature_map = model.get_layer("relu").output if build is pooled_head else conv.output
    x, target = inputs_of(model), np.array([0, 3, 1])
    body = keras.Model(model.inputs, feature_map)
    features = predictor(body)(x)
    z = predictor(model)(x)
    a = log_odds_weights(z, target) if kind == "log_odds" else np.eye(4)[target]
    head_input = keras.Input(features.shape[1:])
    y = head_input
    for layer in model.layers[
        model.layers.index(model.get_layer("relu" if build is pooled_head else "conv")) + 1 :
    ]:
        y = layer(y)
    c = features * gradient_of_score(keras.Model(head_input, y), features, a)
    linear = layers.Conv2D(3, 3)
    linear.build(conv.input.shape)
    linear.set_weights(conv.get_weights())
    J = jacobian.jacobian(linear, x.shape[1:])
    flat = x.reshape(len(x), -1)
    low, high = (np.repeat(f(flat, axis=1)[:, None], flat.shape[1], axis=1) for f in (np.min, np.max))
    expected = jacobian.z_b(flat, J, c.reshape(len(x), -1), low, high).reshape(x.shape)
    analyzer = create_analyzer(NAME, model, contrast=kind, neuron_selection_mode="index")
    found = analyzer.analyze(x, neuron_selection=target)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8 * np.abs(expected).max())
    name = "pool" if build is pooled_head else "flat"
    layer = analyzer.analyze_layers(x, [name], neuron_selection=target)[name]
    np.testing.assert_allclose(layer, c, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_sums_to_the_score_less_the_biases_of_the_head(build):
    model = lively(build)
    x, target = inputs_of(model), np.array([0, 3, 1])
    z = predictor(model)(x)
    analyzer = create_analyzer(NAME, model, neuron_selection_mode="index")
    found = conservation.check(analyzer, x, target)
    np.testing.assert_allclose(found.score, (log_odds_weights(z, target) * z).sum(1), rtol=1e-9)
    assert found.passed()
    R = analyzer.analyze(x, neuron_selection=target)
    np.testing.assert_allclose(R.reshape(3, -1).sum(1), found.seed, rtol=1e-6, atol=1e-9)
    assert np.abs(found.of_biases).max() > 1e-3  # lively networks have biases
    assert {layer.name for layer in found.layers if layer.in_head} == NETWORKS[build]


def test_without_biases_in_the_head_it_sums_to_the_score():
    model = lively(dense_head)
    for name in ("hidden", "logits"):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel, 0 * bias])
    found = conservation.check(create_analyzer(NAME, model), inputs_of(model))
    np.testing.assert_allclose(found.of_biases, 0, atol=1e-12)
    np.testing.assert_allclose(found.heatmap, found.score, rtol=1e-6)


def test_against_is_the_difference_of_two_logits():
    model = lively(pooled_head)
    x = inputs_of(model)
    analyzer = create_analyzer(NAME, model, contrast="logit", neuron_selection_mode="index")
    one, other = (analyzer.analyze_layers(x, ["pool"], neuron_selection=k)["pool"] for k in (2, 0))
    both = analyzer.analyze_layers(x, ["pool"], neuron_selection=2, against=0)["pool"]
    np.testing.assert_allclose(both, one - other, rtol=1e-9, atol=1e-12)
    turned = analyzer.analyze(x, neuron_selection=0, against=2)
    np.testing.assert_allclose(analyzer.analyze(x, neuron_selection=2, against=0), -turned, rtol=1e-6, atol=1e-9)
    each = analyzer.analyze(x, neuron_selection=[2, 1, 0], against=[0, 0, 1], batch_size=2)
    np.testing.assert_allclose(each[0], analyzer.analyze(x[:1], neuron_selection=2, against=0)[0], rtol=1e-9)
    np.testing.assert_allclose(each[2], analyzer.analyze(x[2:], neuron_selection=0, against=1)[0], rtol=1e-9)


def test_against_with_the_first_choice():
    model = lively(pooled_head)
    x = inputs_of(model)
    best = predictor(model)(x).argmax(1)
    other = np.array([(c + 1) % 4 for c in best])
    first = create_analyzer(NAME, model).analyze(x, against=other)
    by_index = create_analyzer(NAME, model, neuron_selection_mode="index")
    np.testing.assert_allclose(first, by_index.analyze(x, neuron_selection=best, against=other), rtol=1e-12)


def test_a_constant_on_all_logits_changes_nothing():
    model = lively(dense_head)
    x = inputs_of(model)
    before = create_analyzer(NAME, model).analyze(x)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel, bias + 5])
    np.testing.assert_allclose(create_analyzer(NAME, model).analyze(x), before, rtol=1e-9, atol=1e-12)


def test_a_negative_logit_does_not_turn_the_colours_round():
    model = lively(pooled_head)
    x = inputs_of(model)
    kernel, bias = model.get_layer("logits").get_weights()
    before = create_analyzer(NAME, model, contrast="logit").analyze(x)
    model.get_layer("logits").set_weights([kernel, bias - 100])
    assert (predictor(model)(x) < 0).all()
    after = create_analyzer(NAME, model, contrast="logit").analyze(x)
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["log_odds", "logit"])
def test_one_unit_explains_the_class_that_is_decided_for(kind):
    model = lively(one_unit)
    x = inputs_of(model, 6)
    kernel, bias = model.get_layer("z").get_weights()
    model.get_layer("z").set_weights([kernel, bias - np.median(predictor(model)(x))])
    z = predictor(model)(x).ravel()
    assert (z < 0).sum() == (z > 0).sum() == 3
    decided = create_analyzer(NAME, model, contrast=kind)
    class_1 = create_analyzer(NAME, model, contrast=kind, neuron_selection_mode="index")
    one, two = decided.analyze(x), class_1.analyze(x, neuron_selection=0)
    np.testing.assert_allclose(one, two * np.sign(z)[:, None, None, None], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(conservation.check(decided, x).score, np.abs(z), rtol=1e-9)


def test_all_logits_together():
    model = lively(pooled_head)
    x = inputs_of(model)
    found = conservation.check(create_analyzer(NAME, model, contrast="logit", neuron_selection_mode="all"), x)
    np.testing.assert_allclose(found.score, predictor(model)(x).sum(1), rtol=1e-9)
    assert found.passed()


def test_batches_make_no_difference_and_the_model_stays_as_it_is():
    model = lively(dense_head)
    x, before = inputs_of(model, 5), [w.copy() for w in model.get_weights()]
    analyzer = create_analyzer(NAME, model)
    whole = analyzer.analyze(x)
    np.testing.assert_allclose(analyzer.analyze(x, batch_size=2), whole, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(analyzer.analyze(x), whole)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore:the heatmap of sample")
@pytest.mark.parametrize("method", ["lrp.z", "lrp.alpha_1_beta_0"])
def test_lrp_below_the_same_head(method):
    """Below the head, LRP does the same as without a contrast, starting with what the head gives to the map."""
    model = lively(pooled_head)
    x = inputs_of(model)
    contrastive = create_analyzer(NAME, model, neuron_selection_mode="index")
    c = contrastive.analyze_layers(x, ["pool"], neuron_selection=2)["pool"]
    found = rap_keras.create_analyzer(method, model, contrast="log_odds", neuron_selection_mode="index")
    R = found.analyze(x, neuron_selection=2)
    # A model whose output is the map itself, started with c: LRP is linear in what it starts with.
    body = keras.Model(model.inputs, model.get_layer("relu").output)
    below = rap_keras.create_analyzer(method, body, neuron_selection_mode="index")
    features = predictor(body)(x)
    expected = np.zeros_like(x)
    for place in np.ndindex(features.shape[1:]):
        value = features[(slice(None), *place)]
        share = np.divide(c[(slice(None), *place)], value, out=np.zeros_like(value), where=value != 0)
        if share.any():
            expected += below.analyze(x, neuron_selection=place) * share[:, None, None, None]
    np.testing.assert_allclose(R, expected, rtol=1e-6, atol=1e-9)


def test_input_times_gradient_of_the_score():
    model = lively(dense_head)
    x, target = inputs_of(model), np.array([0, 3, 1])
    a = log_odds_weights(predictor(model)(x), target)
    method = rap_keras.create_analyzer(
        "input_t_gradient", model, contrast="log_odds", neuron_selection_mode="index"
    )
    expected = x * gradient_of_score(model, x, a)
    np.testing.assert_allclose(method.analyze(x, neuron_selection=target), expected, rtol=1e-4, atol=1e-7)


def test_saved_and_loaded(tmp_path):
    model = lively(dense_head)
    x = inputs_of(model)
    analyzer = rap_keras.ContrastiveRAP(model, contrast="logit", batch_norm="fold")
    analyzer.save_npz(tmp_path / "analyzer.npz")
    loaded = rap_keras.ContrastiveRAP.load_npz(tmp_path / "analyzer.npz")
    np.testing.assert_array_equal(loaded.analyze(x), analyzer.analyze(x))
    with pytest.raises(ValueError, match="of class ContrastiveRAP, not RAP"):
        rap_keras.RAP.load_npz(tmp_path / "analyzer.npz")


def test_refusals_and_their_ways_out():
    model = lively(pooled_head)
    x = inputs_of(model)
    with pytest.raises(ValueError, match="contrast='odds'"):
        create_analyzer(NAME, model, contrast="odds")
    with pytest.raises(ValueError, match="RAP without a contrast is 'rap'"):
        create_analyzer(NAME, model, contrast=None)
    with pytest.raises(ValueError, match="use contrast='logit'"):
        create_analyzer(NAME, model, neuron_selection_mode="all")
    everything = create_analyzer(NAME, model, neuron_selection_mode="all", contrast="logit")
    with pytest.raises(ValueError, match="neuron_selection_mode='index'"):
        everything.analyze(x, against=1)
    analyzer = create_analyzer(NAME, model, neuron_selection_mode="index")
    with pytest.raises(ValueError, match="against 2 of sample 0 is the output that is explained"):
        analyzer.analyze(x, neuron_selection=2, against=2)
    with pytest.raises(ValueError, match="against 4 of sample 0 is out of range"):
        analyzer.analyze(x, neuron_selection=2, against=4)
    two = np.concatenate([x, x])
    with pytest.raises(
        ValueError, match=f"against has {4 * len(x)} indices for {2 * len(x)} samples: give one index"
    ):
        analyzer.analyze(two, neuron_selection=2, against=[0, 1] * (2 * len(x)))
    with pytest.raises(ValueError, match="against is for analyzers with a contrast"):
        create_analyzer("rap", model).analyze(x, against=1)
    with pytest.raises(ValueError, match="there is no other class"):
        create_analyzer(NAME, lively(one_unit)).analyze(x, against=0)


def test_a_rule_for_a_layer_of_the_head_is_refused():
    model = lively(pooled_head)

    def rule(Xs, Ys, Rs, state):
        return Rs

    def of_map(linear, x, w, b, R, nonnegative):
        return x

    for rules, words in (
        ({"logits": rule}, "logits"),
        ([("last", of_map)], "last"),
        ([(keras.layers.Dense, of_map)], "Dense"),
    ):
        with pytest.raises(ValueError, match=rf"rules for {words}: .* use 'rap'"):
            create_analyzer(NAME, model, rules=rules).analyze(inputs_of(model))
    x = inputs_of(model)
    below = create_analyzer(NAME, model, rules={"relu": rule})
    np.testing.assert_array_equal(below.analyze(x), create_analyzer(NAME, model).analyze(x))


@pytest.mark.slow
@pytest.mark.parametrize(("network", "least"), [("shapes-vgg", 0.75), ("shapes-resnet", 0.95)])
def test_each_of_two_objects_has_its_own_heatmap(network, least):
    model = rap_keras.to_logits(load_model(network))
    found = shapes.generate(40, 4711, second_object=True)
    x = own_preprocessing(network)(found.images.astype(np.float32))
    best = np.argsort(-predictor(model)(x))[:, :2]
    pairs = np.stack([found.labels, found.second_labels], axis=1)
    both = [i for i in range(len(x)) if set(best[i]) == set(pairs[i])]
    assert len(both) > 20
    masks = np.stack([found.masks, found.second_masks], axis=1)
    own_above_other = {}
    for name in ("rap", NAME):
        analyzer = create_analyzer(name, model, neuron_selection_mode="index")
        own_above_other[name] = []
        for own, other in ((0, 1), (1, 0)):
            R = analyzer.analyze(x[both], neuron_selection=pairs[both, own]).sum(-1)
            mass = [[np.maximum(r, 0)[m[k]].sum() for k in (own, other)] for r, m in zip(R, masks[both])]
            own_above_other[name] += [a > b for a, b in mass]
    assert np.mean(own_above_other[NAME]) >= least
    assert np.mean(own_above_other["rap"]) < 0.7
