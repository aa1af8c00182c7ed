"""Reads a Keras model as a network, once as long as the model stays the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.execution import BUILDING, compiled
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.reading import model_state, opened_layers
from rap_keras.engine.reading.network import Network, as_float, specs
from rap_keras.engine.reading.of_shapes import CannotBeOpenedError
from rap_keras.engine.reading.opened_layers import Opened
from rap_keras.engine.reading.walk import Walk


def flatten(model: keras.Model, closed: Collection[str | type] = ()) -> Network:
    """The layer calls between a model's inputs and its outputs; nested models are replaced by their calls.

    With Keras 3, so are layers that are made of layers, see `opened_layers`. The model is only read: it does not
    change, and none of its layers gets a new node. It is read again only after it has changed. A model with Python
    code of the user's, which may depend on anything, is read again unless `reading_once` says otherwise.

    Args:
        model: the model.
        closed: layers made of layers that stay one call because they have rules: names of calls, or classes.

    Raises:
        NotAnalyzeableModelException: the model, or a model in it, is neither functional nor a built
            Sequential, so its layers are unknown.
    """
    if not isinstance(model, keras.Model):
        return Walk(closed).network(model)
    with BUILDING:
        known, state = vars(model).get(_READ), model_state.state(model)
        if known is None or not known.holds(state):
            lasts = model_state.is_of_libraries(model)
            known = vars(model)[_READ] = _Read(state, None if lasts else _together.get(), lasts)
        key = frozenset(closed)
        if key not in known.networks:
            known.networks[key] = Walk(closed).network(model)
        return known.networks[key]


@contextmanager
def reading_once() -> Iterator[None]:
    """A time in which user code in models is taken to stay the same, so that every model is read only once."""
    token = _together.set(_together.get() or object())
    try:
        yield
    finally:
        _together.reset(token)


_READ = "_read_by_rap_keras"  # an attribute, since layers lead to their model: a weak key would never go
_together: ContextVar[object | None] = ContextVar("reading_once", default=None)


class _Read:
    """What was read of a model in one state; no tuple, in which Keras would look for layers to save."""

    def __init__(self, state: list[Any], together: object | None, lasts: bool) -> None:
        self.networks: dict[frozenset[str | type], Network] = {}
        self._state = state
        self._together = together
        self._lasts = lasts

    def holds(self, state: list[Any]) -> bool:
        """Whether a model in this state still gives the same networks."""
        within = self._together is not None and self._together is _together.get()
        return (self._lasts or within) and model_state.is_same(self._state, state)


def graph_within(node: Node) -> Opened | None:
    """The graph of what a user's layer does where it is called; None if it cannot be taken apart."""
    flattening = Walk()
    xs = flattening.begin(node.inputs)
    try:
        return flattening.traced(node, xs, node.layer.name, {})[0]
    except (CannotBeOpenedError, NotAnalyzeableModelException):
        return None


def rewritten(layer: Any, graph: Opened) -> Any:
    """A layer that does what a changed graph of a user's layer does."""
    flattening = Walk()
    network = flattening.graph(graph)

    def calculate(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        values = network.values(tensors)
        return [values[number] for number in network.outputs]

    return opened_layers.Rewritten(layer, graph, calculate)


def predictor(model: keras.Model) -> Callable[[Any], np.ndarray]:
    """A function that takes a batch, as an array or one per input, and gives the model's output at inference.

    Keras 2 itself, with eager execution off, leaves augmentation layers switched on when a model predicts.
    """
    network = flatten(model)

    def output(*tensors: tf.Tensor) -> tf.Tensor:
        return network.values(map(as_float, tensors))[network.outputs[0]]

    function = compiled(output, specs(model))
    return lambda x: np.asarray(function(x if isinstance(x, list) else [x]))
