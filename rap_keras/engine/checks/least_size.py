"""Whether samples of a model for any size are large enough for its layers.

A window that slides over fewer values than it has itself gives a tensor without values. Keras refuses to build
such a model, but with inputs of any size it depends on the sample. What TensorFlow does then depends on the
machine: it stops, computes NaN, or reads memory that holds no values.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.execution import BUILDING
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.reading.network import Network, as_float, specs

# The lengths of all axes of samples that were large enough, by model.
_large_enough: WeakKeyDictionary[keras.Model, list[tuple[int, ...]]] = WeakKeyDictionary()


def require_large_enough(model: keras.Model, arrays: Sequence[np.ndarray]) -> None:
    """Refuses samples that leave some layer nothing to compute with.

    This takes about as long as building the model, so it is left out for samples that are no smaller than others
    that were large enough.

    Args:
        model: the model that takes them.
        arrays: one for each input, (N, ...).

    Raises:
        ValueError: a layer cannot take what is left of them; the message names it.
    """
    given = specs(model)
    if all(spec.shape[1:].is_fully_defined() for spec in given):
        return
    lengths = tuple(length for array in arrays for length in array.shape[1:])
    known = _large_enough.setdefault(model, [])
    if any(all(own >= least for own, least in zip(lengths, one)) for one in known):
        return
    network = flatten(model)
    one = [tf.TensorSpec([1, *array.shape[1:]], spec.dtype) for array, spec in zip(arrays, given)]
    # TensorFlow finds the shapes of all tensors when it builds the graph; nothing is computed.
    with BUILDING:
        tf.function(lambda *xs: _build(network, xs), autograph=False).get_concrete_function(*one)
    known.append(lengths)


def _build(network: Network, inputs: Sequence[tf.Tensor]) -> None:
    """Builds all calls of a network; raises ValueError at the first whose output has no values."""

    def run(call: Call, xs: list[tf.Tensor]) -> list[tf.Tensor]:
        try:
            outputs = call.run(xs)
            if any(0 in output.shape[1:] for output in outputs):
                raise ValueError("its output would have no values")
        except ValueError as error:
            shapes = ", ".join(str(tuple(tensor.shape[1:])) for tensor in inputs)
            raise ValueError(
                f"samples of shape {shapes} do not fit layer '{call.name}' of the model: {_reason(error)}. Give "
                "larger samples, or samples of a size that the model was trained on"
            ) from error
        return outputs

    network.passed(map(as_float, inputs), run)


def _reason(error: ValueError) -> str:
    """What TensorFlow or Keras says, without the operation and the other lines."""
    lines = [
        line
        for line in str(error).splitlines()
        if line.strip() and not line.startswith(("Exception encountered", "in user code"))
    ]
    return lines[0].split(" for '{{node")[0].rstrip(".") if lines else "it cannot be computed"
