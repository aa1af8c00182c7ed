"""Takes the user's layers apart into what their `call` does (Keras 3).

In Keras 3 the code of a layer's `call` also runs on symbolic tensors: each layer and each operation of `keras.ops`
in it then becomes a node, as in a functional model, with the layer's own layers and weights. Code that asks for
the number of samples, or for another length, needs a number, which may not be known yet. So `call` runs with two
numbers for each, and what differs between the two graphs depends on these.

The code runs on a private copy of the layer, which shares its variables: it changes nothing that another thread
could see.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.reading import at_inference
from rap_keras.engine.reading.composed import code_of
from rap_keras.engine.reading.of_shapes import (
    CannotBeOpenedError,
    Constant,
    Given,
    Merge,
    attributes,
    constants,
    filled,
)
from rap_keras.engine.reading.symbolic_calls import called_by_keras, is_of_user, symbolic, traceable
from rap_keras.engine.registered_rules import is_registered

_TOLERANCE = 1e-3


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


def can_be_opened(node: Node) -> bool:
    """Whether the code that a node runs is to be taken apart: it is not of Keras, or known to be operations only.

    Layers for which the user registered a rule stay.
    """
    layer = node.layer
    if not keras_graph.KERAS_3 or is_registered(layer) or isinstance(layer, Given):
        return False
    if keras_graph.is_operation(layer):
        return code_of(layer) is not None
    if isinstance(layer, Rewritten):
        return True
    if isinstance(layer, keras.Model) and (keras_graph.is_chain(layer) or keras_graph.nodes(layer) is not None):
        return False
    if type(layer).__name__ == "ReversibleEmbedding":
        return bool(at_inference.bound(layer, node.args, node.kwargs).arguments.get("reverse", False))
    return is_of_user(layer) or type(layer).__name__ in _OF_OPERATIONS


_OF_OPERATIONS = ("GroupQueryAttention", "GroupedQueryAttention")


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
    (a, value), (b, _) = _traced(node, first), _traced(node, second)
    if [type(n.layer) for n in a.nodes] != [type(n.layer) for n in b.nodes]:
        raise CannotBeOpenedError("what it does depends on the number of samples")
    merge = Merge(a.inputs, (first, second), constants(a), value, _anew(node))
    nodes = [_merged_node(*pair, merge) for pair in zip(a.nodes, b.nodes)]
    outputs = [merge.output(*pair) for pair in zip(a.outputs, b.outputs)]
    tensors = [pair for m, n in zip(a.nodes, b.nodes) for pair in zip(m.outputs, n.outputs)]
    second_of = {id(x): tuple(y.shape) for x, y in [*zip(a.inputs, b.inputs), *tensors]}
    return Opened(a.inputs, [*merge.nodes, *nodes], outputs, {**second_of, **merge.second})


def _anew(node: Node) -> Callable[..., np.ndarray]:
    """What gives a constant of a layer's code for other shapes of its inputs, by its number in `constants`."""

    @lru_cache(maxsize=8)
    def at(shapes: tuple[tuple[int, ...], ...]) -> tuple[list[Any], Callable]:
        graph, value = _traced(node, shapes)
        return constants(graph), value

    def anew(number: int, *shapes: np.ndarray) -> np.ndarray:
        found, value = at(tuple(tuple(map(int, shape)) for shape in shapes))
        constant = found[number]
        return np.asarray(value(constant)()) if isinstance(constant, tf.Tensor) else constant

    return anew


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
            expected = [y for y in tf.nest.flatten(called_by_keras(layer, args, kwargs)) if y is not None]
            _put_masks_on(tensors, node)  # attention removes them
            found = outputs(tensors)
        except Exception as error:  # any operation may fail on shapes that do not fit
            raise CannotBeOpenedError(f"its parts do not fit together ({_first_line(error)})") from error
    for y, own in zip(found, map(np.asarray, expected)):
        finite = np.abs(own[np.isfinite(own)])
        if own.size and not finite.size:
            raise CannotBeOpenedError("it gives no finite value for random numbers, so the parts cannot be tried")
        if y.shape != own.shape or not np.allclose(
            y, own, _TOLERANCE, _TOLERANCE * finite.max(initial=0), equal_nan=True
        ):
            raise CannotBeOpenedError("its parts calculate something else than the layer itself")


def _traced(
    node: Node, shapes: Sequence[tuple[int, ...]]
) -> tuple[Opened, Callable[[tf.Tensor], Callable[[], tf.Tensor]]]:
    """The graph for inputs of these shapes, and what turns a tensor without symbolic inputs into a function.

    The graph is made within a TensorFlow graph, so that what the code calculates only from weights does not become
    a number, but can be calculated again whenever it is needed.

    Raises:
        CannotBeOpenedError: the code of the layer fails, or it returns something else than tensors.
    """
    pairs = zip(node.inputs, shapes)
    unique = {id(t): keras.KerasTensor(shape, _dtype(node.layer, t)) for t, shape in pairs}
    inputs = [unique[id(t)] for t in node.inputs]
    _put_masks_on(inputs, node)
    layer, originals = keras_graph.private_copy(node.layer)
    parts = (
        [] if keras_graph.is_operation(layer) else [part for part in layer._flatten_layers() if part is not layer]
    )
    kinds: list[Any] = [type(part) for part in parts]
    code = code_of(layer) or layer.call
    found: list[Opened] = []

    def trace(by_code: bool) -> None:
        for part, kind in zip(parts, kinds):
            part.__class__ = traceable(kind, by_code)
        args, kwargs = _arguments(node, inputs)
        outputs = tf.nest.flatten(code(*args, **kwargs))
        if len(outputs) != len(node.outputs):
            outputs = [y for y in outputs if y is not None]
        kinds_of_outputs = (keras.KerasTensor, tf.Tensor, type(None))
        if not all(isinstance(y, kinds_of_outputs) for y in outputs) or len(outputs) != len(node.outputs):
            raise CannotBeOpenedError("not all that it returns are tensors")
        symbolic = [y for y in outputs if isinstance(y, keras.KerasTensor)]
        nodes = [n._replace(layer=originals.get(id(n.layer), n.layer)) for n in keras_graph.nodes_before(symbolic)]
        found.append(Opened(inputs, nodes, outputs, {}))

    try:
        with symbolic():
            try:
                graph = tf.compat.v1.wrap_function(partial(trace, by_code=False), [])
            except Exception:  # the shapes that a layer in it tells may be wrong
                graph = tf.compat.v1.wrap_function(partial(trace, by_code=True), [])
    except CannotBeOpenedError:
        raise
    except Exception as error:  # it is the user's code
        raise CannotBeOpenedError(f"its call fails on symbolic tensors ({_first_line(error)})") from error
    return found[0], lambda tensor: graph.prune([], tensor)


def _put_masks_on(tensors: Sequence[Any], node: Node) -> None:
    """Gives tensors that stand for the inputs of a node those masks of them that are inputs of the node, too."""
    stands_for = dict(zip(map(id, node.inputs), tensors))
    for symbol, tensor in zip(node.inputs, tensors):
        mask = getattr(symbol, "_keras_mask", None)
        if id(mask) in stands_for:
            tensor._keras_mask = stands_for[id(mask)]


def _merged_node(a: Node, b: Node, merge: Merge) -> Node:
    """Makes a node for any lengths from those for two."""
    shapes, made = (_shape(a), _shape(b)), len(merge.nodes)
    args, kwargs = (merge.argument(pair, shapes) for pair in ((a.args, b.args), (a.kwargs, b.kwargs)))
    inputs = [*a.inputs, *(node.outputs[0] for node in merge.nodes[made:])]
    layer = a.layer
    if isinstance(layer, keras.Model) and any(isinstance(x, Constant) for x in tf.nest.flatten((args, kwargs))):
        raise CannotBeOpenedError(f"it calls model '{layer.name}' with a constant")
    if keras_graph.is_operation(layer):
        of_both = merge.argument((attributes(layer), attributes(b.layer)), shapes, symbols=False)
        of_shape = {name: value for name, value in of_both.items() if value is not vars(layer)[name]}
        first = [isinstance(x, keras.KerasTensor) for x in tf.nest.flatten((a.args, a.kwargs))].index(True)
        common = [_common(*pair) for pair in zip(a.outputs, b.outputs)]
        changed = {"call": partial(_called, layer, of_shape, first, common)} if of_shape else {}
        # Keras numbers all operations of a program, and names should be the same each time.
        name = keras_graph.operation_name(layer) or type(layer).__name__.lower()
        layer = keras_graph.twin(layer, name=name, **changed)
    elif layer is not b.layer:
        if layer.weights:
            raise CannotBeOpenedError(f"it makes layer '{layer.name}' anew at every call")
        layer = keras_graph.twin(layer, name=type(layer).__name__.lower())
    return Node(layer, args, kwargs, inputs, a.outputs)


def _called(
    operation: Any, of_shape: dict[str, Any], first: int, shapes: list[Any], *args: Any, **kwargs: Any
) -> list[tf.Tensor]:
    """The outputs of an operation with attributes that depend on the shape of its first input.

    `first` is the place of the first input among the arguments.
    """
    shape = tf.shape(tf.nest.flatten((args, kwargs))[first])
    now = keras_graph.twin(operation, **{name: filled(value, shape) for name, value in of_shape.items()})
    outputs = tf.nest.flatten(now.call(*args, **kwargs))
    return [tf.ensure_shape(y, shape) for y, shape in zip(outputs, shapes)]


def _arguments(node: Node, tensors: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
    """The arguments of a call at inference, with `tensors` instead of the node's symbolic ones."""
    values = {id(symbolic): tensor for symbolic, tensor in zip(node.inputs, tensors)}
    args, kwargs = tf.nest.map_structure(
        lambda a: filled(values.get(id(a), a), tensors[0].shape), (tuple(node.args), dict(node.kwargs))
    )
    return at_inference.arguments(node.layer, args, kwargs)


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
