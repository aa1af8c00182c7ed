"""Relevance through the softmax of attention, and through layers that normalise each sample.

Sources: Achtibat et al., AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers, ICML 2024,
arXiv 2402.05602, for the softmax; Ali et al., XAI for Transformers, ICML 2022, arXiv 2202.07304, for layers that
normalise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from rap_keras.engine.equations.lrp import away_from_zero
from rap_keras.engine.equations.numerics import transposed

Softmax = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, "int | Sequence[int]"], tf.Tensor]


def softmax(x: tf.Tensor, s: tf.Tensor, R: tf.Tensor, axis: int | Sequence[int] = -1) -> tf.Tensor:
    """Relevance at the input of a softmax: R_i = x_i (R_i - s_i sum_j R_j), the input times the gradient.

    The sum of relevance changes. What a mask leaves out has s_i = 0, and gets nothing, whatever x_i is there.

    Args:
        x: its input, in any shape.
        s: its output.
        R: relevance of its output.
        axis: the axis, or the axes, over which s sums to 1.
    """
    shown = tf.where(tf.equal(s, 0), tf.zeros_like(x), x)
    return shown * (R - s * tf.reduce_sum(R, axis, keepdims=True))


def unchanged_softmax(x: tf.Tensor, s: tf.Tensor, R: tf.Tensor, axis: int | Sequence[int] = -1) -> tf.Tensor:
    """Relevance passes unchanged, as RAP lets it pass every activation, so that its sum stays; own work."""
    return R


TINY = 1e-9
"""What is added to divisors. Relevance of y is mostly y times something, so a small y needs no larger one."""


def centred(
    mean: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, scale: tf.Tensor, y: tf.Tensor, R: tf.Tensor
) -> tf.Tensor:
    """Relevance at the input of y = (x - mean(x)) scale + offset, whose scale counts as a constant factor.

    It is LRP-epsilon of this linear map; the offset keeps its part, as a bias does.

    Args:
        mean: gives the mean of each group of values that is normalised, in a shape that broadcasts to x's.
        x: the input, (N, ...).
        scale: what the differences are multiplied by, among others 1 over the standard deviation.
        y: the output.
        R: relevance of y, shaped as x.
    """
    (back,) = transposed(lambda x: (x - mean(x)) * scale, [x], R / away_from_zero(y, TINY))
    return x * back


def beside_constant(part: tf.Tensor, y: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
    """Relevance of `part` in y = part + constant, in proportion to it; the constant keeps the rest."""
    return part * R / away_from_zero(y, TINY)
