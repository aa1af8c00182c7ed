"""Relevance through a linear map: equations 5 to 10 of the paper.

The notation is the paper's: input i contributes z_ij = x_i w_ij to output j; z+ and z- are the absolute values of
its positive and negative part, and Z+_j and Z-_j their sums over i. A contribution is positive where x and w have
the same sign. The bias takes no part. A quotient a / b is 0 wherever b is 0.

Source: Nam et al., Relative Attributing Propagation, AAAI 2020, arXiv 1904.00605.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from rap_keras.engine.equations.numerics import as_rank, divide, sample_sum, transposed

LinearMap = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class ContributionSums(NamedTuple):
    """Z+ and Z-, both non-negative and shaped as the map's output; positive - negative = linear(x, w)."""

    positive: tf.Tensor
    negative: tf.Tensor


def contribution_sums(
    linear: LinearMap, x: tf.Tensor, w: tf.Tensor, nonnegative: bool = False
) -> ContributionSums:
    """Sums of the positive and of the negative contributions to each output.

    `nonnegative` says that no x is below 0. A contribution then has the sign of its weight, which saves half of
    the work.
    """
    w_positive, w_negative = tf.nn.relu(w), tf.nn.relu(-w)
    if nonnegative:
        return ContributionSums(linear(x, w_positive), linear(x, w_negative))
    x_positive, x_negative = tf.nn.relu(x), tf.nn.relu(-x)
    return ContributionSums(
        linear(x_positive, w_positive) + linear(x_negative, w_negative),
        linear(x_positive, w_negative) + linear(x_negative, w_positive),
    )


def absolute_influence(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
    """Relevance at the input of the first weighted layer met on the way back (Eq. 5 and 6).

    c_i = sum_j z_ij / (sum_i z_ij) R_j, then R_i = |c_i| / sum|c| * sum_j R_j: every unit gets a share of the
    logit in proportion to its absolute influence, so all relevance has the sign of the logit.
    """
    (back,) = transposed(lambda fresh: linear(fresh, w), [x], divide(R, linear(x, w)))
    influence = tf.abs(x * back)
    scale = divide(sample_sum(R), as_rank(sample_sum(influence), R))
    return influence * tf.cast(as_rank(scale, x), x.dtype)


def relative_attribution(
    linear: LinearMap,
    x: tf.Tensor,
    w: tf.Tensor,
    R: tf.Tensor,
    sums: ContributionSums | None = None,
    nonnegative: bool = False,
    signed: bool = False,
) -> tf.Tensor:
    """Relevance at the input of every other weighted layer (Eq. 7, 8 and 9).

    C_i = sum_j [z+_ij / Z+_j + q_j z-_ij / Z-_j] R_j with q = Z- / (Z+ + Z-), then the uniform shift.

    Args:
        linear: the layer's linear map.
        x: its input, (N, ...).
        w: its weights.
        R: relevance of its output, shaped as linear(x, w).
        sums: Z+ and Z-, if they are known already.
        nonnegative: no x is below 0.
        signed: where R_j < 0 the first term is z-_ij / Z-_j instead of z+_ij / Z+_j, as in convolutions of the
            authors' program.
    """
    positive, negative = sums or contribution_sums(linear, x, w, nonnegative)
    to_negative = divide(R, positive + negative)
    if signed:
        to_positive = divide(tf.nn.relu(R), positive)
        to_negative -= divide(tf.nn.relu(-R), negative)
    else:
        to_positive = divide(R, positive)
    C = _distribute(linear, x, w, to_positive, to_negative, nonnegative)
    return uniform_shift(C, R)


def uniform_shift(C: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
    """Subtracts the over-allocation evenly from all non-zero units, so that the sum is that of R (Eq. 8 and 9).

    R_i = C_i - 1[C_i != 0] (sum C - sum R) / #{i: C_i != 0}, separately for each sample. If C is zero everywhere,
    there is no unit to shift, and the relevance of that sample is lost.
    """
    active = tf.cast(tf.not_equal(C, 0), C.dtype)
    excess = sample_sum(C) - as_rank(sample_sum(R), C)
    shift = divide(excess, sample_sum(active))
    return C - active * tf.cast(shift, C.dtype)


def z_b(
    linear: LinearMap,
    x: tf.Tensor,
    w: tf.Tensor,
    R: tf.Tensor,
    low: tf.Tensor,
    high: tf.Tensor,
    channel_axis: int | None = None,
) -> tf.Tensor:
    """Relevance at the input of the layer that sees the image (Eq. 10, the z^B rule of Montavon et al. 2017).

    R_i = sum_j (x_i w_ij - l_i w+_ij - h_i w-_ij) / (sum_i of the same) R_j, where w- is the negative part of w.

    The sum is 0 where inputs with positive weights are at their lower bound and inputs with negative weights at
    their upper bound, as in the burnt-out white of a photo. Nothing distinguishes the inputs there, so they share
    R_j in proportion to how far each can vary, h_i - l_i. Otherwise up to 3 % of the relevance would be lost on
    real photos.

    Args:
        linear: the layer's linear map.
        x: its input, (N, ...).
        w: its weights.
        R: relevance of its output.
        low: the lowest value that each input can have, in a shape that broadcasts to x's.
        high: the highest, likewise.
        channel_axis: the channel axis of x, if the map sums over it and over axis -2 of w, as Dense layers and
            ungrouped convolutions do. The two maps are then calculated as one, which takes less time.
    """
    # (x - l) w+ + (h - x) |w-| is the same numerator without cancellation.
    above, below = x - low, high - x
    w_positive, w_negative = tf.nn.relu(w), tf.nn.relu(-w)
    if channel_axis is None:
        total = linear(above, w_positive) + linear(below, w_negative)
        S = divide(R, total)
        (from_positive,) = transposed(lambda fresh: linear(fresh, w_positive), [x], S)
        (from_negative,) = transposed(lambda fresh: linear(fresh, w_negative), [x], S)
        decided = above * from_positive + below * from_negative
    else:
        both, w_both = tf.concat([above, below], channel_axis), tf.concat([w_positive, w_negative], -2)
        total = linear(both, w_both)
        (back,) = transposed(lambda fresh: linear(fresh, w_both), [both], divide(R, total))
        decided = tf.add_n(tf.split(both * back, 2, channel_axis))

    def with_undecided() -> tf.Tensor:
        undecided = tf.where(tf.equal(total, 0), R, tf.zeros_like(R))
        return decided + _by_spread(linear, x, w, undecided, above + below)

    return tf.cond(tf.reduce_min(total) <= 0, with_undecided, lambda: decided)


def _by_spread(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, R: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
    """Shares R among the inputs of each output in proportion to how far each can vary."""
    ones = tf.ones_like(w)
    constant = tf.equal(sample_sum(spread), 0)  # all values of the sample are equal, so low is high
    spread = tf.where(constant, tf.ones_like(spread), spread)
    seen = linear(spread, ones)
    (evenly,) = transposed(lambda fresh: linear(fresh, ones), [x], divide(R, seen))
    # An output may see nothing but padding; its relevance goes to all pixels.
    blind = sample_sum(tf.where(tf.equal(seen, 0), R, tf.zeros_like(R)))
    everywhere = tf.cast(divide(as_rank(blind, x), sample_sum(spread)), x.dtype)
    return spread * (evenly + everywhere)


def _distribute(
    linear: LinearMap,
    x: tf.Tensor,
    w: tf.Tensor,
    to_positive: tf.Tensor,
    to_negative: tf.Tensor,
    nonnegative: bool,
) -> tf.Tensor:
    """C_i = sum_j z+_ij to_positive_j + z-_ij to_negative_j."""

    def back(weights: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
        return transposed(lambda fresh: linear(fresh, weights), [x], g)[0]

    w_positive, w_negative = tf.nn.relu(w), tf.nn.relu(-w)
    C = back(w_positive, to_positive) + back(w_negative, to_negative)
    if nonnegative:
        return x * C
    crossed = back(w_negative, to_positive) + back(w_positive, to_negative)
    return tf.nn.relu(x) * C + tf.nn.relu(-x) * crossed
