"""Which masks and regions are accepted, how a mask becomes a region, and what errors say of others."""

from __future__ import annotations

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import region

X = np.ones((2, 4, 6, 2), np.float32)
MASK = np.zeros((4, 6), bool)
MASK[1, 2] = MASK[3, 5] = True


def network(classes: int = 3, height: int | None = 4, width: int | None = 6) -> keras.Model:
    inputs = keras.Input((height, width, 2))
    return keras.Model(inputs, layers.Conv2D(classes, 1)(inputs))


def analyzer(model: keras.Model, mode: str = "index", method: str = "rap", **options):
    return rap_keras.create_analyzer(method, model, neuron_selection_mode=mode, **options)


def test_the_class_of_a_mask():
    found = region(network(), 1, MASK)
    assert found.shape == (4, 6, 3)
    assert found.dtype == bool
    np.testing.assert_array_equal(np.argwhere(found), [[1, 2, 1], [3, 5, 1]])
    several = region(network(), np.int64(2), np.stack([MASK, ~MASK]))
    np.testing.assert_array_equal(several[..., 2], [MASK, ~MASK])
    assert not several[..., :2].any()


def test_a_mask_of_another_size_is_resized_by_nearest_neighbour():
    np.testing.assert_array_equal(region(network(), 0, np.kron(MASK, np.ones((3, 5))) > 0)[..., 0], MASK)
    small = np.array([[True, False, False], [False, False, True]])
    expected = np.repeat(np.repeat(small, 2, axis=0), 2, axis=1)
    np.testing.assert_array_equal(region(network(), 0, small)[..., 0], expected)


def test_classes_come_first_as_keras_is_set():
    try:
        keras.backend.set_image_data_format("channels_first")
        inputs = keras.Input((3, 4, 6))
        found = region(keras.Model(inputs, layers.Rescaling(1.0)(inputs)), 1, MASK)
    finally:
        keras.backend.set_image_data_format("channels_last")
    assert found.shape == (3, 4, 6)
    np.testing.assert_array_equal(found[1], MASK)
    assert not found[[0, 2]].any()


@pytest.mark.parametrize(
    ("target", "mask", "message", "way_out"),
    [
        (1, MASK.astype(int), "data type int64: give a boolean array, such as mask > 0", lambda m: (1, m > 0)),
        (1, MASK & False, "False everywhere: set the places to explain to True", lambda m: (1, ~m)),
        (1, np.stack([MASK, MASK & False]), "mask of sample 1 is False everywhere", lambda m: (1, m[0])),
        (1, np.eye(1, 900, dtype=bool).reshape(30, 30), "too small for the map, which has 4 x 6", None),
        (1, MASK[None, None], r"shape \(1, 1, 4, 6\): give \(H, W\)", lambda m: (1, m[0, 0])),
        (3, MASK, "target_class=3: the map has classes 0 to 2", lambda m: (2, m)),
        (-1, MASK, "target_class=-1: the map has classes 0 to 2", lambda m: (2, m)),
        (True, MASK, "target_class=True: the map has classes 0 to 2", lambda m: (1, m)),
    ],
)
def test_wrong_masks(target, mask, message, way_out):
    with pytest.raises(ValueError, match=message):
        region(network(), target, mask)
    if way_out:
        assert region(network(), *way_out(mask)).any()


def test_models_without_a_map():
    with pytest.raises(ValueError, match=r"classes 0 to 0.*rap_keras\.models\.two_classes\(model\)"):
        region(network(1), 1, MASK)
    assert region(rap_keras.models.two_classes(network(1)), 1, MASK).shape == (4, 6, 2)
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match=r"shape \(3,\) for a sample, but region is for maps"):
        region(keras.Model(inputs, layers.Dense(3)(inputs)), 1, MASK)
    two = keras.Model(inputs := keras.Input((4, 6, 2)), [layers.Conv2D(n, 1)(inputs) for n in (2, 3)])
    with pytest.raises(ValueError, match=r"2 outputs.*rap_keras\.models\.one_output\(model, 0\)"):
        region(two, 1, MASK)
    assert region(rap_keras.models.one_output(two, 0), 1, MASK).shape == (4, 6, 2)


def test_an_output_of_any_size_needs_a_fixed_one():
    model = network(height=None, width=None)
    for given in (lambda m: region(m, 1, MASK), lambda m: analyzer(m).analyze(X, np.ones((4, 6, 3), bool))):
        with pytest.raises(
            ValueError, match=r"x = keras\.Input\(\(height, width, 3\)\); keras\.Model\(x, model\(x\)\)"
        ):
            given(model)
    x = keras.Input((4, 6, 2))
    fixed = keras.Model(x, model(x))  # the way out
    chosen = region(fixed, 1, MASK)
    found = analyzer(fixed).analyze(X, chosen)
    assert found.sum((1, 2, 3)) == pytest.approx((model.predict_on_batch(X) * chosen).sum((1, 2, 3)), rel=1e-4)


@pytest.mark.parametrize(
    ("selection", "message", "way_out"),
    [
        (MASK, r"boolean, of shape \(4, 6\): .*rap_keras\.region\(model, target_class, mask\)", None),
        (np.ones((3, 4, 6, 3), bool), r"\(4, 6, 3\) for all samples or \(2, 4, 6, 3\) with one for each", None),
        (np.zeros((4, 6, 3), bool), r"region of sample 0, 1 is False everywhere", lambda m: m | True),
        (
            np.arange(2).reshape(2, 1, 1, 1) * np.ones((4, 6, 3)) > 0,
            "region of sample 0 is False",
            lambda m: m | True,
        ),
        (np.ones((4, 6, 3), int), r"integers in the shape of the output.*such as mask > 0", lambda m: m > 0),
        (np.ones((2, 4, 6, 3), int), r"integers in the shape of the output.*such as mask > 0", lambda m: m > 0),
        (np.ones((4, 6, 3)), r"must be integers, or booleans in the shape of the output", lambda m: m > 0),
    ],
)
def test_wrong_regions(selection, message, way_out):
    explain = analyzer(network()).analyze
    with pytest.raises(ValueError, match=message):
        explain(X, selection)
    if way_out:
        assert explain(X, way_out(selection)).any()


def test_regions_where_they_do_not_fit():
    chosen = region(network(), 1, MASK)
    with pytest.raises(ValueError, match="neuron_selection is for neuron_selection_mode='index'"):
        analyzer(network(), "max_activation").analyze(X, chosen)
    inputs = keras.Input((4,))
    dense = keras.Model(inputs, layers.Dense(3)(inputs))
    with pytest.raises(ValueError, match=r"this output has shape \(3,\) for a sample: give the index"):
        analyzer(dense).analyze(np.ones((2, 4)), [False, True, False])
    assert analyzer(dense).analyze(np.ones((2, 4)), 1).shape == (2, 4)


def test_contrasts_of_regions():
    contrastive = analyzer(network(), method="rap.contrastive")
    chosen = region(network(), 1, MASK)
    with pytest.raises(ValueError, match=r"against is for one neuron.*leave against out"):
        contrastive.analyze(X, chosen, against=(0, 0, 2))
    assert contrastive.analyze(X, chosen).any()
    both = chosen | region(network(), 2, MASK)
    with pytest.raises(ValueError, match=r"several classes at one place.*contrast='logit'"):
        contrastive.analyze(X, both)
    assert analyzer(network(), method="rap.contrastive", contrast="logit").analyze(X, both).any()
    elsewhere = chosen | region(network(), 2, ~MASK)  # one class for each place
    assert contrastive.analyze(X, elsewhere).any()
