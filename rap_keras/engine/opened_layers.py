"""Takes layers that are made of other layers apart into what their `call` does (Keras 3).

In Keras 3 the code of a layer's `call` also runs on symbolic tensors: each layer and each operation of `keras.ops`
in it then becomes a node, as in a functional model, with the layer's own layers and weights. Code that asks for
the number of samples needs a number, which is not known yet. So `call` runs with two numbers, and what differs
between the two graphs depends on the number of samples.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.registered_rules import is_registered

_TRACED = (3, 4)  # numbers of samples
_TRIED = 2  # another number, to find one of the others that stayed in the graph
_TOLERANCE = 1e-3


class CannotBeOpenedError(Exception):
    """Why a layer cannot be taken apart."""


@dataclass(frozen=True)
class OfBatch:
    """A number proportional to the size of a call's first input along its first axis: `count` for `size`."""

    count: int
    size: int

    def at(self, size: Any) -> Any:
        """The number for another size, an integer or a tensor."""
        return self.count * size // self.size


@dataclass(frozen=True)
class Constant:
    """A tensor that a layer calculates only from its weights, such as its class token; it is never out of date.

    `repeats` tells how often the tensor repeats its first row, if that depends on the number of samples.
    """

    calculate: Callable[[], tf.Tensor]
    dtype: tf.DType
    shape: tf.TensorShape
    repeats: OfBatch | None = None

    def at(self, size: Any) -> tf.Tensor:
        """Its current value, for a size as in `OfBatch.at`."""
        value = self.calculate()
        return value if self.repeats is None else tf.repeat(value[:1], self.repeats.at(size), axis=0)


class Opened(NamedTuple):
    """The graph of a layer's `call`: its symbolic inputs, its nodes in forward order, its symbolic outputs."""

    inputs: list[Any]
    nodes: list[Node]
    outputs: list[Any]


def can_be_opened(layer: Any) -> bool:
    """Whether a layer has other layers in it but no rule, neither of the package nor registered."""
    if not keras_graph.KERAS_3 or keras_graph.is_operation(layer) or is_registered(layer):
        return False
    if isinstance(layer, keras.Model) and (keras_graph.is_chain(layer) or keras_graph.nodes(layer) is not None):
        return False
    of_keras = str(getattr(type(layer).call, "__module__", "")).split(".")[0] == "keras"
    return not of_keras and len(_parts(layer)) > 1


def opened(node: Node) -> Opened:
    """The graph of what a layer does where it is called; the layer does not change.

    Raises:
        CannotBeOpenedError: its code does not run on symbolic tensors, or its graph depends on the number of
            samples in an unknown way.
    """
    layer = node.layer
    if layer.compute_dtype != layer.variable_dtype:
        raise CannotBeOpenedError(f"it calculates in {layer.compute_dtype}, and relevance needs float32")
    if any(None in tensor.shape[1:] for tensor in node.inputs):
        raise CannotBeOpenedError("its inputs have axes of unknown length, so give keras.Input the whole shape")
    (first, constant), (second, _) = (_traced(node, size) for size in _TRACED)
    if [type(n.layer) for n in first.nodes] != [type(n.layer) for n in second.nodes]:
        raise CannotBeOpenedError("what it does depends on the number of samples")
    nodes = [_merged_node(a, b, constant) for a, b in zip(first.nodes, second.nodes)]
    return Opened(first.inputs, nodes, first.outputs)


def require_same(
    node: Node, numbers: Sequence[int], outputs: Callable[[list[tf.Tensor]], list[tf.Tensor]]
) -> None:
    """Compares the graph of a layer with the layer itself, on random numbers.

    Args:
        node: the call of the layer.
        numbers: the numbers of its input tensors; equal numbers mean the same tensor.
        outputs: takes tensors for `node.inputs`, and gives the outputs of the graph.

    Raises:
        CannotBeOpenedError: they differ.
    """
    tensors = [_random(*pair) for pair in zip(node.inputs, numbers)]
    _put_masks_on(tensors, node)
    with _as_it_was(node.layer), keras.StatelessScope():
        args, kwargs = _arguments(node, tensors, _size(tensors))
        expected = tf.nest.flatten(node.layer(*args, **kwargs))
        _put_masks_on(tensors, node)  # attention removes them
        try:
            found = outputs(tensors)
        except Exception as error:  # any operation may fail on shapes that do not fit
            raise CannotBeOpenedError(f"its parts do not fit together ({_first_line(error)})") from error
    for y, own in zip(found, map(np.asarray, expected)):
        finite = np.abs(own[np.isfinite(own)])
        if not finite.size:
            raise CannotBeOpenedError("it gives no finite value for random numbers, so the parts cannot be tried")
        if y.shape != own.shape or not np.allclose(y, own, _TOLERANCE, _TOLERANCE * finite.max(), equal_nan=True):
            raise CannotBeOpenedError("its parts calculate something else than the layer itself")


def _traced(node: Node, size: int) -> tuple[Opened, Callable[[tf.Tensor], Callable[[], tf.Tensor]]]:
    """The graph for one number of samples, and what turns a tensor without symbolic inputs into a function.

    The graph is made within a TensorFlow graph, so that what the code calculates only from weights does not become
    a number, but can be calculated again whenever it is needed.

    Raises:
        CannotBeOpenedError: the code of the layer fails, or an output does not depend on its inputs.
    """
    unique = {id(t): keras.KerasTensor((size, *t.shape[1:]), _dtype(node.layer, t)) for t in node.inputs}
    inputs = [unique[id(t)] for t in node.inputs]
    _put_masks_on(inputs, node)
    found: list[Opened] = []

    def trace() -> None:
        args, kwargs = _arguments(node, inputs, size)
        outputs = tf.nest.flatten(node.layer.call(*args, **kwargs))
        if not all(isinstance(y, keras.KerasTensor) for y in outputs) or len(outputs) != len(node.outputs):
            raise CannotBeOpenedError("an output does not depend on its inputs")
        found.append(Opened(inputs, keras_graph.nodes_before(outputs), outputs))

    with _as_it_was(node.layer):
        try:
            graph = tf.compat.v1.wrap_function(trace, [])
        except CannotBeOpenedError:
            raise
        except Exception as error:  # it is the user's code
            raise CannotBeOpenedError(f"its call fails on symbolic tensors ({_first_line(error)})") from error
    return found[0], lambda tensor: graph.prune([], tensor)


def _put_masks_on(tensors: Sequence[Any], node: Node) -> None:
    """Gives tensors that stand for the inputs of a node those masks of them that are inputs of the node, too."""
    stands_for = dict(zip(map(id, node.inputs), tensors))
    for symbolic, tensor in zip(node.inputs, tensors):
        mask = getattr(symbolic, "_keras_mask", None)
        if id(mask) in stands_for:
            tensor._keras_mask = stands_for[id(mask)]


def _merged_node(a: Node, b: Node, constant: Callable) -> Node:
    """Makes a node for any number of samples from those for two numbers."""
    merge = partial(_merged, sizes=(_size(a.inputs), _size(b.inputs)), constant=constant)
    args, kwargs = merge((a.args, b.args)), merge((a.kwargs, b.kwargs))
    layer = a.layer
    if isinstance(layer, keras.Model) and any(isinstance(x, Constant) for x in tf.nest.flatten((args, kwargs))):
        raise CannotBeOpenedError(f"it calls model '{layer.name}' with a constant")
    if keras_graph.is_operation(layer):
        of_both = merge((_attributes(layer), _attributes(b.layer)))
        of_batch = {name: value for name, value in of_both.items() if value is not vars(layer)[name]}
        first = [isinstance(x, keras.KerasTensor) for x in tf.nest.flatten((a.args, a.kwargs))].index(True)
        shapes = [_shape(*pair) for pair in zip(a.outputs, b.outputs)]
        changed = {"call": partial(_called, layer, of_batch, first, shapes)} if of_batch else {}
        # Keras numbers all operations of a program, and names should be the same each time.
        layer = keras_graph.twin(layer, name=type(layer).__name__.lower(), **changed)
    elif layer is not b.layer:
        if layer.weights:
            raise CannotBeOpenedError(f"it makes layer '{layer.name}' anew at every call")
        layer = keras_graph.twin(layer, name=type(layer).__name__.lower())
    return Node(layer, args, kwargs, a.inputs, a.outputs)


def _merged(pair: tuple[Any, Any], sizes: tuple[Any, Any], constant: Callable) -> Any:
    """Makes an argument for any number of samples from those for two numbers."""
    a, b = pair
    merge = partial(_merged, sizes=sizes, constant=constant)
    if a is b or isinstance(a, keras.KerasTensor):
        return a
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        merged: Any = {name: merge((value, b[name])) for name, value in a.items()}
        return a if all(merged[name] is value for name, value in a.items()) else merged
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        merged = [merge(part) for part in zip(a, b)]
        return a if all(new is old for new, old in zip(merged, a)) else type(a)(merged)
    if isinstance(a, tf.Tensor) and isinstance(b, tf.Tensor):
        if a.shape.rank != b.shape.rank or a.shape[1:] != b.shape[1:]:
            raise CannotBeOpenedError("the shape of a constant depends on the number of samples")
        repeats = None if a.shape == b.shape else _of_batch(a.shape[0], b.shape[0], sizes)
        return Constant(constant(a), a.dtype, a.shape, repeats)
    if isinstance(a, (bool, int, float, str, slice, np.integer)) and a != b:
        return _of_batch(a, b, sizes)
    return a


def _of_batch(a: Any, b: Any, sizes: tuple[Any, Any]) -> OfBatch:
    """The number for any size of the first input that is `a` for one of two sizes and `b` for the other."""
    if not isinstance(a, (int, np.integer)) or None in sizes or a * sizes[1] != b * sizes[0]:
        raise CannotBeOpenedError(f"not only shapes in it depend on the number of samples ({a} became {b})")
    return OfBatch(int(a), sizes[0])


def _called(
    operation: Any, of_batch: dict[str, Any], first: int, shapes: list[Any], *args: Any, **kwargs: Any
) -> list[tf.Tensor]:
    """The outputs of an operation with attributes that depend on the number of samples.

    `first` is the place of the first input among the arguments.
    """
    size = tf.shape(tf.nest.flatten((args, kwargs))[first])[0]
    now = keras_graph.twin(operation, **{name: _filled(value, size) for name, value in of_batch.items()})
    outputs = tf.nest.flatten(now.call(*args, **kwargs))
    return [tf.ensure_shape(y, shape) for y, shape in zip(outputs, shapes)]


def _filled(argument: Any, size: Any) -> Any:
    """An argument with current values for the parts that depend on the number of samples, or on weights."""
    if isinstance(argument, (list, tuple)):
        return type(argument)(_filled(part, size) for part in argument)
    return argument.at(size) if isinstance(argument, (OfBatch, Constant)) else argument


def _arguments(node: Node, tensors: Sequence[Any], size: Any) -> tuple[Any, dict[str, Any]]:
    """The arguments of a call at inference, with `tensors` instead of the node's symbolic ones."""
    values = {id(symbolic): tensor for symbolic, tensor in zip(node.inputs, tensors)}
    args, kwargs = tf.nest.map_structure(
        lambda a: _filled(values.get(id(a), a), size), (tuple(node.args), dict(node.kwargs))
    )
    if "training" in inspect.signature(node.layer.call).parameters:
        kwargs["training"] = False
    return args, kwargs


@contextmanager
def _as_it_was(layer: Any) -> Iterator[None]:
    """Undoes what the code does to a layer and to the layers in it: nodes, and attributes that it sets."""
    before = [
        (part, dict(vars(part)), list(part._inbound_nodes), list(part._outbound_nodes)) for part in _parts(layer)
    ]
    try:
        yield
    finally:
        for part, attributes, inbound, outbound in before:
            vars(part).clear()
            vars(part).update(attributes)
            part._inbound_nodes[:], part._outbound_nodes[:] = inbound, outbound


def _parts(layer: Any) -> list[Any]:
    """A layer and all layers in it."""
    return list(layer._flatten_layers())


def _attributes(operation: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(operation).items() if name != "name" and not name.startswith("_")}


def _size(tensors: Sequence[Any]) -> Any:
    """The length of the first tensor's first axis; None without axes."""
    return tensors[0].shape[0] if len(tensors[0].shape) else None


def _shape(a: Any, b: Any) -> list[int | None]:
    return [x if x == y else None for x, y in zip(a.shape, b.shape)]


def _random(tensor: Any, seed: int) -> tf.Tensor:
    shape, dtype = (_TRIED, *tensor.shape[1:]), keras_graph.dtype(tensor)
    random = np.random.default_rng(seed)
    if dtype.is_bool:  # a mask under which nothing counts may give NaN
        return tf.constant(random.integers(0, 2, shape) + np.eye(1, shape[-1]) > 0)
    return tf.cast(random.normal(size=shape) if dtype.is_floating else random.integers(0, 2, shape), dtype)


def _dtype(layer: Any, tensor: Any) -> str:
    """The data type that a layer casts an input to before its `call`."""
    own, given = keras_graph.weights_dtype(layer), keras_graph.dtype(tensor)
    return own.name if own and given.is_floating else given.name


def _first_line(error: Exception) -> str:
    """The first line of an error's text, without the place and the colours that Keras puts around it."""
    text = re.sub(r"\x1b\[\d*m|^Exception encountered when calling .*", "", str(error))
    return (text.strip() or type(error).__name__).splitlines()[0].split(". ")[0]
