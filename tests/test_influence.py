"""Whether relevance lies where the input has an influence; every wrong rule here conserves relevance."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from rap_keras import RAP, shapes
from rap_keras.engine.checks import conservation, influence
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.rules.unweighted import moved, unchanged
from rap_keras.models import without_softmax

pytestmark = pytest.mark.usefixtures("as_built")

layers = keras.layers


def samples(*shape):
    return np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)


def network_with(function, shape=(12, 12, 3)):
    """A Lambda layer named "own" between two convolutions."""
    return lively_weights(
        keras.Sequential(
            [
                keras.Input(shape),
                layers.Conv2D(4, 3, activation="relu"),
                layers.Lambda(function, name="own"),
                layers.MaxPooling2D(),
                layers.Conv2D(6, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(5),
            ]
        )
    )


def mirrored(x):
    return x[:, :, ::-1]


def swapped_channels(x):
    return tf.gather(x, [1, 0, 3, 2], axis=-1)


def shifted(x):
    return tf.roll(x, 1, axis=2)


@pytest.mark.parametrize("function", [mirrored, swapped_channels, shifted])
def test_a_rule_that_gives_relevance_to_the_wrong_place(function):
    x = samples(12, 12, 3)
    wrong = RAP(network_with(function), rules={"own": unchanged})
    assert conservation.check(wrong, x).passed()
    found = influence.check(wrong, x)
    assert found.layers["own"] > 0.4
    assert found.misplacing() == ["own"]
    assert not found.passed()
    right = RAP(network_with(function), rules={"own": moved})
    found = influence.check(right, x)
    assert found.layers == {"own": 0}
    np.testing.assert_array_equal(found.heatmap, 0)
    assert found.passed()


@pytest.mark.parametrize("function", [mirrored, swapped_channels, shifted])
def test_a_lambda_that_moves_values_has_them_followed(function):
    x = samples(12, 12, 3)
    found = RAP(network_with(function), allow_lambda_layers=True)
    np.testing.assert_array_equal(found.analyze(x), RAP(network_with(function), rules={"own": moved}).analyze(x))
    assert influence.check(found, x).layers["own"] == 0


@pytest.mark.parametrize(
    "function",
    [
        tf.nn.relu6,
        tf.sign,
        lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME"),
        lambda x: tf.nn.max_pool2d(x, 3, 1, "SAME"),
        lambda x: x * tf.sigmoid(x),
        lambda x: x - tf.reduce_mean(x, [1, 2], keepdims=True),
    ],
    ids="relu6 sign average maximum swish centred".split(),
)
def test_no_alarm_at_activations_pooling_and_norms(function):
    found = influence.check(RAP(network_with(function), rules={"own": unchanged}), samples(12, 12, 3))
    assert found.layers == {"own": 0}
    # Steps may really keep the logit the same, whatever a region's values.
    assert found.heatmap == pytest.approx(0, abs=0.002 if function is tf.sign else 0)
    assert found.passed()


def evenly(Xs, Ys, Rs, state):
    size = float(np.prod(Xs[0].shape[1:]))
    return [tf.reduce_sum(Rs[0], [1, 2, 3], keepdims=True) * tf.ones_like(Xs[0]) / size]


def test_the_heatmap_outside_of_what_the_network_sees():
    """The last 6 of 18 columns are cut off: the last two of six regions along that axis."""
    x = keras.Input((12, 18, 3))
    seen = layers.Cropping2D(((0, 0), (0, 6)), name="crop")(x)
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(seen))
    model = lively_weights(keras.Model(x, layers.Dense(3)(y)))
    X = samples(12, 18, 3)
    found = influence.check(RAP(model, rules={"crop": evenly}), X)
    np.testing.assert_allclose(found.heatmap, 1 / 3, rtol=1e-5)
    assert not found.passed()
    found = influence.check(RAP(model), X)
    np.testing.assert_array_equal(found.heatmap, 0)
    assert found.layers == {}


def test_only_the_selected_logits_count():
    """Each logit depends on one value, and the rule takes it from the opposite one."""
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(4, use_bias=False)(layers.Activation("linear", name="same")(x)))
    model.set_weights([np.diag([1.0, 2, 3, 4])])
    rules = {"same": lambda Xs, Ys, Rs, state: [Rs[0][:, ::-1]]}
    X = np.abs(samples(4)) + 1
    one = influence.check(RAP(model, rules=rules, neuron_selection_mode="index"), X, neuron_selection=[0, 1, 3])
    np.testing.assert_array_equal(one.heatmap, 1)
    every = influence.check(RAP(model, rules=rules, neuron_selection_mode="all"), X)
    np.testing.assert_array_equal(every.heatmap, 0)
    assert every.layers == {"same": 1}


def test_the_wrong_one_of_two_inputs():
    x = keras.Input((6,))
    a, b = layers.Dense(4, name="a")(x), layers.Dense(4, name="b")(x)
    model = lively_weights(keras.Model(x, layers.Dense(3)(layers.Concatenate(name="both")([a, b]))))

    def crossed(Xs, Ys, Rs, state):
        return [Rs[0][:, 4:], Rs[0][:, :4]]

    assert influence.check(RAP(model, rules={"both": crossed}), samples(6)).layers == {"both": 1}
    assert influence.check(RAP(model, rules={"both": moved}), samples(6)).layers == {"both": 0}


def test_the_same_tensor_twice():
    x = keras.Input((6,))
    y = layers.Dense(4, "relu")(x)
    model = lively_weights(keras.Model(x, layers.Dense(3)(layers.Add(name="twice")([y, y]))))

    def halves(Xs, Ys, Rs, state):
        return [Rs[0] / 2, Rs[0] / 2]

    assert influence.check(RAP(model, rules={"twice": halves}), samples(6)).layers == {"twice": 0}


def test_tokens_are_replaced_by_tokens():
    """Anything else would make the Embedding fail."""
    x = keras.Input((6,))
    backwards = layers.Lambda(lambda tokens: tokens[:, ::-1], name="backwards")(x)
    word = layers.Embedding(10, 4)(backwards)
    model = lively_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(word))))
    X = np.array([[1, 2, 3, 4, 5, 9], [7, 7, 7, 7, 7, 7]])
    found = influence.check(RAP(model, rules={"backwards": unchanged}), X)
    np.testing.assert_array_equal(found.heatmap, 0)
    assert found.layers["backwards"] == pytest.approx(1)
    assert influence.check(RAP(model, rules={"backwards": moved}), X).layers == {"backwards": 0}


def test_a_rule_that_cannot_be_tried():
    model = network_with(lambda x: x + tf.reduce_mean(x, [1, 2, 3], keepdims=True))
    found = influence.check(RAP(model, rules={"own": unchanged}), samples(12, 12, 3))
    assert found.not_tried() == ["own"]
    assert found.misplacing() == []
    assert found.passed()


def test_relevance_that_is_not_finite_is_no_matter_of_place():
    def spoilt(Xs, Ys, Rs, state):
        return [R * np.nan for R in Rs]

    found = influence.check(RAP(network_with(tf.nn.relu), rules={"own": spoilt}), samples(12, 12, 3))
    assert np.isnan(found.heatmap).all()
    assert found.not_tried() == ["own"]


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_the_networks_of_the_package(name):
    model = without_softmax(shapes.load_network(name))
    x = shapes.preprocess(shapes.generate(2, seed=3).images)
    np.testing.assert_array_equal(influence.check(RAP(model), x).heatmap, 0)


def test_wrong_input_is_refused_as_by_analyze():
    with pytest.raises(ValueError, match=r"has shape \(3, 12, 12, 4\), the model takes \(None, 12, 12, 3\)"):
        influence.check(RAP(network_with(tf.nn.relu), allow_lambda_layers=True), samples(12, 12, 4))
