"""A network: layer calls in forward order, and its forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import masks
from rap_keras.engine.reading.calls import Call, Ref, map_leaves


@dataclass(frozen=True)
class Network:
    """All calls in forward order; `inputs` and `outputs` are tensor numbers in the model's order.

    `masked` tells whether tensors may have masks that are not bound to the calls.
    """

    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    masked: bool = False

    def values(
        self, inputs: Iterable[tf.Tensor], given: Mapping[int, tf.Tensor] | None = None
    ) -> dict[int, tf.Tensor]:
        """Every tensor by its number, calculated from the network's inputs by the layers' own calls.

        What is `given`, by tensor number, takes the place of what the calls give. Masks are those of the inputs.
        """
        return self.passed(inputs, given=given)[0]

    def passed(
        self,
        inputs: Iterable[tf.Tensor],
        run: Callable[[Call, list[tf.Tensor]], list[tf.Tensor]] = Call.run,
        given: Mapping[int, tf.Tensor] | None = None,
    ) -> tuple[dict[int, tf.Tensor], Network]:
        """The forward pass: every tensor by its number, and the network with the masks bound to its calls.

        Args:
            inputs: the network's input tensors.
            run: gives the outputs of a call for its inputs, instead of the layer's own call.
            given: as in `values`.
        """
        given = given or {}
        if given and self.masked:
            inputs = list(inputs)
            values, bound = self.passed(inputs)
            of_masks = {number for call in self.calls for part in call.before for number in part.outputs}
            return bound.passed(inputs, run, {**{number: values[number] for number in of_masks}, **given})
        values = {**dict(zip(self.inputs, inputs)), **given}
        found = {number: masks.of(x) for number, x in values.items()}
        if self.masked:  # a mask put on a tensor of the user's model would stay there
            values = {number: tf.identity(x) for number, x in values.items()}
            masks.put_on(list(values.values()), list(found.values()))
        calls = []
        for call in self.calls:
            for part in (*call.before, call):
                xs = [values[number] for number in part.inputs]
                here = masks.bound(part, values, found) if self.masked else part
                masks.put_on(xs, here.held)
                ys = run(here, xs) if part is call else here.run(xs)
                values.update((number, given.get(number, y)) for number, y in zip(part.outputs, ys))
                if self.masked:
                    # The MultiHeadAttention of Keras 3 removes masks from its inputs, also for the calls behind.
                    found.update(zip(part.inputs, map(masks.of, xs)))
                    found.update(zip(part.outputs, masks.of_outputs(here, xs, ys)))
                    here = masks.kept(here, found[part.outputs[0]])
            calls.append(replace(here, before=()) if self.masked else call)
        return values, replace(self, calls=tuple(calls), masked=False)

    def is_like(self, other: Network) -> bool:
        """Whether another network has the same calls, as far as their arguments can be compared."""

        def told(network: Network) -> list[Any]:  # names of operations depend on how many there are
            return [
                (type(call.layer), call.inputs, call.outputs, map_leaves((call.args, call.kwargs), _plain))
                for call in network.calls
            ]

        return told(self) == told(other)

    def consumers(self) -> dict[int, list[Call]]:
        """The calls that take each tensor, by the tensor's number."""
        found: dict[int, list[Call]] = {}
        for call in self.calls:
            for number in dict.fromkeys(call.inputs):
                found.setdefault(number, []).append(call)
        return found

    def bottlenecks(self) -> set[int]:
        """The tensors that everything must pass through."""
        remaining = {number: len(calls) for number, calls in self.consumers().items()}
        for number in self.outputs:
            remaining[number] = remaining.get(number, 0) + 1
        open_tensors, found = set(self.inputs), set()
        for call in self.calls:
            if len(open_tensors) == 1:
                found.update(open_tensors)
            for number in dict.fromkeys(call.inputs):
                remaining[number] -= 1
                if not remaining[number]:
                    open_tensors.discard(number)
            open_tensors.update(number for number in call.outputs if remaining.get(number))
        return found | open_tensors if len(open_tensors) == 1 else found


def needed(calls: list[Call], outputs: tuple[int, ...]) -> list[Call]:
    """Only the calls on which outputs depend; those needed only for masks are in front of the next other one."""
    wanted = set(outputs)
    aside: set[int] = set()
    kept = []
    for call in reversed(calls):
        needed = wanted.intersection(call.outputs)
        carries = bool(needed) and bool(call.inputs)  # what is made of masks alone counts as a constant
        if needed or aside.intersection(call.outputs):
            (wanted if carries else aside).update(call.inputs)
            aside.update(call.masks)
            kept.append((carries, call))
    found, before = [], []
    for carries, call in reversed(kept):
        before.append(call)
        if carries:
            found.append(replace(call, before=tuple(before[:-1])))
            before = []
    return [*found, *before]  # there are others behind if an output depends on shapes or masks alone


def _plain(argument: Any) -> Any:
    """An argument that is compared: a number or a word; of others only the type."""
    return argument if isinstance(argument, (bool, int, float, str, Ref)) else type(argument)


def as_float(x: tf.Tensor) -> tf.Tensor:
    """An input in single or double precision; integers and half precision become Keras' float type."""
    return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, keras.backend.floatx())


def specs(model: keras.Model) -> list[tf.TensorSpec]:
    """Types and shapes of a model's inputs, for any number of samples.

    Keras 3 fixes the number in a Sequential without an input shape, to that of the first batch that it is given.
    """
    return [tf.TensorSpec((None, *x.shape[1:]), keras_graph.dtype(x)) for x in model.inputs]
