"""Regions: several neurons of an output that has places, explained together."""

from __future__ import annotations

import numpy as np
import pytest
from host import create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine.checks import conservation
from rap_keras.engine.checks.conservation import lively_weights

SIZE, CLASSES = 6, 3


def segmentation(end=None) -> keras.Model:
    """A network that goes down to half the size and up again, like segmentation networks."""
    inputs = keras.Input((SIZE, SIZE, 3))
    y = layers.MaxPooling2D()(layers.Conv2D(4, 3, padding="same", activation="relu")(inputs))
    y = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(y)
    y = layers.Conv2D(CLASSES, 1)(y)
    return lively_weights(keras.Model(inputs, y if end is None else end(y)))


def pixelwise(*columns: list[float]) -> keras.Model:
    """A 1 x 1 convolution without a bias; each class has a column of weights, one for each channel."""
    inputs = keras.Input((4, 4, len(columns[0])))
    model = keras.Model(inputs, layers.Conv2D(len(columns), 1, use_bias=False)(inputs))
    model.set_weights([np.array(columns, np.float32).T[None, None]])
    return model


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype(np.float32)


def masks() -> np.ndarray:
    """A different mask for each of three samples."""
    found = np.zeros((3, SIZE, SIZE), bool)
    found[0, 1:3, 2:5] = found[1, 5, 5] = True
    found[2] = np.arange(SIZE) % 2
    return found


def by_index(method: str, model: keras.Model, **options):
    return rap_keras.create_analyzer(method, model, neuron_selection_mode="index", **options)


@pytest.mark.parametrize("method", ["gradient", "input_t_gradient"])
def test_equals_the_sum_over_its_neurons(X, method):
    analyzer = by_index(method, segmentation())
    mask = masks()[0]
    found = analyzer.analyze(X, rap_keras.region(analyzer.model, 1, mask))
    expected = sum(analyzer.analyze(X, (row, column, 1)) for row, column in np.argwhere(mask))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(found).max() > 0.01


@pytest.mark.parametrize("method", ["rap", "rap.contrastive", "lrp.epsilon", "integrated_gradients", "grad_cam"])
def test_each_sample_has_its_own_region_and_batches_change_nothing(X, method):
    analyzer = by_index(method, segmentation())
    region = rap_keras.region(analyzer.model, 2, masks())
    found = analyzer.analyze(X, region)
    for size in (1, 2):
        np.testing.assert_allclose(analyzer.analyze(X, region, batch_size=size), found, rtol=1e-4, atol=1e-6)
    for number in range(3):
        alone = analyzer.analyze(X[number : number + 1], region[number])
        np.testing.assert_allclose(alone[0], found[number], rtol=1e-4, atol=1e-6)
    same = analyzer.analyze((X[start : start + 2] for start in (0, 2)), region[0])
    np.testing.assert_allclose(same, analyzer.analyze(X, region[0]), rtol=1e-4, atol=1e-6)


def test_relevance_of_rap_sums_to_the_logits_of_the_region(X):
    model = segmentation()
    analyzer = create_analyzer("rap", model, neuron_selection_mode="index")  # in iNNvestigate its own
    region = rap_keras.region(model, 0, masks())
    logits = (model.predict_on_batch(X) * region).sum((1, 2, 3))
    found = analyzer.analyze(X, neuron_selection=region)
    assert found.sum((1, 2, 3)) == pytest.approx(logits, rel=1e-3)
    checked = conservation.check(analyzer, X, region)
    assert checked.passed()
    assert checked.score == pytest.approx(logits, rel=1e-5)
    first = analyzer.network.calls[0].name
    np.testing.assert_allclose(analyzer.analyze_layers(X, [first], region)[first], found, rtol=1e-4, atol=1e-6)


def test_a_region_of_one_neuron_is_the_neuron(X):
    places = [(1, 2, 0), (5, 5, 2), (0, 3, 1)]
    region = np.zeros((3, SIZE, SIZE, CLASSES), bool)
    for number, place in enumerate(places):
        region[number][place] = True
    for method in ("rap", "rap.contrastive", "smoothgrad"):
        analyzer = by_index(method, segmentation())
        expected = analyzer.analyze(X, np.array(places))
        np.testing.assert_array_equal(analyzer.analyze(X, region), expected)
        np.testing.assert_array_equal(analyzer.analyze(X, places), expected)


def test_relevance_lies_in_the_region_and_at_the_channel_of_the_class():
    """Class 1 looks only at channel 0, at each place separately."""
    model = pixelwise([0.0, 5.0], [2.0, 0.0])
    x = np.random.default_rng(0).uniform(1, 2, (1, 4, 4, 2)).astype(np.float32)
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:4] = True
    region = rap_keras.region(model, 1, mask)
    found = by_index("input_t_gradient", model).analyze(x, region)[0]
    np.testing.assert_allclose(found[..., 0], 2 * x[0, ..., 0] * mask, rtol=1e-6)
    assert not found[..., 1].any()
    heatmap = by_index("rap", model).analyze(x, region)[0].sum(-1)
    np.testing.assert_allclose(heatmap, 2 * x[0, ..., 0] * mask, rtol=1e-5)


def test_rap_shares_the_sum_of_logits_of_both_signs_by_absolute_influence():
    """Eq. 6 of the paper, over all neurons of the region: relevance has the sign of their sum."""
    model, x = pixelwise([0.0, 5.0], [2.0, 0.0]), np.ones((1, 4, 4, 2), np.float32)
    x[0, :, 1, 0] = -4
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    logits = 2 * x[0, ..., 0] * mask  # 6 times 2, and 2 times -8
    found = by_index("rap", model).analyze(x, rap_keras.region(model, 1, mask))[0].sum(-1)
    np.testing.assert_allclose(found, np.abs(logits) / 28 * -4, rtol=1e-5)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_contrast_compares_the_classes_of_each_masked_place():
    columns = np.array([[0.5, 0.2], [-0.3, 0.4], [0.1, -0.6]], np.float32)  # of each class
    model, x = pixelwise(*columns), np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype(np.float32)
    mask = np.zeros((2, 4, 4), bool)
    mask[0, :2, 1] = mask[1, 3] = True
    z = x @ columns.T
    weights = np.zeros_like(z)
    weights[mask, 1] = 1
    region = rap_keras.region(model, 1, mask)
    logit = by_index("input_t_gradient", model, contrast="logit").analyze(x, region)
    np.testing.assert_allclose(logit, x * (weights @ columns), rtol=1e-5, atol=1e-7)
    weights[mask] = np.insert(-softmax(z[mask][:, [0, 2]]), 1, 1, axis=-1)
    odds = by_index("input_t_gradient.contrastive", model).analyze(x, region)
    np.testing.assert_allclose(odds, x * (weights @ columns), rtol=1e-5, atol=1e-7)
    assert np.abs(odds - logit).max() > 0.01
    contrastive = by_index("rap.contrastive", model)
    found = conservation.check(contrastive, x, region)
    assert found.passed()
    assert found.score == pytest.approx((weights * z).sum((1, 2, 3)), rel=1e-5)


def test_a_map_of_one_channel_has_its_logit_for_a_contrast():
    model = pixelwise([1.0, -2.0])
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    odds, logit = (by_index("input_t_gradient", model, contrast=kind) for kind in ("log_odds", "logit"))
    for selection in ((1, 2, 0), rap_keras.region(model, 0, np.eye(4, dtype=bool))):
        found = odds.analyze(x, selection)
        np.testing.assert_array_equal(found, logit.analyze(x, selection))
        assert found.any()


def test_class_0_of_a_map_of_one_channel():
    for model in (pixelwise([1.0, -2.0]), segmentation(layers.Conv2DTranspose(1, 3, padding="same"))):
        shape = (2, *model.input_shape[1:])
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        z = model.predict_on_batch(x)
        both = rap_keras.models.two_classes(model)
        np.testing.assert_allclose(both.predict_on_batch(x), np.concatenate([-z, z], -1), rtol=1e-5, atol=1e-6)
        mask = z[..., 0] < 0
        found = by_index("gradient", both).analyze(x, rap_keras.region(both, 0, mask))
        expected = by_index("gradient", model).analyze(x, rap_keras.region(model, 0, mask))
        np.testing.assert_allclose(found, -expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "end",
    [
        lambda y: layers.Softmax()(y),
        lambda y: layers.Activation("sigmoid")(y),
        lambda y: layers.Conv2D(CLASSES, 1, activation="softmax")(y),
        lambda y: layers.Reshape((SIZE, SIZE, CLASSES))(layers.Softmax()(layers.Reshape((-1, CLASSES))(y))),
    ],
    ids=["softmax", "sigmoid", "activation", "reshaped"],
)
def test_a_final_activation_of_a_map_is_removed(X, end):
    model = segmentation(end)
    logits = rap_keras.to_logits(model)
    z, given = logits.predict_on_batch(X), model.predict_on_batch(X)
    expected = 1 / (1 + np.exp(-z)) if given.sum(-1).max() > 1.01 else softmax(z)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-6)
    region = rap_keras.region(logits, 1, masks())
    found = by_index("rap", logits).analyze(X, region)
    assert found.sum((1, 2, 3)) == pytest.approx((z * region).sum((1, 2, 3)), rel=1e-3, abs=1e-4)


def test_places_along_one_axis():
    inputs = keras.Input((5, 4))
    model = lively_weights(keras.Model(inputs, layers.Conv1D(3, 3, padding="same")(inputs)))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    region = np.zeros((5, 3), bool)
    region[1:4, 2] = True
    found = by_index("rap", model).analyze(x, region)
    assert found.sum((1, 2)) == pytest.approx(model.predict_on_batch(x)[:, 1:4, 2].sum(1), rel=1e-4)
    with pytest.raises(ValueError, match=r"shape \(5, 3\) for a sample.*a boolean array of the output's shape"):
        rap_keras.region(model, 2, np.ones((5, 5), bool))  # the way out is above
