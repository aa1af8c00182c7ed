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
    return shares_of_map(lambda xs: [pool(xs[0])], [x], [R], signed)[0]


def shares_of_map(
    function: Callable[[list[tf.Tensor]], list[tf.Tensor]],
    xs: Sequence[tf.Tensor],
    Rs: Sequence[tf.Tensor],
    signed: bool = False,
) -> list[tf.Tensor]:
    """Relevance at the inputs of a map with weights w >= 0: sum_j R_j w_ij |x_i| / sum_i w_ij |x_i|.

    An output whose inputs are all 0 shares by the weights alone; `signed` as in `mean_shares`.
    """

    def back(sizes: list[tf.Tensor], Rs: list[tf.Tensor]) -> list[tf.Tensor]:
        each = [divide(R, total) for R, total in zip(Rs, function(sizes))]
        return transposed(lambda *fresh: function(list(fresh)), sizes, each)

    sizes = [tf.abs(x) for x in xs]
    weights, ones = list(xs) if signed else sizes, [tf.ones_like(x) for x in xs]
    empty, zeros = [tf.equal(total, 0) for total in function(sizes)], [tf.zeros_like(R) for R in Rs]
    from_values = back(weights, [tf.where(e, zero, R) for e, zero, R in zip(empty, zeros, Rs)])
    from_empty = back(ones, [tf.where(e, R, zero) for e, zero, R in zip(empty, zeros, Rs)])
    return [weight * a + b for weight, a, b in zip(weights, from_values, from_empty)]
