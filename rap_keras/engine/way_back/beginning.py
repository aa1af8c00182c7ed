"""What relevance begins with: the selected logit, or the signed contributions of a network's head to a score.

The head is the classifier: everything behind the last feature map that still has places (pixels or time steps).
RAP takes the absolute value of every influence there (Eq. 6), so what speaks for a class and what speaks against
it look the same. Here contributions keep their sign: c = x ds/dx, as in Eq. 5 without its division. Any method can
go on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.rule import Tensors

Values = Mapping[int, tf.Tensor]
Run = Callable[[Call, Tensors], Tensors]
"""Gives the outputs of a call for its inputs."""


class Beginning(NamedTuple):
    """The relevance that a method starts from.

    Attributes:
        tensors: relevance by tensor number; it goes back through the calls in front of these tensors.
        head: relevance of the tensors within the head, including the network's output.
        calls: relevance of each head call's inputs, by the call's name. The head is closed: every call that
            follows a head call belongs to it.
        gradients: gradient of the score for each feature map in front of the head, by tensor number; empty
            without a head.
    """

    tensors: dict[int, tf.Tensor]
    head: dict[int, tf.Tensor]
    calls: dict[str, Tensors]
    gradients: dict[int, tf.Tensor]

    def amount(self, count: tf.Tensor) -> tf.Tensor:
        """The sum of `tensors` for each of `count` samples, float64, (N,)."""
        flat = [tf.reshape(tf.cast(R, tf.float64), [count, -1]) for R in self.tensors.values()]
        return tf.add_n([tf.reduce_sum(R, 1) for R in flat])


Begin = Callable[[Network, Values, Run], Beginning]


def at_output(seed: Callable[[tf.Tensor], tf.Tensor]) -> Begin:
    """Lets relevance begin at the output; `seed` computes it from the output."""
    return lambda network, values, run: Beginning({n: seed(values[n]) for n in network.outputs}, {}, {}, {})


def behind_head(
    weights: Callable[[tf.Tensor], tf.Tensor], weighted: Collection[str], gated: Collection[str] = ()
) -> Begin:
    """Lets relevance begin at the feature map in front of the head, as its signed contributions to a score.

    The contributions sum to the score minus what biases in the head add.

    Args:
        weights: computes the weights of the logits in the score from the logits, see `equations.contrast`.
        weighted: names of the calls that have weights. Every path through the head passes at least one of them,
            if the network has any in front of its output.
        gated: names of the calls in which gates scale a signal. The head lies behind them, since x ds/dx would
            count the gates as contributions.
    """

    def begin(network: Network, values: Values, run: Run) -> Beginning:
        head = head_of(network, values, weighted, gated)
        arriving = {number: [weights(values[number])] for number in network.outputs}
        relevance: dict[int, tf.Tensor] = {}
        calls: dict[str, Tensors] = {}

        def gradient(number: int) -> tf.Tensor:
            value = values[number]
            parts = [tf.cast(part, value.dtype) for part in arriving.get(number) or [tf.zeros_like(value)]]
            g = parts[0] if len(parts) == 1 else tf.add_n(parts)
            relevance[number] = value * g
            return g

        for call in reversed(network.calls):
            if call.name not in head:
                continue
            Xs = call.cast([values[number] for number in call.inputs])
            gs = [gradient(number) for number in call.outputs]
            found = transposed(lambda *xs, call=call: run(call, list(xs)), Xs, gs)
            calls[call.name] = [X * g for X, g in zip(Xs, found)]
            for number, g in zip(call.inputs, found):
                arriving.setdefault(number, []).append(g)
        front = [number for number in arriving if number not in relevance]
        gradients = {number: gradient(number) for number in front}
        tensors = {number: relevance.pop(number) for number in front}
        return Beginning(tensors, relevance, calls, gradients)

    return begin


def head_of(network: Network, values: Values, weighted: Collection[str], gated: Collection[str] = ()) -> set[str]:
    """Names of the head's calls, behind the last feature maps with places; every path passes a weighted call.

    In a network that ends in convolution, activation and pooling the head includes the last convolution. A network
    without places is all head, back to the last call in which gates scale a signal.
    """
    consumers = network.consumers()

    def following(call: Call) -> set[str]:
        return {after.name for number in call.outputs for after in consumers.get(number, [])}

    head: set[str] = set()
    batch = values[network.inputs[0]].shape[0]
    for call in reversed(network.calls):
        found = [values[number] for number in call.outputs]
        # What has another axis in front of the samples, as stacked branches, cannot be summed for each sample.
        with_places = any(has_places(value) and value.shape[0] in (None, batch) for value in found)
        if call.name not in gated and not with_places and _has_gradient(call) and head.issuperset(following(call)):
            head.add(call.name)
    by_name = {call.name: call for call in network.calls}
    while True:
        added = _without_weights_behind(network, head, weighted)
        if added is None or added.name in gated:
            return head
        waiting = [added.name]
        while waiting:
            name = waiting.pop()
            if name not in head:
                head.add(name)
                waiting += following(by_name[name])


def _without_weights_behind(network: Network, head: set[str], weighted: Collection[str]) -> Call | None:
    """The last call in front of the head that has a path to the output without weights."""
    bare = set(network.outputs)
    for call in reversed(network.calls):
        if bare.isdisjoint(call.outputs):
            continue
        if call.name not in head:
            return call if _has_gradient(call) else None
        if call.name not in weighted:
            bare.update(call.inputs)
    return None


def _has_gradient(call: Call) -> bool:
    """Whether a call has a gradient; a call that takes integers, such as an embedding, has none."""
    return not call.looks_up and not any(d.is_integer for d in call.dtypes)


def has_places(value: tf.Tensor) -> bool:
    """Whether a tensor has an axis besides batch and channels whose length is not 1."""
    shape = list(value.shape)
    first = keras.backend.image_data_format() == "channels_first"
    places = shape[2:] if first else shape[1:-1]
    return any(length != 1 for length in places)
