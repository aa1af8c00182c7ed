"""Lets the code of layers of Keras 3 run on symbolic tensors where Keras itself does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import at_inference

_LOCK = Lock()
_OPERATORS = "add sub mul truediv floordiv mod pow matmul lt le gt ge and or xor"
_within: ContextVar[bool] = ContextVar("symbolic", default=False)


@contextmanager
def symbolic() -> Iterator[None]:
    """Lets code take symbolic tensors in functions of TensorFlow, and behind a variable, an array or a tensor.

    In `variable * symbol` Keras asks the variable, which does not know symbols. A function of TensorFlow becomes
    an operation.
    """
    _register()
    of_variables = next(kind for kind in keras.Variable.__mro__ if "__mul__" in vars(kind))
    names = [(kind, f"__{name}__") for kind in (of_variables, tf.Tensor) for name in _OPERATORS.split()]
    rank = type(keras.ops.ndim(keras.KerasTensor((1,)))._keras_history.operation)

    def left(operator: Callable) -> Callable:
        return lambda a, b: NotImplemented if isinstance(b, keras.KerasTensor) else operator(a, b)

    with _LOCK:  # with all else the variables and tensors of other threads calculate as before
        before = {(kind, name): getattr(kind, name) for kind, name in names}
        keras.KerasTensor.__array_priority__ = 100  # like TensorFlow's tensors
        rank.symbolic_call = lambda self, x: len(x.shape)
        for (kind, name), operator in before.items():
            setattr(kind, name, left(operator))
        token = _within.set(True)
        try:
            yield
        finally:
            _within.reset(token)
            del keras.KerasTensor.__array_priority__, rank.symbolic_call
            for (kind, name), operator in before.items():
                setattr(kind, name, operator)


@lru_cache(maxsize=1)
def _register() -> None:
    """Lets TensorFlow ask for what its functions do with symbolic tensors, instead of failing."""

    class OfTensorFlow(keras.Operation):
        """A function of TensorFlow as an operation of Keras 3."""

        def __init__(self, function: Callable) -> None:
            names = getattr(function, "_tf_api_names", ()) or getattr(function, "_tf_api_names_v1", ())
            super().__init__()
            self.function, self.symbol = function, (names or (function.__name__,))[0]

        def call(self, *args: Any, **kwargs: Any) -> Any:
            return self.function(*args, **kwargs)

        def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
            return outputs_by_code(self, args, kwargs)

    class Dispatcher(tf.__internal__.dispatch.GlobalOpDispatcher):
        """Makes operations of functions, within `symbolic`."""

        def handle(self, op: Callable, args: Any, kwargs: Any) -> Any:
            symbols = [x for x in tf.nest.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
            return OfTensorFlow(op)(*args, **kwargs) if symbols and _within.get() else self.NOT_SUPPORTED

    Dispatcher().register()


@cache
def traceable(kind: Any, by_code: bool) -> type:
    """The class of a layer within the layer that is traced; its outputs have known shapes.

    Those of a user's layer are what its code gives, instead of what it tells of it, if that is wanted `by_code`.
    """

    def compute_output_spec(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = None
        if not (by_code and is_of_user(self)):
            with suppress(Exception):  # it is the user's code, and may not know all arguments of its call
                found = kind.compute_output_spec(self, *args, **kwargs)
        shapes = [getattr(y, "shape", ()) for y in tf.nest.flatten(found)]
        if found is None or any(None in shape for shape in shapes):
            return outputs_by_code(self, args, kwargs)
        return found

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return kind.__call__(self, *args, **kwargs)
        except Exception:
            if not is_of_user(self):
                raise
            args, kwargs = at_inference.arguments(self, args, kwargs)
            return self.call(*args, **kwargs)  # some outputs are None, for example, which no node may have

    return type(kind.__name__, (kind,), {"compute_output_spec": compute_output_spec, "__call__": call})


def outputs_by_code(layer: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The symbolic outputs of a layer or operation as its code gives them."""

    def dense(argument: Any) -> Any:  # Keras takes a product with a number for a sparse tensor
        symbol = isinstance(argument, keras.KerasTensor)
        return keras.KerasTensor(argument.shape, argument.dtype) if symbol else argument

    args, kwargs = tf.nest.map_structure(dense, (args, kwargs))
    return keras.Operation.compute_output_spec(layer, *args, **kwargs)


def is_of_user(layer: Any) -> bool:
    """Whether the code of a layer is not of Keras."""
    return str(getattr(type(layer).call, "__module__", "")).split(".")[0] != "keras"


def called_by_keras(layer: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The outputs of a layer or operation for tensors; Keras wants all others of a layer's arguments by name."""
    if keras_graph.is_operation(layer):
        return layer(*args, **kwargs)
    given = at_inference.bound(layer, args, kwargs)
    first = [name for name, value in given.arguments.items() if all(map(tf.is_tensor, tf.nest.flatten(value)))]
    names = [*given.arguments]
    count = next((i for i, name in enumerate(names) if name not in first), len(names))
    count = min(count, len(given.args))
    named = dict(zip(names[count : len(given.args)], given.args[count:]))
    return layer(*given.args[:count], **{**named, **given.kwargs, "training": False})
