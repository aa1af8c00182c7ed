"""Where a network's real numbers begin: at its inputs, and for tokens at the vectors that embeddings look up.

A token is the number of a row, and no function of it has a gradient. A method that follows gradients ends at the
row, and what the row gets is the token's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading import masks
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network, needed
from rap_keras.engine.rules.rule import Tensors
from rap_keras.engine.way_back.beginning import Beginning
from rap_keras.engine.way_back.plan import PlannedCall, kind_name, plan
from rap_keras.engine.way_back.propagation import Rules, propagate

_BEHIND = "explain the layers behind it as a model of their own, whose keras.Input takes the output"


class RealInputs(NamedTuple):
    """The tensors at which a gradient ends, and the way from there to the network's inputs.

    Attributes:
        numbers: the tensors: inputs, then rows that embeddings look up.
        origins: for each of them the numbers of the inputs that it comes from.
        lookups: the calls of the embeddings.
        front: what the network calculates of tokens before it looks them up; its outputs are the numbers of rows.
        planned: the rules of its calls.
    """

    numbers: tuple[int, ...]
    origins: tuple[frozenset[int], ...]
    lookups: tuple[Call, ...]
    front: Network
    planned: list[PlannedCall]

    def tensors(self, inputs: Sequence[tf.Tensor]) -> Tensors:
        """The values of `numbers`, for values of the network's inputs."""
        values = self.front.values(inputs)
        for call in self.lookups:
            values.update(zip(call.outputs, call.run([values[call.inputs[0]]])))
        return [values[number] for number in self.numbers]

    def at_inputs(
        self, inputs: Sequence[tf.Tensor], found: Sequence[tf.Tensor], of_row: Callable[[tf.Tensor], tf.Tensor]
    ) -> Tensors:
        """Brings what was found at `numbers` to the network's inputs.

        In front of an embedding it goes the way of RAP's relevance, which moves with the tokens.

        Args:
            inputs: values of the network's inputs.
            found: for each of `numbers`, shaped as its tensor.
            of_row: what a token gets of its row, from (N, ..., size of a row) to (N, ...).
        """
        if not self.lookups:
            return list(found)
        own = dict(zip(self.numbers, found))
        parts: dict[int, Tensors] = {number: [own[number]] for number in self.front.inputs if number in own}
        for call in self.lookups:
            if call.outputs[0] in own:
                parts.setdefault(call.inputs[0], []).append(of_row(own[call.outputs[0]]))
        begin = Beginning({number: tf.add_n(several) for number, several in parts.items()}, {}, {}, {})
        relevance = propagate(self.front, self.planned, Rules(), inputs, lambda *_: begin)
        return [relevance.tensors[number] for number in relevance.inputs]


def real_inputs(network: Network) -> RealInputs:
    """Finds where a network's real numbers begin.

    Raises:
        NotAnalyzeableModelException: numbers of rows are calculated in a way that relevance cannot follow.
    """
    reached, tokens = set(network.outputs), set[int]()
    for call in reversed(network.calls):
        if call.looks_up:
            tokens.update(call.inputs)
            continue
        for some in (reached, tokens):
            if some.intersection(call.outputs):
                some.update(call.inputs)
    lookups = [call for call in network.calls if call.looks_up]
    rows = [number for call in lookups for number in call.outputs if number in reached]
    first = [number for number in network.inputs if number in reached or number not in tokens]
    before = tuple(call for call in network.calls if not call.looks_up and tokens.intersection(call.outputs))
    for call in before:
        if isinstance(call.layer, keras.layers.Lambda):
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' is a Lambda in front of an embedding, so it is not known what it does: "
                f"build the model without it. For a part of them take x = {keras_graph.CAST}, then x[:, 0]"
            )
    numbers_of_rows = tuple(call.inputs[0] for call in lookups)
    parts = [part for call in network.calls for part in (*call.before, *([call] if call in before else []))]
    leading = tuple(needed([replace(part, before=()) for part in parts], numbers_of_rows))
    front = Network(leading, network.inputs, numbers_of_rows, masks.any_may_begin(leading))
    planned = plan(front)
    _require_moved(planned, lookups)
    origins = {number: frozenset([number]) for number in network.inputs}
    for call in (*before, *lookups):
        origins.update(dict.fromkeys(call.outputs, frozenset().union(*(origins[x] for x in call.inputs))))
    numbers = (*first, *rows)
    return RealInputs(numbers, tuple(origins[x] for x in numbers), tuple(lookups), front, planned)


def _require_moved(planned: list[PlannedCall], lookups: list[Call]) -> None:
    """Raises NotAnalyzeableModelException if numbers of rows come from weights, or from rows of another table."""
    rows = {number for call in lookups for number in call.outputs}
    from_weights = [p.call for p in planned if p.kind.mixes]
    for call in [*from_weights, *(p.call for p in planned), *lookups]:
        if call in from_weights or rows.intersection(call.inputs):
            raise NotAnalyzeableModelException(
                f"an embedding looks up numbers that the network calculates in layer '{call.name}', and no "
                f"gradient leads back through them: {_BEHIND} of the embedding"
            )


def require_gradients(
    network: Network, real: RealInputs, inputs: Sequence[tf.Tensor], names: Sequence[str]
) -> None:
    """Finds inputs from which no gradient leads to the output, in the graph that is being built.

    Args:
        network: the calls.
        real: its `real_inputs`.
        inputs: values of the network's inputs.
        names: names of the inputs.

    Warns:
        UserWarning: an input gets no relevance for this reason, and others do.

    Raises:
        NotAnalyzeableModelException: no input gets any.
    """
    ends = {}
    values, _ = network.passed(inputs)
    for number, name in zip(network.inputs, names):
        call = _end_of_gradient(network, values, number) if number in real.numbers else None
        if call is not None:
            ends[name] = call
    for name, call in ends.items():
        reason = (
            f"input '{name}' has no gradient: layer '{call.name}' ({kind_name(call)}) takes it as whole numbers"
        )
        if len(ends) == len(real.numbers):
            raise NotAnalyzeableModelException(
                f"{reason}. If it only moves or scales them, build the model with "
                f"{keras_graph.CAST} before it; else {_BEHIND} of that layer"
            )
        warnings.warn(f"{reason} or as a mask, so it gets no relevance", stacklevel=2)


def _end_of_gradient(network: Network, values: Mapping[int, tf.Tensor], number: int) -> Call | None:
    """The first call at which the gradient of an input ends, unless it gets to weights or to the output."""
    reached, end = {number}, None
    for call in (part for one in network.calls for part in (*one.before, one)):
        taken = [values[x] for x in call.inputs if x in reached]
        if not (taken or reached.intersection(call.masks)) or call.looks_up:
            continue
        ys = [values[y] for y in call.outputs if values[y].dtype.is_floating]
        if not (taken and ys) or all(g is None for g in tf.gradients(ys, taken)):
            end = end or call
        elif getattr(call.layer, "weights", ()):
            return None
        else:
            reached.update(call.outputs)
    return None if reached.intersection(network.outputs) else end
