"""A network's forward pass, and one way back through it for every method: call by call, by a rule for each.

A network is a list of calls. A method says where relevance begins, and which rule each call has. Relevance is
carried back from there to the inputs; a gradient is carried in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.equations import attn_lrp
from rap_keras.engine.equations.shares import sum_shares
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network, as_float
from rap_keras.engine.rules.attention import product
from rap_keras.engine.rules.kinds import fused_activation
from rap_keras.engine.rules.layer_records import Kind
from rap_keras.engine.rules.rule import Rule, Tensors, title_of, titled
from rap_keras.engine.rules.unweighted import multiplied
from rap_keras.engine.rules.weighted import Bounds, LinearRule, Step, forward
from rap_keras.engine.way_back.beginning import Begin
from rap_keras.engine.way_back.plan import FOLDED, PlannedCall

_UNIT = 2.0**-40
"""The unit in which relevance is carried.

Far below 0, swish and GELU give values down to 1e-38, and weight decay leaves such weights. Relevance divided by
sums of these would overflow float32; scaled by 1e-12 it does not. A power of two changes no digit.
"""


@dataclass(frozen=True)
class Rules:
    """The rules of a method.

    Attributes:
        linear: the linear rule of each call with weights or gates, by the call's name.
        shares: gives the relevance of the addends of a sum within a layer with gates, see `gates.Way`.
        instead: what the method does in place of the rule of a kind of layer.
        reference: follow the authors' program instead of the paper where they differ.
        softmax: gives the relevance of the input of a softmax of attention, if attention weights get any.
    """

    linear: Mapping[str, LinearRule] = field(default_factory=dict)
    shares: Callable[[Sequence[tf.Tensor], tf.Tensor], Tensors] = sum_shares
    instead: Mapping[Callable, Rule] = field(default_factory=dict)
    reference: bool = False
    softmax: attn_lrp.Softmax = attn_lrp.softmax

    def of(self, p: PlannedCall) -> Rule:
        """The rule of a call."""
        return self.instead.get(p.kind.rule, p.kind.rule)

    def title(self, p: PlannedCall) -> str:
        """The rule of a call in a few words."""
        rule, linear, gated = self.of(p), self.linear.get(p.call.name), len(set(p.gates)) == 2
        if rule is multiplied and gated:
            return "gate: all to the gated branch"
        averages = linear.averages if linear else None
        if rule is product and gated and averages:
            return f"attention weights are constant factors, {averages.title}"
        title = linear.title if linear else ""
        text = title_of(rule).format(
            x="x" if self.reference else "|x|", linear=title, averages=averages.title if averages else title
        )
        if linear is None or not p.kind.linears:
            return text
        if linear.halves:
            return f"{text}, {'non-negative' if p.nonnegative else 'mixed signs'}"
        # Only one map of a separable convolution sees the image or is the last of the network.
        others = linear.others if linear.place is not None and len(p.kind.linears) > 1 else None
        return f"{text}; its other map {others.title}" if others else text


@dataclass
class Relevance:
    """Relevance by tensor number, and relevance of each call's inputs by the call's name.

    `inputs` are the numbers of the network's inputs. A tensor that several calls use has the sum of what they give
    back; `calls` keeps the parts. `head` has the names of the head's calls; relevance began in front of them.
    `amount` is the sum that it began with, for each sample, float64, (N,). `values` are the tensors themselves.
    """

    inputs: tuple[int, ...]
    tensors: dict[int, tf.Tensor]
    calls: dict[str, Tensors]
    head: frozenset[str]
    amount: tf.Tensor
    values: dict[int, tf.Tensor]


def propagate(
    network: Network,
    planned: Sequence[PlannedCall],
    rules: Rules,
    inputs: Sequence[tf.Tensor],
    begin: Begin,
    bounds: Sequence[Bounds | None] = (),
    finish: Callable[[int, tf.Tensor], tf.Tensor] | None = None,
    given: Mapping[int, tf.Tensor] | None = None,
    ends: Collection[int] = (),
) -> Relevance:
    """Relevance of every tensor between a network's output and its inputs.

    Args:
        network: the calls.
        planned: what is known of them.
        rules: their rules.
        inputs: the network's input tensors.
        begin: what relevance begins with, see `rap_keras.engine.way_back.beginning`.
        bounds: lowest and highest value of each input, in shapes that broadcast to it, or None.
        finish: takes each tensor's number and relevance, and returns the relevance to go on with.
        given: as in `Network.values`.
        ends: the numbers of tensors at which relevance ends, before it reaches the inputs.
    """
    passed = _Forward(planned, rules, {n: pair for n, pair in zip(network.inputs, bounds) if pair})
    values, network = network.passed(inputs, passed.run, given)
    beginning = begin(
        network, values, lambda call, xs: _outputs(passed.planned[call.name], rules, xs, None, call)[0]
    )
    arriving = {number: [R * _UNIT] for number, R in beginning.tensors.items()}
    tensors = {number: R * _UNIT for number, R in beginning.head.items()}
    calls: dict[str, Tensors] = {}

    def complete(number: int) -> tf.Tensor:
        if number not in tensors:
            value = values[number]
            dtype = value.dtype if value.dtype.is_floating else keras.backend.floatx()
            R = tf.add_n([tf.cast(part, dtype) for part in arriving.get(number) or [tf.zeros_like(value)]])
            tensors[number] = R if finish is None else finish(number, R / _UNIT) * _UNIT
        return tensors[number]

    for nid, call in reversed(list(enumerate(network.calls))):
        if call.name in beginning.calls:
            calls[call.name] = [R * _UNIT for R in beginning.calls[call.name]]
            continue
        if ends and (set(ends).issuperset(call.outputs) or arriving.keys().isdisjoint(call.outputs)):
            calls[call.name] = [tf.zeros_like(as_float(values[number])) for number in call.inputs]
            continue
        Rs = [complete(number) for number in call.outputs]
        with tf.name_scope(_scope("relevance", call.name)):
            calls[call.name] = [as_float(R) for R in _back(passed, call, nid, values, Rs)]
        for number, R in zip(call.inputs, calls[call.name]):
            arriving.setdefault(number, []).append(R)
    for number in (*network.inputs, *ends):
        complete(number)
    with tf.name_scope("unit"):
        amount = beginning.amount(tf.shape(inputs[0])[0])
        tensors = {number: R / _UNIT for number, R in tensors.items()}
        calls = {name: [R / _UNIT for R in back] for name, back in reversed(list(calls.items()))}
    return Relevance(network.inputs, tensors, calls, frozenset(beginning.calls), amount, values)


class _Forward:
    """The forward pass: runs each call, and keeps what its rule needs on the way back, and bounds of values."""

    def __init__(self, planned: Sequence[PlannedCall], rules: Rules, bounds: dict[int, Bounds]) -> None:
        self.planned = {p.call.name: p for p in planned}
        self.rules = rules
        self.bounds = bounds
        self.steps: dict[str, list[Step]] = {}
        self.recorded: dict[str, Recorded] = {}

    def run(self, call: Call, xs: Tensors) -> Tensors:
        """The outputs of a call."""
        p, xs = self.planned[call.name], call.cast(xs)
        known = [self.bounds[number] for number in call.inputs if number in self.bounds]
        own = tuple(call.cast([bound])[0] for bound in known[0]) if p.bounded and known else None
        with tf.name_scope(_scope("forward", call.name)):
            if not self.rules.linear:  # the method carries gradients
                ys = self.recorded.setdefault(call.name, _record(call, xs)).ys
                self.steps[call.name] = []
            else:
                ys, self.steps[call.name] = _outputs(p, self.rules, xs, own, call)
        if p.kind.keeps_order and len(known) == len(call.inputs):
            with tf.name_scope(_scope("bounds", call.name)):
                self._bound(p, call, xs, known)
        return ys

    def _bound(self, p: PlannedCall, call: Call, xs: Tensors, known: list[Bounds]) -> None:
        """Finds the bounds of a call's outputs: those of its inputs, sent through the layer as constant images."""
        if p.kind is FOLDED:
            self.bounds[call.outputs[0]] = known[0]
            return
        lows = [tf.broadcast_to(low, tf.shape(x)) for (low, _), x in zip(known, xs)]
        highs = [tf.broadcast_to(high, tf.shape(x)) for (_, high), x in zip(known, xs)]
        for number, a, b in zip(call.outputs, call.run(lows), call.run(highs)):
            self.bounds[number] = (tf.minimum(a, b), tf.maximum(a, b))


class Recorded(NamedTuple):
    """A call whose operations a tape has recorded, so that its gradient needs no second forward pass."""

    tape: tf.GradientTape
    xs: Tensors
    ys: Tensors


def _record(call: Call, xs: Tensors) -> Recorded:
    with tf.GradientTape() as tape:
        fresh = [tf.identity(x) for x in xs]  # a tensor may be two inputs of a call
        tape.watch([x for x in fresh if x.dtype.is_floating])
        return Recorded(tape, fresh, call.run(fresh))


def _outputs(p: PlannedCall, rules: Rules, xs: Tensors, bounds: Any, call: Call) -> tuple[Tensors, list[Step]]:
    """Outputs of a call, and what weights need on the way back; `call` is p.call with its masks."""
    linear = rules.linear.get(p.call.name)
    if p.kind.linears and linear is not None:
        z, steps = forward(p.kind.linears, linear, xs[0], p.nonnegative, bounds)
        activation = fused_activation(p.call)
        return [z if activation is None else activation(z)], steps
    return (xs if p.kind is FOLDED else call.run(xs)), []


def _back(passed: _Forward, call: Call, nid: int, values: Mapping[int, tf.Tensor], Rs: Tensors) -> Tensors:
    p, rules = passed.planned[call.name], passed.rules
    Xs = call.cast([values[number] for number in call.inputs])
    Ys = [values[number] for number in call.outputs]
    state = {
        "layer": call.layer,
        "nid": nid,
        "call": call,
        "gates": p.gates,
        "reference": rules.reference,
        "linear": rules.linear.get(call.name),
        "shares": rules.shares,
        "softmax": rules.softmax,
        "steps": passed.steps[call.name],
        "recorded": passed.recorded.get(call.name),
    }
    rule = rules.of(p)
    if p.kind.own and rule is p.kind.rule:  # a user's rule need not be linear in relevance
        return [R * _UNIT for R in _checked(rule(Xs, Ys, [R / _UNIT for R in Rs], state), Xs, call.name)]
    return list(rule(Xs, Ys, Rs, state))


def bare(network: Network, rule_of: Callable[[Call], Rule] | None = None) -> list[PlannedCall]:
    """The calls of a network for methods that need no facts about layers, with the gradient or a rule for each."""
    return [PlannedCall(call, Kind(rule_of(call) if rule_of else gradient)) for call in network.calls]


@titled("gradient")
def gradient(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """The vector-Jacobian product of a call; for tokens, which have no gradient, the sum over their vectors."""
    call: Call = state["call"]
    if call.looks_up:
        return [tf.reduce_sum(Rs[0], axis=-1)]
    real = [index for index, Y in enumerate(Ys) if Y.dtype.is_floating]
    if not real:
        return [tf.zeros_like(x) for x in Xs]
    tape, xs, ys = state["recorded"] or _record(call, Xs)
    gradients = tape.gradient(
        [ys[index] for index in real],
        xs,
        [tf.cast(Rs[index], ys[index].dtype) for index in real],
        tf.UnconnectedGradients.ZERO,
    )
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def _checked(found: Any, Xs: Tensors, name: str) -> Tensors:
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
