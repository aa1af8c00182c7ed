"""Takes the user's layers apart into what their `call` does (Keras 3).

In Keras 3 the code of a layer's `call` also runs on symbolic tensors: each layer and each operation of `keras.ops`
in it then becomes a node, as in a functional model, with the layer's own layers and weights. Code that asks for
the number of samples, or for another length, needs a number, which may not be known yet. So `call` runs with two
numbers for each, and what differs between the two graphs depends on these.

The code runs on a private copy of the layer, which shares its variables: it changes nothing that another thread
could see.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.reading import at_inference
from rap_keras.engine.registered_rules import is_registered

_TOLERANCE = 1e-3
_LOCK = Lock()


class Lengths(NamedTuple):
    """Shapes of a call's inputs in either trace, and when the graph is tried, to find others that stayed in it."""

    first: list[tuple[int, ...]]
    second: list[tuple[int, ...]]
    tried: list[tuple[int, ...]]


def with_lengths(shapes: Sequence[tuple[int | None, ...]]) -> Lengths:
    """Shapes of inputs with numbers instead of unknown lengths, and for the number of samples.

    Each axis has its own ratio of the first to the second, so that a number can be told by how it grows. All but
    the samples are lengths that pooling and windows can divide.
    """

    def filled(shape: tuple[int | None, ...], of: int) -> tuple[int, ...]:
        samples, *rest = [(3, 4, 2), *((16, 8 + 16 * axis, 8) for axis in range(1, len(shape)))]
        return (samples[of], *(lengths[of] if n is None else n for n, lengths in zip(shape[1:], rest)))

    return Lengths(*([filled(shape, of) if shape else () for shape in shapes] for of in range(3)))


class CannotBeOpenedError(Exception):
    """Why a layer cannot be taken apart."""


@dataclass(frozen=True)
class OfShape:
    """A number proportional to some lengths of a call's first input: `count` where their product is `size`."""

    count: int
    size: int
    axes: tuple[int, ...]

    def at(self, shape: Any) -> Any:
        """The number for another shape of that input: integers, or a tensor of them."""
        return self.count * math.prod(shape[axis] for axis in self.axes) // self.size


@dataclass(frozen=True)
class Constant:
    """A tensor that a layer calculates only from its weights, such as its class token; it is never out of date.

    `repeats` tells how often the tensor repeats its first row, if that depends on the number of samples.
    """

    calculate: Callable[[], tf.Tensor]
    dtype: tf.DType
    shape: tf.TensorShape
    repeats: OfShape | None = None

    def at(self, shape: Any) -> tf.Tensor:
        """Its current value, for a shape as in `OfShape.at`."""
        value = self.calculate()
        return value if self.repeats is None else tf.repeat(value[:1], self.repeats.at(shape), axis=0)


class Opened(NamedTuple):
    """The graph of a layer's `call`: its symbolic inputs, its nodes in forward order, its symbolic outputs.

    Their shapes are those of the first trace; `second` has those of the other one by the ids of the tensors.
    """

    inputs: list[Any]
    nodes: list[Node]
    outputs: list[Any]
    second: dict[int, tuple[int, ...]]


class Rewritten(keras.layers.Layer):
    """A layer of the user's with a changed graph, which `calculate` calculates; it takes a list of tensors."""

    def __init__(self, layer: Any, graph: Opened, calculate: Callable[[list[tf.Tensor]], list[tf.Tensor]]) -> None:
        super().__init__(name=layer.name, dtype=layer.variable_dtype)
        self.layer = layer
        self.graph = lambda: graph  # Keras would track a tuple
        self.calculate = calculate

    def call(self, inputs: list[Any]) -> list[Any]:
        """The outputs of the graph."""
        return self.calculate(list(inputs))


def can_be_opened(layer: Any) -> bool:
    """Whether the code of a layer is not of Keras, and the user registered no rule for it."""
    if not keras_graph.KERAS_3 or keras_graph.is_operation(layer) or is_registered(layer):
        return False
    if isinstance(layer, Rewritten):
        return True
    if isinstance(layer, keras.Model) and (keras_graph.is_chain(layer) or keras_graph.nodes(layer) is not None):
        return False
    return str(getattr(type(layer).call, "__module__", "")).split(".")[0] != "keras"


def opened(node: Node, first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> Opened:
    """The graph of what a layer does where it is called; the layer does not change.

    Args:
        node: its use.
        first: two shapes of each of its inputs, which differ in the axes of unknown length.
        second: likewise.

    Raises:
        CannotBeOpenedError: its code does not run on symbolic tensors, or its graph depends on the lengths of
            these axes in an unknown way.
    """
    if isinstance(node.layer, Rewritten):
        return node.layer.graph()
    (a, constant), (b, _) = _traced(node, first), _traced(node, second)
    if [type(n.layer) for n in a.nodes] != [type(n.layer) for n in b.nodes]:
        raise CannotBeOpenedError("what it does depends on the number of samples")
    nodes = [_merged_node(*pair, constant) for pair in zip(a.nodes, b.nodes)]
    tensors = [pair for m, n in zip(a.nodes, b.nodes) for pair in zip(m.outputs, n.outputs)]
    second_of = {id(x): tuple(y.shape) for x, y in [*zip(a.inputs, b.inputs), *tensors]}
    return Opened(a.inputs, nodes, a.outputs, second_of)


def require_same(
    node: Node,
    shapes: Sequence[tuple[int, ...]],
    numbers: Sequence[int],
    outputs: Callable[[list[tf.Tensor]], list[tf.Tensor]],
) -> None:
    """Compares the graph of a layer with the layer itself, on random numbers.

    Args:
        node: the call of the layer.
        shapes: those of its inputs.
        numbers: the numbers of its input tensors; equal numbers mean the same tensor.
        outputs: takes tensors for `node.inputs`, and gives the outputs of the graph.

    Raises:
        CannotBeOpenedError: they differ.
    """
    tensors = [_random(*given) for given in zip(node.inputs, shapes, numbers)]
    _put_masks_on(tensors, node)
    layer, _ = keras_graph.private_copy(node.layer)
    with keras.StatelessScope():
        args, kwargs = _arguments(node, tensors)
        try:
            expected = tf.nest.flatten(layer(*args, **{**kwargs, "training": False}))
            _put_masks_on(tensors, node)  # attention removes them
            found = outputs(tensors)
        except Exception as error:  # any operation may fail on shapes that do not fit
            raise CannotBeOpenedError(f"its parts do not fit together ({_first_line(error)})") from error
    for y, own in zip(found, map(np.asarray, expected)):
        finite = np.abs(own[np.isfinite(own)])
        if not finite.size:
            raise CannotBeOpenedError("it gives no finite value for random numbers, so the parts cannot be tried")
        if y.shape != own.shape or not np.allclose(y, own, _TOLERANCE, _TOLERANCE * finite.max(), equal_nan=True):
            raise CannotBeOpenedError("its parts calculate something else than the layer itself")


def _traced(
    node: Node, shapes: Sequence[tuple[int, ...]]
) -> tuple[Opened, Callable[[tf.Tensor], Callable[[], tf.Tensor]]]:
    """The graph for inputs of these shapes, and what turns a tensor without symbolic inputs into a function.

    The graph is made within a TensorFlow graph, so that what the code calculates only from weights does not become
    a number, but can be calculated again whenever it is needed.

    Raises:
        CannotBeOpenedError: the code of the layer fails, or an output does not depend on its inputs.
    """
    pairs = zip(node.inputs, shapes)
    unique = {id(t): keras.KerasTensor(shape, _dtype(node.layer, t)) for t, shape in pairs}
    inputs = [unique[id(t)] for t in node.inputs]
    _put_masks_on(inputs, node)
    layer, originals = keras_graph.private_copy(node.layer)
    found: list[Opened] = []

    def trace() -> None:
        args, kwargs = _arguments(node, inputs)
        outputs = tf.nest.flatten(layer.call(*args, **kwargs))
        if not all(isinstance(y, keras.KerasTensor) for y in outputs) or len(outputs) != len(node.outputs):
            raise CannotBeOpenedError("an output does not depend on its inputs")
        nodes = [n._replace(layer=originals.get(id(n.layer), n.layer)) for n in keras_graph.nodes_before(outputs)]
        found.append(Opened(inputs, nodes, outputs, {}))

    try:
        with _symbolic_operators():
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


@contextmanager
def _symbolic_operators() -> Iterator[None]:
    """Lets a symbolic tensor calculate what a variable or an array in front of it cannot: `variable * tensor`."""
    of_variables = next(kind for kind in keras.Variable.__mro__ if "__mul__" in vars(kind))
    names = [f"__{name}__" for name in _OPERATORS.split()]

    def left(operator: Callable) -> Callable:
        return lambda a, b: NotImplemented if isinstance(b, keras.KerasTensor) else operator(a, b)

    with _LOCK:  # with all else the variables of other threads calculate as before
        before = {name: getattr(of_variables, name) for name in names}
        keras.KerasTensor.__array_priority__ = 100  # like TensorFlow's tensors
        for name, operator in before.items():
            setattr(of_variables, name, left(operator))
        try:
            yield
        finally:
            del keras.KerasTensor.__array_priority__
            for name, operator in before.items():
                setattr(of_variables, name, operator)


_OPERATORS = "add sub mul truediv floordiv mod pow matmul lt le gt ge and or xor"


def _merged_node(a: Node, b: Node, constant: Callable) -> Node:
    """Makes a node for any lengths from those for two."""
    merge = partial(_merged, shapes=(_shape(a), _shape(b)), constant=constant)
    args, kwargs = merge((a.args, b.args)), merge((a.kwargs, b.kwargs))
    layer = a.layer
    if isinstance(layer, keras.Model) and any(isinstance(x, Constant) for x in tf.nest.flatten((args, kwargs))):
        raise CannotBeOpenedError(f"it calls model '{layer.name}' with a constant")
    if keras_graph.is_operation(layer):
        of_both = merge((_attributes(layer), _attributes(b.layer)))
        of_shape = {name: value for name, value in of_both.items() if value is not vars(layer)[name]}
        first = [isinstance(x, keras.KerasTensor) for x in tf.nest.flatten((a.args, a.kwargs))].index(True)
        shapes = [_common(*pair) for pair in zip(a.outputs, b.outputs)]
        changed = {"call": partial(_called, layer, of_shape, first, shapes)} if of_shape else {}
        # Keras numbers all operations of a program, and names should be the same each time.
        layer = keras_graph.twin(layer, name=type(layer).__name__.lower(), **changed)
    elif layer is not b.layer:
        if layer.weights:
            raise CannotBeOpenedError(f"it makes layer '{layer.name}' anew at every call")
        layer = keras_graph.twin(layer, name=type(layer).__name__.lower())
    return Node(layer, args, kwargs, a.inputs, a.outputs)


def _merged(pair: tuple[Any, Any], shapes: tuple[Any, Any], constant: Callable) -> Any:
    """Makes an argument for any lengths from those for two."""
    a, b = pair
    merge = partial(_merged, shapes=shapes, constant=constant)
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
            raise CannotBeOpenedError("the shape of a constant depends on that of the samples")
        repeats = None if a.shape == b.shape else _of_shape(a.shape[0], b.shape[0], shapes)
        return Constant(constant(a), a.dtype, a.shape, repeats)
    if isinstance(a, (bool, int, float, str, slice, np.integer)) and a != b:
        return _of_shape(a, b, shapes)
    return a


def _of_shape(a: Any, b: Any, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> OfShape:
    """The number for any shape of the first input that is `a` for one of two shapes and `b` for the other."""
    first, second = shapes
    grown = [axis for axis, (x, y) in enumerate(zip(first, second)) if x != y]
    for count in range(1, len(grown) + 1) if isinstance(a, (int, np.integer)) else ():
        for axes in itertools.combinations(grown, count):
            size = math.prod(first[axis] for axis in axes)
            if a * math.prod(second[axis] for axis in axes) == b * size:
                common = math.gcd(a, size)
                return OfShape(int(a) // common, size // common, axes)
    raise CannotBeOpenedError(f"not only shapes in it depend on the number of samples ({a} became {b})")


def _called(
    operation: Any, of_shape: dict[str, Any], first: int, shapes: list[Any], *args: Any, **kwargs: Any
) -> list[tf.Tensor]:
    """The outputs of an operation with attributes that depend on the shape of its first input.

    `first` is the place of the first input among the arguments.
    """
    shape = tf.shape(tf.nest.flatten((args, kwargs))[first])
    now = keras_graph.twin(operation, **{name: _filled(value, shape) for name, value in of_shape.items()})
    outputs = tf.nest.flatten(now.call(*args, **kwargs))
    return [tf.ensure_shape(y, shape) for y, shape in zip(outputs, shapes)]


def _filled(argument: Any, shape: Any) -> Any:
    """An argument with current values for the parts that depend on shapes or on weights."""
    if isinstance(argument, (list, tuple)):
        return type(argument)(_filled(part, shape) for part in argument)
    return argument.at(shape) if isinstance(argument, (OfShape, Constant)) else argument


def _arguments(node: Node, tensors: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments of a call at inference, with `tensors` instead of the node's symbolic ones."""
    values = {id(symbolic): tensor for symbolic, tensor in zip(node.inputs, tensors)}
    args, kwargs = tf.nest.map_structure(
        lambda a: _filled(values.get(id(a), a), tensors[0].shape), (tuple(node.args), dict(node.kwargs))
    )
    return at_inference.arguments(node.layer, args, kwargs)


def _attributes(operation: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(operation).items() if name != "name" and not name.startswith("_")}


def _shape(node: Node) -> tuple[int, ...]:
    """The shape of a call's first input."""
    return tuple(node.inputs[0].shape)


def _common(a: Any, b: Any) -> list[int | None]:
    return [x if x == y else None for x, y in zip(a.shape, b.shape)]


def _random(tensor: Any, shape: tuple[int, ...], seed: int) -> tf.Tensor:
    dtype, random = keras_graph.dtype(tensor), np.random.default_rng(seed)
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
