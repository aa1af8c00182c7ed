"""LRP-gamma and the composite of epsilon, gamma and z^B, compared with numpy and with composites of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import create_analyzer
from rap_keras.engine.equations.linear import z_b
from rap_keras.hosts.native import lrp_methods

pytestmark = pytest.mark.usefixtures("double_precision")


def gamma_in_numpy(x, W, b, R, gamma, epsilon=1e-6):
    """One sample at a time: contributions with the sign of the output, and the bias if it has it, count more."""
    found = np.zeros_like(x)
    for j in range(W.shape[1]):
        parts = [*(x * W[:, j]), b[j]]
        z = sum(parts)
        sign = 1 if z >= 0 else -1
        parts = [part * (1 + gamma) if part * sign > 0 else part for part in parts]
        found += np.array(parts[:-1]) / (sum(parts) + sign * epsilon) * R[j]
    return found


@pytest.mark.parametrize("gamma", [0, 0.25, 3])
def test_gamma_equals_numpy_for_values_of_either_sign(gamma):
    random = np.random.default_rng(2)
    model = keras.Sequential([keras.Input((5,)), layers.Dense(6, activation="tanh"), layers.Dense(3)])
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    W, b, V, c = model.get_weights()
    for x in random.normal(size=(4, 5)):
        hidden = np.tanh(x @ W + b)
        logits = hidden @ V + c
        expected = gamma_in_numpy(x, W, b, gamma_in_numpy(hidden, V, c, logits, gamma), gamma)
        found = create_analyzer("lrp.gamma", model, gamma=gamma, neuron_selection_mode="all").analyze(x[None])
        np.testing.assert_allclose(found[0], expected, rtol=1e-9)
    for wrong in (-0.1, float("nan"), "1"):
        with pytest.raises(ValueError, match=r"gamma=.*: must be a finite number, 0 or more"):
            create_analyzer("lrp.gamma", model, gamma=wrong)


def test_epsilon_gamma_box_is_three_rules_for_three_places():
    random = np.random.default_rng(2)
    convolutions = layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(3, 2), layers.Flatten()
    dense_layers = layers.Dense(4, activation="relu"), layers.Dense(3)
    model = keras.Sequential([keras.Input((6, 6, 3)), *convolutions, *dense_layers])
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    x = random.uniform(0.1, 0.9, size=(2, 6, 6, 3))
    found = create_analyzer("lrp.epsilon_gamma_box", model, gamma=0.5, input_rule=(0, 1)).analyze(x)

    def box(linear, x, w, b, R, nonnegative):
        return z_b(linear, x, w, R, tf.zeros_like(x), tf.ones_like(x))

    rules = [("first", box), (layers.Conv2D, lrp_methods.gamma(0.5)), ("any", lrp_methods.epsilon(1e-6))]
    np.testing.assert_allclose(found, create_analyzer("lrp", model, rule=rules).analyze(x), rtol=1e-9)
    own = create_analyzer("lrp.epsilon_gamma_box", model).analyze(x)  # the bounds of each sample, as for RAP
    assert np.abs(own - found).max() > 1e-6
    with pytest.raises(ValueError, match="outside of the bounds of input_rule, 0 to 1"):
        create_analyzer("lrp.epsilon_gamma_box", model, input_rule=(0, 1)).analyze(x + 1)
