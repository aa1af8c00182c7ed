"""What is known about each kind of layer that has no linear map: its rule, and what it does to values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine import masks, registered_rules, wrappers
from rap_keras.engine.calls import Call
from rap_keras.engine.rules import functional
from rap_keras.engine.rules.unweighted import (
    Rule,
    added,
    averaged,
    divided,
    embedded,
    kept_apart,
    moved,
    moved_evenly,
    multiplied,
    padded,
    squared_difference,
    subtracted,
    unchanged,
)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Kind:
    """One kind of layer.

    Attributes:
        rule: what it does with relevance.
        keeps_sign: its output is non-negative where its inputs are.
        keeps_order: it is monotonic in every input, so that bounds of the inputs give bounds of the output.
        keeps_saturation: its output is bounded where its inputs are.
        nonnegative: its output is never negative, whatever its inputs.
        saturates: its output is bounded, whatever its inputs: it may be a gate.
    """

    rule: Rule
    keeps_sign: bool = False
    keeps_order: bool = False
    keeps_saturation: bool = False
    nonnegative: bool = False
    saturates: bool = False


_KEEPS_ALL = {"keeps_sign": True, "keeps_order": True, "keeps_saturation": True}
_ELEMENTWISE = Kind(unchanged)
_AFFINE = Kind(unchanged, keeps_order=True, keeps_saturation=True)
_MOVED = Kind(moved, **_KEEPS_ALL)
_ADDED = Kind(added, **_KEEPS_ALL)

# These do nothing at inference.
_AUGMENTATION = (
    "AugMix CutMix Equalization MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter "
    "RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale "
    "RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation "
    "RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom Solarization"
)

_GROUPS: list[tuple[str, Kind]] = [
    ("ELU LeakyReLU PReLU", _ELEMENTWISE),
    ("Softmax", Kind(unchanged, nonnegative=True, saturates=True)),
    ("ThresholdedReLU", Kind(unchanged, nonnegative=True)),
    ("LayerNormalization RMSNormalization GroupNormalization UnitNormalization", _ELEMENTWISE),
    ("BatchNormalization Rescaling Normalization", _AFFINE),
    (
        "Identity ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D "
        "SpatialDropout2D SpatialDropout3D",
        Kind(unchanged, **_KEEPS_ALL),
    ),
    (_AUGMENTATION, Kind(unchanged, **_KEEPS_ALL)),
    (
        "Concatenate Cropping1D Cropping2D Cropping3D Flatten Masking Permute RepeatVector Reshape UpSampling1D "
        "UpSampling3D CenterCrop MaxPooling1D MaxPooling2D MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D "
        "GlobalMaxPooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Maximum Minimum",
        _MOVED,
    ),
    # At inference RandomCrop cuts out the centre, and resizes it.
    ("UpSampling2D Resizing RandomCrop", _MOVED),
    ("ZeroPadding1D ZeroPadding2D ZeroPadding3D", Kind(padded, **_KEEPS_ALL)),
    (
        "AveragePooling1D AveragePooling2D AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
        "GlobalAveragePooling3D AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D",
        Kind(averaged, **_KEEPS_ALL),
    ),
    ("Add Average", _ADDED),
    ("Subtract", Kind(subtracted)),
    ("Multiply", Kind(multiplied, keeps_sign=True)),
    ("Embedding", Kind(embedded)),
]
# Some kinds are newer than the oldest TensorFlow that iNNvestigate supports.
_LAYERS: dict[type, Kind] = {
    getattr(keras.layers, name): kind
    for names, kind in _GROUPS
    for name in names.split()
    if hasattr(keras.layers, name)
}

_LAYERS.update(dict.fromkeys(wrappers.HELPERS, _MOVED))
_LAYERS.update(dict.fromkeys((masks.WithMask, masks.MaskedAs), Kind(unchanged, **_KEEPS_ALL)))


# Layers that keras.applications defines for itself, which cannot be imported.
_OF_APPLICATIONS = {
    "LayerScale": _AFFINE,
    "StochasticDepth": Kind(unchanged, **_KEEPS_ALL),
    "CustomScaleLayer": Kind(added),
}

_NONNEGATIVE = {"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "softplus", "exponential", "abs", "square"}
_SATURATING = {"sigmoid", "hard_sigmoid", "softmax", "tanh", "softsign", "relu6"}

_OPERATIONS = {
    "elementwise": _ELEMENTWISE,
    "affine": _AFFINE,
    "moved": _MOVED,
    "padded": Kind(moved_evenly, **_KEEPS_ALL),
    "averaged": Kind(averaged, **_KEEPS_ALL),
    "added": _ADDED,
    "subtracted": Kind(subtracted),
    "squared difference": Kind(squared_difference, nonnegative=True),
    "multiplied": Kind(multiplied, keeps_sign=True),
    "divided": Kind(divided),
    "kept apart": Kind(kept_apart),
}


def kind_of(call: Call) -> Kind | None:
    """What is known of the layer of a call; None for a layer without a rule."""
    kind = _kind_of(call)
    if registered_rules.is_registered(call.layer):
        rule = registered_rules.RULES[type(call.layer)]
        # The user's rule changes what happens to relevance, not what a known layer does to values.
        return replace(kind, rule=rule) if kind else Kind(rule)
    if kind and (call.has_constants() or _fills(call.layer)):
        return replace(kind, rule=moved_evenly if kind.rule is moved else kind.rule, keeps_sign=False)
    return kind


def _kind_of(call: Call) -> Kind | None:
    layer = call.layer
    if isinstance(layer, keras.layers.ReLU) and lookup(layer, {keras.layers.ReLU: True}):
        bounded = layer.max_value is not None
        return Kind(unchanged, keeps_order=True, nonnegative=not layer.negative_slope, saturates=bounded)
    if isinstance(layer, keras.layers.Activation):
        return activation_kind(layer.activation)
    if type(layer).__name__ in ("UpSampling2D", "Resizing"):
        # Cubic and Lanczos interpolation overshoot.
        sign = str(layer.get_config()["interpolation"]).lower() in ("nearest", "bilinear", "area")
        return replace(_MOVED, keeps_sign=sign, keeps_order=sign) if lookup(layer, _LAYERS) else None
    operation = functional.operation(call)
    if operation is not None:
        if operation.activation:
            return activation_kind(operation.activation)
        return _OPERATIONS[operation.kind]
    if type(layer).__module__.startswith("keras") and ".applications." in type(layer).__module__:
        return _OF_APPLICATIONS.get(type(layer).__name__)
    return lookup(layer, _LAYERS)


def _fills(layer: Layer) -> bool:
    """Whether a resize keeps the aspect ratio by a border of a value other than 0."""
    return bool(getattr(layer, "pad_to_aspect_ratio", False) and getattr(layer, "fill_value", 0))


def activation_kind(activation: Any) -> Kind:
    """What is known of an activation function or its name; None is the identity."""
    name = activation if isinstance(activation, str) else getattr(activation, "__name__", "")
    if activation is None or name == "linear":
        return Kind(unchanged, **_KEEPS_ALL)
    return Kind(unchanged, nonnegative=name in _NONNEGATIVE, saturates=name in _SATURATING)


def is_augmentation(layer: Layer) -> bool:
    """Whether a layer is one of Keras' augmentation layers, which change images at random only in training."""
    kinds = [getattr(keras.layers, name, None) for name in _AUGMENTATION.split()]
    return bool(lookup(layer, {kind: True for kind in kinds if kind}))


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
