"""Class activation maps: a feature map weighted by its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def class_activation(maps: Sequence[tuple[tf.Tensor, tf.Tensor]], image: tf.Tensor) -> tf.Tensor:
    """The positive part of sum_k mean(dz/dA_k) A_k, enlarged to the image; the mean is over all places.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, arXiv 1610.02391, Eq. 1 and 2.

    Args:
        maps: feature maps A and the gradients dz/dA, each (N, h, w, K); several are added in the largest
            size.
        image: (N, H, W, C); its channels get equal parts.

    Returns:
        (N, H, W, C), never negative; the sum over the channels is the map, enlarged bilinearly.
    """
    channels = image.shape[-1]

    def weighted(A: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        return tf.reduce_sum(weights * A, axis=-1, keepdims=True)

    def enlarged(found: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.image.resize(found, size), found.dtype)

    found = [weighted(A, gradient) for A, gradient in maps]
    if len(found) > 1:
        largest = tf.reduce_max([tf.shape(one)[1:3] for one in found], axis=0)
        found = [enlarged(one, largest) for one in found]
    positive = enlarged(tf.nn.relu(tf.add_n(found)), tf.shape(image)[1:3])
    return tf.repeat(positive / channels, channels, axis=-1)
