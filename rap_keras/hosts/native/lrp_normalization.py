"""What LRP does at layers that normalise."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rap_keras.engine import keras_graph
from rap_keras.engine.equations import lrp as equations
from rap_keras.engine.rules.batch_norm import scale_and_offset
from rap_keras.engine.rules.rule import Tensors, titled
from rap_keras.engine.rules.weighted import LinearRule, Step


@titled("{linear}, as a layer of one weight for each channel")
def as_innvestigate(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """The linear rule at a BatchNormalization, with the weight and the offset that iNNvestigate gives it."""
    layer = state["layer"]
    mean, variance = (tf.convert_to_tensor(v) for v in (layer.moving_mean, layer.moving_variance))
    gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones_like(mean)
    beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros_like(mean)
    w, b = equations.batch_norm_as_scale(gamma, beta, mean, variance, layer.epsilon)
    return [_through_scale(Xs[0], w, b, Rs[0], state)]


@titled("{linear}, as a layer of one weight for each channel")
def as_scale(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """The linear rule at a BatchNormalization, with the weight and the offset that it has at inference."""
    return [_through_scale(Xs[0], *scale_and_offset(state["layer"]), Rs[0], state)]


def _through_scale(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor, R: tf.Tensor, state: dict[str, Any]) -> tf.Tensor:
    shape = [1] * x.shape.rank
    shape[keras_graph.normalized_axes(state["layer"])[0]] = -1
    rule: LinearRule = state["linear"]
    return rule.back(Step(rule, tf.multiply, x, tf.reshape(w, shape), tf.reshape(b, shape)), R)
