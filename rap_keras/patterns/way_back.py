"""The way back of PatternNet and PatternAttribution through a layer; both hosts use it.

Source: Kindermans et al., Learning how to explain neural networks: PatternNet and PatternAttribution, ICLR 2018,
arXiv 1705.05598.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.equations.numerics import divide, transposed
from rap_keras.patterns.pattern_maps import Map


def through_maps(
    maps: Sequence[Map], weights: Callable[[Map], tf.Tensor], activation: Any, x: tf.Tensor, R: tf.Tensor
) -> tf.Tensor:
    """The vector-Jacobian product of a weighted layer with other weights in place of its own.

    The layer's own weights still decide where its activation lets R pass.

    Args:
        maps: the layer's linear maps in forward order.
        weights: makes the weights that replace a map's own, of the same shape.
        activation: the activation fused into the layer; None for the identity.
        x: the layer's input, (N, ...).
        R: what arrives at its output, of the output's shape.
    """
    steps = []
    for m in maps:
        steps.append((m, x))
        x = m.linear.preactivation(x, m.linear.function(x, m.linear.w()))
    if activation not in (None, keras.activations.linear):
        (R,) = transposed(activation, [x], R)
    for m, x in reversed(steps):
        other = tf.cast(weights(m), x.dtype)
        (R,) = transposed(lambda fresh, m=m, other=other: m.linear.function(fresh, other), [x], R)
    return R


def over_scale(layer: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
    """PatternNet's way back through a BatchNormalization.

    The normalization is a neuron with one input, y = s x + t, and its pattern is 1 / s.

    Args:
        layer: the normalization at inference.
        x: its input, (N, ...).
        R: what arrives at its output, shaped as x.
    """
    (scale,) = transposed(layer, [x], tf.ones_like(R))
    return divide(R, scale)
