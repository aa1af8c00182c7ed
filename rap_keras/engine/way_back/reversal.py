"""A network's forward pass and any way back through it, call by call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.unweighted import Tensors
from rap_keras.engine.way_back.beginning import Begin

Back = Callable[[Call, Tensors, Tensors, Tensors], Tensors]
"""Takes a call, its inputs, its outputs and what arrives at these; returns what the inputs get, in their order."""


def reverse(
    network: Network,
    inputs: Sequence[tf.Tensor],
    begin: Begin,
    back: Back,
    ends: Sequence[int] = (),
) -> Tensors:
    """What arrives at the network's inputs, or at other tensors, by the rule `back` at every call.

    Args:
        network: the calls.
        inputs: the network's input tensors.
        begin: what is sent back, see `rap_keras.engine.way_back.beginning`.
        back: the rule, such as `gradient`.
        ends: the numbers of tensors at which it ends; the network's inputs if there are none.
    """
    values, network = network.passed(inputs)
    beginning = begin(network, values, Call.run)
    arriving = {number: [R] for number, R in beginning.tensors.items()}

    def complete(number: int) -> tf.Tensor:
        parts = arriving.get(number) or [tf.zeros_like(values[number])]
        return parts[0] if len(parts) == 1 else tf.add_n(parts)

    for call in reversed(network.calls):
        if call.name in beginning.calls or set(ends).issuperset(call.outputs):
            continue
        Rs = [complete(number) for number in call.outputs]
        Xs = call.cast([values[number] for number in call.inputs])
        found = back(call, Xs, [values[number] for number in call.outputs], Rs)
        for number, R in zip(call.inputs, found):
            dtype = values[number].dtype
            arriving.setdefault(number, []).append(tf.cast(R, dtype) if dtype.is_floating else R)
    return [complete(number) for number in ends or network.inputs]


def gradient(call: Call, Xs: Tensors, Ys: Tensors, Rs: Tensors) -> Tensors:
    """The vector-Jacobian product of a call; for tokens, which have no gradient, the sum over their vectors."""
    if call.looks_up:
        return [tf.reduce_sum(Rs[0], axis=-1)]
    return transposed(lambda *xs: call.run(list(xs)), Xs, Rs)
