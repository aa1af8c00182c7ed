"""What a layer's code calculates from shapes and weights alone: for any shapes, from two that it ran with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.keras_graph import Node

Shape = tuple[int, ...]

SAMPLES = (3, 4, 2)
"""The numbers of samples in either trace, and when the graph is tried."""


class Lengths(NamedTuple):
    """Shapes of a call's inputs in either trace, and when the graph is tried, to find others that stayed in it."""

    first: list[Shape]
    second: list[Shape]
    tried: list[Shape]


def with_lengths(shapes: Sequence[tuple[int | None, ...]], batch: int | None) -> Lengths:
    """Shapes of inputs with numbers instead of unknown lengths, and for the number of samples.

    The first axis is that of the samples if it is unknown, or as long as the `batch` that the model is built for.

    Each axis has its own ratio of the first to the second, so that a number can be told by how it grows. All but
    the samples are lengths that pooling and windows can divide.
    """

    def filled(shape: tuple[int | None, ...], of: int) -> Shape:
        samples, *rest = [SAMPLES, *((16, 8 + 16 * axis, 8) for axis in range(1, len(shape)))]
        first = samples[of] if shape[0] in (None, batch) else shape[0]
        return (first, *(lengths[of] if n is None else n for n, lengths in zip(shape[1:], rest)))

    return Lengths(*([filled(shape, of) if shape else () for shape in shapes] for of in range(3)))


class CannotBeOpenedError(Exception):
    """Why a layer cannot be taken apart."""


@dataclass(frozen=True)
class OfShape:
    """A number that depends on some lengths of a call's first input.

    It is `count` where their product is `size`, and grows with the product, but for `more`, which is added.
    """

    count: int
    size: int
    axes: tuple[int, ...]
    more: int = 0

    def at(self, shape: Any) -> Any:
        """The number for another shape of that input: integers, or a tensor of them."""
        return self.count * math.prod(shape[axis] for axis in self.axes) // self.size + self.more


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


class Given(keras.layers.Layer):
    """What a layer's code calculates from the shapes of its inputs: relevance does not go there.

    `calculate` takes the inputs.
    """

    def __init__(self, calculate: Callable[[list[tf.Tensor]], tf.Tensor]) -> None:
        super().__init__(name="of_shapes", autocast=False)
        self.calculate = calculate

    def call(self, *inputs: tf.Tensor) -> tf.Tensor:
        """The value for inputs of these shapes."""
        return self.calculate(list(inputs))


def constants(graph: Any) -> list[Any]:
    """The tensors and arrays without symbolic inputs among the arguments and outputs of an `Opened` graph."""
    given = [
        (n.args, n.kwargs, attributes(n.layer) if keras_graph.is_operation(n.layer) else ()) for n in graph.nodes
    ]
    return [part for part in _leaves((given, graph.outputs)) if isinstance(part, (tf.Tensor, np.ndarray))]


def _leaves(argument: Any) -> Iterator[Any]:
    if isinstance(argument, (list, tuple, dict)):
        for part in argument.values() if isinstance(argument, dict) else argument:
            yield from _leaves(part)
    else:
        yield argument


class Merge:
    """Makes one graph for any shapes from the arguments in two traces of a layer's code.

    Args:
        inputs: the symbolic inputs of the first trace.
        shapes: those of the inputs in either trace.
        found: the constants of the first trace, see `constants`.
        value: turns a tensor of the first trace into a function that calculates it.
        anew: takes the number of a constant and shapes of the inputs, and gives its value for these.
    """

    def __init__(
        self,
        inputs: list[Any],
        shapes: tuple[Sequence[Shape], Sequence[Shape]],
        found: list[Any],
        value: Callable[[tf.Tensor], Callable[[], tf.Tensor]],
        anew: Callable[..., np.ndarray],
    ) -> None:
        self.nodes: list[Node] = []
        self.second: dict[int, Shape] = {}
        self._inputs, self._value, self._anew = inputs, value, anew
        self._shapes = tuple(tuple(map(tuple, each)) for each in shapes)
        self._numbers = {id(constant): number for number, constant in enumerate(found)}

    def argument(self, pair: tuple[Any, Any], shapes: tuple[Shape, Shape], symbols: bool = True) -> Any:
        """An argument of a call for any shapes, from those in either trace.

        Args:
            pair: the two arguments.
            shapes: those of the call's first input in either trace.
            symbols: whether it may be a symbolic tensor, which the nodes in `nodes` calculate.
        """
        a, b = pair
        merge = partial(self.argument, shapes=shapes, symbols=symbols)
        if a is b or isinstance(a, keras.KerasTensor):
            return a
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            merged: Any = {name: merge((value, b[name])) for name, value in a.items()}
            return a if all(merged[name] is value for name, value in a.items()) else merged
        if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
            merged = [merge(part) for part in zip(a, b)]
            return a if all(new is old for new, old in zip(merged, a)) else type(a)(merged)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b):
            return a
        if isinstance(a, (tf.Tensor, np.ndarray)) and isinstance(b, type(a)):
            return self._tensor(a, b, shapes, symbols)
        if isinstance(a, (bool, int, float, str, slice, np.integer)) and a != b:
            return of_shape(a, b, shapes)
        return a

    def output(self, a: Any, b: Any) -> Any:
        """An output for any shapes: symbolic, even if it does not depend on the inputs."""
        if a is None or isinstance(a, keras.KerasTensor):
            return a
        shapes = self._shapes[0][0], self._shapes[1][0]
        made = self._tensor(a, b, shapes, symbols=True)
        return (
            made
            if isinstance(made, keras.KerasTensor)
            else self._symbol(a, b, lambda xs: made.at(tf.shape(xs[0])))
        )

    def _tensor(self, a: Any, b: Any, shapes: tuple[Shape, Shape], symbols: bool) -> Any:
        same = isinstance(a, tf.Tensor) and a.shape == b.shape
        grows = isinstance(a, tf.Tensor) and a.shape.rank == b.shape.rank and a.shape[1:] == b.shape[1:]
        with suppress(CannotBeOpenedError):
            repeats = of_shape(a.shape[0], b.shape[0], shapes) if grows and not same else None
            if same or (repeats is not None and repeats.axes[0] == 0):
                return Constant(self._value(a), a.dtype, a.shape, repeats)
        if not symbols or len(a.shape) != len(b.shape):
            raise CannotBeOpenedError("the shape of a constant depends on that of the samples")
        number, dtype = self._numbers[id(a)], tf.as_dtype(a.dtype)
        common = [x if x == y else None for x, y in zip(a.shape, b.shape)]
        known = {self._shapes[0]: tuple(a.shape), self._shapes[1]: tuple(b.shape)}

        def calculate(xs: list[tf.Tensor]) -> tf.Tensor:
            here = tuple(tuple(x.shape) for x in xs)
            value = tf.numpy_function(partial(self._anew, number), [tf.shape(x) for x in xs], dtype)
            if all(None not in shape for shape in here) and here not in known:
                with tf.init_scope():
                    known[here] = self._anew(number, *here).shape
            return tf.ensure_shape(value, known.get(here, common))

        return self._symbol(a, b, calculate)

    def _symbol(self, a: Any, b: Any, calculate: Callable[[list[tf.Tensor]], tf.Tensor]) -> Any:
        """The symbolic output of a new node."""
        symbol = keras.KerasTensor(tuple(a.shape), tf.as_dtype(a.dtype).name)
        self.second[id(symbol)] = tuple(b.shape)
        self.nodes.append(Node(Given(calculate), tuple(self._inputs), {}, self._inputs, [symbol]))
        return symbol


def of_shape(a: Any, b: Any, shapes: tuple[Shape, Shape]) -> OfShape:
    """The number for any shape of the first input that is `a` for one of two shapes and `b` for the other."""
    first, second = shapes
    grown = [axis for axis, (x, y) in enumerate(zip(first, second)) if x != y]
    whole = isinstance(a, (int, np.integer)) and not isinstance(a, bool)
    for count in range(1, len(grown) + 1) if whole else ():
        for axes in itertools.combinations(grown, count):
            size = math.prod(first[axis] for axis in axes)
            if a * math.prod(second[axis] for axis in axes) == b * size:
                common = math.gcd(a, size)
                return OfShape(int(a) // common, size // common, axes)
    for axis in grown if whole else ():
        if a - first[axis] == b - second[axis]:
            return OfShape(1, 1, (axis,), int(a) - first[axis])
    raise CannotBeOpenedError(f"not only shapes in it depend on the number of samples ({a} became {b})")


def attributes(operation: Any) -> dict[str, Any]:
    """The options of an operation that its call uses."""
    return {name: value for name, value in vars(operation).items() if name != "name" and not name.startswith("_")}


def filled(argument: Any, shape: Any) -> Any:
    """An argument with current values for the parts that depend on shapes or on weights."""
    if isinstance(argument, (list, tuple)):
        return type(argument)(filled(part, shape) for part in argument)
    return argument.at(shape) if isinstance(argument, (OfShape, Constant)) else argument
