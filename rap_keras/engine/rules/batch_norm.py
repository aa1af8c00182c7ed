"""BatchNormalization as part of the linear layer before or behind it: the same outputs from one map."""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine.keras_graph import normalized_axes
from rap_keras.engine.rules.linear_layers import Linear, Weights


def is_foldable(layer: Layer, linear: Linear, axes: tuple[int, ...]) -> bool:
    """Whether `layer` is a BatchNormalization over the linear map's channels, for which the kernel has `axes`."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not axes:
        return False
    rank = layer.input_spec.ndim
    return [axis % rank for axis in normalized_axes(layer)] == [linear.channel_axis % rank]


def into_previous(layer: Layer, linear: Linear) -> Linear:
    """The linear map and the BatchNormalization `layer` behind it as one map."""
    scale, offset = _scale(layer), _offset(layer)

    def bias() -> tf.Tensor:
        return offset() if linear.bias is None else linear.bias() * scale() + offset()

    folded = replace(linear, w=_scaled(linear.w, scale, linear.output_axes), bias=bias)
    if linear.constant is None:
        return folded
    before = linear.constant  # of another BatchNormalization, in front of the linear map
    return replace(folded, constant=lambda x: before(x) * _along_channels(scale(), x.shape.rank, linear))


def into_next(layer: Layer, linear: Linear) -> Linear:
    """The linear map and the BatchNormalization `layer` in front of it as one map.

    The padding stays 0, so the offsets of the channels do not add the same everywhere: they add a bias for each
    position, the map of an image of offsets.
    """
    scale, offset = _scale(layer), _offset(layer)

    def constant(x: tf.Tensor) -> tf.Tensor:
        one_sample = tf.zeros_like(x[:1]) + _along_channels(offset(), x.shape.rank, linear)
        return linear.function(one_sample, linear.w())

    return replace(linear, w=_scaled(linear.w, scale, linear.input_axes), constant=constant)


def scale_and_offset(layer: Layer) -> tuple[tf.Tensor, tf.Tensor]:
    """What a BatchNormalization multiplies each channel by at inference, and what it adds, each (channels,)."""
    return _scale(layer)(), _offset(layer)()


def _along_channels(values: tf.Tensor, rank: int, linear: Linear) -> tf.Tensor:
    shape = [1] * rank
    shape[linear.channel_axis] = -1
    return tf.reshape(values, shape)


def _scaled(w: Weights, scale: Weights, axes: tuple[int, ...]) -> Weights:
    def scaled() -> tf.Tensor:
        kernel = w()
        shape = [1] * kernel.shape.rank
        for axis in axes:
            shape[axis] = kernel.shape[axis]
        return kernel * tf.reshape(scale(), shape)

    return scaled


def _scale(layer: Layer) -> Weights:
    def scale() -> tf.Tensor:
        factor = tf.math.rsqrt(tf.convert_to_tensor(layer.moving_variance) + layer.epsilon)
        return factor * tf.convert_to_tensor(layer.gamma) if layer.scale else factor

    return scale


def _offset(layer: Layer) -> Weights:
    def offset() -> tf.Tensor:
        shift = -tf.convert_to_tensor(layer.moving_mean) * _scale(layer)()
        return shift + tf.convert_to_tensor(layer.beta) if layer.center else shift

    return offset
