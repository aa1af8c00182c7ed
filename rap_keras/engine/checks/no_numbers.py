"""What is given in place of an array of numbers, and what to give."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def as_array(values: Any) -> np.ndarray:
    """What is given for an input as an array.

    Raises:
        TypeError: it is something else, or a tensor without a value.
    """
    if isinstance(values, (tf.SparseTensor, tf.compat.v1.SparseTensorValue)):
        raise TypeError("the samples are a SparseTensor: give them as one dense array, tf.sparse.to_dense(x)")
    if isinstance(values, (tf.RaggedTensor, tf.compat.v1.ragged.RaggedTensorValue)):
        raise TypeError(
            "the samples are a RaggedTensor, and padding would be explained as part of them: explain each on its "
            "own, numpy.array([row]) for row in x.to_list()"
        )
    if "KerasTensor" in type(values).__name__:
        raise TypeError("the samples are a tensor of a model, which has no values: give arrays")
    if tf.is_tensor(values) and not hasattr(values, "numpy"):
        name, values = values.name, tf.get_static_value(values)
        if values is None:
            raise TypeError(
                f"tensor '{name}' has no value because it is part of a graph: give arrays, or evaluate it with "
                "tf.keras.backend.get_value(tensor)"
            )
    try:
        array = np.asarray(values)
    except Exception as error:  # tensors of other libraries, lists of different lengths
        is_torch = hasattr(values, "detach")
        way = "x.detach().cpu().numpy()" if is_torch else "numpy.array of numbers, of one shape each"
        raise TypeError(f"the samples are a {type(values).__name__} without an array in it: give {way}") from error
    if array.dtype == object and not array.ndim:
        raise TypeError(f"the samples are a {type(values).__name__}: give an array of numbers, (N, ...)")
    return array


def not_numbers(array: np.ndarray) -> str:
    """What an array holds in place of real numbers, and what to give."""
    kind = array.dtype.kind
    if kind == "O":
        try:
            array.astype("float32")
        except (TypeError, ValueError):
            kinds = {type(value).__name__ for value in array.flat}
            kind = "U" if kinds & {"str", "bytes"} else kind
        else:
            return "Python objects: give numbers, x.astype('float32')"
    if kind in "USO":
        return (
            "texts, categories or other objects: give numbers, encoded as in the network's training. If a layer "
            "of the network looks texts up, such as StringLookup or TextVectorization, explain what comes behind "
            "it, keras.Model(layer.output, model.output), and give that layer's output"
        )
    if kind in "Mm":
        return f"{array.dtype}: give numbers as in the network's training, such as x.astype('int64')"
    if kind == "c":
        return f"{array.dtype}: give real numbers as in the network's training, such as numpy.abs(x)"
    return f"{array.dtype}: give one array of real numbers"
