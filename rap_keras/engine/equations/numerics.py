"""Division, sums and transposed maps: the few operations that every equation is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


def divide(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Quotient a / b, and 0 wherever b is 0, without an epsilon; RAP's only division.

    TensorFlow's kernel for this takes as long as a plain division; any guard around a plain division doubles the
    time, which shows on the large maps of the first layers. The unit in which relevance is carried prevents
    overflow.
    """
    return tf.math.divide_no_nan(a, b)


def sample_sum(x: tf.Tensor) -> tf.Tensor:
    """Sum over all axes except the batch: shape (N, 1, ..., 1), in float64.

    Relevance consists of small differences of large parts, so its sum needs more digits than float32 has. If x has
    further axes, its last axis is first summed in x's own type: exact enough, and without a float64 copy of x.
    """
    if x.shape.rank == 1:
        return tf.cast(x, tf.float64)
    if x.shape.rank > 2:
        x = tf.reduce_sum(x, axis=-1, keepdims=True)
    return tf.reduce_sum(tf.cast(x, tf.float64), axis=list(range(1, x.shape.rank)), keepdims=True)


def as_rank(sums: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Reshapes sums (N, 1, ..., 1) to as many axes as `like` has."""
    return tf.reshape(sums, [-1] + [1] * (like.shape.rank - 1))


def transposed(
    function: Callable[..., tf.Tensor], xs: Sequence[tf.Tensor], g: tf.Tensor | Callable[[tf.Tensor], tf.Tensor]
) -> list[tf.Tensor]:
    """Vector-Jacobian product: maps g, shaped as function(*xs), back to the shape of each x.

    A function with several outputs needs a list of g. If g depends on function(*xs), give a function that computes
    it from that.

    For a linear map this is the transpose; x then gives only the shape, and its values are not used.
    The result is zero for an x on which the function does not depend.
    """
    # tf.gradients follows every consumer of x. Fresh tensors have only those made here, so the time to build one
    # layer's rule does not grow with the network (as it does in iNNvestigate).
    fresh = [tf.identity(x) for x in xs]
    outputs = function(*fresh)
    gradients = tf.gradients(outputs, fresh, grad_ys=g(outputs) if callable(g) else g)
    return [
        tf.zeros_like(x) if gradient is None else tf.convert_to_tensor(gradient)
        for x, gradient in zip(xs, gradients)
    ]


def sum_to_shape(value: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Sums a value over the axes along which x was broadcast to it; the result has x's shape."""
    known = x.shape[1:].is_fully_defined() and value.shape[1:].is_fully_defined()
    if known and x.shape[1:] == value.shape[1:]:
        return value
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(value))
    return tf.reshape(tf.reduce_sum(value, axis=axes), tf.shape(x))
