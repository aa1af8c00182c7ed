"""The relevance that the output starts with, and which of its neurons are selected."""

from __future__ import annotations

import tensorflow as tf


def max_activation(output: tf.Tensor) -> tf.Tensor:
    """The highest output of each sample, 0 elsewhere; the first one where several are the highest."""
    return output * highest(output)


def highest(output: tf.Tensor) -> tf.Tensor:
    """1 at the highest output of each sample, 0 elsewhere; the first one where several are the highest."""
    flat = tf.reshape(output, [tf.shape(output)[0], -1])
    chosen = tf.one_hot(tf.argmax(flat, axis=1), tf.shape(flat)[1], dtype=output.dtype)
    return tf.reshape(chosen, tf.shape(output))


def at_index(output: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The outputs at `index`, 0 elsewhere.

    `index` (M, rank of output) is made of whole positions, the sample first; a sample may have several.
    """
    return tf.scatter_nd(index, tf.gather_nd(output, index), tf.shape(output, out_type=index.dtype))
