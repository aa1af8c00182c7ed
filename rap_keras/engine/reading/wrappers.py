"""Keras wrappers, which only call other layers, and the helper layers between these."""

from __future__ import annotations

import inspect
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.errors import NotAnalyzeableModelException

_NAMES = ("TimeDistributed", "Bidirectional", "SpectralNormalization")
_WRAPPERS = tuple(getattr(keras.layers, name) for name in _NAMES if hasattr(keras.layers, name))


def is_wrapper(layer: Any) -> bool:
    """Whether a layer only calls others at inference, in a way that is known here."""
    return type(layer) in _WRAPPERS


def require_one_tensor(layer: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raises NotAnalyzeableModelException if a wrapper is called with a second tensor that is not a mask."""
    given = inspect.signature(layer.call).bind(*args, **kwargs).arguments
    first, *more = (value for name, value in given.items() if name not in ("training", "mask"))
    if isinstance(first, (list, tuple, dict)) or any(value is not None for value in more):
        raise NotAnalyzeableModelException(
            f"layer '{layer.name}' ({type(layer).__name__}) is called with more than one tensor, such as an "
            "initial state: call it with the sequences alone"
        )


def outputs(layer: Any) -> int:
    """How many tensors a layer returns for one: a recurrent layer may also return its states."""
    if not getattr(layer, "return_state", False):
        return 1
    sizes = layer.cell.state_size
    return 1 + (len(sizes) if isinstance(sizes, (list, tuple)) else 1)


def merge(mode: str) -> Any:
    """The layer that merges the two tensors of a Bidirectional into one."""
    kinds = {"concat": "Concatenate", "sum": "Add", "ave": "Average", "mul": "Multiply"}
    layer = getattr(keras.layers, kinds[mode])()
    layer.build([(None, 1), (None, 1)])  # otherwise Keras assumes inputs of different ranks
    return layer


class FoldTime(keras.layers.Layer):
    """Reshapes (N, time, ...) to (N * time, ...), so that every time step is a sample of `layer`."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.supports_masking = "mask" in inspect.signature(layer.call).parameters  # others get no mask from Keras

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The time steps of all samples, those of the first sample first."""
        return tf.ensure_shape(tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0)), [None, *x.shape[2:]])

    def compute_mask(self, x: tf.Tensor, mask: Any) -> Any:
        """The mask of each time step."""
        return None if mask is None else self.call(mask)


class UnfoldTime(keras.layers.Layer):
    """Reshapes (N * time, ...) back to (N, time, ...), for the TimeDistributed `wrapper`."""

    def __init__(self, wrapper: Any) -> None:
        super().__init__()
        self.supports_masking = True
        self._mask_of_sequence = wrapper.compute_mask

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """The mask that the TimeDistributed gives its output."""
        return self._mask_of_sequence(inputs[1], mask[1])

    def call(self, inputs: Any) -> tf.Tensor:
        """The first of two tensors, unfolded into as many time steps as the second has."""
        y, sequence = inputs
        unfolded = tf.reshape(y, tf.concat([tf.shape(sequence)[:2], tf.shape(y)[1:]], 0))
        return tf.ensure_shape(unfolded, [None, sequence.shape[1], *y.shape[1:]])


class ReverseTime(keras.layers.Layer):
    """Reverses a sequence, but not its mask: a layer that goes backwards does not reverse that either."""

    def __init__(self) -> None:
        super().__init__()
        self.supports_masking = True

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Its time steps, the last one first."""
        return tf.reverse(x, axis=[1])


HELPERS = (FoldTime, UnfoldTime, ReverseTime)
