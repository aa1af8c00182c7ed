"""The rule of layers in which gates scale a signal: recurrent layers, attention, products of two tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.gates import Tensors, Way
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules.attention import attention_rule
from rap_keras.engine.rules.recurrent import recurrent_rule

GatedRule = Callable[[Call, Tensors, Tensors, Way, Sequence[bool]], Tensors]
"""Takes a call, its inputs, the relevances of its outputs, a method's way through linear maps and sums, and which
inputs are known to be bounded; returns the relevances of the inputs, in their order."""


def gated_rule(call: Call) -> GatedRule | None:
    """The rule of a call in which gates scale a signal; None for any other call.

    Raises:
        NotAnalyzeableModelException: the layer is used in a way that relevance cannot follow, or it is made of
            layers and could not be taken apart.
    """
    if call.closed:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(call.layer).__name__}) has no rule, and cannot be taken apart: "
            f"{call.closed}. Write its call with layers and keras.ops alone, or give it a rule with "
            "rap_keras.register_rule(LayerClass, rule)"
        )
    rule = recurrent_rule(call) or attention_rule(call)
    layer = call.layer
    if rule and not keras_graph.is_operation(layer) and keras_graph.in_full_precision(layer) is not layer:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(layer).__name__}) calculates in half precision, where relevance would be "
            "lost: build the model with the data type policy 'float32'"
        )
    return rule
