"""A layer around another one, whose code a test gives, and networks of it."""

from __future__ import annotations

import numpy as np
import pytest
from host import KERAS_3
from layer_rules import random_weights
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

of_keras_3 = [
    pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not take layers apart"),
    pytest.mark.usefixtures("double_precision"),
]
"""The marks of tests about layers that are taken apart."""


def tokens(count=3, shape=(6, 4), seed=1):
    return np.random.default_rng(seed).normal(size=(count, *shape))


def network_of(layer, shape=(6, 4)):
    """The layer, and a linear one behind it."""
    x = keras.Input(shape)
    return random_weights(keras.Model(x, layers.Dense(3, name="logits")(layers.Flatten()(layer(x)))))


class Own(layers.Layer):
    """A layer around another one, whose code a test gives."""

    def __init__(self, code, **options):
        super().__init__(**options)
        self.code = code
        self.dense = layers.Dense(4, name="dense")

    def build(self, shape):
        self.table = self.add_weight(shape=(1, 3, 4), name="table")
        self.dense.build(shape)

    def call(self, x):
        return self.code(self, x)


def gate(layer, x):
    return x * ops.sigmoid(layer.dense(x))


def in_front(layer, x):
    return ops.concatenate([ops.tile(layer.table, (ops.shape(x)[0], 1, 1)), x], axis=1)


def nothing(layer, x):
    return x
