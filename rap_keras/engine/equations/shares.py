"""Relevance in proportion to values: what addition and average pooling pass on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from rap_keras.engine.equations.numerics import divide, sum_to_shape, transposed


def sum_shares(xs: Sequence[tf.Tensor], R: tf.Tensor, signed: bool = False) -> list[tf.Tensor]:
    """Relevance of each addend of an element-wise sum or mean, at every element by itself.

    R |x_k| / sum_k |x_k|: bounded shares of R's own sign. `signed` gives R x_k / sum_k x_k instead, what the
    authors' program does; these can be of either sign and exceed R without bound.

    Where all addends are 0 there is nothing to go by and each gets the same, so that no relevance is lost.
    An addend smaller than the sum broadcasts; its relevance is added up over what it was broadcast to.
    """
    weights = [x if signed else tf.abs(x) for x in xs]
    total = tf.add_n([tf.broadcast_to(weight, tf.shape(R)) for weight in weights])
    size = tf.add_n([tf.broadcast_to(tf.abs(x), tf.shape(R)) for x in xs]) if signed else total
    evenly = tf.cast(tf.equal(size, 0), R.dtype) * R / len(xs)
    each = divide(R, total)
    return [sum_to_shape(weight * each + evenly, x) for weight, x in zip(weights, xs)]


def mean_shares(
    pool: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, R: tf.Tensor, signed: bool = False
) -> tf.Tensor:
    """Relevance at the input of an average pooling `pool(x)`: sum_j over windows of R_j |x_i| / sum |x|.

    `signed` gives R_j x_i / sum x instead. A window of zeros gets R_j evenly. Window sizes drop out, so that
    padding, which every window counts in its own way, needs no care.
    """
    weight = x if signed else tf.abs(x)
    empty = tf.equal(pool(tf.abs(x)), 0)
    zeros = tf.zeros_like(R)
    ones = tf.ones_like(x)
    (from_values,) = transposed(pool, [x], divide(tf.where(empty, zeros, R), pool(weight)))
    (from_empty,) = transposed(pool, [x], divide(tf.where(empty, R, zeros), pool(ones)))
    return weight * from_values + from_empty
