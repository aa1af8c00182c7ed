"""One LRP rule for all layers, or a composite of rules: which layer gets which rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Union

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.equations.linear import LinearMap
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.weighted import Position
from rap_keras.engine.way_back.plan import PlannedCall

Rule = Callable[[LinearMap, tf.Tensor, tf.Tensor, Any, tf.Tensor, bool], tf.Tensor]
"""A rule of weighted layers: takes a linear map, its input, weights and bias, the relevance of its output, and
whether its input is never below 0; returns the relevance of its input."""

Condition = Union[type, str, Callable[[Any], bool]]
Composite = Sequence[tuple[Condition, Rule]]
"""Rules for different layers: the first pair whose condition holds counts."""

_PLACES = ("first", "last", "any")


def rules_by_call(rule: Rule | Composite, network: Network, planned: list[PlannedCall]) -> dict[str, Rule]:
    """The rule of every weighted call, call with gates and BatchNormalization, by the call's name.

    Raises:
        TypeError: `rule` is neither a function nor a list of pairs.
        ValueError: no condition of a composite holds for a call, or a condition is invalid or names a layer that
            does not exist.
    """
    calls = [p.call for p in planned if p.mixes or isinstance(p.call.layer, keras.layers.BatchNormalization)]
    if callable(rule):
        return {call.name: rule for call in calls}
    _require_composite(rule, [call.name for call in calls])
    first, last = _first(network), {p.call.name for p in planned if p.position is Position.OUTPUT}
    found: dict[str, Rule] = {}
    for call in calls:
        for condition, own in rule:
            if _holds(condition, call, first, last):
                found.setdefault(call.name, own)
        if call.name not in found:
            raise ValueError(
                f"the composite has no rule for layer '{call.name}' ({type(call.layer).__name__}): end it with "
                '("any", rule)'
            )
    return found


def _require_composite(rule: Any, names: list[str]) -> None:
    pairs = isinstance(rule, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and callable(pair[1]) for pair in rule
    )
    if not pairs:
        raise TypeError(
            f"rule={rule!r}: must be a function such as rap_keras.hosts.native.lrp_methods.z, or a list of pairs "
            'of a condition and a function, as in [("first", flat), ("any", z)]'
        )
    for condition, _ in rule:
        if isinstance(condition, str) and condition not in (*_PLACES, *names):
            raise ValueError(
                f"the composite has a rule for {condition!r}, but no layer with weights has this name: "
                f"give one of {', '.join((*_PLACES, *names))}"
            )


def _holds(condition: Condition, call: Call, first: set[str], last: set[str]) -> bool:
    if isinstance(condition, type):
        return isinstance(call.layer, condition)
    if isinstance(condition, str):
        special = {"first": call.name in first, "last": call.name in last, "any": True}
        return special.get(condition, condition == call.name)
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
