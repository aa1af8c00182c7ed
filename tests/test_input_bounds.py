"""The option `input_rule`: which forms it may have, when z^B is used, and which samples are refused."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.checks.conservation import check
from rap_keras.engine.rules.unweighted import unchanged


def photo_network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="photo"),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


def photos(count=2):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.float32)


def rule_of_first(analyzer, x):
    return check(analyzer, x).layers[0].rule


def test_any_sequence_of_two_is_a_pair():
    model, x = photo_network(), photos()
    expected = RAP(model, input_rule=(0, 255)).analyze(x)
    assert not np.allclose(expected, RAP(model).analyze(x), rtol=1e-3)
    for pair in ([0, 255], np.array([0, 255]), ([0, 0, 0], 255), (np.zeros(3), [255.0] * 3), range(0, 256, 255)):
        np.testing.assert_array_equal(RAP(model, input_rule=pair).analyze(x), expected)


@pytest.mark.parametrize("rule", [([0], [255]), ([0, 0], [255, 255]), ([0] * 4, 255), ([[0] * 3], 255), (0, 1, 2)])
def test_bounds_must_fit_the_channels(rule):
    with pytest.raises(ValueError, match=r"input_rule=.*(number|channel)"):
        RAP(photo_network(), input_rule=rule)


def test_a_sample_outside_of_the_bounds_is_refused_by_name_and_value():
    model, x = photo_network(), photos(3)
    x[2, 4, 5, 1] = 300
    analyzer = RAP(model, input_rule=(0, [255, 255, 255]))
    with pytest.raises(ValueError, match=r"'photo': sample 2 has the value 300 at \(4, 5, 1\).* 0 to 255"):
        analyzer.analyze(x)
    with pytest.raises(ValueError, match=r"batch 1: input 'photo': sample 0 has the value 300"):
        analyzer.analyze(iter([x[:2], x[2:]]))
    with pytest.raises(ValueError, match="sample 2"):
        analyzer.analyze_layers(x)
    assert RAP(model, input_rule="auto").analyze(x).shape == x.shape  # the way out
    for rule in ((0, 1), (300, 400)):
        with pytest.raises(ValueError, match="outside of the bounds"):
            RAP(model, input_rule=rule).analyze(photos())


def test_a_bound_that_single_precision_rounds_is_no_reason_to_refuse():
    x = np.full((1, 8, 8, 3), 0.1)
    x[0, 0, 0, 0] = 0.7
    assert float(np.float32(0.1)) > 0.1
    assert RAP(photo_network(), input_rule=(0.1, 0.7)).analyze(x.astype(np.float32)).shape == x.shape


def test_features_of_a_vector_share_no_scale():
    """One feature has large values but no weight: z^B over all features would give it everything."""
    x = keras.Input((3,))
    model = keras.Model(x, layers.Dense(1)(layers.Dense(4, "relu", name="first")(x)))
    W = np.zeros((3, 4))
    W[1], W[2] = 1.0, -0.01
    model.set_weights([W, np.zeros(4), np.full((4, 1), 0.25), np.zeros(1)])
    X = np.array([[100.0, 1.0, 1.0]])
    found = RAP(model).analyze(X)
    np.testing.assert_array_equal(found, RAP(model, input_rule=None).analyze(X))
    assert found[0, 0] == 0
    # With bounds for each feature, z^B by hand is (x - l) w+ + (h - x) |w-| = 0, 0.5 * 1, 1 * 0.01.
    fixed = RAP(model, input_rule=([0, 0.5, 0], [200, 2, 2])).analyze(X)
    assert fixed == pytest.approx(0.99 * np.array([[0, 0.5 / 0.51, 0.01 / 0.51]]), rel=1e-4)


KINDS_OF_INPUT = {
    "vector": ((8,), layers.Dense, (), False),
    "series": ((9, 3), layers.Conv1D, (2,), False),
    "grey image, digit or spectrogram": ((6, 6, 1), layers.Conv2D, (2,), False),
    "grey photo with opacity": ((6, 6, 2), layers.Conv2D, (2,), True),
    "photo": ((6, 6, 3), layers.Conv2D, (2,), True),
    "photo of any size": ((None, None, 3), layers.Conv2D, (2,), True),
    "photo with opacity": ((6, 6, 4), layers.Conv2D, (2,), True),
    "spectral image": ((6, 6, 5), layers.Conv2D, (2,), False),
    "volume": ((4, 4, 4, 3), layers.Conv3D, (2,), False),
    "film": ((3, 6, 6, 3), lambda *o: layers.TimeDistributed(layers.Conv2D(*o)), (2,), False),
}


@pytest.mark.parametrize("kind", KINDS_OF_INPUT)
def test_z_b_is_for_colour_photos(kind):
    """Elsewhere 0 means "nothing": a value of 0 gets no relevance, and the whole is that of no rule."""
    shape, make, options, is_photo = KINDS_OF_INPUT[kind]
    inputs = keras.Input(shape)
    y = layers.ReLU()(make(4, *options)(inputs))
    y = (layers.GlobalAveragePooling2D() if None in shape else layers.Flatten())(y)
    model = keras.Model(inputs, layers.Dense(2)(y))
    random = np.random.default_rng(0)
    x = random.normal(size=(1, *(length or 6 for length in shape))).astype(np.float32)
    x *= random.random(x.shape) > 0.3
    found = RAP(model).analyze(x)
    expected = RAP(model, input_rule=(x.min(), x.max()) if is_photo else None).analyze(x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
    assert (found[x == 0] != 0).any() == is_photo
    assert np.abs(found - RAP(model, input_rule=None).analyze(x)).max() > 0 or not is_photo


def two_inputs():
    photo, numbers = keras.Input((8, 8, 3), name="photo"), keras.Input((2,), name="numbers")
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="seen")(photo))
    y = layers.Concatenate()([y, layers.Dense(4, "relu", name="known")(numbers)])
    return keras.Model([photo, numbers], layers.Dense(2)(y))


@pytest.mark.slow
def test_a_rule_for_each_input():
    model = two_inputs()
    X = [photos(), np.random.default_rng(1).random((2, 2))]

    def rules(input_rule):
        found = check(RAP(model, input_rule=input_rule), X)
        return {layer.name: layer.rule.split(" ")[0] for layer in found.layers if layer.name in ("seen", "known")}

    assert rules("auto") == {"seen": "z^B", "known": "relative"}
    by_name = {"photo": (0, 255), "numbers": None}
    assert rules(by_name) == rules([(0, 255), None]) == {"seen": "z^B", "known": "relative"}
    assert rules({"photo": None, "numbers": ([0, 0], [1, 1])}) == {"seen": "relative", "known": "z^B"}
    assert rules([(0, 255), ([0, 0], [1, 1])]) == {"seen": "z^B", "known": "z^B"}
    found = RAP(model, input_rule=by_name).analyze(X)
    listed = RAP(model, input_rule=[[0, 255], None]).analyze(X)
    for a, b in zip(found, listed):
        np.testing.assert_array_equal(a, b)
    # Low and high for two channels do not fit a photo, so this is a pair for each input.
    assert rules([(0, 255), (0, 1)]) == {"seen": "z^B", "known": "z^B"}
    with pytest.raises(ValueError, match=r"must have a rule for each input: photo, numbers"):
        RAP(model, input_rule={"photo": (0, 255)})


def test_what_can_be_read_in_two_ways_is_refused_and_the_way_out_works():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], layers.Dense(1)(layers.Dense(3)(layers.Concatenate()([a, b]))))
    with pytest.raises(ValueError, match="can be read in two ways"):
        RAP(model, input_rule=[(0, 1), (2, 3)])
    X = [np.full((1, 2), 0.5), np.full((1, 2), 2.5)]
    assert len(RAP(model, input_rule={"a": (0, 1), "b": (2, 3)}).analyze(X)) == 2


def test_bounds_do_not_end_at_a_rule_of_the_user_without_a_word():
    class Own(layers.Layer):
        def call(self, x):
            return 2 * x

    def network(layer):
        inputs = keras.Input((8, 8, 3))
        y = layers.Conv2D(4, 3, activation="relu", name="first")(layer(inputs))
        return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))

    with pytest.warns(UserWarning, match=r"layer 'own'.*bounds of the input end there"):
        analyzer = RAP(network(Own(name="own")), rules={"own": unchanged})
    assert "relative attribution" in check(analyzer, photos()).layers[1].rule
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        RAP(network(Own(name="own")), rules={"own": unchanged}, input_rule=None)  # the way out
        # What Rescaling does to values is known, whatever the rule.
        known = RAP(network(layers.Rescaling(1 / 255, name="own")), rules={"own": unchanged})
    assert "z^B" in check(known, photos()).layers[1].rule


def test_bounds_that_no_layer_goes_by_are_told():
    inputs = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, activation="relu")(layers.LayerNormalization()(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    with pytest.warns(UserWarning, match="bounds of input_rule are not used"):
        analyzer = RAP(model, input_rule=(0, 255))
    np.testing.assert_array_equal(analyzer.analyze(photos()), RAP(model, input_rule=None).analyze(photos()))
