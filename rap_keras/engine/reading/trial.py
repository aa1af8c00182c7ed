"""What is known of tensors while a model is read, before there are samples: their shapes, and which have masks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import masks
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network, as_float


class Trial:
    """What is known of tensors before there are samples: their shapes and whether they have masks.

    A symbolic tensor within a nested model only tells what that model was built for. So the calls run in a graph
    that calculates nothing, as far as somebody asks.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.masked = False
        self._done = 0
        self._inputs: dict[int, Any] = {}
        self._values: dict[int, tf.Tensor] = {}

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
        self._done = min(self._done, made)

    def shape(self, number: int) -> tuple[int | None, ...]:
        """The shape of an output of the calls up to now, or of an input."""
        return tuple(self._run()[number].shape)

    def mask(self, number: int) -> Any:
        """The mask of such a tensor; None if it has none."""
        return masks.of(self._run()[number]) if self.masked else None

    def _run(self) -> dict[int, tf.Tensor]:
        if not self._values:
            self._graph = tf.__internal__.FuncGraph("trial")
        with self._graph.as_default():
            for number, x in self._inputs.items() if not self._values else ():
                shape = (None, *x.shape[1:])
                self._values[number] = as_float(tf.compat.v1.placeholder(keras_graph.dtype(x), shape))
            network = Network(tuple(self.calls[self._done :]), tuple(self._values), (), masked=True)
            self._values = network.values(list(self._values.values()))
        self._done = len(self.calls)
        return self._values
