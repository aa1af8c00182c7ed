"""What is said where relevance does not sum to what a method shares out."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from commands import accepted
from host import PLUGIN, create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP, conservation, models
from rap_keras.hosts.native import lrp_scale
from rap_keras.models.shapes_networks import preprocess
from rap_keras.shapes import generate

pytestmark = pytest.mark.usefixtures("as_built")

ABOUT_SUMS = "does not sum|is absurd"


def told(run):
    """What `run` returns, and the texts of the warnings about sums and empty heatmaps."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = run()
    texts = [str(one.message) for one in found]
    return result, [text for text in texts if re.search(f"{ABOUT_SUMS}|zero everywhere", text)]


def with_dead_branch(join=layers.Concatenate, scale=1.0):
    """x beside the bias of a layer whose inputs are all 0, and their sum with weights 1, 1 and 2.

    For x = (1, 1) the three influences are 1, so that a third of the logit, 3, is lost.
    """
    x = keras.Input((2,))
    dead = layers.Dense(1, "relu", name="dead")(x)
    only_bias = layers.Dense(1 if join is layers.Concatenate else 2, name="only_bias")(dead)
    logit = layers.Dense(1, name="logit", use_bias=False)
    model = keras.Model(x, logit(join()([x, only_bias])))
    model.get_layer("dead").set_weights([np.zeros((2, 1)), -np.ones(1)])
    kernel, bias = model.get_layer("only_bias").get_weights()
    model.get_layer("only_bias").set_weights([np.ones_like(kernel), np.full_like(bias, 0.5)])
    weights = [[1], [1], [2]] if join is layers.Concatenate else [[1], [1]]
    logit.set_weights([scale * np.array(weights, float)])
    return model


ONES = np.ones((1, 2), np.float32)


@pytest.mark.parametrize("scale", [1.0, -1e3, 1e-3])
def test_the_lost_share_and_its_place_are_named(scale):
    analyzer = create_analyzer("rap", with_dead_branch(scale=scale))
    R, (text,) = told(lambda: analyzer.analyze(ONES))
    np.testing.assert_allclose(R, [[scale, scale]], rtol=1e-5)
    amount, of = f"{abs(scale):.3g}", f"{3 * scale:.4g}"
    assert text.startswith(
        f"the relevance of sample 0 does not sum to the logit: {amount} of {of} is lost at "
        "layer 'only_bias' (Dense)"
    )
    assert analyzer.lost_at == "layer 'only_bias' (Dense)"
    # Relevance arrives at the layer, and nothing comes back.
    by_layer = {layer.name: layer for layer in conservation.check(analyzer, ONES).layers}
    assert by_layer["only_bias"].arriving == pytest.approx(scale)
    assert by_layer["only_bias"].given_back == 0


@pytest.mark.parametrize("join", [layers.Add, layers.Multiply, layers.Average, layers.Maximum])
def test_whatever_joins_the_branches(join):
    analyzer, x = create_analyzer("rap", with_dead_branch(join)), np.array([[0.3, 0.2]], np.float32)
    R, texts = told(lambda: analyzer.analyze(x))
    found = conservation.check(analyzer, x)
    lost = abs(found.seed - found.heatmap)[0] > 1e-3 * abs(found.seed[0])
    assert bool(texts) == lost
    if R.any() and lost:
        assert "at layer 'only_bias' (Dense)" in texts[0]


def test_samples_are_numbered_through_batches_and_the_next_call_forgets():
    x, dead = keras.Input((2,)), layers.Dense(1, "relu")
    model = keras.Model(x, layers.Dense(1, use_bias=False)(layers.Concatenate()([x, layers.Dense(1)(dead(x))])))
    weights = [np.array([[1.0], [0.0]]), np.zeros(1), np.ones((1, 1)), np.full(1, 0.5), np.ones((3, 1))]
    model.set_weights(weights)
    X = np.array([[1, 1], [-1, 2.0], [1, 1], [-1, 3.0]], np.float32)  # the second and the last do not reach `dead`
    analyzer = create_analyzer("rap", model)
    R, texts = told(lambda: analyzer.analyze(X, batch_size=2))
    # The influences are 1, 2 and 0.5, and 1, 3 and 0.5.
    found = [re.search(r"sample (\d) does .*: (\S+) of (\S+) is lost", text).groups() for text in texts]
    assert found == [("1", f"{1.5 * 0.5 / 3.5:.3g}", "1.5"), ("3", f"{2.5 * 0.5 / 4.5:.3g}", "2.5")]
    np.testing.assert_allclose(R[[0, 2]].sum(1), model.predict(X[[0, 2]], verbose=0)[:, 0], rtol=1e-5)
    assert analyzer.lost_at
    assert told(lambda: analyzer.analyze(X[:1]))[1] == []
    assert analyzer.lost_at == ""


def test_explain_says_it():
    explanation, (text,) = told(lambda: rap_keras.explain(with_dead_branch(), ONES[0]))
    assert "1 of 3 is lost at layer 'only_bias' (Dense)" in text
    assert explanation.lost == pytest.approx(1, rel=1e-5)
    assert "(1 lost at layer 'only_bias' (Dense))" in repr(explanation)


def test_the_command_says_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with_dead_branch().save("dead.h5")
    np.save("x.npy", ONES[0])
    output = " ".join(accepted("explain", "x.npy", "--model", "dead.h5").split())
    assert "does not sum to what it shares out: layer 'only_bias' (Dense) cannot pass it on" in output
    assert "UserWarning: the relevance" not in output


def test_contrastive_rap_is_compared_with_its_score_less_the_biases():
    """A head with biases: its part of the score is no loss, but that of a layer below the head is."""

    def network(bias):
        x = keras.Input((6, 4))
        dead = layers.Dense(5, "relu", name="dead")(x)
        h = layers.Add()([x, layers.Dense(4, name="only_bias")(dead)])
        model = keras.Model(x, layers.Dense(2, bias_initializer="ones")(layers.GlobalAveragePooling1D()(h)))
        model.get_layer("dead").set_weights([np.full((4, 5), 0.01), bias * np.ones(5)])
        model.get_layer("only_bias").set_weights([np.ones((5, 4)), np.full(4, 0.5)])
        return model

    x = np.random.default_rng(0).normal(size=(1, 6, 4)).astype(np.float32)
    dead, alive = (create_analyzer("rap.contrastive", network(bias), contrast="logit") for bias in (-1, 1))
    _, (text,) = told(lambda: dead.analyze(x))
    assert "does not sum to the score less the part of biases in the head" in text
    assert "at layer 'only_bias' (Dense)" in text
    R, texts = told(lambda: alive.analyze(x))
    score = conservation.check(alive, x).score
    assert score - R.sum() == pytest.approx(1, rel=1e-4)  # the bias of the head
    assert texts == []


def test_a_rule_of_the_user_that_loses_relevance_is_named():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="own"), layers.Dense(1)])
    analyzer = create_analyzer("rap", model, rules={"own": lambda Xs, Ys, Rs, state: [Xs[0] * 0.1]})
    _, (text,) = told(lambda: analyzer.analyze(np.ones((1, 3), np.float32)))
    assert "at layer 'own' (Dense)" in text
    assert "a rule of yours may lose it, too" in text


def normalized(mean=5000.0, spread=5.0):
    """Convolutions behind bright images, with the statistics of these in BatchNormalization, as after training."""
    x = (mean + spread * np.random.default_rng(0).normal(size=(32, 12, 12, 1))).astype(np.float32)
    kernel = keras.initializers.RandomUniform(0, 0.2, 1)
    h = inputs = keras.Input((12, 12, 1))
    for number in range(3):
        h = layers.Conv2D(8, 3, kernel_initializer=kernel)(h)
        h = layers.BatchNormalization(
            name=f"norm{number}",
        )(h)
        h = layers.Activation("relu")(h)
    pooled = layers.GlobalAveragePooling2D()(h)
    model = keras.Model(inputs, layers.Dense(2, kernel_initializer=kernel)(pooled))
    for number in range(3):
        norm = model.get_layer(f"norm{number}")
        seen = keras.Model(inputs, norm.input).predict(x, verbose=0)
        norm.set_weights([np.ones(8), np.zeros(8), seen.mean((0, 1, 2)), seen.var((0, 1, 2))])
    return model, x[:2]


@pytest.mark.parametrize("method", ["lrp.z", "lrp.epsilon", "lrp.alpha_2_beta_1"])
def test_absurd_relevance_is_named_with_its_cause_and_a_way_out(method):
    model, x = normalized()
    logits = model.predict(x, verbose=0).max(1)
    analyzer = rap_keras.create_analyzer(method, model)
    R, (text,) = told(lambda: analyzer.analyze(x))
    factors = np.abs(R.astype(float)).sum((1, 2, 3)) / np.abs(logits)
    assert factors.max() > 1e3
    assert f"by {method} the sum of |relevance| is {factors.max():.2g} times the logit" in text
    assert "most by the rule of its BatchNormalization layers. Use rap" in text
    assert told(lambda: analyzer.analyze(x))[1] == []  # once for each analyzer
    found, texts = told(lambda: RAP(model).analyze(x))  # the way out
    assert texts == []
    np.testing.assert_allclose(found.sum((1, 2, 3)), logits, rtol=1e-3)


def test_explain_says_it_of_either_host():
    model, x = normalized()
    explanation, texts = told(lambda: rap_keras.explain(model, x[0], "lrp.epsilon"))
    assert abs(explanation.sum) > 100 * abs(explanation.logit)
    assert len(texts) == 1
    assert "by lrp.epsilon" in texts[0]
    assert "BatchNormalization layers" in texts[0]


def test_limits_of_what_is_absurd():
    def factor(R, amount, largest):
        (found,) = lrp_scale.factors([np.array([R], float)], np.array([amount]), np.array([largest]))
        return found

    assert factor([9.9], 1.0, 1.0) == 1
    assert factor([10.1], 1.0, 1.0) == 10.1
    assert factor([-6.0, -6.0], -1.0, 1.0) == 12
    assert factor([5e4, -5e4 + 2], 1.0, 1.0) == 1  # 761 times is what lrp.z has on a VGG-16 that it fits
    assert factor([1e5, -1e5 + 2], 1.0, 1.0) == pytest.approx(2e5 - 2)
    assert factor([9e-4], 1.0, 1.0) == pytest.approx(9e-4)
    assert factor([1.1e-3], 1.0, 5.0) == 1
    assert factor([5.0], 1e-9, 3.0) == 1  # the explained logit happens to be near 0
    assert factor([0.0], 1.0, 1.0) == 1  # said elsewhere
    two = [np.array([[6.0], [1.0]]), np.array([[6.0], [1.0]])]  # of two inputs
    np.testing.assert_array_equal(lrp_scale.factors(two, np.ones(2), np.ones(2)), [12, 1])


def test_absurd_relevance_behind_layer_normalization_and_its_way_out():
    """One value of the layer's input is near 0, and far below the mean that the layer subtracts."""
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(1, use_bias=False)(layers.LayerNormalization()(layers.Dense(3)(x))))
    model.set_weights([np.eye(3), np.full(3, -1.0), np.ones(3), np.zeros(3), np.array([[-5.0], [1.0], [1.0]])])
    X = np.array([[1.0001, 3.0, 5.0]], np.float32)
    analyzer = rap_keras.create_analyzer("lrp.epsilon", model)
    R, (text,) = told(lambda: analyzer.analyze(X))
    assert R.sum() > 1e3 * model.predict(X, verbose=0)[0, 0]
    assert "by lrp.epsilon" in text
    assert "Use lrp.attn or lrp.gamma, which know that LayerNormalization subtracts a mean, or rap" in text
    for way_out in ("lrp.gamma", "rap"):
        assert told(lambda name=way_out: rap_keras.create_analyzer(name, model).analyze(X))[1] == []


def test_no_alarm_for_a_logit_near_zero():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(3)])
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    x = random.normal(size=(1, 4)).astype(np.float32)
    kernel, bias = model.layers[-1].get_weights()
    bias[0] -= model.predict(x, verbose=0)[0, 0] - 1e-5
    model.layers[-1].set_weights([kernel, bias])
    analyzer = rap_keras.create_analyzer("lrp.z", model, neuron_selection_mode="index")
    R, texts = told(lambda: analyzer.analyze(x, 0))
    assert np.abs(R).sum() > 1e3 * abs(model.predict(x, verbose=0)[0, 0])
    assert texts == []


METHODS = ["rap", "rap.contrastive", "lrp.z", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1", "deep_taylor"]


def test_no_false_alarm_on_the_networks_of_the_package():
    x = preprocess(generate(2, 3).images)
    for name, absurd in {"vgg": set(), "resnet": {"lrp.z", "lrp.alpha_2_beta_1"}}.items():
        model = models.to_logits(rap_keras.shapes.load_network(name))
        for method in METHODS:
            analyzer = rap_keras.create_analyzer(method, model)
            _, texts = told(lambda analyzer=analyzer: analyzer.analyze(x))
            assert bool(texts) == (method in absurd), (name, method, texts)
            assert all("BatchNormalization" in text for text in texts)


NEGATIVE = "the logit is negative, -4, and deep Taylor explains only positive logits"
ONLY_BIASES = "or it comes only from biases"


def scaled(weights, bias=None):
    x = keras.Input((4,))
    dense = layers.Dense(len(weights), use_bias=bias is not None)
    model = keras.Model(x, dense(x))
    dense.set_weights([np.ones((4, 1)) * np.array(weights, float)] + ([np.array(bias, float)] if bias else []))
    return model


@pytest.mark.parametrize(
    ("weights", "bias", "mode", "neuron", "reason", "other"),
    [
        ([-1], None, "max_activation", None, NEGATIVE, ONLY_BIASES),
        ([-1, -2], None, "max_activation", None, NEGATIVE, ONLY_BIASES),
        ([1, -1], None, "index", 1, NEGATIVE, ONLY_BIASES),
        ([-1], [5.0], "max_activation", None, ONLY_BIASES, "negative"),
        ([0], None, "max_activation", None, ONLY_BIASES, "negative"),
    ],
)
def test_the_reason_of_deep_taylor_is_true(weights, bias, mode, neuron, reason, other):
    model, x = scaled(weights, bias), np.ones((1, 4), np.float32)
    analyzer = rap_keras.create_analyzer("deep_taylor", model, neuron_selection_mode=mode)
    R, (text,) = told(lambda: analyzer.analyze(x, neuron))
    assert not R.any()
    assert reason in text
    assert other not in text
    if reason == NEGATIVE:  # the way out
        found = RAP(model, neuron_selection_mode=mode).analyze(x, neuron)
        assert found.sum() == pytest.approx(-4)


def test_both_reasons_of_deep_taylor_in_one_batch():
    x = np.stack([np.ones(4), np.full(4, 0.25)]).astype(np.float32)
    analyzer = rap_keras.create_analyzer("deep_taylor", scaled([-1], [2.0]))
    _, (text,) = told(lambda: analyzer.analyze(x))
    assert "sample 0, 1 is zero everywhere: the logit is negative, -2, and deep Taylor" in text
    assert ONLY_BIASES in text


def test_explain_gives_deep_taylors_reason_in_either_host():
    explanation, (text,) = told(lambda: rap_keras.explain(scaled([-1, -2]), np.ones(4, np.float32), "deep_taylor"))
    assert explanation.is_empty()
    assert NEGATIVE in text


@pytest.mark.plugin
def test_wrapped_analyzers_and_clipped_relevance_are_not_compared():
    from innvestigate.analyzer.wrapper import GaussianSmoother

    model = with_dead_branch()
    noisy = GaussianSmoother(create_analyzer("rap", model), augment_by_n=2)
    assert told(lambda: noisy.analyze(ONES))[1] == []
    clipped = create_analyzer("rap", model, reverse_clip_values=(-0.1, 0.1))
    assert told(lambda: clipped.analyze(ONES))[1] == []
    assert PLUGIN
