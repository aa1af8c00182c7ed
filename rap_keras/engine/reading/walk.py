"""Walks through a Keras model, and the models, wrappers and layers of the user's in it, for their calls."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.reading import at_inference, batch_axis, masks, opened_layers, wrappers
from rap_keras.engine.reading.calls import ALSO_OF_REAL_NUMBERS, TAKING_INDICES, Call, Ref, map_leaves, without
from rap_keras.engine.reading.composed import depends_on_shapes
from rap_keras.engine.reading.known_shapes import KnownShapes
from rap_keras.engine.reading.network import Network, needed
from rap_keras.engine.reading.of_shapes import CannotBeOpenedError, Lengths, with_lengths
from rap_keras.engine.reading.opened_layers import Opened

_ABSENT = -1  # instead of the number of a tensor that a layer does not give


class Walk:
    """Numbers tensors and names calls while the models are walked."""

    def __init__(self, closed: Collection[str | type] = ()) -> None:
        self._tensors = 0
        self._names: set[str] = set()
        self._closed = {name.split("#")[0] for name in closed if isinstance(name, str)}
        self._closed_classes = tuple(kind for kind in closed if isinstance(kind, type))
        self._within_opened = False
        self._without_samples: set[int] = set()
        self._batch: int | None = None
        self._known = KnownShapes()

    def network(self, model: keras.Model) -> Network:
        """The calls of a model, in forward order."""
        tensors = getattr(model, "inputs", None) or []
        inputs = self.begin(tensors)
        self._batch = tensors[0].shape[0] if tensors else None
        calls, outputs = self._walk(model, inputs, prefix="")
        calls = needed(calls, outputs)
        return Network(tuple(calls), inputs, outputs, masks.any_may_begin(calls))

    def graph(self, graph: Opened) -> Network:
        """The calls in the graph of a user's layer."""
        inputs, self._within_opened = self.begin(graph.inputs), True
        calls, outputs = self._walk_nodes(graph, inputs, prefix="")
        return Network(tuple(calls), inputs, outputs, masks.any_may_begin(calls))

    def begin(self, tensors: list[Any]) -> tuple[int, ...]:
        """Numbers the network's inputs."""
        numbers = {key: self._number() for key in dict.fromkeys(map(id, tensors))}
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
        absent: set[int] = set()
        for node in graph.nodes:
            if not absent.isdisjoint(map(id, node.inputs)):
                node = without(node, absent)
            if not all(id(tensor) in numbers or id(tensor) in constants for tensor in node.inputs):
                continue  # the same layer used elsewhere, outside of this model
            xs = tuple(numbers[id(tensor)] for tensor in node.inputs if id(tensor) in numbers)
            if not xs:
                constants.update(map(id, node.outputs))
                continue
            name, why_closed = f"{prefix}{node.layer.name}", ""
            batch_axis.require_kept(node, name, self._batch, graph.second)
            at_inference.require_own_call(node.layer, name)
            at_inference.require_stateless(node.layer, name)
            if self._within_opened or not keras_graph.KERAS_3:
                at_inference.require_inference(node, name)
            stays = name in self._closed or isinstance(node.layer, self._closed_classes)
            if opened_layers.can_be_opened(node) and not stays:
                made = len(self._known.calls)
                try:
                    inner, ys = self._opened(node, xs, name, graph.second)
                except (CannotBeOpenedError, NotAnalyzeableModelException) as error:
                    why_closed = str(error)
                    self._known.forget(made)
                else:
                    calls += inner
                    made_of = {id(y): number for y, number in zip(node.outputs, ys)}
                    absent.update(key for key, number in made_of.items() if number == _ABSENT)
                    numbers.update({key: number for key, number in made_of.items() if number != _ABSENT})
                    continue
            wrapped = wrappers.is_wrapper(node.layer)
            if wrapped:
                wrappers.require_one_tensor(node.layer, node.args, node.kwargs)
            if wrapped or (isinstance(node.layer, keras.Model) and not why_closed):
                # Keras leaves the mask that a model is called with on the tensor, also for the calls behind.
                seen = dict(numbers) if wrapped else numbers
                calls += self._masked(node, seen, name)
                first = _model_inputs(node, seen)
                if wrapped or keras_graph.is_chain(node.layer):
                    inner, ys = self._called(node.layer, first[0], name)
                else:
                    inner, ys = self._walk(node.layer, first, f"{name}/")
                calls += inner
            else:
                calls.append(self._node_call(node, numbers, name, why_closed, graph.second))
                ys = calls[-1].outputs
            numbers.update(zip(map(id, node.outputs), ys))
        return calls, tuple(numbers.get(id(tensor), _ABSENT) for tensor in graph.outputs)

    def _node_call(
        self,
        node: Node,
        numbers: dict[int, int],
        name: str,
        why_closed: str,
        second: dict[int, tuple[int, ...]],
    ) -> Call:
        """The call of a layer that stays one call; `second` is `Opened.second` of the graph around it."""
        args, kwargs = map_leaves(
            (node.args, node.kwargs), lambda a: Ref(numbers[id(a)]) if id(a) in numbers else a
        )
        known = [tensor for tensor in node.inputs if id(tensor) in numbers]
        aside = masks.given_only(node)
        aside.update(id(tensor) for tensor in known if numbers[id(tensor)] in self._without_samples)
        dtype_of = {id(tensor): keras_graph.dtype(tensor) for tensor in known}
        indexed = any(dtype.is_floating for dtype in dtype_of.values())
        if indexed and keras_graph.operation_name(node.layer) in TAKING_INDICES:
            aside.update(key for key, dtype in dtype_of.items() if dtype.is_integer)
        if depends_on_shapes(node.layer):
            aside.update(map(id, known))
        xs, ms = (
            tuple(numbers[id(tensor)] for tensor in known if (id(tensor) in aside) is is_aside)
            for is_aside in (False, True)
        )
        ys = tuple(self._number() for _ in node.outputs)
        if not xs:
            self._without_samples.update(ys)
        operation = keras_graph.is_operation(node.layer)
        dtypes = tuple(dtype_of[id(x)] for x in known if operation and id(x) not in aside)
        if keras_graph.KERAS_3 and keras_graph.operation_name(node.layer) in ALSO_OF_REAL_NUMBERS:
            dtypes = () if all(dtype.is_integer for dtype in dtypes) else dtypes
        real = any(id(x) in aside and dtype_of[id(x)].is_floating for x in known)
        layer = keras_graph.in_full_precision(node.layer) if keras_graph.KERAS_3 else node.layer
        apart = all(batch_axis.is_first(x, self._batch, second) for x in known if second and id(x) not in aside)
        call = Call(self._name(name), layer, args, kwargs, xs, ys, dtypes, why_closed, ms, (), (), real, apart)
        return self._known.add(call)

    def _masked(self, node: Node, numbers: dict[int, int], name: str) -> list[Call]:
        """The calls that give the inputs of a model or wrapper the masks that it is called with."""
        given = masks.arguments(node.layer, node.args, node.kwargs)
        first, mask = next(iter(given.values())), given.get("mask")
        calls = []
        for tensor, own in zip(tf.nest.flatten(first), [] if mask is None else tf.nest.flatten(mask)):
            if own is not None:
                ms = {"mask": Ref(numbers[id(own)]) if id(own) in numbers else own}
                calls.append(self._call(masks.WithMask(), (numbers[id(tensor)],), f"{name}/mask", 1, ms))
                numbers[id(tensor)] = calls[-1].outputs[0]
        return calls

    def _opened(
        self, node: Node, xs: tuple[int, ...], name: str, second_of: dict[int, tuple[int, ...]]
    ) -> tuple[list[Call], tuple[int, ...]]:
        """The calls in a user's layer, with the masks that it gets and gives.

        `second_of` is `Opened.second` of the graph around it.

        Raises:
            CannotBeOpenedError: it cannot be taken apart.
            NotAnalyzeableModelException: nor can what is in it.
        """
        if keras_graph.is_operation(node.layer):
            return self.traced(node, xs, name, second_of)[1:]
        places = dict(zip(map(id, node.inputs), zip(xs, map(self._known.mask, xs))))
        masked = {key: place for key, place in places.items() if place[1] is not None}
        before = [self._call(masks.MaskOf(), (number,), f"{name}/mask") for number, _ in masked.values()]
        if masked:
            xs = (*xs, *(call.outputs[0] for call in before))
            node, second_of = masks.with_symbols(node, {k: mask for k, (_, mask) in masked.items()}, second_of)
        _, inner, ys = self.traced(node, xs, name, second_of)
        if not node.layer.supports_masking:
            return [*before, *inner], ys
        first, mask = masks.given_to_compute(node)
        numbers = dict(zip(map(id, node.inputs), xs))
        first, mask = map_leaves((first, mask), lambda a: Ref(numbers[id(a)]) if id(a) in numbers else a)
        made = len(self._known.calls)
        behind = [
            self._call(masks.MaskedAs(node.layer, place), (y,), f"{name}/mask", 1, {"first": first, "mask": mask})
            for place, y in enumerate(ys)
            if y != _ABSENT
        ]
        of_masked = {call.inputs[0]: call.outputs[0] for call in behind if call.inputs}
        found = tuple(of_masked.get(y, y) for y in ys)
        if all(self._known.mask(number) is None for number in of_masked.values()):
            self._known.forget(made)
            return [*before, *inner], ys
        return [*before, *inner, *behind], found

    def traced(
        self, node: Node, xs: tuple[int, ...], name: str, second_of: dict[int, tuple[int, ...]]
    ) -> tuple[Opened, list[Call], tuple[int, ...]]:
        """The graph and the calls in a user's layer, see `_opened`; raises CannotBeOpenedError."""
        if self._within_opened:
            shapes = [tuple(tensor.shape) for tensor in node.inputs]
            second = [second_of.get(id(tensor), shape) for tensor, shape in zip(node.inputs, shapes)]
            return self._traced_with(node, xs, name, Lengths(shapes, second, shapes))
        told = [tuple(tensor.shape) for tensor in node.inputs]
        names, made, self._within_opened = set(self._names), len(self._known.calls), True
        try:
            if any(None in shape[1:] for shape in told):
                try:
                    return self._traced_with(node, xs, name, self._known.lengths(xs, self._batch), compared=True)
                except (CannotBeOpenedError, NotAnalyzeableModelException) as error:
                    advice = "call the model on a keras.Input(shape) of the whole shape, keras.Model(x, model(x))"
                    reason = f"{error}; its inputs have axes of unknown length, so {advice}"
                    raise CannotBeOpenedError(reason) from error
            lengths = with_lengths(told, self._batch)
            try:
                return self._traced_with(node, xs, name, lengths, compared=True)
            except CannotBeOpenedError:
                self._names = names
                self._known.forget(made)
                exact = self._known.lengths(xs, self._batch)
                if exact == lengths:
                    raise
                return self._traced_with(node, xs, name, exact, compared=True)
        finally:
            self._within_opened = False

    def _traced_with(
        self, node: Node, xs: tuple[int, ...], name: str, lengths: Lengths, compared: bool = False
    ) -> tuple[Opened, list[Call], tuple[int, ...]]:
        """As `traced`, with these shapes of the inputs; it may be compared with the layer itself."""
        graph = opened_layers.opened(node, lengths.first, lengths.second)
        calls, ys = self._walk_nodes(graph, xs, f"{name}/")
        if compared and not isinstance(node.layer, opened_layers.Rewritten):
            inner = Network(tuple(calls), xs, ys, self._known.masked)

            def outputs(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
                values = inner.values(tensors)
                return [values[number] for number in ys if number != _ABSENT]

            opened_layers.require_same(node, lengths.tried, xs, outputs)
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

    def _call(
        self,
        layer: Any,
        numbers: tuple[int, ...],
        name: str,
        outputs: int = 1,
        aside: dict[str, Any] | None = None,
    ) -> Call:
        """The call of a layer for tensors; those in the arguments `aside` are needed only for masks."""
        given: Any = [Ref(number) for number in numbers]
        args = (given[0] if len(numbers) == 1 else given,)
        ys = tuple(self._number() for _ in range(outputs))
        found: list[Any] = []
        map_leaves(aside or {}, found.append)
        ms = tuple(a.number for a in found if isinstance(a, Ref) and a.number not in numbers)
        layer = keras_graph.in_full_precision(layer) if keras_graph.KERAS_3 else layer
        return self._known.add(Call(self._name(name), layer, args, aside or {}, numbers, ys, masks=ms))

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
        fold = self._call(wrappers.FoldTime(layer.layer), (number,), f"{name}/fold")
        inner, (output,) = self._called(layer.layer, fold.outputs[0], f"{name}/{layer.layer.name}")
        unfold = self._call(wrappers.UnfoldTime(layer), (output, number), f"{name}/unfold")
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
    given = next(iter(masks.arguments(node.layer, node.args, node.kwargs).values()))
    if isinstance(given, dict):
        given = [given[name] for name in keras_graph.input_names(node.layer)]
    return tuple(numbers[id(tensor)] for tensor in tf.nest.flatten(given))
