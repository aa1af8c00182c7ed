"""What is known of every call of a network before any tensor exists; `composites` gives it its linear rule."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules import batch_norm, refused_operations
from rap_keras.engine.rules.kinds import fused_activation, kind_of, refuse_misplacing, require_followed
from rap_keras.engine.rules.lambdas import by_trial
from rap_keras.engine.rules.layer_records import KEEPS_ALL, Kind
from rap_keras.engine.rules.linear_layers import Linear
from rap_keras.engine.rules.rule import Rule, titled
from rap_keras.engine.rules.unweighted import averaged, moved, moved_evenly, padded, unchanged


@dataclass(frozen=True)
class PlannedCall:
    """One layer call, and what is known of it before any tensor exists.

    Attributes:
        call: the call.
        kind: what is known of its layer; its rule is the one of RAP, or the user's.
        nonnegative: none of its inputs is ever below 0.
        gates: which inputs are bounded and so may be gates.
        last: it has weights, and none follow it.
        bounded: it has weights, and its input has bounds that follow from those of the network's inputs.
    """

    call: Call
    kind: Kind
    nonnegative: bool = False
    gates: tuple[bool, ...] = ()
    last: bool = False
    bounded: bool = False


def plan(
    network: Network,
    bounded_inputs: Collection[int] = (),
    fold_batch_norm: bool = False,
    allow_lambda: bool = False,
    rules: Mapping[str, Rule] | None = None,
) -> list[PlannedCall]:
    """What is known of every call, and its rule, in forward order; at linear maps this is a method's linear rule.

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
    """
    rules = rules or {}
    kinds = [_kind(call, allow_lambda, rules.get(call.name)) for call in network.calls]
    _refuse_unknown(network.calls, kinds)
    planned = [PlannedCall(call, kind) for call, kind in zip(network.calls, kinds) if kind]
    if fold_batch_norm:
        planned = _fold(planned, network)
    return _with_facts(planned, network, bounded_inputs)


def _kind(call: Call, allow_lambda: bool, own: Rule | None) -> Kind | None:
    kind = kind_of(call)
    if own is not None:
        return replace(kind or Kind(own), rule=own, mixes=False, linears=(), own=True)
    if kind is None and allow_lambda and isinstance(call.layer, keras.layers.Lambda):
        return Kind(by_trial, own=True)
    if kind is not None and kind.mixes and not kind.linears:
        require_followed(call)
    return kind


def _refuse_unknown(calls: Sequence[Call], kinds: Sequence[Kind | None]) -> None:
    for call, kind in zip(calls, kinds):
        if kind and not kind.own:
            refuse_misplacing(call)
        if kind and kind.rule in _BY_GRADIENT and any(dtype.is_integer for dtype in call.dtypes):
            raise NotAnalyzeableModelException(
                f"operation '{call.name}' calculates with integers, which relevance cannot follow: build the "
                f"model with {keras_graph.CAST} before that operation"
            )
        if kind and not call.of_samples and (kind.mixes or kind.rule in (moved_evenly, padded)):
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' ({kind_name(call)}) takes a tensor whose first axis is not that of the "
                "samples, so their relevance cannot be told apart: write the code around it so that the samples "
                "come first there, for example with keras.ops.transpose"
            )
    unknown = [call for call, kind in zip(calls, kinds) if kind is None]
    for call in unknown:
        if isinstance(call.layer, keras.layers.Lambda):
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' is a Lambda, and what it calculates is unknown. To pass relevance through "
                "Lambda layers anyway, use rap_keras.create_analyzer with allow_lambda_layers=True"
            )
    if unknown:
        reasons = [refused_operations.reason(keras_graph.operation_name(call.layer) or "") for call in unknown]
        why = [f", which {reason}" if reason else "" for reason in reasons]
        names = ", ".join(f"'{call.name}' ({kind_name(call)}){text}" for call, text in zip(unknown, why))
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


FOLDED = Kind(titled("folded into its neighbour")(partial(unchanged)), **KEEPS_ALL)
"""A BatchNormalization that has become part of a layer beside it."""


def _fold(planned: list[PlannedCall], network: Network) -> list[PlannedCall]:
    """Folds BatchNormalization into a linear layer beside it, where nothing else sees the tensor in between."""
    consumers = network.consumers()
    index_of = {p.call.name: index for index, p in enumerate(planned)}
    producer = {number: index for index, p in enumerate(planned) for number in p.call.outputs}
    result, stay = list(planned), []
    for index, p in enumerate(planned):
        if not isinstance(p.call.layer, keras.layers.BatchNormalization) or p.kind.own:
            continue
        layer, (before,), (after,) = p.call.layer, p.call.inputs, p.call.outputs
        previous = producer.get(before)
        followers = [index_of[call.name] for call in consumers.get(after, [])]
        seen_elsewhere = len(consumers[before]) > 1 or before in network.outputs
        if previous is not None and not seen_elsewhere and _folds_back(layer, result[previous]):
            *others, last = result[previous].kind.linears
            result[previous] = _with_maps(result[previous], *others, batch_norm.into_previous(layer, last))
        elif followers and after not in network.outputs and all(_folds_on(layer, result[i]) for i in followers):
            for i in followers:
                first, *others = result[i].kind.linears
                result[i] = _with_maps(result[i], batch_norm.into_next(layer, first), *others)
        else:
            stay.append(p.call.name)
            continue
        result[index] = replace(p, kind=FOLDED)
    if stay:
        warnings.warn(
            f"batch_norm='fold': {len(stay)} layers stay, as no linear layer beside them can absorb them exactly"
            f": {', '.join(stay)}",
            stacklevel=4,
        )
    return result


def _with_maps(p: PlannedCall, *linears: Linear) -> PlannedCall:
    return replace(p, kind=replace(p.kind, linears=linears))


def _folds_back(layer: keras.layers.Layer, previous: PlannedCall) -> bool:
    if not previous.kind.linears or fused_activation(previous.call) is not None:
        return False
    return batch_norm.is_foldable(layer, previous.kind.linears[-1], previous.kind.linears[-1].output_axes)


def _folds_on(layer: keras.layers.Layer, follower: PlannedCall) -> bool:
    if not follower.kind.linears:
        return False
    return batch_norm.is_foldable(layer, follower.kind.linears[0], follower.kind.linears[0].input_axes)


def _with_facts(
    planned: list[PlannedCall], network: Network, bounded_inputs: Collection[int]
) -> list[PlannedCall]:
    """Adds what is known of values: which inputs are non-negative, which may be gates, and which have bounds."""
    nonnegative: set[int] = set()
    # What is made of masks alone is no call's output here. It counts as a constant factor.
    saturating = {number for p in planned for number in p.call.inputs}.difference(
        network.inputs, *(p.call.outputs for p in planned)
    )
    bounded = set(bounded_inputs)
    last = _last(planned, network)
    result = []
    for p in planned:
        inputs, kind = p.call.inputs, p.kind
        signs, has_bounds = nonnegative.issuperset(inputs), bounded.issuperset(inputs)
        # Attention weights are never negative, while a tanh may be one side of a pair.
        may_be_gates = saturating & nonnegative if kind.mixes and not kind.linears else saturating
        is_last = p.call.name in last
        result.append(
            replace(
                p,
                nonnegative=signs,
                gates=tuple(number in may_be_gates for number in inputs),
                last=is_last,
                # In a network with one weighted layer both hold; the rule of the last one needs no bounds.
                bounded=bool(kind.linears) and has_bounds and not is_last,
            )
        )
        if kind.nonnegative or (signs and kind.keeps_sign):
            nonnegative.update(p.call.outputs)
        if kind.saturates or (kind.keeps_saturation and saturating.issuperset(inputs)):
            saturating.update(p.call.outputs)
        if has_bounds and kind.keeps_order:
            bounded.update(p.call.outputs)
        elif has_bounds and kind.own:
            _warn_of_lost_bounds(p.call)
    return result


def _warn_of_lost_bounds(call: Call) -> None:
    warnings.warn(
        f"layer '{call.name}' has a rule of yours or is a Lambda, so what it does to values is unknown. The "
        "bounds of the input end there, and the layers behind it use the rule of inner layers instead of z^B "
        "(Eq. 10). With input_rule=None they always do",
        stacklevel=5,
    )


def _last(planned: list[PlannedCall], network: Network) -> set[str]:
    """Names of the calls with weights that have a path to the output without other weights or gates."""
    reached, found = set(network.outputs), set()
    for p in reversed(planned):
        if reached.isdisjoint(p.call.outputs):
            continue
        if not p.kind.mixes:
            reached.update(p.call.inputs)
        elif p.kind.linears:
            found.add(p.call.name)
    return found
