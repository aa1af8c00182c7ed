"""Tables of layer classes."""

from __future__ import annotations

from typing import TypeVar

from tensorflow import keras
from tensorflow.keras.layers import Layer

Value = TypeVar("Value")


def of_keras(names: str) -> list[type]:
    """The layer classes of these names; some are newer than the oldest TensorFlow that iNNvestigate supports."""
    return [getattr(keras.layers, name) for name in names.split() if hasattr(keras.layers, name)]


def lookup(layer: Layer, table: dict[type, Value]) -> Value | None:
    """The table's entry for a layer; None for a kind that is not in it.

    A subclass counts as its parent only if it inherits what the parent does: with a `call` of its own it is
    something else (in Keras, Conv2DTranspose is a subclass of Conv2D).
    """
    for kind in type(layer).__mro__:
        if kind in table:
            same = all(
                getattr(type(layer), method, None) is getattr(kind, method, None)
                for method in ("call", "convolution_op")
            )
            return table[kind] if same else None
    return None
