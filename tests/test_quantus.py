"""Quantus metrics that ask for heatmaps: equal to those with heatmaps made before, and to sums by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from tensorflow import keras

from rap_keras import methods, models, shapes
from rap_keras.benchmark.quantus import explain_func
from rap_keras.metrics import mass_inside
from rap_keras.visualization import heatmap

quantus = pytest.importorskip("quantus")

pytestmark = pytest.mark.usefixtures("as_built")

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 4
QUIET = {"disable_warnings": True, "normalise": False}


@pytest.fixture
def network():
    return models.load_model("shapes-vgg")


@pytest.fixture
def samples():
    return shapes.generate(IMAGES, shapes.TEST_SEED)


def heatmaps(model, x, targets, method="rap"):
    """Heatmaps of our own analyzer, (N, H, W)."""
    analyzer = methods.create(method, models.to_logits(model), "index")
    return heatmap(analyzer.analyze(x, neuron_selection=targets))


def by_either_way(metric, model, samples, method="rap", **options):
    """The scores of a metric that asks for heatmaps, its scores when it is given them, and these."""
    x = shapes.preprocess(samples.images)
    options["channel_first"] = False
    asked = {"explain_func": explain_func, "explain_func_kwargs": {"method": method}}
    logits = models.to_logits(model)
    found, maps = [], heatmaps(model, x, samples.labels, method)
    for a_batch, how in ((None, asked), (maps, {})):
        np.random.seed(3)
        found.append(metric(model=logits, x_batch=x, y_batch=samples.labels, a_batch=a_batch, **options, **how))
    return np.array(found[0]), np.array(found[1]), maps


@pytest.mark.parametrize("method", ["rap", "gradient", "lrp.alpha_1_beta_0"])
def test_relevance_mass_accuracy(method, network, samples):
    metric = quantus.RelevanceMassAccuracy(abs=True, **QUIET)
    asked, given, maps = by_either_way(metric, network, samples, method, s_batch=samples.masks[:, np.newaxis])
    np.testing.assert_allclose(asked, given, rtol=1e-12)
    np.testing.assert_allclose(asked, mass_inside(np.abs(maps), samples.masks), rtol=1e-6)
    assert len(set(asked)) == IMAGES


def test_relevance_rank_accuracy(network, samples):
    """The share of the object's pixels among the pixels of highest relevance, as many as it has."""
    metric = quantus.RelevanceRankAccuracy(abs=False, **QUIET)
    asked, given, maps = by_either_way(metric, network, samples, s_batch=samples.masks[:, np.newaxis])
    np.testing.assert_allclose(asked, given, rtol=1e-12)
    expected = []
    for relevance, mask in zip(maps, samples.masks):
        highest = np.argsort(relevance, axis=None)[-mask.sum() :]
        expected.append(mask.ravel()[highest].mean())
    np.testing.assert_allclose(asked, expected)


def test_sparseness_is_a_gini_index(network, samples):
    asked, given, maps = by_either_way(quantus.Sparseness(abs=True, **QUIET), network, samples)
    np.testing.assert_allclose(asked, given, rtol=1e-12)
    # Half of the mean difference between two values, divided by their mean.
    values = np.sort(np.abs(maps).reshape(IMAGES, -1), axis=1)
    ranks = np.arange(1, values.shape[1] + 1)
    expected = 2 * (ranks * values).sum(1) / (len(ranks) * values.sum(1)) - (len(ranks) + 1) / len(ranks)
    np.testing.assert_allclose(asked, expected, atol=1e-4)


def test_pixels_are_removed_in_the_order_of_our_heatmap(network, samples):
    metric = quantus.PixelFlipping(abs=False, features_in_step=96 * 96 // 4, perturb_baseline=0.0, **QUIET)
    asked, given, _ = by_either_way(metric, network, samples)
    np.testing.assert_allclose(asked, given, rtol=1e-5)
    assert asked.shape == (IMAGES, 3 * 4)  # the channels of a pixel are removed one after the other
    assert np.ptp(asked[:, 0]) > 0


def test_faithfulness_correlation(network, samples):
    metric = quantus.FaithfulnessCorrelation(abs=False, nr_runs=10, subset_size=500, **QUIET)
    asked, given, _ = by_either_way(metric, network, samples)
    np.testing.assert_allclose(asked, given, rtol=1e-4)
    assert np.isfinite(asked).all()


def test_one_analyzer_explains_all_perturbed_inputs(network, samples, monkeypatch):
    created = []
    create = methods.create
    monkeypatch.setattr(methods, "create", lambda *arguments: created.append(arguments) or create(*arguments))
    x = shapes.preprocess(samples.images)
    metric = quantus.MaxSensitivity(nr_samples=5, abs=False, **QUIET)
    options = {"model": models.to_logits(network), "x_batch": x, "y_batch": samples.labels, "channel_first": False}

    analyzer = create("rap", models.to_logits(network), "index")

    def own(model, inputs, targets):
        return heatmap(analyzer.analyze(inputs, neuron_selection=targets))[:, np.newaxis]

    np.random.seed(0)
    asked = metric(a_batch=None, explain_func=explain_func, **options)
    assert len(created) == 1
    np.random.seed(0)
    np.testing.assert_allclose(asked, metric(a_batch=None, explain_func=own, **options), rtol=1e-4)
    assert np.min(asked) > 0


@pytest.mark.slow
def test_each_randomised_network_is_explained_as_it_is(network, samples):
    """Quantus changes the weights of one copy of the network again and again."""
    x, targets = shapes.preprocess(samples.images), samples.labels
    model = models.to_logits(network)
    metric = quantus.MPRT(layer_order="independent", abs=False, **QUIET)
    options = {"explain_func": explain_func, "explain_func_kwargs": {"method": "rap"}}
    scores = metric(model=model, x_batch=x, y_batch=targets, a_batch=None, channel_first=False, **options)

    original = heatmaps(model, x, targets).reshape(IMAGES, -1)
    np.testing.assert_allclose(scores.pop("original"), 1, rtol=1e-12)
    assert list(scores) == [layer.name for layer in model.layers if layer.get_weights()]
    for name, score in scores.items():
        changed = keras.models.clone_model(model)
        changed.set_weights(model.get_weights())
        np.random.seed(metric.seed + 1)
        layer = changed.get_layer(name)
        layer.set_weights([np.random.permutation(weight) for weight in layer.get_weights()])
        found = heatmaps(changed, x, targets).reshape(IMAGES, -1)
        expected = [spearmanr(one, other)[0] for one, other in zip(original, found)]
        np.testing.assert_allclose(score, expected, atol=1e-4)
        assert max(score) < 0.999, name


@pytest.mark.parametrize("method", ["rap", "lrp.alpha_1_beta_0"])
def test_new_weights_in_the_same_network(method, network, samples):
    x, targets = shapes.preprocess(samples.images), samples.labels
    before = explain_func(network, x, targets, method=method)
    layer = network.get_layer("block4_conv2")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel[..., ::-1], bias])
    found = explain_func(network, x, targets, method=method)
    np.testing.assert_allclose(found[:, 0], heatmaps(network, x, targets, method), rtol=1e-4, atol=1e-5)
    assert np.abs(found - before).max() > 0.1 * np.abs(before).max()
    layer.set_weights([kernel, bias])
    np.testing.assert_allclose(explain_func(network, x, targets, method=method), before, rtol=1e-4, atol=1e-5)


def test_another_method_or_network(network, samples):
    x, targets = shapes.preprocess(samples.images), samples.labels
    other = keras.models.clone_model(network)
    other.set_weights([weight[..., ::-1] for weight in network.get_weights()])
    for model, method in ((network, "rap"), (network, "gradient"), (other, "gradient"), (other, "rap")):
        found = explain_func(model, x, targets, method=method)
        expected = heatmaps(model, x, targets, method)
        np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_order_of_axes_is_seen(network, samples):
    x, targets = shapes.preprocess(samples.images), samples.labels
    found = explain_func(network, x, targets)
    assert found.shape == (IMAGES, 1, 96, 96)
    np.testing.assert_array_equal(explain_func(network, np.moveaxis(x, -1, 1), targets), found)
    np.testing.assert_allclose(found[:, 0], heatmaps(network, x, targets), rtol=1e-5, atol=1e-6)


def dense(*shape):
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize("shape", [(12,), (6, 2)])
def test_features_and_series(shape):
    x = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)
    targets = np.arange(6) % 3
    model = dense(*shape)
    relevance = methods.create("rap", model, "index").analyze(x, neuron_selection=targets)
    expected = relevance if shape == (12,) else relevance.sum(axis=-1)[:, np.newaxis]
    found = explain_func(model, x, targets)
    assert found.shape == ((6, 12) if shape == (12,) else (6, 1, 6))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_square_input_is_taken_as_it_is():
    """If either axis order fits, the order cannot be told from the shape."""
    x = np.random.default_rng(1).normal(size=(2, 4, 4)).astype(np.float32)
    model = dense(4, 4)
    expected = methods.create("rap", model, "index").analyze(x, neuron_selection=[0, 1]).sum(-1)
    np.testing.assert_allclose(explain_func(model, x, [0, 1])[:, 0], expected, rtol=1e-4, atol=1e-6)


def test_methods_that_need_patterns(network, samples):
    x, targets = shapes.preprocess(samples.images), samples.labels
    patterns = shapes.patterns_path("vgg")
    found = explain_func(network, x, targets, method="pattern.attribution", patterns=patterns)
    analyzer = methods.create("pattern.attribution", models.to_logits(network), "index", patterns)
    expected = heatmap(analyzer.analyze(x, neuron_selection=targets))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="needs patterns"):
        explain_func(network, x, targets, method="pattern.attribution")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "rapp"}, "rapp"),
        ({"inputs": np.zeros((1, 3, 95, 96), np.float32)}, "shape"),
        ({"targets": [10]}, "10"),
    ],
)
def test_bad_arguments(change, message, network):
    arguments = {"inputs": np.ones((1, 96, 96, 3), np.float32), "targets": [0]}
    with pytest.raises(ValueError, match=message):
        explain_func(network, **{**arguments, **change})


def test_several_methods_by_evaluate(network, samples):
    """It gives `explain_func` the name of a method that it has in its own table."""
    metrics = {"sparseness": quantus.Sparseness(**QUIET)}
    wanted = {"rap": explain_func, "gradient": explain_func}
    x = shapes.preprocess(samples.images)
    found = quantus.evaluate(
        metrics,
        wanted,
        models.to_logits(network),
        x,
        samples.labels,
        agg_func=list,
        explain_func_kwargs={},
        call_kwargs={"the only one": {"channel_first": False}},
    )
    for method in wanted:
        expected, *_ = by_either_way(metrics["sparseness"], network, samples, method)
        np.testing.assert_allclose(found[method]["sparseness"], expected, rtol=1e-6)


def test_the_example_of_the_guide(capsys):
    page = (ROOT / "docs" / "guide" / "quantus.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    names: dict[str, object] = {}
    exec(code, names)
    said = re.search(r"print\(found\)\s+# (.*)", code)[1]
    assert said == ", ".join(f"{method} {score:.3f}" for method, score in names["found"].items())


def test_quantus_is_not_needed():
    files = list((ROOT / "rap_keras").rglob("*.py"))
    importing = re.compile(r"^\s*(import|from) quantus\b", re.M)
    assert [file for file in files if importing.search(file.read_text("utf-8"))] == []
    assert len(files) > 50
