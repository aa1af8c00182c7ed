"""What RAP does at every layer call of a network, settled before any tensor exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from innvestigate import NotAnalyzeableModelException
from tensorflow import keras

from rap_keras.network import Call, Network
from rap_keras.rules.batch_norm import foldable, folded
from rap_keras.rules.linear_layers import Linear, linear_maps
from rap_keras.rules.table import KINDS, lookup, makes_nonnegative, nonnegative_activation
from rap_keras.rules.unweighted import Rule, moved, unchanged
from rap_keras.rules.weighted import Position


@dataclass(frozen=True)
class PlannedCall:
    """One layer call with its rule.

    A weighted layer has `linears`, its linear maps, with the `position` that decides on its equation and
    whether its input is `nonnegative`; every other layer has a `rule`. `folded` marks a BatchNormalization
    that has become part of the layer before it. `bounded` tells that bounds of the input image give bounds of
    the call's outputs.
    """

    call: Call
    linears: Sequence[Linear] = ()
    position: Position = Position.INNER
    nonnegative: bool = False
    rule: Rule | None = None
    folded: bool = False
    bounded: bool = False

    @property
    def activation(self) -> Any:
        """The activation fused into a weighted layer; None for the identity."""
        activation = getattr(self.call.layer, "activation", None) if self.linears else None
        return None if activation is keras.activations.linear else activation


def plan(
    network: Network,
    bounded_input: bool = True,
    fold_batch_norm: bool = False,
    allow_lambda: bool = False,
) -> list[PlannedCall]:
    """The rule of every call, in forward order.

    Args:
        network: the calls.
        bounded_input: layers that see the image go by z^B; else they are inner ones.
        fold_batch_norm: BatchNormalization becomes part of the linear layer before it where that is exact.
        allow_lambda: Lambda layers are passed as activations if they keep the shape, else moved.

    Raises:
        NotAnalyzeableModelException: there is no rule for a layer; all such layers are named.
    """
    planned = [_with_rule(call, allow_lambda) for call in network.calls]
    _refuse_unknown(planned)
    if fold_batch_norm:
        planned = _fold(planned, network)
    planned = _with_signs(planned)
    planned = _with_bounds(planned, network)
    return _with_positions(planned, network, bounded_input)


def _with_rule(call: Call, allow_lambda: bool) -> PlannedCall:
    linears = linear_maps(call.layer)
    if linears:
        return PlannedCall(call, linears=linears)
    kind = lookup(call.layer, KINDS)
    if kind:
        return PlannedCall(call, rule=kind.rule)
    if allow_lambda and isinstance(call.layer, keras.layers.Lambda):
        keeps_shape = call.layer.input_shape == call.layer.output_shape
        return PlannedCall(call, rule=unchanged if keeps_shape else moved)
    return PlannedCall(call)


def _refuse_unknown(planned: list[PlannedCall]) -> None:
    unknown = [p.call for p in planned if not p.linears and p.rule is None]
    for call in unknown:
        if isinstance(call.layer, keras.layers.Lambda):
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' is a Lambda, and nothing is known of what it calculates. To pass relevance "
                "through Lambda layers all the same, create the analyzer with allow_lambda_layers=True"
            )
    if unknown:
        names = ", ".join(f"'{call.name}' ({type(call.layer).__name__})" for call in unknown)
        raise NotAnalyzeableModelException(
            f"RAP has no rule for {'this layer' if len(unknown) == 1 else 'these layers'}: {names}."
        )


def _fold(planned: list[PlannedCall], network: Network) -> list[PlannedCall]:
    """BatchNormalization into the linear layer before it, where nothing else sees that layer's output."""
    consumers = network.consumers()
    producer = {number: index for index, p in enumerate(planned) for number in p.call.outputs}
    uses = [id(p.call.layer) for p in planned]
    result = list(planned)
    for index, p in enumerate(planned):
        before = producer.get(p.call.inputs[0]) if p.call.inputs else None
        if before is None or not foldable(p.call.layer, result[before].linears):
            continue
        alone = len(consumers[p.call.inputs[0]]) == 1 and p.call.inputs[0] not in network.outputs
        single_use = uses.count(id(planned[before].call.layer)) == 1
        if alone and single_use and result[before].activation is None:
            linears = result[before].linears
            result[before] = replace(result[before], linears=[*linears[:-1], folded(p.call.layer, linears[-1])])
            result[index] = replace(p, folded=True)
    return result


def _with_signs(planned: list[PlannedCall]) -> list[PlannedCall]:
    """Marks the calls whose every input is known to be non-negative."""
    known: set[int] = set()
    result = []
    for p in planned:
        inputs = all(number in known for number in p.call.inputs)
        if p.linears:
            outputs = bool(nonnegative_activation(p.activation))
        else:
            kind = lookup(p.call.layer, KINDS)
            outputs = makes_nonnegative(p.call.layer) or bool(kind and kind.keeps_sign and inputs)
        if outputs:
            known.update(p.call.outputs)
        result.append(replace(p, nonnegative=inputs))
    return result


def _with_bounds(planned: list[PlannedCall], network: Network) -> list[PlannedCall]:
    """Marks the calls through which the bounds of the input image can be followed."""
    known = set(network.inputs)
    result = []
    for p in planned:
        kind = lookup(p.call.layer, KINDS)
        bounded = (
            not p.linears
            and kind is not None
            and kind.keeps_order
            and all(number in known for number in p.call.inputs)
        )
        if bounded:
            known.update(p.call.outputs)
        result.append(replace(p, bounded=bounded))
    return result


def _with_positions(planned: list[PlannedCall], network: Network, bounded_input: bool) -> list[PlannedCall]:
    """Position.OUTPUT with no weighted layer behind, else Position.INPUT where the image itself is seen.

    A network of one weighted layer has both; the output's rule it is then, which needs no bounds.
    """
    before_output = set(network.outputs)
    positions: list[Position] = []
    for p in reversed(planned):
        first = any(number in before_output for number in p.call.outputs)
        positions.append(Position.OUTPUT if first and p.linears else Position.INNER)
        if first and not p.linears:
            before_output.update(p.call.inputs)
    image = set(network.inputs).union(*(p.call.outputs for p in planned if p.bounded))
    result = []
    for p, position in zip(planned, reversed(positions)):
        sees_image = bool(p.linears) and p.call.inputs[0] in image
        if sees_image and bounded_input and position is Position.INNER:
            position = Position.INPUT
        result.append(replace(p, position=position))
    return result
