"""Where contrastive relevance starts: the weights of its score, and which layers are the head of a network."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf
from contrastive_networks import NETWORKS, inputs_of, lively, log_odds_weights, softmax
from host import KERAS_3, value_of

import rap_keras
from rap_keras.engine.checks import conservation
from rap_keras.engine.equations import contrast
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.way_back import beginning


def test_log_odds_is_the_class_against_the_others():
    z, target = np.random.default_rng(0).normal(size=(3, 5)) * 3, [0, 3, 4]
    chosen = np.eye(5)[target]
    found = value_of(lambda: contrast.log_odds(tf.constant(z), tf.constant(chosen)))
    np.testing.assert_allclose(found, log_odds_weights(z, target), rtol=1e-12)
    shifted = value_of(lambda: contrast.log_odds(tf.constant(z + 7), tf.constant(chosen)))
    np.testing.assert_allclose(shifted, found, rtol=1e-9)


def test_log_odds_are_the_derivatives_of_the_logarithm_of_the_odds():
    z, c, step = np.array([[1.0, -2.0, 0.5]]), 1, 1e-6
    found = value_of(lambda: contrast.log_odds(tf.constant(z), tf.constant([[0.0, 1.0, 0.0]], tf.float64)))

    def odds(logits):
        p = softmax(logits)[0, c]
        return np.log(p / (1 - p))

    expected = [(odds(z + step * e) - odds(z - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(found[0], expected, atol=1e-8)


def test_log_odds_of_extreme_logits_are_finite():
    z, chosen = np.float32([[1e4, -1e4, 3e38]]), np.float32([[0, 0, 1]])
    found = value_of(lambda: contrast.log_odds(tf.constant(z), tf.constant(chosen)))
    np.testing.assert_array_equal(found, [[-1, 0, 1]])


def head_of(model):
    network = flatten(model)
    weighted = [call.name for call in network.calls if getattr(call.layer, "kernel", None) is not None]
    found = []

    def run():
        values = network.values([tf.constant(inputs_of(model))])
        found.append(beginning.head_of(network, values, weighted))
        return values[network.outputs[0]]

    value_of(run)
    return found[0]


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_the_head_is_what_has_no_places(build):
    assert head_of(lively(build)) == NETWORKS[build]


class WeightsOfBranches(tf.keras.layers.Layer):
    """Attention over a list of tensors (N, units): their weights, (N, 1) each."""

    def call(self, branches):
        scores = [tf.keras.ops.mean(branch, axis=-1, keepdims=True) for branch in branches]
        shares = tf.keras.ops.softmax(tf.keras.ops.stack(scores, axis=0), axis=0)
        return tf.keras.ops.unstack(shares, axis=0)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not take layers apart")
def test_stacked_branches_belong_to_the_head():
    """Their first axis is not that of the samples, so their relevance has no sum for each sample."""
    x = tf.keras.Input((3, 4))
    branches = [tf.keras.layers.Dense(5, activation="relu")(x[:, i]) for i in range(3)]
    shares = WeightsOfBranches(name="of_branches")(branches)
    y = tf.keras.layers.Add()([tf.keras.layers.Multiply()(pair) for pair in zip(branches, shares)])
    model = tf.keras.Model(x, tf.keras.layers.Dense(2)(y))
    samples = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    analyzer = rap_keras.create_analyzer("rap.contrastive", model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analyzer.analyze(samples)
    found = conservation.check(analyzer, samples)
    assert {"of_branches/stack", "of_branches/unstack"} <= {layer.name for layer in found.layers if layer.in_head}
    assert found.passed()
