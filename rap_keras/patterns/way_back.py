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
    """The vector-Jacobian product of a layer of linear maps at x, with `weights` in place of its own.

    The layer's own weights still decide where its activation (None for the identity) lets R pass.
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
    """PatternNet's way back through a BatchNormalization, a neuron y = s x + t whose pattern is 1 / s."""
    (scale,) = transposed(layer, [x], tf.ones_like(R))
    return divide(R, scale)
