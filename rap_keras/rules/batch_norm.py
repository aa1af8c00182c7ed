"""BatchNormalization as part of the linear layer before it."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.rules.linear_layers import Linear, scale_channels


def foldable(layer: Layer, linears: Sequence[Linear]) -> bool:
    """Whether `layer` is a BatchNormalization over the channels of the linear maps before it."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not linears:
        return False
    rank = len(layer.input_shape)
    return [axis % rank for axis in layer.axis] == [linears[-1].channel_axis % rank]


def folded(layer: Layer, linear: Linear) -> Linear:
    """The linear map with the BatchNormalization `layer` behind it as one map: same outputs."""

    def scale() -> tf.Tensor:
        factor = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
        return factor if layer.gamma is None else factor * tf.convert_to_tensor(layer.gamma)

    def offset() -> tf.Tensor:
        shift = -tf.convert_to_tensor(layer.moving_mean) * scale()
        return shift if layer.beta is None else shift + tf.convert_to_tensor(layer.beta)

    return scale_channels(linear, scale, offset)
