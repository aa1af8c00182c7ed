"""Models with random weights, and relevance through a whole model from any given relevance at its output."""

from __future__ import annotations

from functools import partial

import numpy as np
import tensorflow as tf
from host import value_of

from rap_keras.engine.equations.shares import sum_shares
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules.weighted import rules_of_rap
from rap_keras.engine.way_back.beginning import at_output
from rap_keras.engine.way_back.composites import linear_rules
from rap_keras.engine.way_back.plan import plan
from rap_keras.engine.way_back.propagation import Rules, propagate


def random_weights(model, seed=0):
    """The model with random weights and biases, N(0, 0.7)."""
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.7, w.shape) for w in model.get_weights()])
    return model


def back(model, X, R, reference=False, **options):
    """Relevance at the inputs X (a list) of `model` if its output has relevance R; without z^B."""
    network = flatten(model)
    planned = plan(network, **options)

    def at_inputs():
        rules = Rules(
            linear_rules(rules_of_rap(reference), network, planned),
            partial(sum_shares, signed=reference),
            {},
            reference,
        )
        relevance = propagate(
            network,
            planned,
            rules,
            [tf.constant(np.asarray(x), tf.keras.backend.floatx()) for x in X],
            begin=at_output(lambda output: tf.constant(np.asarray(R), output.dtype)),
        )
        return [relevance.tensors[number] for number in network.inputs]

    return value_of(at_inputs)
