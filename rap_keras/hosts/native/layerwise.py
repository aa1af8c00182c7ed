"""What all methods share that carry relevance, or a gradient, back through the network call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.engine.checks import requirements
from rap_keras.engine.reading.network import as_float
from rap_keras.engine.way_back.plan import PlannedCall
from rap_keras.engine.way_back.propagation import Relevance, Rules, propagate
from rap_keras.hosts.native.base import Analyzer


class Layerwise(Analyzer):
    """A method that sets `plan` and `rules`, and for which `propagate` does the rest.

    Attributes:
        plan: what is known of the network's calls.
        rules: the method's rules for them.
    """

    plan: list[PlannedCall]
    rules: Rules

    def propagate(self, tensors: list[tf.Tensor], finish: Callable | None = None) -> Relevance:
        """Relevance within the network, in the graph that is being built.

        Args:
            tensors: the model's inputs, and the positions of neurons if they are given; shaped as in `specs`.
            finish: as in `rap_keras.engine.way_back.propagation.propagate`.
        """
        inputs = [as_float(x) for x in tensors[: len(self.network.inputs)]]
        begin = self._begin(tensors[len(inputs) :], self.plan)
        return propagate(self.network, self.plan, self.rules, inputs, begin, self._bounds(inputs), finish)

    def _bounds(self, inputs: list[tf.Tensor]) -> list[Any]:
        """The bounds of each input, for methods that have rules for layers that see them."""
        return []

    def attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Relevance of the inputs."""
        relevance = self.propagate(tensors)
        return [relevance.tensors[number] for number in relevance.inputs]

    def analyze_layers(
        self, X: Any, layers: Iterable[str] | None = None, neuron_selection: Any = None, against: Any = None
    ) -> dict[str, np.ndarray | list[np.ndarray]]:
        """Relevance at the input of each named layer, by name in forward order, e.g. for the paper's Fig. 4.

        It is what the layer gives back, batch first and shaped as the layer's input; a list of arrays for
        layers with several inputs. Where several layers use the same tensor, as at the fork of a residual
        block, each has its own part, and the parts add up to what the layer before receives.

        Args:
            X: as in `analyze`, but not batches.
            layers: names of layers, all by default. A layer in a nested model is "model/layer", the second use
                of a layer "layer#2".
            neuron_selection: as in `analyze`.
            against: as in `analyze`.

        Raises:
            KeyError: a name is not one of the network's layers; the message lists these.
            ValueError: as in `analyze`.
        """
        known = [call.name for call in self.network.calls]
        names = known if layers is None else list(layers)
        requirements.require_layers(names, known)
        key = tuple(name for name in known if name in names)

        def back(*tensors: tf.Tensor) -> list[list[tf.Tensor]]:
            relevance = self.propagate(list(tensors))
            return [relevance.calls[name] for name in key]

        with self._at_home():
            function = self._once(key, back, self.specs())
            samples = self.samples(X, neuron_selection, against)
            arrays_by_layer = function(samples.feeds())
        found = {}
        for name, values in zip(key, arrays_by_layer):
            # Within a TimeDistributed every time step is a sample.
            arrays = [R if len(R) == len(samples) else R.reshape(len(samples), -1, *R.shape[1:]) for R in values]
            found[name] = arrays[0] if len(arrays) == 1 else arrays
        return found
