"""What an analyzer must offer to be checked, whichever host it is in."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf

from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.reading.network import Network
from rap_keras.engine.way_back.plan import PlannedCall
from rap_keras.engine.way_back.propagation import Relevance, Rules


class Explained(Protocol):
    """An analyzer that carries relevance back call by call, such as `rap_keras.RAP`."""

    network: Network
    plan: list[PlannedCall]
    rules: Rules

    def samples(self, X: Any, neuron_selection: Any = None) -> Samples:
        """Checks X and the neurons to explain, and returns them as samples."""

    def specs(self) -> list[tf.TensorSpec]:
        """Types and shapes of what `Samples.feeds` gives."""

    def propagate(self, tensors: list[tf.Tensor]) -> Relevance:
        """Relevance of every tensor, in the graph that is being built."""
