"""The linear maps of a network that have patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.kinds import activation_kind, activation_of, has_gates, linear_maps
from rap_keras.engine.rules.linear_layers import Linear


@dataclass(frozen=True)
class Map:
    """One linear map of one layer, with a name of its own.

    `into_relu` turns the layer's preactivation into the input of the ReLU after the layer: it keeps it, or applies
    the BatchNormalization in between. None if anything else follows.
    """

    name: str
    linear: Linear
    into_relu: Callable[[tf.Tensor], tf.Tensor] | None


def maps_by_layer(network: Network) -> dict[int, list[Map]]:
    """The linear maps of each weighted layer in forward order, by the layer's id, once for all its uses.

    Raises:
        NotAnalyzeableModelException: a weighted layer is neither Dense nor a convolution.
    """
    found: dict[int, list[Map]] = {}
    for call in network.calls:
        linears, gated = linear_maps(call.layer) or [], has_gates(call)
        if not (linears or gated) or id(call.layer) in found:
            continue
        if gated or not all(linear.output_axes for linear in linears) or "Transpose" in type(call.layer).__name__:
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' ({type(call.layer).__name__}) has no patterns: they are defined for Dense "
                "layers and convolutions. Use a method that needs none, such as rap, gradient or an lrp method"
            )
        last = len(linears) - 1
        found[id(call.layer)] = [
            Map(f"{call.name}:{index}", linear, _into_relu(call, network) if index == last else None)
            for index, linear in enumerate(linears)
        ]
    return found


def _into_relu(call: Call, network: Network) -> Callable[[tf.Tensor], tf.Tensor] | None:
    if _is_relu(getattr(call.layer, "activation", None)):
        return lambda z: z
    if getattr(call.layer, "activation", keras.activations.linear) is not keras.activations.linear:
        return None
    consumers = network.consumers()
    followers = consumers.get(call.outputs[0], [])
    if len(followers) == 1 and isinstance(followers[0].layer, keras.layers.BatchNormalization):
        (normalization,) = followers
        if _all_relu(consumers.get(normalization.outputs[0], [])):
            return lambda z: normalization.run([z])[0]
    return (lambda z: z) if _all_relu(followers) else None


def _all_relu(calls: list[Call]) -> bool:
    return bool(calls) and all(map(_is_relu_call, calls))


def _is_relu(activation: object) -> bool:
    return activation_kind(activation).is_relu or getattr(activation, "__name__", "") == "relu6"


def _is_relu_call(call: Call) -> bool:
    if isinstance(call.layer, keras.layers.ReLU):
        return not call.layer.negative_slope
    if hasattr(call.layer, "activation"):  # a layer with weights only ends in it
        return isinstance(call.layer, keras.layers.Activation) and _is_relu(call.layer.activation)
    kind = activation_of(call)
    return kind is not None and (kind.is_relu or keras_graph.operation_name(call.layer) == "relu6")
