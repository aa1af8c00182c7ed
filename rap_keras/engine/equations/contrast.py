"""The score of a class against other classes, as weights of the logits: s = sum_k a_k z_k.

For the logit of the class alone a_c = 1 and every other a_k = 0, which needs no function here. The weights count
as constants when the score is differentiated.
"""

from __future__ import annotations

import tensorflow as tf


def log_odds(z: tf.Tensor, chosen: tf.Tensor, axis: int = -1) -> tf.Tensor:
    """The chosen class against all others: a_c = 1 and a_k = -softmax_k over the others.

    These are the derivatives of log(p_c / (1 - p_c)), where p is the softmax of the logits. A constant added to
    all logits changes nothing. Source: Iwana et al., Explaining Convolutional Neural Networks using Softmax
    Gradient Layer-wise Relevance Propagation, ICCV Workshops 2019, arXiv 1908.04351.

    Args:
        z: logits, (N, ..., classes).
        chosen: 1 at the explained class of a sample, or of each explained place, 0 elsewhere, shaped as z.
        axis: the axis of the classes; there must be two or more classes.
    """
    others = tf.nn.softmax(tf.where(chosen > 0, z.dtype.min, z), axis=axis)
    return chosen - others * tf.reduce_sum(chosen, axis=axis, keepdims=True)


def decided(z: tf.Tensor) -> tf.Tensor:
    """For a single unit in front of a sigmoid: a = 1 where class 1 is predicted, and -1 where class 0 is."""
    return tf.where(z < 0, -tf.ones_like(z), tf.ones_like(z))
