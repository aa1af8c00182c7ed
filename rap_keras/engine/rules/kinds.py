"""What is known about each kind of layer that has no linear map: its rule, and what it does to values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine import keras_graph, registered_rules
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading import masks, wrappers
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules import functional, trials
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
    with_constant,
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
        is_relu: it is max(0, x).
    """

    rule: Rule
    keeps_sign: bool = False
    keeps_order: bool = False
    keeps_saturation: bool = False
    nonnegative: bool = False
    saturates: bool = False
    is_relu: bool = False


_KEEPS_ALL = {"keeps_sign": True, "keeps_order": True, "keeps_saturation": True}
_UNCHANGED = Kind(unchanged)
_WITH_CONSTANT = Kind(with_constant)
_KEPT = Kind(unchanged, **_KEEPS_ALL)
_SHARES = Kind(unchanged, keeps_sign=True, nonnegative=True, saturates=True)
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
    ("PReLU", Kind(unchanged, keeps_sign=True)),
    ("Softmax", _SHARES),
    ("LayerNormalization RMSNormalization GroupNormalization UnitNormalization", _UNCHANGED),
    ("BatchNormalization Rescaling Normalization", _AFFINE),
    (
        "Identity ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D "
        "SpatialDropout2D SpatialDropout3D",
        _KEPT,
    ),
    (_AUGMENTATION, _KEPT),
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


def _of_keras(names: str, value: Value) -> dict[type, Value]:
    """The value for each layer class; some are newer than the oldest TensorFlow that iNNvestigate supports."""
    return {getattr(keras.layers, name): value for name in names.split() if hasattr(keras.layers, name)}


_LAYERS = {layer: kind for names, kind in _GROUPS for layer, kind in _of_keras(names, kind).items()}
# What these do to values depends on their options, so it is measured.
_MEASURED = _of_keras("ELU LeakyReLU ReLU ThresholdedReLU", True)
_ACTIVATIONS: dict[type, bool] = _of_keras("ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU", True)
# With a constant instead of a second tensor these are what the operations are, see `functional.operation`.
_SUMS, _CHOSEN = _of_keras("Add Average Multiply Subtract", True), _of_keras("Maximum Minimum", True)

_LAYERS.update(dict.fromkeys(wrappers.HELPERS, _MOVED))
_LAYERS.update(dict.fromkeys((masks.WithMask, masks.MaskedAs), _KEPT))


# Layers that keras.applications defines for itself, which cannot be imported.
_OF_APPLICATIONS = {
    "LayerScale": _AFFINE,
    "StochasticDepth": _KEPT,
    "CustomScaleLayer": Kind(added),
}

_OPERATIONS = {
    "elementwise": _WITH_CONSTANT,
    "shares": _SHARES,
    "normalized": _UNCHANGED,
    "kept": _KEPT,
    "affine": replace(_AFFINE, rule=with_constant),
    "moved": _MOVED,
    "padded": Kind(padded, **_KEEPS_ALL),
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
    if kind and kind.rule not in (unchanged, with_constant) and (call.has_constants() or _fills(call.layer)):
        return replace(kind, rule=moved_evenly if kind.rule is moved else kind.rule, keeps_sign=False)
    return kind


def _kind_of(call: Call) -> Kind | None:
    layer, of_one = call.layer, len(call.inputs) == 1
    if isinstance(layer, keras.layers.Activation):
        own = lookup(layer, {keras.layers.Activation: True})
        return activation_kind(layer.activation, keras_graph.sample_shape(layer)) if own else None
    if lookup(layer, _MEASURED):
        return _measured(_UNCHANGED, layer.call, layer)
    operation = functional.operation(call)
    if operation == "elementwise" or (of_one and lookup(layer, _CHOSEN)):
        if any(dtype.is_integer for dtype in call.dtypes):
            return _WITH_CONSTANT

        return _measured(_WITH_CONSTANT, lambda x: call.run([x])[0], layer, call.has_graph_tensors())
    if type(layer).__name__ in ("UpSampling2D", "Resizing"):
        # Cubic and Lanczos interpolation overshoot.
        sign = str(layer.get_config()["interpolation"]).lower() in ("nearest", "bilinear", "area")
        return replace(_MOVED, keeps_sign=sign, keeps_order=sign) if lookup(layer, _LAYERS) else None
    if operation is not None:
        return _OPERATIONS[operation]
    if type(layer).__module__.startswith("keras") and ".applications." in type(layer).__module__:
        return _OF_APPLICATIONS.get(type(layer).__name__)
    return _OPERATIONS["affine"] if of_one and lookup(layer, _SUMS) else lookup(layer, _LAYERS)


def _measured(kind: Kind, function: Callable, layer: Any, of_graph: bool = False) -> Kind:
    return replace(kind, **trials.measured(function, layer, keras_graph.sample_shape(layer), of_graph)._asdict())


def _fills(layer: Layer) -> bool:
    """Whether a layer's output may have a value of its own: a border around a resized photo, a lowest maximum."""
    border = getattr(layer, "pad_to_aspect_ratio", False) and getattr(layer, "fill_value", 0)
    return bool(border) or getattr(layer, "initial", None) is not None


def activation_kind(activation: Any, own_shape: tuple[int, ...] | None = None) -> Kind:
    """What is known of an activation function; None is the identity. `own_shape` as in `trials.tried`."""
    if activation is None or activation is keras.activations.linear:
        return _KEPT
    if isinstance(activation, Layer):
        return _UNCHANGED if activation.weights else _measured(_UNCHANGED, activation.call, activation)
    return replace(_UNCHANGED, **trials.tried(activation, own_shape).facts._asdict())


def activation_of(call: Call) -> Kind | None:
    """What is known of the activation that a call is or ends in; None without one."""
    activation = getattr(call.layer, "activation", None)
    if activation is not None:
        identity = activation is keras.activations.linear
        return None if identity else activation_kind(activation, keras_graph.sample_shape(call.layer))
    of_one = len(call.inputs) == 1 and lookup(call.layer, _CHOSEN)
    known = functional.operation(call) in ("elementwise", "shares", "normalized")
    is_one = of_one or known or lookup(call.layer, _ACTIVATIONS)
    return _kind_of(call) if is_one else None


def refuse_misplacing(call: Call) -> None:
    """Raises NotAnalyzeableModelException if an activation moves or mixes values: relevance would not follow."""
    cell = getattr(call.layer, "cell", None)
    for part in (call.layer, cell, *getattr(cell, "cells", [])):
        for activation in (getattr(part, name, None) for name in ("activation", "recurrent_activation")):
            if not callable(activation) or isinstance(activation, Layer):
                continue
            places = trials.tried(activation, keras_graph.sample_shape(call.layer)).places
            if places in (trials.ELEMENTWISE, trials.SYMMETRIC):
                continue
            found = "moves or mixes values" if places else "cannot be tried on numbers"
            how = ", written with keras.ops" if keras_graph.KERAS_3 else ""
            raise NotAnalyzeableModelException(
                f"the activation of layer '{call.name}', {getattr(activation, '__name__', activation)}, {found}, "
                "so relevance cannot pass it unchanged: leave the activation out of the layer, and build the "
                f"model with the function called on the layer's output{how}"
            )


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
