"""Attention: its weights count as constant factors, and the values that they sum get the relevance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tensorflow as tf

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.linear import LinearMap
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading import at_inference
from rap_keras.engine.reading.calls import Call, Ref, numbered_apart
from rap_keras.engine.rules.linear_layers import Linear, by_own_call
from rap_keras.engine.rules.rule import Tensors, titled
from rap_keras.engine.rules.weighted import way


def require_followed(call: Call) -> None:
    """Refuses attention that relevance cannot follow.

    Raises:
        NotAnalyzeableModelException: the layer also outputs its attention weights, or has values that do not
            depend on the model's input.
    """
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


@titled("attention weights are constant factors, {averages}")
def attention(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Attention and AdditiveAttention: y = A v, where A are the attention weights, 0 for a masked query."""
    call: Call = state["call"]
    A, v = shown_weights(call, weights(call, Xs)), _value(call, Xs)
    linear = way(state, product=True, average=True).linear
    return _to_value(call, Xs, linear(lambda v, A: tf.matmul(A, v), v, A, 0.0, Rs[0]))


@titled("attention weights are constant factors, values {averages}, projections {linear}")
def multi_head(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """MultiHeadAttention: y = (A (v W_v)) W_o for each head, back through its three linear maps."""
    call: Call = state["call"]
    linear, layer, x = way(state).linear, call.layer, _value(call, Xs)
    A = weights(call, Xs)
    (of_value,) = by_own_call(layer._value_dense)
    v, W_v, b_v = through(of_value, x)
    heads = heads_of(layer)
    R = to_heads(call, Xs, heads(v, A), Rs[0], linear)
    R = way(state, product=True, average=True).linear(heads, v, A, 0.0, R)
    return _to_value(call, Xs, linear(of_value.function, x, W_v, b_v, R))


def heads_of(layer: Any) -> LinearMap:
    """The map of values and attention weights that a MultiHeadAttention has."""
    return lambda v, A: tf.einsum(layer._combine_equation, A, v)


def to_heads(call: Call, Xs: Tensors, context: tf.Tensor, R: tf.Tensor, linear: Callable) -> tf.Tensor:
    """Relevance of the heads' sums of values, `context`, from that of a MultiHeadAttention's output.

    Where the layer has a gate, it is a constant factor.
    """
    layer = call.layer
    if getattr(layer, "_use_gate", False):
        context *= layer._gate_dense(tensors_of(call, Xs)["query"])
    (of_output,) = by_own_call(layer._output_dense)
    _, W, b = through(of_output, context)
    return linear(of_output.function, context, W, b, R)


@titled("{linear} to the factor that is not a gate, else half to each")
def product(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Sums of products of two tensors: all relevance goes to the factor that is not a gate, else half to each.

    If one side is known to be bounded and never negative, as behind a softmax, and the other is not, it counts as
    attention weights. A Dot that normalizes multiplies unit vectors, whose relevance is that of the vectors.
    """
    call: Call = state["call"]
    gates, layer = state["gates"], call.layer
    linear = way(state, product=True, average=gates[0] != gates[1]).linear
    if getattr(layer, "normalize", False):
        axes = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
        Xs = [tf.math.l2_normalize(x, axis=axis) for x, axis in zip(Xs, axes)]
        call = replace(call, layer=keras_graph.twin(layer, normalize=False))
    run = numbered_apart(call).run
    shares = [0.0 if gate else 1.0 for gate in gates] if gates[0] != gates[1] else [0.5, 0.5]
    return to_factors(lambda a, b: run([a, b])[0], Xs, Rs[0], shares, linear)


def to_factors(
    function: Callable, Xs: Tensors, R: tf.Tensor, shares: Sequence[float], linear: Callable
) -> Tensors:
    """Relevance of two factors from that of their product: each gets its share, the other counts as weights."""
    a, b = Xs
    ways = (
        lambda: linear(function, a, b, 0.0, shares[0] * R),
        lambda: linear(lambda b, a: function(a, b), b, a, 0.0, shares[1] * R),
    )
    return [go() if share else tf.zeros_like(x) for go, share, x in zip(ways, shares, Xs)]


@titled("{linear}")
def product_with_constant(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """A sum of products of one tensor with a constant that depends on shapes: the constant is the weights."""
    call: Call = state["call"]
    first = isinstance(call.args[0], Ref)
    constant = call.args[1 if first else 0]

    def multiplied(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        args = (call.args[0], w) if first else (w, call.args[1])
        return replace(call, args=args).run([x])[0]

    return [way(state).linear(multiplied, Xs[0], constant, 0.0, Rs[0])]


def weights(call: Call, Xs: Tensors) -> tf.Tensor:
    """The attention weights of an attention layer."""
    scored = replace(call, kwargs={**call.kwargs, "return_attention_scores": True})
    return scored.run(Xs)[1]


def shown_weights(call: Call, A: tf.Tensor) -> tf.Tensor:
    """The weights of Attention or AdditiveAttention: 0 for a query that a mask leaves out."""
    mask = call.arguments().get("mask")
    return A if mask is None or mask[0] is None else A * tf.cast(mask[0], A.dtype)[..., None]


def tensors_of(call: Call, Xs: Tensors) -> dict[str, tf.Tensor]:
    """The query, the value and the key of an attention layer, by these names."""
    return _three(dict(at_inference.bound(*call.filled(Xs)).arguments))


def arguments_of(call: Call) -> dict[str, Any]:
    """As `tensors_of`, as they are given: a `Ref` for each that depends on the model's input."""
    return _three(call.arguments())


def to_inputs(call: Call, Xs: Tensors, Rs: dict[str, tf.Tensor]) -> Tensors:
    """Relevances of a call's inputs from those of the query, the value and the key; a constant gets none."""
    given = arguments_of(call)
    found = [tf.zeros_like(x) for x in Xs]
    for name, R in Rs.items():
        if isinstance(given[name], Ref):
            found[call.inputs.index(given[name].number)] += R
    return found


def _three(given: dict[str, Any]) -> dict[str, Any]:
    if "inputs" in given:
        given = dict(zip(("query", "value", "key"), given["inputs"]))
    key = given.get("key")
    return {"query": given["query"], "value": given["value"], "key": given["value"] if key is None else key}


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


def through(linear: Linear, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Any]:
    """The output of a linear map, its weights, and its bias along the output."""
    w = linear.w()
    z = linear.function(x, w)
    return linear.preactivation(x, z), w, linear.bias_along(z)
