"""Which layer has which rule: composites of rules, as for RAP itself, LRP and the user's own rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Union

from tensorflow import keras

from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.kinds import kind_of
from rap_keras.engine.rules.layer_records import Kind
from rap_keras.engine.rules.weighted import LinearRule, linear_rule
from rap_keras.engine.way_back.plan import PlannedCall

Condition = Union[type, str, Callable[[Any], bool]]
AnyRule = Union[LinearRule, Callable]
"""A linear rule, or a function: see `linear_rule` and `rap_keras.register_rule`."""
Composite = Sequence[tuple[Condition, AnyRule]]
"""Rules for different layers: the first pair whose condition holds counts.

A condition is a layer class, the name of a layer, "first" for layers that see only the input, "last" for those
with weights that give the output, "bounded" for those that see an input with bounds, "any", or a function of the
layer.
"""
UserRules = Union[Mapping[str, Any], AnyRule, Composite, None]
"""What a user may give: rules by names of layers, one rule for all layers, or a composite."""

_PLACES = ("first", "last", "bounded", "any")
_OF_MAP, _OF_LAYER = 6, 4  # arguments: (linear, x, w, b, R, nonnegative), and (Xs, Ys, Rs, state)


def linear_rules(composite: Composite, network: Network, planned: list[PlannedCall]) -> dict[str, LinearRule]:
    """The linear rule of every call with weights or gates, and of BatchNormalization, by the call's name.

    Raises:
        ValueError: no condition holds for a call, or a condition is invalid or names a layer without linear maps.
    """
    wanted = [p for p in planned if _takes_linear_rule(p.call, p.kind)]
    for condition, _ in composite:
        if isinstance(condition, str) and condition not in (*_PLACES, *(p.call.name for p in wanted)):
            raise ValueError(
                f"there is a rule of linear maps for {condition!r}, and this layer has none: give a rule of "
                "(Xs, Ys, Rs, state)"
            )
    first = _first(network)
    found: dict[str, LinearRule] = {}
    for p in wanted:
        for condition, rule in composite:
            if _holds(condition, p.call, _places_of(p, first)):
                found.setdefault(p.call.name, linear_rule(rule))
        if p.call.name not in found:
            raise ValueError(
                f"the composite has no rule for layer '{p.call.name}' ({type(p.call.layer).__name__}): end it "
                'with ("any", rule)'
            )
    return found


def split(rules: UserRules, network: Network) -> tuple[dict[str, Callable], Composite]:
    """A user's rules: those of whole layers by names of calls, and the linear ones as a composite.

    Args:
        rules: by names of layers, as pairs of a condition and a rule, or one rule for all layers.
        network: the calls.

    Raises:
        KeyError: a name in a dict is not one of the network's layers.
        TypeError: a rule is not a function, or `rules` is neither a dict nor a list of pairs.
        ValueError: a condition is invalid or holds for no layer.
    """
    given = pairs(rules)
    for pair in given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"{pair!r} is no rule for a layer: give a dict of names and functions, or a list of pairs of a "
                'condition and a function, as in [("first", flat), ("any", z)]'
            )
        condition, rule = pair
        if not callable(rule) and not isinstance(rule, LinearRule):
            raise TypeError(
                f"the rule of layer '{condition}' is {rule!r}: give a function of (Xs, Ys, Rs, state), or one of "
                "(linear, x, w, b, R, nonnegative) such as rap_keras.hosts.native.lrp_methods.z"
            )
    names = [call.name for call in network.calls]
    unknown = sorted({one for one, _ in given if isinstance(one, str)}.difference(names, _PLACES))
    if unknown and isinstance(rules, Mapping):
        raise KeyError(f"rules for {', '.join(unknown)}: no such layer; the layers are {', '.join(names)}")
    if unknown:
        raise ValueError(
            f"there is a rule for {unknown[0]!r}, but no layer has this name: give one of "
            f"{', '.join((*_PLACES, *names))}"
        )
    whole = [(condition, rule) for condition, rule in given if not is_of_map(rule)]
    for condition, _ in whole:
        if condition in ("last", "bounded"):
            raise ValueError(
                f"a rule of (Xs, Ys, Rs, state) cannot be for {condition!r}: name the layer or give its class"
            )
    first, found, used = _first(network), {}, set()
    for call in network.calls if whole else ():
        places = {"first": call.name in first, "last": False, "bounded": False, "any": True}
        for condition, rule in given:
            if not _holds(condition, call, places):
                continue
            if not is_of_map(rule):
                found[call.name] = rule
                used.add(rule)
            elif not _takes_linear_rule(call, kind_of(call)):
                continue
            break
    for condition, rule in whole:
        if rule not in used:
            raise ValueError(f"the rule for {condition!r} is not used: no layer of the network is left for it")
    return found, [(condition, rule) for condition, rule in given if is_of_map(rule)]


def closed_by(rules: UserRules) -> list[str | type]:
    """The names and classes of layers with rules of whole layers: these stay as they are, see `flatten`."""
    valid = [pair for pair in pairs(rules) if isinstance(pair, (list, tuple)) and len(pair) == 2]
    return [one for one, rule in valid if isinstance(one, (str, type)) and not is_of_map(rule)]


def within(rules: UserRules, network: Network, planned: list[PlannedCall], names: Collection[str]) -> list[str]:
    """The conditions of a user's rules that hold for no other calls than those of these names."""
    first, found = _first(network), []
    for condition, rule in pairs(rules):
        held = {
            p.call.name
            for p in planned
            if _holds(condition, p.call, _places_of(p, first))
            and (not is_of_map(rule) or _takes_linear_rule(p.call, p.kind))
        }
        if held and held.issubset(names):
            found.append(getattr(condition, "__name__", str(condition)))
    return sorted(found)


def pairs(rules: UserRules) -> list[Any]:
    """A user's rules as pairs of a condition and a rule; `split` checks the pairs.

    Raises:
        TypeError: they are neither a dict, nor a list or tuple, nor a rule.
    """
    if isinstance(rules, LinearRule) or callable(rules):
        return [("any", rules)]
    if not isinstance(rules, (Mapping, list, tuple, type(None))):
        raise TypeError(
            f"the rules are {rules!r}: give a dict of names and functions, or a list of pairs of a condition and "
            'a function, as in [("first", flat), ("any", z)]'
        )
    return list(rules.items() if isinstance(rules, Mapping) else rules or ())


def _places_of(p: PlannedCall, first: Collection[str]) -> dict[str, bool]:
    return {"first": p.call.name in first, "last": p.last, "bounded": p.bounded, "any": True}


def _takes_linear_rule(call: Call, kind: Kind | None) -> bool:
    return (kind is not None and kind.mixes) or isinstance(call.layer, keras.layers.BatchNormalization)


def is_of_map(rule: Any) -> bool:
    """Whether a rule is for linear maps, and not for whole layers: it takes six arguments, and not four."""
    return isinstance(rule, LinearRule) or (_takes(rule, _OF_MAP) and not _takes(rule, _OF_LAYER))


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True


def _holds(condition: Condition, call: Call, places: Mapping[str, bool]) -> bool:
    if isinstance(condition, type):
        return isinstance(call.layer, condition)
    if isinstance(condition, str):
        return places.get(condition, condition == call.name)
    if not callable(condition):
        raise ValueError(
            f"{condition!r} is not a condition: give a layer class, a name or a function of the layer"
        )
    return bool(condition(call.layer))


def _first(network: Network) -> set[str]:
    """Names of the calls that see the input itself, or what a Flatten, Permute or Reshape makes of it.

    As in iNNvestigate, a layer that is also used elsewhere is not among them.
    """
    seen, found = set(network.inputs), set()
    for call in network.calls:
        if seen.issuperset(call.inputs):
            found.add(call.name)
            if isinstance(call.layer, (keras.layers.Flatten, keras.layers.Permute, keras.layers.Reshape)):
                seen.update(call.outputs)
    elsewhere = {id(call.layer) for call in network.calls if call.name not in found}
    return {call.name for call in network.calls if call.name in found and id(call.layer) not in elsewhere}
