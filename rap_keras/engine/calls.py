"""One use of one layer, with the tensors among its arguments by number."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import at_inference, keras_graph
from rap_keras.engine.opened_layers import Constant, OfShape


class Ref(NamedTuple):
    """Stands for tensor number `number` in the arguments of a call."""

    number: int


@dataclass(frozen=True)
class Call:
    """One use of one layer.

    `name` is the layer's name, preceded by the names of the models around it with a slash each; a second use of a
    layer is `name#2`. `inputs` and `outputs` are tensor numbers in the layer's own order. A value that does not
    depend on the network's inputs has no number and stays in the arguments as it is. `dtypes` are the data types
    that the inputs of a functional operation have in the model; empty for every other layer. `closed` tells why a
    layer that is made of others could not be taken apart.
    """

    name: str
    layer: keras.layers.Layer
    args: tuple
    kwargs: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    dtypes: tuple[tf.DType, ...] = ()
    closed: str = ""

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
        xs = self.cast(xs)
        if self.dtypes:
            xs = [tf.cast(x, dtype) if dtype.is_integer else x for x, dtype in zip(xs, self.dtypes)]
        values = dict(zip(self.inputs, xs))

        def fill(argument: Any) -> Any:
            if isinstance(argument, (Constant, OfShape)):
                return argument.at(tf.shape(xs[0]))
            return values[argument.number] if isinstance(argument, Ref) else argument

        args, kwargs = map_leaves((self.args, self.kwargs), fill)
        layer = keras_graph.in_full_precision(self.layer)
        args, kwargs = at_inference.arguments(layer, args, kwargs)
        return tf.nest.flatten(layer.call(*args, **kwargs))

    def arguments(self) -> dict[str, Any]:
        """The arguments by their names in the layer's `call`."""
        return dict(inspect.signature(self.layer.call).bind(*self.args, **self.kwargs).arguments)

    def without_activation(self) -> Call:
        """The same use of the layer without the activation fused into it."""
        return replace(self, layer=keras_graph.twin(self.layer, activation=keras.activations.linear))

    def has_constants(self) -> bool:
        """Whether values that depend on no input are among the arguments (not shapes, axes and the like)."""
        found: list[Any] = list((keras_graph.constants(self.layer) or {}).values())
        map_leaves((self.args, self.kwargs), found.append)
        return any(_is_value(argument) for argument in found) or bool(self.kwargs.get("constant_values"))


class KnownShapes:
    """The shapes of tensors, as far as they follow from those of the network's inputs.

    A symbolic tensor within a nested model only tells what that model was built for.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._done = 0
        self._values: dict[int, tf.Tensor] = {}
        self._inputs: dict[int, Any] = {}

    def begin(self, numbers: tuple[int, ...], tensors: list[Any]) -> None:
        """Takes the network's inputs."""
        self._inputs = dict(zip(numbers, tensors))

    def shape(self, number: int) -> tuple[int | None, ...]:
        """The shape of an output of the calls up to now, or of an input; calculates nothing."""
        if not self._values:
            self._graph = tf.__internal__.FuncGraph("shapes")
        with self._graph.as_default():
            if not self._values:
                for n, x in self._inputs.items():
                    dtype = keras_graph.dtype(x)
                    dtype = dtype if dtype in (tf.float32, tf.float64) else keras.backend.floatx()
                    self._values[n] = tf.compat.v1.placeholder(dtype, (None, *x.shape[1:]))
            for call in self.calls[self._done :]:
                self._values.update(zip(call.outputs, call.run([self._values[n] for n in call.inputs])))
        self._done = len(self.calls)
        return tuple(self._values[number].shape)


def has_tensors(argument: Any) -> bool:
    """Whether an argument is, or holds, a tensor that depends on the network's inputs."""
    found: list[Any] = []
    map_leaves(argument, found.append)
    return any(isinstance(part, Ref) for part in found)


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


def _is_value(argument: Any) -> bool:
    if hasattr(argument, "dtype") and hasattr(argument, "shape"):  # arrays, tensors and variables of any kind
        return bool(keras_graph.dtype(argument).is_floating)
    return isinstance(argument, float)
