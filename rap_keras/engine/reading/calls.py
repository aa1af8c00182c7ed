"""One use of one layer, with the tensors among its arguments by number."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import at_inference
from rap_keras.engine.reading.of_shapes import Constant, OfShape

_OF_REAL_NUMBERS = ("divide", "truedivide")
"""The operations that make real numbers of integers, and calculate the same of real numbers."""

ALSO_OF_REAL_NUMBERS = frozenset(
    "broadcastto concatenate cumsum expanddims flip getitem max maximum mean minimum moveaxis pad repeat reshape "
    "roll slice split squeeze stack sum swapaxes tile transpose unstack".split()
)
"""The operations of Keras 3 that calculate the same of integers as of real numbers: relevance goes through."""

TAKING_INDICES = frozenset(
    "take takealongaxis gather gather_nd getitem where slice sliceupdate scatterupdate".split()
)
"""The operations in which whole numbers beside real ones are places: relevance does not go there."""


class Ref(NamedTuple):
    """Stands for tensor number `number` in the arguments of a call."""

    number: int


@dataclass(frozen=True)
class Call:
    """One use of one layer.

    `name` is the layer's name, preceded by the names of the models around it with a slash each; a second use of a
    layer is `name#2`. `inputs` and `outputs` are tensor numbers in the layer's own order. A value that does not
    depend on the network's inputs has no number and stays in the arguments as it is, except what depends on their
    shapes or masks alone. `dtypes` are the data types
    that the inputs of a functional operation have in the model; empty for every other layer. `closed` tells why a
    layer of the user's could not be taken apart. `masks` are the numbers of tensors that are among the
    arguments only as masks or constants, and `before` are the calls that are needed only to make these;
    `adds_constants` tells whether some are real numbers. `held` are the masks of
    the inputs if the masks are bound, see `rap_keras.engine.reading.masks`. `of_samples` tells whether the first
    axis of its inputs is that of the samples, as far as that is known.
    """

    name: str
    layer: keras.layers.Layer
    args: tuple
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dtypes: tuple[tf.DType, ...] = ()
    closed: str = ""
    masks: tuple[int, ...] = ()
    before: tuple[Call, ...] = ()
    held: tuple[Any, ...] = ()
    adds_constants: bool = False
    of_samples: bool = True

    def cast(self, xs: list[tf.Tensor]) -> list[tf.Tensor]:
        """The input tensors in the data type that the layer calculates in, as Keras casts them before a call.

        A layer casts floating-point inputs; an operation casts nothing: it gets the types that it has in the
        model. Nothing is cast to integers here, as relevance needs tensors that have gradients; `run` does that.
        """
        if self.dtypes:
            wanted = [dtype if dtype.is_floating else None for dtype in self.dtypes]
        else:
            own = keras_graph.weights_dtype(self.layer)
            wanted = [own if own and own.is_floating else None] * len(xs)
        return [
            tf.cast(x, dtype) if dtype and dtype.size >= 4 and x.dtype.is_floating else x
            for x, dtype in zip(xs, wanted)
        ]

    def run(self, xs: list[tf.Tensor]) -> list[tf.Tensor]:
        """Outputs of the layer at inference for the input tensors `xs`, in the order of `inputs`.

        A layer of mixed precision calculates in the data type of its weights here, since in float16 relevance
        would be lost.
        """
        layer, args, kwargs = self.filled(xs)
        ys = [y for y in tf.nest.flatten(layer.call(*args, **kwargs)) if y is not None]
        if xs and keras_graph.operation_name(layer) == "cast" and ys[0].dtype.is_floating:
            return [tf.cast(self.cast(xs)[0], ys[0].dtype)]  # the same number, with a gradient
        return ys

    def filled(self, xs: list[tf.Tensor]) -> tuple[Any, tuple, dict[str, Any]]:
        """The layer at the precision in which it runs, and its arguments at inference for input tensors."""
        xs = self.cast(xs)
        if self.dtypes and keras_graph.operation_name(self.layer) not in _OF_REAL_NUMBERS:
            xs = [tf.cast(x, dtype) if dtype.is_integer else x for x, dtype in zip(xs, self.dtypes)]
        for x, mask in zip(xs, self.held):
            x._keras_mask = mask
        values = dict(zip(self.inputs, xs))
        first = self._first(xs)

        def fill(argument: Any) -> Any:
            if isinstance(argument, (Constant, OfShape)):
                return argument.at(tf.shape(first))
            return values[argument.number] if isinstance(argument, Ref) else argument

        args, kwargs = map_leaves((self.args, self.kwargs), fill)
        layer = keras_graph.with_own_statistics(keras_graph.in_full_precision(self.layer))
        if keras_graph.is_operation(layer):
            return layer, args, kwargs
        return layer, *at_inference.arguments(layer, args, kwargs)

    def _first(self, xs: list[tf.Tensor]) -> tf.Tensor:
        """The first tensor among the arguments, whose shape numbers in them depend on."""
        found: list[Any] = []
        map_leaves((self.args, self.kwargs), found.append)
        values = dict(zip(self.inputs, xs))
        return next(
            (
                values[a.number] if isinstance(a, Ref) else a
                for a in found
                if isinstance(a, Ref) or tf.is_tensor(a)
            ),
            None,
        )

    @property
    def looks_up(self) -> bool:
        """Whether it takes the numbers of rows in a table, as an embedding does: these have no gradient."""
        if keras_graph.operation_name(self.layer) == "take":
            table = self.args[0]
            of_rows = isinstance(table, (Constant, keras.Variable)) and len(table.shape) == 2
            return of_rows and self.layer.axis == 0 and len(self.inputs) == 1 and self.dtypes[0].is_integer
        # A user's subclass with a call of its own may do anything else.
        library = type(self.layer).call.__module__.split(".")[0] in ("keras", "keras_hub")
        is_lookup = isinstance(self.layer, keras.layers.Embedding) and library
        return is_lookup and not self.arguments().get("reverse", False)

    def arguments(self) -> dict[str, Any]:
        """The arguments by their names in the layer's `call`."""
        return dict(at_inference.bound(self.layer, self.args, self.kwargs).arguments)

    def without_activation(self) -> Call:
        """The same use of the layer without the activation fused into it."""
        return replace(self, layer=keras_graph.twin(self.layer, activation=keras.activations.linear))

    def has_graph_tensors(self) -> bool:
        """Whether tensors that depend on no input are among the arguments, which belong to the model's graph."""
        found: list[Any] = list((keras_graph.constants(self.layer) or {}).values())
        map_leaves((self.args, self.kwargs), found.append)
        return any(tf.is_tensor(argument) or isinstance(argument, tf.Variable) for argument in found)

    def has_constants(self) -> bool:
        """Whether values that depend on no input are among the arguments (not shapes, axes and the like)."""
        found: list[Any] = list((keras_graph.constants(self.layer) or {}).values())
        map_leaves((self.args, self.kwargs), found.append)
        given = self.adds_constants or bool(self.kwargs.get("constant_values"))
        return given or any(_is_value(argument) for argument in found)


def numbered_apart(call: Call) -> Call:
    """The call with its tensor arguments numbered 0, 1, ...: a tensor that it takes twice can have two values."""
    count = itertools.count()
    args, kwargs = map_leaves((call.args, call.kwargs), lambda a: Ref(next(count)) if isinstance(a, Ref) else a)
    return replace(call, args=args, kwargs=kwargs, inputs=tuple(range(len(call.inputs))))


def map_leaves(arguments: Any, function: Any) -> Any:
    """Applies `function` to every leaf of tuples, lists and dicts (a Ref is a leaf, which tf.nest would open)."""
    if isinstance(arguments, Ref):
        return function(arguments)
    if isinstance(arguments, dict):
        return {key: map_leaves(value, function) for key, value in arguments.items()}
    if isinstance(arguments, (list, tuple)) and not hasattr(arguments, "_fields"):
        return type(arguments)(map_leaves(value, function) for value in arguments)
    return function(arguments)


def without(node: keras_graph.Node, absent: set[int]) -> keras_graph.Node:
    """A node with None instead of tensors that a layer does not give, although Keras expects them."""
    args, kwargs = map_leaves((node.args, node.kwargs), lambda a: None if id(a) in absent else a)
    return node._replace(args=args, kwargs=kwargs, inputs=[x for x in node.inputs if id(x) not in absent])


def _is_value(argument: Any) -> bool:
    if hasattr(argument, "dtype") and hasattr(argument, "shape"):  # arrays, tensors and variables of any kind
        return bool(keras_graph.dtype(argument).is_floating)
    return isinstance(argument, float)
