"""The table of Keras layers without weights of their own: rule, sign and bounds of each kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.rules.unweighted import Rule, added, averaged, moved, padded, unchanged

Value = TypeVar("Value")


@dataclass(frozen=True)
class Kind:
    """What is known of one kind of layer.

    Attributes:
        rule: what it does with relevance.
        keeps_sign: its output is non-negative where its inputs are.
        keeps_order: it is monotonic in every input, so that bounds of the inputs give bounds of the output.
    """

    rule: Rule
    keeps_sign: bool = False
    keeps_order: bool = False


_MOVED = Kind(moved, keeps_sign=True, keeps_order=True)
_PADDED = Kind(padded, keeps_sign=True, keeps_order=True)
_IDENTITY = Kind(unchanged, keeps_sign=True, keeps_order=True)
_AVERAGED = Kind(averaged, keeps_sign=True, keeps_order=True)
_ADDED = Kind(added, keeps_sign=True, keeps_order=True)
_ACTIVATION = Kind(unchanged)
# Monotonic in each channel, upwards or downwards with the sign of gamma.
_NORMALIZATION = Kind(unchanged, keeps_order=True)

_KINDS: dict[str, Kind] = {
    **dict.fromkeys("Activation ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU".split(), _ACTIVATION),
    **dict.fromkeys(
        "ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D "
        "SpatialDropout2D SpatialDropout3D".split(),
        _IDENTITY,
    ),
    "BatchNormalization": _NORMALIZATION,
    **dict.fromkeys(
        "Concatenate Cropping1D Cropping2D Cropping3D Flatten Permute RepeatVector Reshape UpSampling1D "
        "UpSampling2D UpSampling3D MaxPooling1D MaxPooling2D "
        "MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D".split(),
        _MOVED,
    ),
    **dict.fromkeys(
        "AveragePooling1D AveragePooling2D AveragePooling3D GlobalAveragePooling1D "
        "GlobalAveragePooling2D GlobalAveragePooling3D".split(),
        _AVERAGED,
    ),
    **dict.fromkeys("ZeroPadding1D ZeroPadding2D ZeroPadding3D".split(), _PADDED),
    "Add": _ADDED,
    "Average": _ADDED,
}
# Some kinds came after the oldest TensorFlow that iNNvestigate takes.
KINDS: dict[type, Kind] = {
    getattr(keras.layers, name): kind for name, kind in _KINDS.items() if hasattr(keras.layers, name)
}

_NONNEGATIVE_ACTIVATIONS = {
    keras.activations.get(name)
    for name in ("relu", "sigmoid", "hard_sigmoid", "softmax", "softplus", "exponential")
}


def lookup(layer: Layer, table: dict[type, Value]) -> Value | None:
    """The table's entry for a layer; None for a kind that is not in it.

    A subclass counts as its parent only if it takes over what the parent does: with a `call` of its own it
    is something else (Conv2DTranspose is a Conv2D in Keras).
    """
    for kind in type(layer).__mro__:
        if kind in table:
            same = all(
                getattr(type(layer), method, None) is getattr(kind, method, None)
                for method in ("call", "convolution_op")
            )
            return table[kind] if same else None
    return None


def nonnegative_activation(activation: Any) -> bool | None:
    """Whether an activation function gives no negative values; None if that depends on its input."""
    if activation is None or activation is keras.activations.linear:
        return None
    return activation in _NONNEGATIVE_ACTIVATIONS


def makes_nonnegative(layer: Layer) -> bool:
    """Whether an activation layer's output is never negative, whatever its input."""
    if isinstance(layer, keras.layers.ReLU):
        return not layer.negative_slope
    if isinstance(layer, keras.layers.Activation):
        return bool(nonnegative_activation(layer.activation))
    return isinstance(layer, (keras.layers.Softmax, keras.layers.ThresholdedReLU))
