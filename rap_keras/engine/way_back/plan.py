"""What RAP does at every layer call of a network, decided before any tensor exists."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.registered_rules import is_registered
from rap_keras.engine.rules import batch_norm
from rap_keras.engine.rules.gated import GatedRule, gated_rule
from rap_keras.engine.rules.kinds import Kind, activation_kind, activation_of, kind_of, refuse_misplacing
from rap_keras.engine.rules.lambdas import by_trial
from rap_keras.engine.rules.linear_layers import Linear, dot_map, linear_maps
from rap_keras.engine.rules.unweighted import Rule, averaged, moved, moved_evenly, padded
from rap_keras.engine.rules.weighted import Position


@dataclass(frozen=True)
class PlannedCall:
    """One layer call with its rule.

    A weighted layer has `linears`, its linear maps; a `position`, which decides its equation; and `nonnegative`,
    which tells whether its input is never below 0. A layer in which gates scale a signal has a `gated` rule. Every
    other layer has a `rule`, and a `kind` if its effect on values is known. `own` marks a user's rule. `gates`
    tells which inputs are bounded and so may be gates. `folded` marks a BatchNormalization that has become part of
    a layer beside it. `bounded` marks a call whose outputs have bounds that follow from those of the input image.
    """

    call: Call
    linears: Sequence[Linear] = ()
    position: Position = Position.INNER
    nonnegative: bool = False
    rule: Rule | None = None
    kind: Kind | None = None
    gated: GatedRule | None = None
    own: bool = False
    gates: tuple[bool, ...] = ()
    folded: bool = False
    bounded: bool = False

    @property
    def mixes(self) -> bool:
        """Whether outputs are sums over several values, with weights of the layer or by a gated rule."""
        return bool(self.linears) or self.gated is not None

    @property
    def activation(self) -> Any:
        """The activation fused into a weighted layer; None for the identity."""
        activation = getattr(self.call.layer, "activation", None) if self.linears else None
        return None if activation is keras.activations.linear else activation


def plan(
    network: Network,
    bounded_inputs: Collection[int] = (),
    fold_batch_norm: bool = False,
    allow_lambda: bool = False,
    rules: Mapping[str, Rule] | None = None,
) -> list[PlannedCall]:
    """The rule of every call, in forward order.

    Args:
        network: the calls.
        bounded_inputs: numbers of the inputs that have bounds. Layers that see them use z^B, all others are inner
            layers. A warning names a layer whose rule is the user's if bounds end there.
        fold_batch_norm: make BatchNormalization part of the linear layer before or behind it where that is exact;
            a warning names the layers that stay.
        allow_lambda: let relevance pass Lambda layers by a rule that fits numbers that are tried.
        rules: rules for single layers by the names of their calls, instead of those of their kind.

    Raises:
        NotAnalyzeableModelException: a layer has no rule (the message names all such layers), or calculates with
            integers.
        KeyError: `rules` names a layer that is not in the network.
        TypeError: one of `rules` is not a function.
    """
    rules = rules or {}
    unknown = set(rules) - {call.name for call in network.calls}
    if unknown:
        names = ", ".join(call.name for call in network.calls)
        raise KeyError(f"rules for {', '.join(sorted(unknown))}: no such layer; the layers are {names}")
    for name, rule in rules.items():
        if not callable(rule):
            raise TypeError(f"the rule of layer '{name}' is {rule!r}: give a function of (Xs, Ys, Rs, state)")
    planned = [_with_rule(call, allow_lambda, rules.get(call.name)) for call in network.calls]
    _refuse_unknown(planned)
    if fold_batch_norm:
        planned = _fold(planned, network)
    return _with_positions(_with_facts(planned, network, bounded_inputs), network, bounded_inputs)


def _with_rule(call: Call, allow_lambda: bool, own: Rule | None) -> PlannedCall:
    kind = kind_of(call)
    if own is not None:
        return PlannedCall(call, rule=own, kind=kind, own=True)
    registered = is_registered(call.layer)
    linears = None if registered else linear_maps(call.layer) or dot_map(call)
    if linears:
        return PlannedCall(call, linears=linears)
    gated = None if registered or call.closed else gated_rule(call)
    if gated:
        return PlannedCall(call, gated=gated)
    if kind:
        return PlannedCall(call, rule=kind.rule, kind=kind, own=registered)
    if allow_lambda and isinstance(call.layer, keras.layers.Lambda):
        return PlannedCall(call, rule=by_trial, own=True)
    return PlannedCall(call)


def _refuse_unknown(planned: list[PlannedCall]) -> None:
    for p in planned:
        if not p.own and (p.mixes or p.rule is not None):
            refuse_misplacing(p.call)
        if p.rule in _BY_GRADIENT and any(dtype.is_integer for dtype in p.call.dtypes):
            raise NotAnalyzeableModelException(
                f"operation '{p.call.name}' calculates with integers, which relevance cannot follow: build the "
                f"model with {keras_graph.CAST} before that operation"
            )
    unknown = [p.call for p in planned if not p.mixes and p.rule is None]
    for call in unknown:
        if isinstance(call.layer, keras.layers.Lambda):
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' is a Lambda, and what it calculates is unknown. To pass relevance through "
                "Lambda layers anyway, use rap_keras.create_analyzer with allow_lambda_layers=True"
            )
    if unknown:
        names = ", ".join(f"'{call.name}' ({kind_name(call)})" for call in unknown)
        closed = "; ".join(dict.fromkeys(call.closed for call in unknown if call.closed))
        of_code = "Write its call with layers and keras.ops alone, or give"
        advice = f"It cannot be taken apart: {closed}. {of_code}" if closed else "Give"
        raise NotAnalyzeableModelException(
            f"there is no rule for {_plural(unknown)}: {names}. {advice} a rule for all layers of a kind with "
            "rap_keras.register_rule(LayerClass, rule), which a module given by --custom-objects may call, or for "
            "one layer with the analyzer's option rules={'layer name': rule}"
        )


# These rules follow the layer's gradient, which integers do not have.
_BY_GRADIENT = (moved, moved_evenly, padded, averaged)


def _plural(calls: list[Call]) -> str:
    return "this layer" if len(calls) == 1 else "these layers"


def kind_name(call: Call) -> str:
    """The kind of a call's layer, with the operation that it is."""
    operation = keras_graph.operation_text(call.layer)
    return f"{type(call.layer).__name__}{f' {operation}' if operation else ''}"


def _fold(planned: list[PlannedCall], network: Network) -> list[PlannedCall]:
    """Folds BatchNormalization into a linear layer beside it, where nothing else sees the tensor in between."""
    consumers = network.consumers()
    index_of = {p.call.name: index for index, p in enumerate(planned)}
    producer = {number: index for index, p in enumerate(planned) for number in p.call.outputs}
    result = list(planned)
    stay = []
    for index, p in enumerate(planned):
        if not isinstance(p.call.layer, keras.layers.BatchNormalization) or p.own:
            continue
        layer, (before,), (after,) = p.call.layer, p.call.inputs, p.call.outputs
        previous = producer.get(before)
        followers = [index_of[call.name] for call in consumers.get(after, [])]
        seen_elsewhere = len(consumers[before]) > 1 or before in network.outputs
        if previous is not None and not seen_elsewhere and _folds_back(layer, result[previous]):
            *others, last = result[previous].linears
            linears = [*others, batch_norm.into_previous(layer, last)]
            result[previous] = replace(result[previous], linears=linears)
        elif followers and after not in network.outputs and all(_folds_on(layer, result[i]) for i in followers):
            for i in followers:
                first, *others = result[i].linears
                result[i] = replace(result[i], linears=[batch_norm.into_next(layer, first), *others])
        else:
            stay.append(p.call.name)
            continue
        result[index] = replace(p, folded=True)
    if stay:
        warnings.warn(
            f"batch_norm='fold': {len(stay)} layers stay, as no linear layer beside them can absorb them exactly"
            f": {', '.join(stay)}",
            stacklevel=4,
        )
    return result


def _folds_back(layer: keras.layers.Layer, previous: PlannedCall) -> bool:
    if not previous.linears or previous.activation is not None:
        return False
    return batch_norm.is_foldable(layer, previous.linears[-1], previous.linears[-1].output_axes)


def _folds_on(layer: keras.layers.Layer, follower: PlannedCall) -> bool:
    if not follower.linears:
        return False
    return batch_norm.is_foldable(layer, follower.linears[0], follower.linears[0].input_axes)


def _with_facts(
    planned: list[PlannedCall], network: Network, bounded_inputs: Collection[int]
) -> list[PlannedCall]:
    """Adds what is known of values: non-negative and bounded inputs, and where bounds can be followed."""
    nonnegative: set[int] = set()
    # What is made of masks alone is no call's output here. It counts as a constant factor.
    saturating = {number for p in planned for number in p.call.inputs}.difference(
        network.inputs, *(p.call.outputs for p in planned)
    )
    bounded = set(bounded_inputs)
    result = []
    for p in planned:
        kind = activation_of(p.call) or activation_kind(None) if p.linears else p.kind
        identity = p.folded or (not p.linears and kind is not None)
        signs = all(number in nonnegative for number in p.call.inputs)
        saturated = [number in saturating for number in p.call.inputs]
        gates = saturated
        if p.gated:  # attention weights are never negative, while a tanh may be one side of a pair
            gates = [number in saturating & nonnegative for number in p.call.inputs]
        follows = not p.linears and kind is not None and (kind.keeps_order or p.folded)
        has_bounds = all(number in bounded for number in p.call.inputs)
        if p.own and has_bounds and not follows:
            _warn_of_lost_bounds(p.call)
        follows = follows and has_bounds
        result.append(replace(p, nonnegative=signs, gates=tuple(gates), bounded=follows))
        if kind is not None:
            if kind.nonnegative or (identity and signs and (kind.keeps_sign or p.folded)):
                nonnegative.update(p.call.outputs)
            if kind.saturates or (identity and all(saturated) and kind.keeps_saturation):
                saturating.update(p.call.outputs)
        if follows:
            bounded.update(p.call.outputs)
    return result


def _warn_of_lost_bounds(call: Call) -> None:
    warnings.warn(
        f"layer '{call.name}' has a rule of yours or is a Lambda, so what it does to values is unknown. The "
        "bounds of the input end there, and the layers behind it use the rule of inner layers instead of z^B "
        "(Eq. 10). With input_rule=None they always do",
        stacklevel=5,
    )


def _with_positions(
    planned: list[PlannedCall], network: Network, bounded_inputs: Collection[int]
) -> list[PlannedCall]:
    """Sets Position.OUTPUT where no weighted layer follows, else Position.INPUT where a layer sees the image.

    In a network with one weighted layer both hold; it gets OUTPUT, whose rule needs no bounds.
    """
    before_output = set(network.outputs)
    positions: list[Position] = []
    for p in reversed(planned):
        first = any(number in before_output for number in p.call.outputs)
        positions.append(Position.OUTPUT if first and p.linears else Position.INNER)
        if first and not p.mixes:
            before_output.update(p.call.inputs)
    image = set(bounded_inputs).union(*(p.call.outputs for p in planned if p.bounded))
    result = []
    for p, position in zip(planned, reversed(positions)):
        sees_image = bool(p.linears) and p.call.inputs[0] in image
        if sees_image and position is Position.INNER:
            position = Position.INPUT
        result.append(replace(p, position=position))
    return result
