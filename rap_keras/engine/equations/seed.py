"""The relevance that the output starts with: the values of the selected neurons."""

from __future__ import annotations

import tensorflow as tf


def max_activation(output: tf.Tensor) -> tf.Tensor:
    """The highest output of each sample, 0 elsewhere; the first one if several are equally high."""
    return output * highest(output)


def highest(output: tf.Tensor) -> tf.Tensor:
    """1 at the highest output of each sample, 0 elsewhere; the first one if several are equally high."""
    flat = tf.reshape(output, [tf.shape(output)[0], -1])
    chosen = tf.one_hot(tf.argmax(flat, axis=1), tf.shape(flat)[1], dtype=output.dtype)
    return tf.reshape(chosen, tf.shape(output))


def at_index(output: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The outputs at `index`, 0 elsewhere.

    Each row of `index` (M, rank of output) is a full position, the sample first; a sample may have several rows.
    """
    return tf.scatter_nd(index, tf.gather_nd(output, index), tf.shape(output, out_type=index.dtype))
