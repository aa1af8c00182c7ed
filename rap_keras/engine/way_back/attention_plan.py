"""The option of RAP and LRP that lets attention weights take their share of relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules import shared_attention
from rap_keras.engine.rules.kinds import key_of
from rap_keras.engine.rules.rule import Rule
from rap_keras.engine.way_back.plan import PlannedCall

CHOICES = ("constant", "attnlrp")
"""What attention weights are: constant factors, or tensors that get their share."""


def with_attention(planned: Sequence[PlannedCall], attention: str) -> list[PlannedCall]:
    """The plan with the rules that the option asks for; rules of the user's stay.

    Raises:
        ValueError: "attnlrp" is asked for, and there is no attention; or the axis of its softmax is unknown.
        NotAnalyzeableModelException: a softmax is written out.
    """
    if attention == "constant":
        return list(planned)
    result = []
    weights: set[int] = set()
    is_used = False
    exponentials = {
        number for p in planned if keras_graph.operation_name(p.call.layer) == "exp" for number in p.call.outputs
    }
    for p in planned:
        call, gated = p.call, weights.intersection(p.call.inputs)
        softmax = None if p.kind.own else shared_attention.softmax_of(call)
        rule: Rule | None = softmax
        if softmax is not None or (gated and p.kind.keeps_saturation):
            weights.update(call.outputs)
        elif not p.kind.own:
            rule = _rule(call, bool(gated))
            is_used |= rule is not None and (bool(gated) or rule is not shared_attention.product)
            if key_of(call) == "divided" and call.inputs[0] in exponentials:
                raise NotAnalyzeableModelException(
                    f"operation '{call.name}' is the end of a softmax that is written out, whose relevance "
                    "attention='attnlrp' cannot follow: use keras.ops.softmax or keras.layers.Softmax"
                )
        result.append(replace(p, kind=replace(p.kind, rule=rule)) if rule is not None else p)
    if not is_used:
        raise ValueError(
            "attention='attnlrp': the network has no attention that relevance could go through. Leave the option "
            "out; without attention 'lrp.epsilon' and 'lrp.gamma' are what 'lrp.attn' is with it"
        )
    return result


def _rule(call: Call, gated: bool) -> Rule | None:
    key = key_of(call)
    if key == "product":
        return shared_attention.product
    if key == "multiplied" and gated:
        return shared_attention.multiplied
    return shared_attention.BY_KEY.get(key or "")
