"""What is known of tensors while a model is read, before there are samples: their shapes, and which have masks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import masks
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network, as_float
from rap_keras.engine.reading.of_shapes import CannotBeOpenedError, Lengths, with_lengths


class KnownShapes:
    """What is known of tensors before there are samples: their shapes and whether they have masks.

    A symbolic tensor within a nested model only tells what that model was built for. So the calls run in graphs
    that calculate nothing, as far as somebody asks.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.masked = False
        self._inputs: dict[int, Any] = {}
        self._runs: dict[int | None, _Run] = {}

    def begin(self, numbers: tuple[int, ...], tensors: list[Any]) -> None:
        """Takes the network's inputs."""
        self._inputs = dict(zip(numbers, tensors))

    def add(self, call: Call) -> Call:
        """Takes the next call in forward order, and returns it."""
        self.calls.append(call)
        self.masked = self.masked or masks.may_begin(call)
        return call

    def forget(self, made: int) -> None:
        """Gives up all calls except the first ones."""
        del self.calls[made:]
        for run in self._runs.values():
            run.done = min(run.done, made)

    def lengths(self, numbers: tuple[int, ...], batch: int | None) -> Lengths:
        """Shapes of some tensors, where the network's inputs have numbers instead of unknown lengths.

        Raises:
            CannotBeOpenedError: the network does not take these lengths.
        """
        inputs = with_lengths([tuple(x.shape) for x in self._inputs.values()], batch)
        try:
            each = [self._run(which, shapes) for which, shapes in enumerate(inputs)]
        except ValueError as error:
            raise CannotBeOpenedError("the layers in front of it do not take any length") from error
        return Lengths(*([tuple(values[number].shape) for number in numbers] for values in each))

    def mask(self, number: int) -> Any:
        """The mask of an output of the calls up to now, or of an input; None if it has none."""
        if not self.masked:
            return None
        return masks.of(self._run(None, [(None, *x.shape[1:]) for x in self._inputs.values()])[number])

    def _run(self, which: int | None, shapes: list[Any]) -> dict[int, tf.Tensor]:
        run = self._runs.setdefault(which, _Run())
        with run.graph.as_default():
            for (number, x), shape in zip(self._inputs.items(), shapes) if not run.values else ():
                run.values[number] = as_float(tf.compat.v1.placeholder(keras_graph.dtype(x), shape))
            network = Network(tuple(self.calls[run.done :]), tuple(run.values), (), masked=True)
            run.values = network.values(list(run.values.values()))
        run.done = len(self.calls)
        return run.values


class _Run:
    """The values of all tensors in a graph, up to the calls that are `done`."""

    def __init__(self) -> None:
        self.graph = tf.__internal__.FuncGraph("trial")
        self.values: dict[int, tf.Tensor] = {}
        self.done = 0
