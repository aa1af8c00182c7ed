"""What LRP does at layers that normalise, and at constants behind weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.equations import attn_lrp
from rap_keras.engine.equations import lrp as equations
from rap_keras.engine.equations.numerics import sum_to_shape
from rap_keras.engine.reading import at_inference
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules.batch_norm import scale_and_offset
from rap_keras.engine.rules.kinds import key_of
from rap_keras.engine.rules.lookup import lookup, of_keras
from rap_keras.engine.rules.rule import Rule, Tensors, titled
from rap_keras.engine.rules.unweighted import moved, moved_evenly, with_constant
from rap_keras.engine.rules.weighted import LinearRule, Step
from rap_keras.engine.way_back.plan import PlannedCall


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


def with_layer_norm(planned: Sequence[PlannedCall]) -> list[PlannedCall]:
    """The plan in which layers that subtract a mean are linear maps with a constant standard deviation.

    Unchanged relevance would be divided by an input x that may be near 0 where x less its mean is not.
    RMSNormalization and UnitNormalization subtract nothing, so for them unchanged relevance is this rule.
    """
    return [
        replace(p, kind=replace(p.kind, rule=_centred)) if not p.kind.own and _subtracts(p.call) else p
        for p in planned
    ]


def _subtracts(call: Call) -> bool:
    """Whether a call is layer normalisation or group normalisation, in whatever form."""
    layer = call.layer
    known = lookup(layer, _OF_SAMPLES) or keras_graph.operation_name(layer) == "layernorm"
    return bool(known) and not getattr(layer, "rms_scaling", False)


_OF_SAMPLES: dict[type, object] = dict.fromkeys(of_keras("LayerNormalization GroupNormalization"), True)


@titled("in proportion to x less its mean; the deviation is a constant factor")
def _centred(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    (x,), layer = Xs, state["layer"]
    shape, axes, along = tf.shape(x), [axis % x.shape.rank for axis in keras_graph.normalized_axes(layer)], None
    channels = [x.shape[axis] if axis in axes else 1 for axis in range(x.shape.rank)]
    if isinstance(layer, keras.layers.GroupNormalization):
        (axis,), groups = axes, layer.groups
        along = tf.concat([shape[:axis], [groups, shape[axis] // groups], shape[axis + 1 :]], 0)
        axes = [other for other in range(1, x.shape.rank + 1) if other != axis]

    def mean(v: tf.Tensor) -> tf.Tensor:
        """The mean of each group of values, in the shape of v."""
        grouped = v if along is None else tf.reshape(v, along)
        means = tf.broadcast_to(tf.reduce_mean(grouped, axes, keepdims=True), tf.shape(grouped))
        return tf.reshape(means, tf.shape(v))

    tiny = keras.backend.epsilon() if layer.epsilon is None else layer.epsilon
    scale = tf.math.rsqrt(mean((x - mean(x)) ** 2) + tiny)
    gamma = _gamma(state["call"], Xs)
    if gamma is not None:
        scale *= tf.reshape(tf.convert_to_tensor(gamma), channels)
    return [attn_lrp.centred(mean, x, scale, Ys[0], Rs[0])]


def _gamma(call: Call, Xs: Tensors) -> Any:
    """What a layer or an operation multiplies normalised values by; None for nothing."""
    if not keras_graph.is_operation(call.layer):
        return call.layer.gamma
    return at_inference.bound(*call.filled(Xs)).arguments.get("gamma")


def with_absorbing_constants(planned: Sequence[PlannedCall]) -> list[PlannedCall]:
    """The plan in which constants behind a layer with weights keep their part, as biases do.

    These are position embeddings, which are added, and class tokens, which are joined to others.
    """
    behind: set[int] = set()
    result = []
    for p in planned:
        rule: Rule | None = None
        if behind.intersection(p.call.inputs) and not p.kind.own:
            rule = _absorbed if p.kind.rule is with_constant and key_of(p.call) == "affine" else None
            rule = moved if p.kind.rule is moved_evenly else rule
        if behind.intersection(p.call.inputs) or p.kind.mixes or p.call.looks_up:
            behind.update(p.call.outputs)
        result.append(replace(p, kind=replace(p.kind, rule=rule)) if rule is not None else p)
    return result


@titled("in proportion to x; what is added keeps its part")
def _absorbed(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    (x,), (Y,), run = Xs, Ys, state["call"].run
    part = Y - run([tf.zeros_like(x)])[0]
    return [sum_to_shape(attn_lrp.beside_constant(part, Y, Rs[0]), x)]
