"""Rules that the user adds: for a layer, for a kind of layer, and in saved analyzers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import NotAnalyzeableModelException
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine import registered_rules
from rap_keras.engine.equations import lrp


class Doubled(layers.Layer):
    def call(self, x):
        return tf.TensorArray(x.dtype, 1).write(0, tf.add(x, x)).read(0)  # it cannot be taken apart


def test_a_rule_for_a_layer_of_the_users_own(monkeypatch):
    monkeypatch.setattr(registered_rules, "RULES", {})
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, name="last")(Doubled(name="doubled")(layers.Dense(3)(x))))
    with pytest.raises(NotAnalyzeableModelException, match=r"'doubled' \(Doubled\).*register_rule"):
        RAP(model)
    X = np.random.default_rng(0).normal(size=(2, 4))

    def halved(Xs, Ys, Rs, state):
        assert state["layer"].name == "doubled"
        return [Rs[0] / 2]

    by_name = RAP(model, rules={"doubled": halved})
    rap_keras.register_rule(Doubled, halved)
    by_kind = RAP(model)
    for analyzer in (by_name, by_kind):
        R = analyzer.analyze_layers(X)
        assert R["doubled"] == pytest.approx(R["last"] / 2)
    with pytest.raises(KeyError, match=r"rules for dubled: no such layer"):
        RAP(model, rules={"dubled": halved})
    with pytest.raises(TypeError, match="not a Keras layer class"):
        rap_keras.register_rule(Doubled(), halved)
    with pytest.raises(TypeError, match="is not a rule"):
        rap_keras.register_rule(Doubled, "halved")


def test_a_registered_rule_goes_before_the_packages_own(monkeypatch):
    monkeypatch.setattr(registered_rules, "RULES", {})
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(layers.Dense(4, name="first")(x)))
    rap_keras.register_rule(layers.Dense, lambda Xs, Ys, Rs, state: [tf.ones_like(Xs[0])])
    assert (RAP(model).analyze(np.ones((1, 4))) == 1).all()


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda Xs, Rs: Rs[0], TypeError, "'flat' returned a .*Tensor: it must return a list"),
        (lambda Xs, Rs: None, TypeError, "'flat' returned a NoneType: it must return a list"),
        (lambda Xs, Rs: [Rs[0], Rs[0]], ValueError, "'flat' returned 2 relevances, and the layer has 1 inputs"),
        (lambda Xs, Rs: [Rs[0]], ValueError, r"shape \(None, 6\) for an input of shape \(None, 2, 3\)"),
        (lambda Xs, Rs: [tf.reshape(Rs[0], (-1, 3, 2))], ValueError, r"shape \(None, 3, 2\) for an input"),
    ],
)
def test_what_a_rule_returns_is_checked(returned, error, message):
    x = keras.Input((2, 3))
    model = keras.Model(x, layers.Dense(2)(layers.Flatten(name="flat")(x)))
    analyzer = RAP(model, rules={"flat": lambda Xs, Ys, Rs, state: returned(Xs, Rs)})
    samples = np.random.default_rng(0).normal(size=(2, 2, 3))
    with pytest.raises(error, match=message):
        analyzer.analyze(samples)
    # The way out, as the message has it.
    right = RAP(model, rules={"flat": lambda Xs, Ys, Rs, state: [tf.reshape(Rs[0], tf.shape(Xs[0]))]})
    np.testing.assert_allclose(right.analyze(samples), RAP(model).analyze(samples), rtol=1e-6)


def test_a_rule_by_its_name_is_no_function():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="last")])
    with pytest.raises(TypeError, match="the rule of layer 'last' is 'moved': give a function of"):
        RAP(model, rules={"last": "moved"})


def by_contribution(linear, x, w, b, R, nonnegative, scale=1.0):
    return lrp.z(linear, x, scale * w, 0.0, R)


def of_layer(Xs, Ys, Rs, state, factor=1.0):
    return [tf.reduce_sum(Rs[0], axis=-1, keepdims=True) * factor * tf.ones_like(Xs[0])]


@pytest.mark.parametrize("rules", [by_contribution, [("any", by_contribution)], {"inner": by_contribution}])
def test_rules_in_every_form(rules):
    """A rule whose further arguments have defaults is what its first arguments say."""
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, name="last")(layers.Dense(3, use_bias=False, name="inner")(x)))
    X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    R = RAP(model, rules=rules).analyze_layers(X)
    w, x_of_last = model.get_layer("inner").get_weights()[0], X @ model.get_layer("inner").get_weights()[0]
    np.testing.assert_allclose(R["inner"], X * ((R["last"] / x_of_last) @ w.T), rtol=1e-4)


def test_a_rule_of_whole_layers_with_a_default():
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(layers.Dense(3, name="inner")(x)))
    with pytest.warns(UserWarning, match="is added at layer 'inner'"):
        R = RAP(model, rules={"inner": of_layer}).analyze(np.ones((1, 4)))
    assert np.ptp(R) == 0
    assert R.sum() == pytest.approx(4 * model.predict(np.ones((1, 4)), verbose=0).max(), rel=1e-5)


def test_rules_that_are_none():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(TypeError, match="the rules are 5: give a dict"):
        RAP(model, rules=5)
