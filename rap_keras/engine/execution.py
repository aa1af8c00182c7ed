"""Runs functions of tensors as TensorFlow graphs on arrays, with eager execution on or off."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.errors import NotAnalyzeableModelException

Function = Callable[..., Any]

BUILDING = threading.RLock()
"""Held while a graph is built: neither Keras' layers nor the graphs of Keras 2 are made for several threads."""


def here() -> Callable[[], AbstractContextManager[None]]:
    """Gives every thread the current graph and session of this one, which Keras 2 keeps for each thread.

    Returns:
        A context for the time of a calculation, empty with eager execution on. With it off, threads take turns,
        and where the graph is the current one already, its current session is kept.
    """
    if tf.executing_eagerly():
        return nullcontext
    graph, session = tf.compat.v1.get_default_graph(), tf.compat.v1.keras.backend.get_session()

    @contextmanager
    def back() -> Iterator[None]:
        with BUILDING:
            if tf.compat.v1.get_default_graph() is graph:
                yield
                return
            with graph.as_default(), session.as_default():
                yield

    return back


def compiled(function: Function, specs: Sequence[tf.TensorSpec]) -> Callable[[Sequence[np.ndarray]], Any]:
    """Turns a function of tensors into a function of a list of arrays, which runs as a graph built once.

    Args:
        function: takes one tensor for each spec, and returns any structure of tensors.
        specs: data types and shapes of the tensors; None stands for any size.

    Returns:
        A function that returns the same structure of arrays. It raises what `naming_shapes` has.

    Raises:
        NotAnalyzeableModelException: a layer cannot be part of a graph for samples of any size.
    """
    with BUILDING:
        return _function(function, specs) if tf.executing_eagerly() else _in_session(function, specs)


def _function(function: Function, specs: Sequence[tf.TensorSpec]) -> Callable[[Sequence[np.ndarray]], Any]:
    source = tf.function(function, autograph=False)
    # TensorFlow warns of retracing when it builds many functions of one name, but not for concrete functions.
    try:
        graph = source.get_concrete_function(*specs)
    except tf.errors.OperatorNotAllowedInGraphError as error:  # Keras 3's bilinear UpSampling2D, for example
        raise NotAnalyzeableModelException(
            "a layer of the model needs samples of a fixed size in a graph: build the model with a fixed size, "
            "such as keras.Input((224, 224, 3)), and give it the same weights"
        ) from error

    def run(arrays: Sequence[np.ndarray], source: Any = source) -> Any:  # `source` keeps its variables alive
        with naming_shapes(arrays):
            found = graph(*(_tensor(array, spec) for array, spec in zip(arrays, specs)))
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), found)

    return run


def _tensor(array: np.ndarray, spec: tf.TensorSpec) -> tf.Tensor:
    return tf.convert_to_tensor(np.asarray(array).astype(spec.dtype.as_numpy_dtype, copy=False))


def _in_session(function: Function, specs: Sequence[tf.TensorSpec]) -> Callable[[Sequence[np.ndarray]], Any]:
    """Like `compiled`, but in the graph and session of Keras 2, which hold the variables of its models."""
    placeholders = [tf.compat.v1.placeholder(spec.dtype, spec.shape) for spec in specs]
    # TensorFlow refuses to return a placeholder as a result.
    # With oneDNN, TensorFlow 2.14 fuses x * sigmoid(x) with the convolution that gives x, even where x itself is a
    # result; then it cannot find x.
    found = tf.nest.map_structure(tf.identity, function(*map(tf.identity, placeholders)))
    function = keras.backend.function(placeholders, found)

    def run(arrays: Sequence[np.ndarray]) -> Any:
        with naming_shapes(arrays):
            return function(arrays)

    return run


@contextmanager
def naming_shapes(arrays: Sequence[np.ndarray]) -> Iterator[None]:
    """Turns TensorFlow's errors about the arrays that a graph is fed with into Python's own.

    Raises:
        MemoryError: TensorFlow has no memory for them.
        ValueError: the network cannot be computed for them.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            f"TensorFlow has not enough memory for {_shapes(arrays)}: give fewer samples at once, with batch_size "
            "where there is one, or smaller samples"
        ) from error
    except tf.errors.InvalidArgumentError as error:
        reason = re.sub(r"{{.*?}} ?", "", error.message.splitlines()[0])
        raise ValueError(
            f"TensorFlow cannot compute the model for {_shapes(arrays)}: {reason}. Give samples like those that "
            "the model was trained on"
        ) from error


def _shapes(arrays: Sequence[np.ndarray]) -> str:
    return "inputs of shape " + ", ".join(str(np.shape(array)) for array in arrays)
