"""A Keras model as a flat list of layer calls, nested models taken apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import at_inference, batch_axis, keras_graph, opened_layers, wrappers
from rap_keras.engine.calls import Call, KnownShapes, Ref, map_leaves
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.execution import compiled
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.opened_layers import CannotBeOpenedError, Opened


@dataclass(frozen=True)
class Network:
    """All calls in forward order; `inputs` and `outputs` are tensor numbers in the model's order."""

    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def values(self, inputs: Iterable[tf.Tensor]) -> dict[int, tf.Tensor]:
        """Every tensor by its number, calculated from the network's inputs by the layers' own calls."""
        values = dict(zip(self.inputs, inputs))
        for call in self.calls:
            values.update(zip(call.outputs, call.run([values[number] for number in call.inputs])))
        return values

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


def as_float(x: tf.Tensor) -> tf.Tensor:
    """An input in single or double precision; integers and half precision become Keras' float type."""
    return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, keras.backend.floatx())


def flatten(model: keras.Model, closed: Collection[str] = ()) -> Network:
    """The layer calls between a model's inputs and its outputs; nested models are replaced by their calls.

    With Keras 3, so are layers that are made of layers, see `opened_layers`. The model is only read: it does not
    change, and none of its layers gets a new node.

    Args:
        model: the model.
        closed: names of calls of layers made of layers that should stay one call because they have rules.

    Raises:
        NotAnalyzeableModelException: the model, or a model in it, is neither functional nor a built
            Sequential, so its layers are unknown.
    """
    return _Flattening(closed).network(model)


def graph_within(node: Node) -> Opened | None:
    """The graph of what a user's layer does where it is called; None if it cannot be taken apart."""
    flattening = _Flattening()
    xs = flattening.begin(node.inputs)
    try:
        return flattening.opened(node, xs, node.layer.name, {})[0]
    except (CannotBeOpenedError, NotAnalyzeableModelException):
        return None


def rewritten(layer: Any, graph: Opened) -> Any:
    """A layer that does what a changed graph of a user's layer does."""
    flattening = _Flattening()
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


def specs(model: keras.Model) -> list[tf.TensorSpec]:
    """Types and shapes of a model's inputs, for any number of samples.

    Keras 3 fixes the number in a Sequential without an input shape, to that of the first batch that it is given.
    """
    return [tf.TensorSpec((None, *x.shape[1:]), keras_graph.dtype(x)) for x in model.inputs]


class _Flattening:
    """Numbers tensors and names calls while the models are walked."""

    def __init__(self, closed: Collection[str] = ()) -> None:
        self._tensors = 0
        self._names: set[str] = set()
        self._closed = {name.split("#")[0] for name in closed}
        self._within_opened = False
        self._batch: int | None = None
        self._known = KnownShapes()

    def network(self, model: keras.Model) -> Network:
        tensors = getattr(model, "inputs", None) or []
        inputs = self.begin(tensors)
        self._batch = tensors[0].shape[0] if tensors else None
        calls, outputs = self._walk(model, inputs, prefix="")
        return Network(tuple(_needed(calls, outputs)), inputs, outputs)

    def graph(self, graph: Opened) -> Network:
        """The calls in the graph of a user's layer."""
        inputs, self._within_opened = self.begin(graph.inputs), True
        calls, outputs = self._walk_nodes(graph, inputs, prefix="")
        return Network(tuple(calls), inputs, outputs)

    def begin(self, tensors: list[Any]) -> tuple[int, ...]:
        """Numbers the network's inputs."""
        numbers = {id(tensor): self._number() for tensor in dict.fromkeys(tensors)}
        inputs = tuple(numbers[id(tensor)] for tensor in tensors)
        self._known.begin(inputs, tensors)
        return inputs

    def _number(self) -> int:
        self._tensors += 1
        return self._tensors - 1

    def _walk(
        self, model: keras.Model, inputs: tuple[int, ...], prefix: str
    ) -> tuple[list[Call], tuple[int, ...]]:
        nodes = _nodes(model)
        return self._walk_nodes(Opened(model.inputs, nodes, model.outputs, {}), inputs, prefix)

    def _walk_nodes(
        self, graph: Opened, inputs: tuple[int, ...], prefix: str
    ) -> tuple[list[Call], tuple[int, ...]]:
        numbers = {id(tensor): number for tensor, number in zip(graph.inputs, inputs)}
        calls: list[Call] = []
        constants: set[int] = set()
        for node in graph.nodes:
            if not all(id(tensor) in numbers or id(tensor) in constants for tensor in node.inputs):
                continue  # the same layer used elsewhere, outside of this model
            xs = tuple(numbers[id(tensor)] for tensor in node.inputs if id(tensor) in numbers)
            if not xs:
                constants.update(map(id, node.outputs))
                continue
            name, why_closed = f"{prefix}{node.layer.name}", ""
            batch_axis.require_kept(node, name, self._batch)
            at_inference.require_own_call(node.layer, name)
            at_inference.require_stateless(node.layer, name)
            if self._within_opened or not keras_graph.KERAS_3:
                at_inference.require_inference(node, name)
            if opened_layers.can_be_opened(node.layer) and name not in self._closed:
                try:
                    _, inner, ys = self.opened(node, xs, name, graph.second)
                except (CannotBeOpenedError, NotAnalyzeableModelException) as error:
                    why_closed = str(error)
                else:
                    calls += inner
                    numbers.update(zip(map(id, node.outputs), ys))
                    continue
            if wrappers.is_wrapper(node.layer):
                wrappers.require_one_tensor(node.layer, node.args, node.kwargs)
            if wrappers.is_wrapper(node.layer) or keras_graph.is_chain(node.layer):
                inner, ys = self._called(node.layer, xs[0], name)
                calls += inner
            elif isinstance(node.layer, keras.Model) and not why_closed:
                inner, ys = self._walk(node.layer, _model_inputs(node, numbers), f"{name}/")
                calls += inner
            else:
                ys = tuple(self._number() for _ in node.outputs)
                args, kwargs = map_leaves(
                    (node.args, node.kwargs),
                    lambda a: Ref(numbers[id(a)]) if id(a) in numbers else a,
                )
                dtypes = _dtypes(node, numbers)
                layer = keras_graph.in_full_precision(node.layer) if keras_graph.KERAS_3 else node.layer
                calls.append(Call(self._name(name), layer, args, kwargs, xs, ys, dtypes, why_closed))
                self._known.calls.append(calls[-1])
            numbers.update(zip(map(id, node.outputs), ys))
        return calls, tuple(numbers[id(tensor)] for tensor in graph.outputs)

    def opened(
        self, node: Node, xs: tuple[int, ...], name: str, second_of: dict[int, tuple[int, ...]]
    ) -> tuple[Opened, list[Call], tuple[int, ...]]:
        """The graph and the calls in a layer of the user's.

        `second_of` is `Opened.second` of the graph around it.

        Raises:
            CannotBeOpenedError: it cannot be taken apart.
            NotAnalyzeableModelException: nor can what is in it.
        """
        outermost, made = not self._within_opened, len(self._known.calls)
        first = tried = [tuple(tensor.shape) for tensor in node.inputs]
        second = [second_of.get(id(tensor), shape) for tensor, shape in zip(node.inputs, first)]
        if outermost:
            if any(None in shape[1:] for shape in first):
                first = [self._known.shape(number) for number in xs]
            unknown = any(None in shape[1:] for shape in first)
            first, second, tried = opened_layers.with_lengths(first)
        self._within_opened = True
        try:
            graph = opened_layers.opened(node, first, second)
            calls, ys = self._walk_nodes(graph, xs, f"{name}/")
            if outermost and not isinstance(node.layer, opened_layers.Rewritten):
                inner = Network(tuple(calls), xs, ys)

                def outputs(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
                    values = inner.values(tensors)
                    return [values[number] for number in ys]

                opened_layers.require_same(node, tried, xs, outputs)
        except (CannotBeOpenedError, NotAnalyzeableModelException) as error:
            del self._known.calls[made:]
            if outermost and unknown:
                raise CannotBeOpenedError(
                    f"{error}; its inputs have axes of unknown length, so call the model on a keras.Input(shape) "
                    "of the whole shape, keras.Model(x, model(x))"
                ) from error
            raise
        finally:
            self._within_opened = not outermost
        return graph, calls, ys

    def _called(self, layer: Any, number: int, name: str) -> tuple[list[Call], tuple[int, ...]]:
        """The calls of a layer, model or wrapper for one tensor."""
        if keras_graph.is_chain(layer):
            return self._chain(layer, number, f"{name}/")
        if isinstance(layer, keras.Model):
            return self._walk(layer, (number,), f"{name}/")
        if isinstance(layer, keras.layers.TimeDistributed):
            return self._time_distributed(layer, number, name)
        if isinstance(layer, keras.layers.Bidirectional):
            return self._bidirectional(layer, number, name)
        if wrappers.is_wrapper(layer):
            return self._called(layer.layer, number, f"{name}/{layer.layer.name}")
        call = self._call(layer, (number,), name, wrappers.outputs(layer))
        return [call], call.outputs

    def _call(self, layer: Any, numbers: tuple[int, ...], name: str, outputs: int = 1) -> Call:
        given: Any = [Ref(number) for number in numbers]
        args = (given[0] if len(numbers) == 1 else given,)
        layer = keras_graph.in_full_precision(layer) if keras_graph.KERAS_3 else layer
        ys = tuple(self._number() for _ in range(outputs))
        self._known.calls.append(Call(self._name(name), layer, args, {}, numbers, ys))
        return self._known.calls[-1]

    def _chain(self, model: keras.Sequential, number: int, prefix: str) -> tuple[list[Call], tuple[int, ...]]:
        """A Sequential whose layers Keras never connected: each takes the output of the one before."""
        calls: list[Call] = []
        for layer in model.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                inner, (number,) = self._called(layer, number, f"{prefix}{layer.name}")
                calls += inner
        return calls, (number,)

    def _time_distributed(self, layer: Any, number: int, name: str) -> tuple[list[Call], tuple[int, ...]]:
        """Time steps as samples of their own: folded into the batch, and unfolded behind the layer."""
        fold = self._call(wrappers.FoldTime(), (number,), f"{name}/fold")
        inner, (output,) = self._called(layer.layer, fold.outputs[0], f"{name}/{layer.layer.name}")
        unfold = self._call(wrappers.UnfoldTime(), (output, number), f"{name}/unfold")
        return [fold, *inner, unfold], unfold.outputs

    def _bidirectional(self, layer: Any, number: int, name: str) -> tuple[list[Call], tuple[int, ...]]:
        """Two recurrent layers on one sequence; the output of the backward layer is reversed."""
        forward, backward = (
            self._call(part, (number,), f"{name}/{part.name}", wrappers.outputs(part))
            for part in (layer.forward_layer, layer.backward_layer)
        )
        calls, last = [forward, backward], backward.outputs[0]
        if layer.return_sequences:
            calls.append(self._call(wrappers.ReverseTime(), (last,), f"{name}/reverse"))
            last = calls[-1].outputs[0]
        ys: tuple[int, ...] = (forward.outputs[0], last)
        if layer.merge_mode is not None:
            calls.append(self._call(wrappers.merge(layer.merge_mode), ys, f"{name}/merge"))
            ys = calls[-1].outputs
        return calls, (*ys, *forward.outputs[1:], *backward.outputs[1:])

    def _name(self, name: str) -> str:
        unique, use = name, 1
        while unique in self._names:
            use += 1
            unique = f"{name}#{use}"
        self._names.add(unique)
        return unique


def _dtypes(node: Node, numbers: dict[int, int]) -> tuple[tf.DType, ...]:
    """The data types of those inputs of an operation that have a number."""
    if not keras_graph.is_operation(node.layer):
        return ()
    return tuple(keras_graph.dtype(tensor) for tensor in node.inputs if id(tensor) in numbers)


def _nodes(model: keras.Model) -> list[Node]:
    """The nodes of a model in forward order, without those of its input layers."""
    nodes = keras_graph.nodes(model)
    if nodes is None:
        raise NotAnalyzeableModelException(
            f"model '{model.name}' ({type(model).__name__}) is not a graph of layers: RAP must see every layer. "
            f"Build it {keras_graph.HOW_TO_BUILD}"
        )
    return nodes


def _model_inputs(node: Node, numbers: dict[int, int]) -> tuple[int, ...]:
    """Tensor numbers of what a nested model was called with, in the order of its own inputs."""
    given = node.args[0] if node.args else next(iter(node.kwargs.values()))
    if isinstance(given, dict):
        given = [given[name] for name in keras_graph.input_names(node.layer)]
    return tuple(numbers[id(tensor)] for tensor in tf.nest.flatten(given))


def _needed(calls: list[Call], outputs: tuple[int, ...]) -> list[Call]:
    """Only the calls on which the outputs depend."""
    wanted = set(outputs)
    kept = []
    for call in reversed(calls):
        if wanted.intersection(call.outputs):
            wanted.update(call.inputs)
            kept.append(call)
    return kept[::-1]
