"""Networks of one layer, whose logits are weighted sums of the inputs."""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers


def dense(kernel, bias):
    x = keras.Input((2,))
    layer = layers.Dense(len(bias))
    model = keras.Model(x, layer(x))
    layer.set_weights([np.array(kernel, np.float32), np.array(bias, np.float32)])
    return model


def two_inputs():
    """A network of two inputs whose logit is the sum of all values of both."""
    inputs, y = [keras.Input((2,)), keras.Input((2,))], layers.Dense(1, use_bias=False)
    model = keras.Model(inputs, y(layers.Concatenate()(inputs)))
    y.set_weights([np.ones((4, 1), np.float32)])
    return model
