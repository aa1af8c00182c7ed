"""Relevance in proportion to values, as addition and average pooling share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from rap_keras.engine.equations.numerics import divide, sum_to_shape, transposed


def sum_shares(xs: Sequence[tf.Tensor], R: tf.Tensor, signed: bool = False) -> list[tf.Tensor]:
    """Relevance of each addend of an element-wise sum or mean, separately at every element.

    R |x_k| / sum_k |x_k| gives bounded shares with R's sign. `signed` gives R x_k / sum_k x_k instead, as the
    authors' program does; these shares can have either sign and exceed R without bound.

    Where all addends are 0, each gets the same share, so that no relevance is lost. The relevance of a broadcast
    addend is summed over the axes along which it was broadcast.
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

    `signed` gives R_j x_i / sum x instead. A window of zeros gets R_j evenly. Window sizes cancel out, so padding,
    which changes them, needs no care.
    """
    weight = x if signed else tf.abs(x)
    empty = tf.equal(pool(tf.abs(x)), 0)
    zeros = tf.zeros_like(R)
    ones = tf.ones_like(x)
    (from_values,) = transposed(pool, [x], divide(tf.where(empty, zeros, R), pool(weight)))
    (from_empty,) = transposed(pool, [x], divide(tf.where(empty, R, zeros), pool(ones)))
    return weight * from_values + from_empty


def shares_of_map(
    function: Callable[[list[tf.Tensor]], list[tf.Tensor]], xs: Sequence[tf.Tensor], Rs: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Relevance at the inputs of a map with non-negative weights: sum_j R_j w_ij |x_i| / sum_i w_ij |x_i|.

    An output whose inputs are all 0 gives its relevance in proportion to the weights.
    """

    def back(sizes: list[tf.Tensor], Rs: list[tf.Tensor]) -> list[tf.Tensor]:
        parts = [divide(R, total) for R, total in zip(Rs, function(sizes))]
        return [size * g for size, g in zip(sizes, transposed(lambda *fresh: function(list(fresh)), sizes, parts))]

    sizes, ones = [tf.abs(x) for x in xs], [tf.ones_like(x) for x in xs]
    empty = [tf.equal(total, 0) for total in function(sizes)]
    zeros = [tf.zeros_like(R) for R in Rs]
    from_values = back(sizes, [tf.where(e, zero, R) for e, zero, R in zip(empty, zeros, Rs)])
    from_empty = back(ones, [tf.where(e, R, zero) for e, zero, R in zip(empty, zeros, Rs)])
    return [a + b for a, b in zip(from_values, from_empty)]
