"""A network's forward pass, and the way back of relevance through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules import weighted
from rap_keras.engine.rules.weighted import Bounds, Position
from rap_keras.engine.way_back.beginning import Begin
from rap_keras.engine.way_back.plan import PlannedCall

_UNIT = 2.0**-40
"""The unit in which relevance is carried.

Far below 0, swish and GELU give values down to 1e-38, and weight decay leaves such weights. Relevance divided by
sums of these would overflow float32; scaled by 1e-12 it does not. A power of two changes no digit.
"""


@dataclass
class Relevance:
    """Relevance by tensor number, and relevance of each call's inputs by the call's name.

    `inputs` are the numbers of the network's inputs. A tensor that several calls use has the sum of what they give
    back; `calls` keeps the parts. `head` has the names of the head's calls; relevance began in front of them.
    `amount` is the sum that it began with, for each sample, float64, (N,).
    """

    inputs: tuple[int, ...]
    tensors: dict[int, tf.Tensor]
    calls: dict[str, list[tf.Tensor]]
    head: frozenset[str]
    amount: tf.Tensor


@dataclass
class _Forward:
    values: dict[int, tf.Tensor]
    network: Network
    planned: list[PlannedCall]
    steps: dict[str, list[weighted.Step]]
    bounds: dict[int, Bounds]


def propagate(
    network: Network,
    planned: Sequence[PlannedCall],
    inputs: Sequence[tf.Tensor],
    begin: Begin,
    bounds: Sequence[Bounds | None],
    reference: bool,
    finish: Callable[[int, tf.Tensor], tf.Tensor] | None = None,
) -> Relevance:
    """Relevance of every tensor between a network's output and its inputs.

    Args:
        network: the calls.
        planned: their rules.
        inputs: the network's input tensors.
        begin: what relevance begins with, see `rap_keras.engine.way_back.beginning`.
        bounds: lowest and highest value of each input, in shapes that broadcast to it; None for an input without
            bounds.
        reference: follow the authors' program instead of the paper where they differ.
        finish: takes each tensor's number and complete relevance, and returns the relevance to go on with.
    """
    passed = _forward(network, planned, inputs, bounds)
    by_name = {p.call.name: p for p in passed.planned}
    beginning = begin(passed.network, passed.values, lambda call, xs: _outputs(by_name[call.name], xs)[0])
    arriving = {number: [R * _UNIT] for number, R in beginning.tensors.items()}
    tensors = {number: R * _UNIT for number, R in beginning.head.items()}
    calls: dict[str, list[tf.Tensor]] = {}

    def complete(number: int) -> tf.Tensor:
        if number not in tensors:
            value = passed.values[number]
            dtype = value.dtype if value.dtype.is_floating else keras.backend.floatx()
            parts = [tf.cast(part, dtype) for part in arriving.get(number) or [tf.zeros_like(value)]]
            R = parts[0] if len(parts) == 1 else tf.add_n(parts)
            tensors[number] = R if finish is None else finish(number, R / _UNIT) * _UNIT
        return tensors[number]

    for nid, p in reversed(list(enumerate(passed.planned))):
        if p.call.name in beginning.calls:
            calls[p.call.name] = [R * _UNIT for R in beginning.calls[p.call.name]]
            continue
        Rs = [complete(number) for number in p.call.outputs]
        with tf.name_scope(_scope("relevance", p.call.name)):
            back = _backward(p, nid, passed, Rs, reference)
        calls[p.call.name] = back
        for number, R in zip(p.call.inputs, back):
            arriving.setdefault(number, []).append(R)
    for number in network.inputs:
        complete(number)
    with tf.name_scope("unit"):
        return Relevance(
            network.inputs,
            {number: R / _UNIT for number, R in tensors.items()},
            {name: [R / _UNIT for R in back] for name, back in reversed(list(calls.items()))},
            frozenset(beginning.calls),
            beginning.amount(tf.shape(inputs[0])[0]),
        )


def _forward(
    network: Network,
    planned: Sequence[PlannedCall],
    inputs: Sequence[tf.Tensor],
    bounds: Sequence[Bounds | None],
) -> _Forward:
    steps: dict[str, list[weighted.Step]] = {}
    found = {number: pair for number, pair in zip(network.inputs, bounds) if pair}
    by_name = {p.call.name: p for p in planned}

    def run(call: Call, xs: list[tf.Tensor]) -> list[tf.Tensor]:
        p = replace(by_name[call.name], call=call)
        xs = call.cast(xs)
        with tf.name_scope(_scope("forward", call.name)):
            ys, steps[call.name] = _outputs(p, xs)
        return ys

    values, bound = network.passed(inputs, run)
    calls = [replace(p, call=call) for p, call in zip(planned, bound.calls)]
    passed = _Forward(values, bound, calls, steps, found)
    for p in calls:
        if p.bounded:
            with tf.name_scope(_scope("bounds", p.call.name)):
                _bound(p, passed)
    return passed


def _outputs(p: PlannedCall, xs: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[weighted.Step]]:
    """Outputs of a call, and what a weighted call needs on the way back."""
    if p.linears:
        z, steps = weighted.forward(p.linears, p.position, xs[0], p.nonnegative)
        return [z if p.activation is None else p.activation(z)], steps
    return (xs if p.folded else p.call.run(xs)), []


def _bound(p: PlannedCall, passed: _Forward) -> None:
    """Finds the bounds of a call's outputs: those of its inputs, sent through the layer as constant images."""
    if p.folded:
        passed.bounds[p.call.outputs[0]] = passed.bounds[p.call.inputs[0]]
        return
    lows, highs = [], []
    for number in p.call.inputs:
        shape = tf.shape(passed.values[number])
        low, high = passed.bounds[number]
        lows.append(tf.broadcast_to(low, shape))
        highs.append(tf.broadcast_to(high, shape))
    for number, a, b in zip(p.call.outputs, p.call.run(lows), p.call.run(highs)):
        passed.bounds[number] = (tf.minimum(a, b), tf.maximum(a, b))


def _backward(p: PlannedCall, nid: int, passed: _Forward, Rs: list[tf.Tensor], reference: bool) -> list[tf.Tensor]:
    if p.linears:
        bounds = passed.bounds.get(p.call.inputs[0]) if p.position is Position.INPUT else None
        low_high = tuple(p.call.cast([bound])[0] for bound in bounds) if bounds else None
        return [weighted.backward(passed.steps[p.call.name], Rs[0], low_high, reference)]
    if p.folded:
        return Rs
    Xs = p.call.cast([passed.values[number] for number in p.call.inputs])
    if p.gated is not None:
        return p.gated(p.call, Xs, Rs, weighted.way(reference), p.gates)
    Ys = [passed.values[number] for number in p.call.outputs]
    state: dict[str, Any] = {
        "layer": p.call.layer,
        "nid": nid,
        "call": p.call,
        "gates": p.gates,
        "reference": reference,
    }
    assert p.rule is not None
    if p.own:  # a user's rule need not be linear in relevance
        return [R * _UNIT for R in _checked(p.rule(Xs, Ys, [R / _UNIT for R in Rs], state), Xs, p.call.name)]
    return list(p.rule(Xs, Ys, Rs, state))


def _checked(found: Any, Xs: list[tf.Tensor], name: str) -> list[tf.Tensor]:
    """What a user's rule returned, as tensors; raises TypeError or ValueError if it does not fit the inputs."""
    if not isinstance(found, (list, tuple)):
        raise TypeError(
            f"the rule of layer '{name}' returned a {type(found).__name__}: it must return a list with the "
            "relevance of each input, [R] for one"
        )
    if len(found) != len(Xs):
        raise ValueError(
            f"the rule of layer '{name}' returned {len(found)} relevances, and the layer has {len(Xs)} inputs: it "
            "must return one for each"
        )
    tensors = [tf.convert_to_tensor(R) for R in found]
    for R, X in zip(tensors, Xs):
        if not R.shape.is_compatible_with(X.shape):
            raise ValueError(
                f"the rule of layer '{name}' returned relevance of shape {tuple(R.shape)} for an input of shape "
                f"{tuple(X.shape)}: relevance must have the shape of its input, for example by "
                "tf.reshape(R, tf.shape(Xs[0]))"
            )
    return tensors


def _scope(direction: str, name: str) -> str:
    """A legal TensorFlow scope name, so that a profile names the layer."""
    return f"{direction}/{name.replace('#', '_')}"
