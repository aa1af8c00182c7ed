"""Attention whose weights get their share of relevance, by the rules of AttnLRP: an option of RAP and LRP.

Each factor of a product gets half; the half of the attention weights goes on through their softmax to the query
and the key. Source: Achtibat et al., ICML 2024, arXiv 2402.05602.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.gates import Way
from rap_keras.engine.equations.numerics import sum_to_shape
from rap_keras.engine.reading.calls import Call, Ref
from rap_keras.engine.rules import attention as constant
from rap_keras.engine.rules import trials
from rap_keras.engine.rules.kinds import key_of
from rap_keras.engine.rules.linear_layers import by_own_call
from rap_keras.engine.rules.rule import Tensors, titled
from rap_keras.engine.rules.weighted import Step, way, weighted

_HALVES = "half through the attention weights (AttnLRP), {linear}"


@titled(_HALVES)
def attention(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Attention and AdditiveAttention: y = A v, A = softmax(scores of q and k)."""
    call: Call = state["call"]
    given, A = constant.tensors_of(call, Xs), constant.weights(call, Xs)
    shown, multiply = constant.shown_weights(call, A), way(state, product=True)
    shares = _of_weights_and_values(call)
    R_A, R_v = constant.to_factors(tf.matmul, [shown, given["value"]], Rs[0], shares, multiply.linear)
    q, k = given["query"], given["key"]
    scores = call.layer._calculate_scores(q, k)
    R_scores = state["softmax"](scores, A, R_A, -1)
    if getattr(call.layer, "score_mode", "dot") == "dot" and not isinstance(
        call.layer, keras.layers.AdditiveAttention
    ):
        R_q, R_k = constant.to_factors(
            call.layer._calculate_scores, [q, k], R_scores, _of_query_and_key(call), multiply.linear
        )
    else:
        R_q, R_k = _through_sums(call.layer, q, k, R_scores, way(state))
    return constant.to_inputs(call, Xs, {"value": R_v, "query": R_q, "key": R_k})


@titled(_HALVES)
def multi_head(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """MultiHeadAttention: y = (A (v W_v)) W_o, A = softmax((q W_q) (k W_k) / sqrt(width)), for each head."""
    call: Call = state["call"]
    linear, multiply, layer = way(state).linear, way(state, product=True).linear, call.layer
    given, A = constant.tensors_of(call, Xs), constant.weights(call, Xs)
    dense = {"query": layer._query_dense, "key": layer._key_dense, "value": layer._value_dense}
    maps = {name: by_own_call(part)[0] for name, part in dense.items()}
    projected = {name: constant.through(of, given[name]) for name, of in maps.items()}
    q, k, v = (projected[name][0] for name in ("query", "key", "value"))

    def score(q: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
        return tf.einsum(layer._dot_product_equation, k, q / np.sqrt(layer._key_dim))

    combine = constant.heads_of(layer)
    R = constant.to_heads(call, Xs, combine(v, A), Rs[0], linear)
    shares = _of_weights_and_values(call)
    R_A, R_v = constant.to_factors(lambda A, v: combine(v, A), [A, v], R, shares, multiply)
    axes = tuple(range(-len(layer._attention_axes), 0))
    R_scores = state["softmax"](score(q, k), A, R_A, axes)
    R_q, R_k = constant.to_factors(score, [q, k], R_scores, _of_query_and_key(call), multiply)
    found = {"query": R_q, "key": R_k, "value": R_v}
    for name, R in found.items():
        _, W, b = projected[name]
        found[name] = linear(maps[name].function, given[name], W, b, R)
    return constant.to_inputs(call, Xs, found)


@titled("half to each factor, {linear}")
def product(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Sums of products of two tensors, one of which may be attention weights: half to each."""
    return constant.product(Xs, Ys, Rs, {**state, "gates": (False, False)})


@titled("half to each factor")
def multiplied(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """A product, element by element, of attention weights and values: half to each."""
    return [sum_to_shape(Rs[0] / len(Xs), x) for x in Xs]


@dataclass(frozen=True)
class OfSoftmax:
    """The rule of a softmax over `axis`, the last step of a layer with weights if it is `fused`."""

    axis: int | Sequence[int]
    fused: bool
    title: str = "softmax (AttnLRP)"

    def __call__(self, Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
        """Relevance of the input, as a rule of a layer."""
        if not self.fused:
            return [state["softmax"](Xs[0], Ys[0], Rs[0], self.axis), *(tf.zeros_like(x) for x in Xs[1:])]
        last: Step = state["steps"][-1]
        z = last.function(last.x, last.w) + last.b
        return weighted(Xs, Ys, [state["softmax"](z, Ys[0], Rs[0], self.axis)], state)


def softmax_of(call: Call) -> OfSoftmax | None:
    """The rule of the softmax that a call is or ends in; None for a call without one.

    Raises:
        ValueError: its activation is a softmax of the user's, whose axis is unknown.
    """
    layer, activation = call.layer, getattr(call.layer, "activation", None)
    if key_of(call) == "shares":
        given = call.args[1] if len(call.args) > 1 else call.kwargs.get("axis")
        axis = getattr(layer, "axis", given if isinstance(given, int) else -1)
        return OfSoftmax(axis if isinstance(axis, int) else tuple(axis), fused=False)
    if not callable(activation) or isinstance(activation, keras.layers.Layer):
        return None
    fused = not isinstance(layer, keras.layers.Activation)
    if activation in (keras.activations.softmax, tf.nn.softmax):
        return OfSoftmax(-1, fused)
    trial = trials.tried(activation, keras_graph.sample_shape(layer))
    if trial.places == trials.SYMMETRIC and trial.facts.saturates:
        raise ValueError(
            f"attention='attnlrp': the activation of layer '{call.name}' is a softmax of your own, whose axis is "
            "unknown: build the model with keras.layers.Softmax(axis=...)"
        )
    return None


def _through_sums(layer: Any, q: tf.Tensor, k: tf.Tensor, R: tf.Tensor, way: Way) -> Tensors:
    """Relevances of query and key from that of scores that are sums of tanh(q + k), with weights or without."""
    additive = isinstance(layer, keras.layers.AdditiveAttention)
    inner = 1.0 if additive or layer.scale is None else tf.convert_to_tensor(layer.scale)
    q_part, k_part = inner * q[:, :, None], inner * k[:, None]
    both = tf.tanh(q_part + k_part)
    if additive:
        w = tf.convert_to_tensor(layer.scale) if layer.use_scale else tf.ones_like(q[0, 0])
    else:
        w = tf.convert_to_tensor(layer.concat_score_weight) * tf.ones_like(q[0, 0])
    R_both = way.linear(lambda x, w: tf.reduce_sum(x * w, -1), both, w, 0.0, R)
    shape = tf.shape(both)
    R_q, R_k = way.shares([tf.broadcast_to(q_part, shape), tf.broadcast_to(k_part, shape)], R_both)
    return [tf.reduce_sum(R_q, 2), tf.reduce_sum(R_k, 1)]


def _of_weights_and_values(call: Call) -> tuple[float, float]:
    """The shares of attention weights and values: the weights get none if query and key are constants."""
    return (0.5, 0.5) if any(_depend(call)) else (0.0, 1.0)


def _of_query_and_key(call: Call) -> tuple[float, float]:
    """Their shares: all to one if the other is a constant."""
    of_query, of_key = _depend(call)
    return (0.5, 0.5) if of_query and of_key else (float(of_query), float(of_key))


def _depend(call: Call) -> tuple[bool, bool]:
    """Whether query and key depend on the model's input."""
    given = constant.arguments_of(call)
    return isinstance(given["query"], Ref), isinstance(given["key"], Ref)


BY_KEY: dict[str, Callable] = {"attention": attention, "multi-head attention": multi_head}
"""The rules of layers by the keys of their records."""
