"""The rule of layers in which gates scale a signal: recurrent layers, attention, products of two tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.gates import Tensors, Way
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.network import Call
from rap_keras.engine.rules.attention import attention_rule
from rap_keras.engine.rules.recurrent import recurrent_rule

GatedRule = Callable[[Call, Tensors, Tensors, Way, Sequence[bool]], Tensors]
"""From a call, its inputs, the relevances of its outputs, a method's way through linear maps and sums, and which
inputs are known to be bounded, to the relevances of the inputs, in their order."""


def gated_rule(call: Call) -> GatedRule | None:
    """The rule of such a layer; None for a call of another kind.

    Raises:
        NotAnalyzeableModelException: the layer is used in a way that relevance cannot follow.
    """
    rule = recurrent_rule(call) or attention_rule(call)
    layer = call.layer
    if rule and not keras_graph.is_operation(layer) and keras_graph.in_full_precision(layer) is not layer:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(layer).__name__}) calculates in half precision, where relevance would be "
            "lost: build the model with the data type policy 'float32'"
        )
    return rule
