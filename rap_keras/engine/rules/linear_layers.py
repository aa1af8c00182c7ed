"""The linear map of each weighted Keras layer, without its activation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.linear import LinearMap
from rap_keras.engine.reading.calls import Call, Ref
from rap_keras.engine.reading.of_shapes import Constant
from rap_keras.engine.rules.lookup import lookup

Weights = Callable[[], tf.Tensor]


@dataclass(frozen=True)
class Linear:
    """z = function(x, w) + bias + constant(x).

    Attributes:
        function: the linear map of input and weights.
        w: gives the weights as a tensor of the graph that it is called in.
        bias: likewise for the bias; None where there is none.
        convolution: whether it is a convolution, which the authors' program treats differently from a Dense layer.
        channel_axis: the channel axis of x and z.
        input_axes: the axes of w that together enumerate the input channels; empty where none do.
        output_axes: likewise for the output channels.
        adds_up: whether the map sums over `channel_axis` of x and axis -2 of w.
        constant: gives what a folded BatchNormalization adds, which depends on the shape of x.
    """

    function: LinearMap
    w: Weights
    bias: Weights | None
    convolution: bool
    channel_axis: int = -1
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()
    adds_up: bool = False
    constant: Callable[[tf.Tensor], tf.Tensor] | None = None

    def preactivation(self, x: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        """The sum of z = function(x, w), the bias and the constant."""
        if self.constant is not None:
            z += self.constant(x)
        return z if self.bias is None else z + self.bias_along(z)

    def bias_along(self, z: tf.Tensor) -> tf.Tensor | float:
        """The bias, in a shape that broadcasts to z; 0 where there is none."""
        if self.bias is None:
            return 0.0
        bias = self.bias()
        if bias.shape.rank != 1:  # one for every position
            return bias
        shape = [1] * z.shape.rank
        shape[self.channel_axis] = -1
        return tf.reshape(bias, shape)


def dot_map(call: Call) -> list[Linear] | None:
    """The linear map of a Dot layer or an operation with one constant side; None for any other call."""
    if len(call.inputs) != 1:
        return None
    sides, single = call.args[0] if lookup(call.layer, {keras.layers.Dot: True}) else call.args, call.layer
    if sides is call.args:
        if not keras_graph.KERAS_3 or keras_graph.operation_name(single) not in _OF_TWO or len(sides) != 2:
            return None
    elif single.normalize:
        return None
    tensor_first = isinstance(sides[0], Ref)
    constant = sides[1 if tensor_first else 0]
    weights = constant.calculate if isinstance(constant, Constant) else partial(tf.convert_to_tensor, constant)
    if isinstance(constant, (Ref, Constant)) and getattr(constant, "repeats", constant) is not None:
        return None  # the same tensor twice, or one that depends on the number of samples

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        pair = [x, w] if tensor_first else [w, x]
        return call.layer.call(*pair) if sides is call.args else call.layer.call(pair)

    return [Linear(function, weights, None, convolution=False)]


_OF_TWO = {"matmul", "einsum", "dot", "tensordot", "conv", "depthwiseconv", "convtranspose"}


def _weights(read: Callable[[], tf.Variable]) -> Weights:
    """Reads weights in each graph anew: with LoRA a kernel is not a variable, but calculated from several."""
    return lambda: tf.convert_to_tensor(read())


def _bias(layer: Layer) -> Weights | None:
    return _weights(lambda: layer.bias) if layer.use_bias else None


def dense(layer: Layer) -> list[Linear]:
    """The map of a Dense layer."""

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, w) if x.shape.rank == 2 else tf.tensordot(x, w, [[-1], [0]])

    kernel, bias = _weights(lambda: layer.kernel), _bias(layer)
    return [Linear(function, kernel, bias, convolution=False, input_axes=(-2,), output_axes=(-1,), adds_up=True)]


def convolution(layer: Layer) -> list[Linear]:
    """The map of a convolution."""
    function = _convolution(layer, layer.padding, layer.strides, layer.dilation_rate, layer.groups)
    if layer.groups > 1:
        return [_convolutional(layer, function, lambda: layer.kernel, (), (-1,))]
    return [_convolutional(layer, function, lambda: layer.kernel, (-2,), (-1,), adds_up=True)]


def depthwise(layer: Layer) -> list[Linear]:
    """The map of a depthwise convolution."""
    function = _depthwise_convolution(layer)
    return [_convolutional(layer, function, lambda: keras_graph.depthwise_kernel(layer), (-2,), (-2, -1))]


def separable(layer: Layer) -> list[Linear]:
    """The two maps of a separable convolution."""
    pointwise = _convolution(layer, "valid", (1,) * layer.rank, (1,) * layer.rank, groups=1)
    return [
        Linear(
            _depthwise_convolution(layer),
            _weights(lambda: keras_graph.depthwise_kernel(layer)),
            None,
            convolution=True,
            channel_axis=_channel_axis(layer),
            input_axes=(-2,),
            output_axes=(-2, -1),
        ),
        _convolutional(layer, pointwise, lambda: layer.pointwise_kernel, (), (-1,)),
    ]


def by_own_call(layer: Layer) -> list[Linear]:
    """The map of a layer that is best calculated by the layer's own `call`."""

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        # `w` has LoRA's part already.
        changed = {"use_bias": False, "activation": keras.activations.linear, "lora_enabled": False}
        return keras_graph.twin(layer, kernel=w, bias=None, **changed).call(x)

    has_bias = getattr(layer, "bias", None) is not None
    return [
        Linear(
            function,
            _weights(lambda: layer.kernel),
            _weights(lambda: layer.bias) if has_bias else None,
            convolution=type(layer).__name__ != "EinsumDense",
            channel_axis=_channel_axis(layer),
            output_axes=(-2,) if "Transpose" in type(layer).__name__ else (),
        )
    ]


def _convolutional(
    layer: Layer,
    function: LinearMap,
    kernel: Callable[[], tf.Variable],
    input_axes: tuple[int, ...],
    output_axes: tuple[int, ...],
    adds_up: bool = False,
) -> Linear:
    return Linear(
        function,
        _weights(kernel),
        _bias(layer),
        convolution=True,
        channel_axis=_channel_axis(layer),
        input_axes=input_axes,
        output_axes=output_axes,
        adds_up=adds_up,
    )


def _channel_axis(layer: Layer) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def convolution_of(rank: int, data_format: str, padding: str, strides: tuple, dilations: tuple) -> LinearMap:
    """The convolution of an input and a kernel; argument names and values as in Keras' layers."""
    channel_axis = 1 if data_format == "channels_first" else -1
    axes = "DHW"[-rank:]

    def convolution(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if padding == "causal":
            x = tf.pad(x, _causal_padding(w.shape[0], dilations[0], channel_axis))
        return tf.nn.convolution(
            x,
            w,
            strides=strides,
            padding="SAME" if padding == "same" else "VALID",
            data_format=f"NC{axes}" if channel_axis == 1 else f"N{axes}C",
            dilations=dilations,
        )

    return convolution


def _convolution(layer: Layer, padding: str, strides: tuple, dilations: tuple, groups: int) -> LinearMap:
    channel_axis = _channel_axis(layer)
    one_group = convolution_of(layer.rank, layer.data_format, padding, strides, dilations)

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if groups == 1 or (x.dtype == tf.float32 and layer.rank < 3 and _has_grouped_gradients()):
            return one_group(x, w)
        # Gradients of grouped convolutions exist at most for float32 and up to two dimensions.
        if w.shape[-2] == 1 and layer.rank == 2 and padding != "causal" and len(set(strides)) == 1:
            return _channel_by_channel(layer, x, w)
        parts = zip(tf.split(x, groups, axis=channel_axis), tf.split(w, groups, axis=-1))
        return tf.concat([one_group(*part) for part in parts], axis=channel_axis)

    return function


def _channel_by_channel(layer: Layer, x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    """A convolution with as many groups as channels, as a depthwise one, which has gradients everywhere."""
    channels = x.shape[_channel_axis(layer)]
    kernel = tf.reshape(w, [*w.shape[:-2], channels, w.shape[-1] // channels])
    return _two_dimensional(layer, x, kernel, layer.strides, layer.dilation_rate)


@functools.cache
def _has_grouped_gradients() -> bool:
    """Whether TensorFlow has gradients of grouped convolutions here; on a CPU this depends on the processor.

    They are part of oneDNN, which TensorFlow uses by default if the processor has instructions for networks.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x, w = (tf.compat.v1.placeholder(tf.float32, shape) for shape in ([1, 2, 2, 4], [1, 1, 2, 4]))
        gradients = tf.gradients(tf.nn.conv2d(x, w, 1, "VALID"), [x, w])
        try:
            session.run(gradients, {tensor: np.ones(tensor.shape, np.float32) for tensor in (x, w)})
        except tf.errors.OpError:
            return False
    return True


def _depthwise_convolution(layer: Layer) -> LinearMap:
    def one_dimensional(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        axis = 2 if layer.data_format == "channels_first" else 1
        if layer.padding == "causal":
            x = tf.pad(x, _causal_padding(w.shape[0], layer.dilation_rate[0], _channel_axis(layer)))
        # The same stride on both axes: TensorFlow does not support different ones, and one row has no second step.
        z = _two_dimensional(
            layer,
            tf.expand_dims(x, axis),
            tf.expand_dims(w, 0),
            layer.strides * 2,
            (1, *layer.dilation_rate),
        )
        return tf.squeeze(z, axis)

    def function(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        if layer.rank == 1:
            return one_dimensional(x, w)
        return _two_dimensional(layer, x, w, layer.strides, layer.dilation_rate)

    return function


def _two_dimensional(layer: Layer, x: tf.Tensor, w: tf.Tensor, strides: tuple, dilations: tuple) -> tf.Tensor:
    """A depthwise convolution with the padding and data format of a layer."""
    channels_first = layer.data_format == "channels_first"
    return tf.nn.depthwise_conv2d(
        x,
        w,
        strides=(1, 1, *strides) if channels_first else (1, *strides, 1),
        padding="SAME" if layer.padding == "same" else "VALID",
        data_format="NCHW" if channels_first else "NHWC",
        dilations=dilations,
    )


def _causal_padding(kernel_size: int, dilation: int, channel_axis: int) -> list[list[int]]:
    time = [dilation * (kernel_size - 1), 0]
    return [[0, 0], [0, 0], time] if channel_axis == 1 else [[0, 0], time, [0, 0]]
