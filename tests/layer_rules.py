"""Relevance through a whole model from any relevance of its output."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from rap_keras.engine.network import flatten
from rap_keras.engine.plan import plan
from rap_keras.engine.propagation import propagate


def back(model, X, R, reference=False, **options):
    """Relevance at the inputs of `model` for the inputs X (a list) if its output has relevance R; no z^B."""
    network = flatten(model)
    inputs = [tf.constant(np.asarray(x), tf.keras.backend.floatx()) for x in X]
    relevance = propagate(
        network,
        plan(network, **options),
        inputs,
        seed=lambda output: tf.constant(np.asarray(R), output.dtype),
        bounds=[],
        reference=reference,
    )
    session = tf.compat.v1.keras.backend.get_session()
    return session.run([relevance.tensors[number] for number in network.inputs])
