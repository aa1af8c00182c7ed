"""Which linear map each weighted Keras layer is, without its activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.equations.linear import LinearMap
from rap_keras.rules.table import lookup

Weights = Callable[[], tf.Tensor]


@dataclass(frozen=True)
class Linear:
    """z = function(x, w) + bias.

    `w` and `bias` make the weights as tensors of the graph that they are called in. `channel_axis` is the
    axis of z that the bias runs along, `kernel_axes` the axes of w that together enumerate the same channels.
    `convolution` tells a convolution from a Dense layer, which the authors' program treats differently.
    """

    function: LinearMap
    w: Weights
    bias: Weights | None
    convolution: bool
    channel_axis: int = -1
    kernel_axes: tuple[int, ...] = (-1,)

    def add_bias(self, z: tf.Tensor) -> tf.Tensor:
        """The preactivation: z plus the bias, if there is one."""
        if self.bias is None:
            return z
        shape = [1] * z.shape.rank
        shape[self.channel_axis] = -1
        return z + tf.reshape(self.bias(), shape)


def linear_maps(layer: Layer) -> list[Linear] | None:
    """The linear maps of a weighted layer in forward order; None for a layer of another kind.

    One map, but for separable convolutions. Weighted layers are those that go by equations 5 to 10.
    """
    make = lookup(layer, _LINEARS)
    return make(layer) if make else None


def scale_channels(linear: Linear, scale: Weights, offset: Weights) -> Linear:
    """The same map with its output channels multiplied by `scale` and `offset` added, both (channels,)."""

    def w() -> tf.Tensor:
        kernel = linear.w()
        shape = [1] * kernel.shape.rank
        for axis in linear.kernel_axes:
            shape[axis] = kernel.shape[axis]
        return kernel * tf.reshape(scale(), shape)

    def bias() -> tf.Tensor:
        return offset() if linear.bias is None else linear.bias() * scale() + offset()

    return replace(linear, w=w, bias=bias)


def _variable(variable: tf.Variable) -> Weights:
    return lambda: tf.convert_to_tensor(variable)


def _bias(layer: Layer) -> Weights | None:
    return _variable(layer.bias) if layer.use_bias else None


def _dense(layer: Layer) -> list[Linear]:
    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, w) if x.shape.rank == 2 else tf.tensordot(x, w, [[-1], [0]])

    return [Linear(function, _variable(layer.kernel), _bias(layer), convolution=False)]


def _conv(layer: Layer) -> list[Linear]:
    function = _convolution(layer, layer.padding, layer.strides, layer.dilation_rate, layer.groups)
    return [_convolutional(layer, function, layer.kernel)]


def _depthwise(layer: Layer) -> list[Linear]:
    function = _depthwise_convolution(layer)
    return [_convolutional(layer, function, layer.depthwise_kernel, kernel_axes=(-2, -1))]


def _separable(layer: Layer) -> list[Linear]:
    pointwise = _convolution(layer, "valid", (1,) * layer.rank, (1,) * layer.rank, groups=1)
    return [
        Linear(
            _depthwise_convolution(layer),
            _variable(layer.depthwise_kernel),
            None,
            convolution=True,
            channel_axis=_channel_axis(layer),
            kernel_axes=(-2, -1),
        ),
        _convolutional(layer, pointwise, layer.pointwise_kernel),
    ]


def _convolutional(
    layer: Layer, function: LinearMap, kernel: tf.Variable, kernel_axes: tuple[int, ...] = (-1,)
) -> Linear:
    return Linear(
        function,
        _variable(kernel),
        _bias(layer),
        convolution=True,
        channel_axis=_channel_axis(layer),
        kernel_axes=kernel_axes,
    )


def _channel_axis(layer: Layer) -> int:
    return 1 if layer.data_format == "channels_first" else -1


def _convolution(layer: Layer, padding: str, strides: tuple, dilations: tuple, groups: int) -> LinearMap:
    channel_axis = _channel_axis(layer)
    data_format = _data_format(layer)

    def one_group(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if padding == "causal":
            x = tf.pad(x, _causal_padding(w.shape[0], dilations[0], channel_axis))
        return tf.nn.convolution(
            x,
            w,
            strides=strides,
            padding="SAME" if padding == "same" else "VALID",
            data_format=data_format,
            dilations=dilations,
        )

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if groups == 1 or (x.dtype == tf.float32 and layer.rank < 3):
            return one_group(x, w)
        # On the CPU the way back of a grouped convolution exists for float32 and up to two dimensions only.
        parts = zip(tf.split(x, groups, axis=channel_axis), tf.split(w, groups, axis=-1))
        return tf.concat([one_group(*part) for part in parts], axis=channel_axis)

    return function


def _depthwise_convolution(layer: Layer) -> LinearMap:
    channels_first = layer.data_format == "channels_first"

    def two_dimensional(x: tf.Tensor, w: tf.Tensor, strides: tuple, dilations: tuple) -> tf.Tensor:
        return tf.nn.depthwise_conv2d(
            x,
            w,
            strides=(1, 1, *strides) if channels_first else (1, *strides, 1),
            padding="SAME" if layer.padding == "same" else "VALID",
            data_format="NCHW" if channels_first else "NHWC",
            dilations=dilations,
        )

    def one_dimensional(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        axis = 2 if channels_first else 1
        if layer.padding == "causal":
            x = tf.pad(x, _causal_padding(w.shape[0], layer.dilation_rate[0], _channel_axis(layer)))
        # The same stride both ways: uneven ones are unknown to TensorFlow, and one row has no second step.
        z = two_dimensional(
            tf.expand_dims(x, axis),
            tf.expand_dims(w, 0),
            layer.strides * 2,
            (1, *layer.dilation_rate),
        )
        return tf.squeeze(z, axis)

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if layer.rank == 1:
            return one_dimensional(x, w)
        return two_dimensional(x, w, layer.strides, layer.dilation_rate)

    return function


def _causal_padding(kernel_size: int, dilation: int, channel_axis: int) -> list[list[int]]:
    time = [dilation * (kernel_size - 1), 0]
    return [[0, 0], [0, 0], time] if channel_axis == 1 else [[0, 0], time, [0, 0]]


def _data_format(layer: Layer) -> str:
    axes = "DHW"[-layer.rank :]
    return f"NC{axes}" if layer.data_format == "channels_first" else f"N{axes}C"


_LINEARS: dict[type, Callable[[Layer], list[Linear]]] = {
    keras.layers.Dense: _dense,
    keras.layers.Conv1D: _conv,
    keras.layers.Conv2D: _conv,
    keras.layers.Conv3D: _conv,
    keras.layers.DepthwiseConv2D: _depthwise,
    keras.layers.SeparableConv1D: _separable,
    keras.layers.SeparableConv2D: _separable,
}
if hasattr(keras.layers, "DepthwiseConv1D"):  # since TensorFlow 2.8
    _LINEARS[keras.layers.DepthwiseConv1D] = _depthwise
