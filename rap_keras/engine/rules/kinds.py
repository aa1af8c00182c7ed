"""What is known of the layer of a call: its record, and what depends on the layer's options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine import keras_graph, registered_rules
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call, Ref
from rap_keras.engine.rules import attention, recurrent, trials
from rap_keras.engine.rules.layer_records import LAYERS, OF_APPLICATIONS, OF_ONE_TENSOR, OPERATIONS, RECORDS, Kind
from rap_keras.engine.rules.linear_layers import Linear, dot_map
from rap_keras.engine.rules.lookup import lookup
from rap_keras.engine.rules.unweighted import moved, moved_evenly, normalized, unchanged, with_constant
from rap_keras.engine.rules.weighted import weighted

_UNCHANGED, _KEPT = RECORDS["normalized"].kind, RECORDS["kept"].kind


def kind_of(call: Call) -> Kind | None:
    """What is known of the layer of a call; None for a layer without a rule."""
    kind = _kind_of(call)
    if registered_rules.is_registered(call.layer):
        rule = registered_rules.RULES[type(call.layer)]
        # The user's rule changes what happens to relevance, not what a known layer does to values.
        return replace(kind or Kind(rule), rule=rule, mixes=False, linears=(), own=True)
    return kind


def linear_maps(layer: Layer) -> list[Linear] | None:
    """The linear maps of a layer with weights, in forward order; None for a layer of another kind.

    There is one map, or two for separable convolutions.
    """
    key = lookup(layer, LAYERS)
    maps = RECORDS[key].kind.maps if key else None
    return maps(layer) if maps else None


def has_gates(call: Call) -> bool:
    """Whether gates scale a signal in a call: recurrent layers, attention, products of two tensors.

    Raises:
        NotAnalyzeableModelException: the layer is made of layers and could not be taken apart, so this is unknown.
    """
    if call.closed:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(call.layer).__name__}) has no rule, and cannot be taken apart: "
            f"{call.closed}. Write its call with layers and keras.ops alone, or give it a rule with "
            "rap_keras.register_rule(LayerClass, rule)"
        )
    kind = _kind_of(call)
    return kind is not None and kind.mixes and not kind.linears


def require_followed(call: Call) -> None:
    """Refuses a call in which gates scale a signal, if relevance cannot follow it.

    Raises:
        NotAnalyzeableModelException: the layer is used in a way that relevance cannot follow, or it calculates in
            half precision.
    """
    layer, key = call.layer, key_of(call)
    if key == "recurrent":
        recurrent.require_followed(call)
    elif key in ("attention", "multi-head attention"):
        attention.require_followed(call)
    if not keras_graph.is_operation(layer) and keras_graph.in_full_precision(layer) is not layer:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(layer).__name__}) calculates in half precision, where relevance would be "
            "lost: build the model with the data type policy 'float32'"
        )


def key_of(call: Call) -> str | None:
    """The key of a call's record in `RECORDS`, for the tensors that it takes; None for an unknown layer."""
    layer, of_one = call.layer, len(call.inputs) == 1
    name = keras_graph.operation_name(layer)
    key = lookup(layer, LAYERS) if name is None else OPERATIONS.get(name)
    if key is None and type(layer).__module__.startswith("keras") and ".applications." in type(layer).__module__:
        return OF_APPLICATIONS.get(type(layer).__name__)
    if not call.inputs or (key == "product" and len(call.args) != 2 and of_one):
        return None
    if name is not None and call.looks_up:
        return "embedded"
    if name is not None and not of_one and key in _OF_ONE:
        return None
    if key == "recurrent":
        return key if recurrent.is_known(layer) else None
    if key == "divided":
        return key if len(call.inputs) == 2 else ("affine" if _is_over_constant(call) else None)
    if key == "elementwise" and not of_one:
        return None  # a power whose exponent is a tensor has no rule
    return OF_ONE_TENSOR.get(key, key) if of_one and key else key


_OF_ONE = ("affine", "kept", "normalized", "parametric", "shares")  # a second tensor would have relevance, too


def _kind_of(call: Call) -> Kind | None:
    layer = call.layer
    activation = keras.layers.Activation
    if isinstance(layer, activation):
        own = lookup(layer, {activation: True})
        return activation_kind(layer.activation, keras_graph.sample_shape(layer)) if own else None
    linears = linear_maps(layer) or dot_map(call)
    if linears:
        fused = activation_of(call) or _KEPT
        return Kind(
            weighted,
            mixes=True,
            linears=tuple(linears),
            nonnegative=fused.nonnegative,
            saturates=fused.saturates,
            is_relu=fused.is_relu,
        )
    key = key_of(call)
    if key is None or call.closed:
        return None
    kind = RECORDS[key].kind
    if key == "elementwise" and not any(dtype.is_integer for dtype in call.dtypes):
        kind = _measured(kind, lambda x: call.run([x])[0], layer, call.has_graph_tensors())
    if type(layer).__name__ in ("UpSampling2D", "Resizing"):
        # Cubic and Lanczos interpolation overshoot.
        sign = str(layer.get_config()["interpolation"]).lower() in ("nearest", "bilinear", "area")
        kind = replace(kind, keeps_sign=sign, keeps_order=sign)
    in_place = kind.mixes or kind.rule in (unchanged, with_constant, normalized)
    if not in_place and (call.has_constants() or _fills(layer)):
        return replace(kind, rule=moved_evenly if kind.rule is moved else kind.rule, keeps_sign=False)
    return kind


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
    key, is_operation = key_of(call), keras_graph.operation_name(call.layer) is not None
    is_one = key in ("elementwise", "parametric", "shares") or (key == "normalized" and is_operation)
    return _kind_of(call) if is_one else None


def fused_activation(call: Call) -> Any:
    """The activation in a layer with weights; None for the identity."""
    activation = getattr(call.layer, "activation", None)
    return None if activation is keras.activations.linear else activation


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
    return lookup(layer, LAYERS) == "augmentation"


def factor(call: Call) -> float:
    """The number that an operation multiplies a tensor by, such as 1/255 in `x / 255`; 1 for other calls."""
    key = OPERATIONS.get(keras_graph.operation_name(call.layer) or "")
    given = [*(keras_graph.constants(call.layer) or {}).values(), *call.args, *call.kwargs.values()]
    numbers = [np.asarray(value) for value in given if isinstance(value, (int, float, np.ndarray, np.number))]
    if len(call.inputs) != 1 or len(numbers) != 1 or numbers[0].size != 1 or not numbers[0].any():
        return 1.0
    if key == "multiplied":
        return float(numbers[0].item())
    return 1 / float(numbers[0].item()) if key == "divided" and _is_over_constant(call) else 1.0


def _is_over_constant(call: Call) -> bool:
    """Whether a division of one tensor divides it by a constant, and not the constant by it."""
    constants = keras_graph.constants(call.layer)
    if constants is not None:
        return 0 not in constants
    return isinstance(call.args[0], Ref) and call.args[0].number in call.inputs
