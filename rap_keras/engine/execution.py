"""Runs functions of tensors as TensorFlow graphs on arrays, with eager execution on or off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

Function = Callable[..., Any]


def compiled(function: Function, specs: Sequence[tf.TensorSpec]) -> Callable[[Sequence[np.ndarray]], Any]:
    """Turns a function of tensors into a function of a list of arrays, which runs as a graph built once.

    Args:
        function: takes one tensor for each spec, and returns any structure of tensors.
        specs: data types and shapes of the tensors; None stands for any size.

    Returns:
        A function that returns the same structure of arrays.
    """
    if not tf.executing_eagerly():
        return _in_session(function, specs)
    source = tf.function(function, autograph=False)
    # TensorFlow warns of retracing when it builds many functions of one name, but not for concrete functions.
    graph = source.get_concrete_function(*specs)

    def run(arrays: Sequence[np.ndarray], source: Any = source) -> Any:  # `source` keeps its variables alive
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
    return keras.backend.function(placeholders, found)
