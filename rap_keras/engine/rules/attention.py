"""Attention: its weights count as constant factors, and the values that they sum get the relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.gates import Tensors, Way
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call, Ref, numbered_apart
from rap_keras.engine.rules import functional
from rap_keras.engine.rules.kinds import lookup
from rap_keras.engine.rules.linear_layers import Linear, linear_maps


def attention_rule(call: Call) -> Callable[..., Tensors] | None:
    """The rule of an attention layer, or of a product of two tensors; None for a call of another kind.

    Raises:
        NotAnalyzeableModelException: the layer also outputs its attention weights, or has values that do not
            depend on the model's input.
    """
    rule = lookup(call.layer, _LAYERS)
    if rule is product or keras_graph.operation_name(call.layer) in functional.PRODUCTS:
        return product if len(call.inputs) == 2 else None
    if rule is None:
        return None
    if not isinstance(_value_argument(call), Ref):
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(call.layer).__name__}) has values that do not depend on the model's "
            "input. The input only decides between them, which relevance cannot follow: use 'gradient'"
        )
    if len(call.outputs) > 1:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(call.layer).__name__}) gives its attention scores as a second output, "
            "whose relevance cannot be followed: build the model without return_attention_scores=True"
        )
    return rule


def attention(call: Call, Xs: Tensors, Rs: Tensors, way: Way, bounded: Sequence[bool]) -> Tensors:
    """Attention and AdditiveAttention: y = A v, where A are the attention weights, 0 for a masked query."""
    A, v = _weights(call, Xs), _value(call, Xs)
    mask = call.arguments().get("mask")
    if mask is not None and mask[0] is not None:
        A *= tf.cast(mask[0], A.dtype)[..., None]
    return _to_value(call, Xs, way.linear(lambda v, A: tf.matmul(A, v), v, A, 0.0, Rs[0]))


def multi_head(call: Call, Xs: Tensors, Rs: Tensors, way: Way, bounded: Sequence[bool]) -> Tensors:
    """MultiHeadAttention: y = (A (v W_v)) W_o for each head, back through its three linear maps."""
    layer, x = call.layer, _value(call, Xs)
    A = _weights(call, Xs)
    (of_value,), (of_output,) = linear_maps(layer._value_dense) or [], linear_maps(layer._output_dense) or []
    v, W_v, b_v = _through(of_value, x)

    def heads(v: tf.Tensor, A: tf.Tensor) -> tf.Tensor:
        return tf.einsum(layer._combine_equation, A, v)

    context = heads(v, A)
    _, W_o, b_o = _through(of_output, context)
    R = way.linear(of_output.function, context, W_o, b_o, Rs[0])
    R = way.linear(heads, v, A, 0.0, R)
    return _to_value(call, Xs, way.linear(of_value.function, x, W_v, b_v, R))


def product(call: Call, Xs: Tensors, Rs: Tensors, way: Way, bounded: Sequence[bool]) -> Tensors:
    """Sums of products of two tensors: all relevance goes to the factor that is not a gate, else half to each.

    If one side is known to be bounded and never negative, as behind a softmax, and the other is not, it counts as
    attention weights. A Dot that normalizes multiplies unit vectors, whose relevance is that of the vectors.
    """
    layer = call.layer
    if getattr(layer, "normalize", False):
        axes = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
        Xs = [tf.math.l2_normalize(x, axis=axis) for x, axis in zip(Xs, axes)]
        call = replace(call, layer=keras_graph.twin(layer, normalize=False))
    run = numbered_apart(call).run
    a, b = Xs
    shares = [0.0 if gate else 1.0 for gate in bounded] if bounded[0] != bounded[1] else [0.5, 0.5]
    (R,) = Rs
    through = (
        lambda: way.linear(lambda a, b: run([a, b])[0], a, b, 0.0, shares[0] * R),
        lambda: way.linear(lambda b, a: run([a, b])[0], b, a, 0.0, shares[1] * R),
    )
    return [go() if share else tf.zeros_like(x) for go, share, x in zip(through, shares, Xs)]


def _weights(call: Call, Xs: Tensors) -> tf.Tensor:
    scored = replace(call, kwargs={**call.kwargs, "return_attention_scores": True})
    return scored.run(Xs)[1]


def _value_argument(call: Call) -> Any:
    arguments = call.arguments()
    return arguments["value"] if "value" in arguments else arguments["inputs"][1]


def _place(call: Call) -> int:
    """Which of the inputs is the value."""
    return call.inputs.index(_value_argument(call).number)


def _value(call: Call, Xs: Tensors) -> tf.Tensor:
    return Xs[_place(call)]


def _to_value(call: Call, Xs: Tensors, R: tf.Tensor) -> Tensors:
    place = _place(call)
    return [R if index == place else tf.zeros_like(x) for index, x in enumerate(Xs)]


def _through(linear: Linear, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """The output of a linear map, its weights, and its bias along the output."""
    w = linear.w()
    z = linear.function(x, w)
    return linear.preactivation(x, z), w, linear.bias_along(z)


_LAYERS: dict[type, Callable[..., Tensors]] = {
    keras.layers.Attention: attention,
    keras.layers.AdditiveAttention: attention,
    keras.layers.MultiHeadAttention: multi_head,
    keras.layers.Dot: product,
}
