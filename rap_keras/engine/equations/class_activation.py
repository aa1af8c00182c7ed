"""Class activation maps: a feature map weighted by its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def class_activation(maps: Sequence[tuple[tf.Tensor, tf.Tensor]], image: tf.Tensor) -> tf.Tensor:
    """Enlarges sum_k mean(dz/dA_k) A_k to the image and keeps the positive part; the mean is over all places.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, arXiv 1610.02391, Eq. 1 and 2.

    Args:
        maps: feature maps A and the gradients dz/dA, each (N, h, w, K).
        image: (N, H, W, C); its channels get equal parts.

    Returns:
        (N, H, W, C), never negative; the sum over the channels is the map, enlarged bilinearly.
    """
    height, width, channels = tf.shape(image)[1], tf.shape(image)[2], image.shape[-1]

    def enlarged(A: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
        weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        found = tf.reduce_sum(weights * A, axis=-1, keepdims=True)
        return tf.cast(tf.image.resize(found, (height, width)), A.dtype)

    positive = tf.nn.relu(tf.add_n([enlarged(A, gradient) for A, gradient in maps]))
    return tf.repeat(positive / channels, channels, axis=-1)
