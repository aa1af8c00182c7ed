"""The user's own rules for kinds of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorflow.keras.layers import Layer

RULES: dict[type, Callable[..., Any]] = {}
"""The rule of each layer class that has one of the user's."""


def register_rule(layer: type, rule: Callable[..., Any]) -> None:
    """Makes `rule` the rule of a layer class, for all analyzers created from now on.

    A rule, which iNNvestigate calls a reverse mapping, gets the layer's input tensors, its output tensors and the
    relevances of the outputs, and returns the relevances of the inputs in their order, each shaped as its input.
    `state["layer"]` is the layer, `state["call"].run(Xs)` gives its outputs for other inputs, and
    `state["reference"]` tells whether the authors' program is followed. Ready-made rules are in
    `rap_keras.engine.rules.unweighted`: `unchanged`, `moved`, `averaged`, `added`, `multiplied`. Subclasses
    of the layer class do not inherit the rule.

    Examples:
        >>> def halved(Xs, Ys, Rs, state):
        ...     return [Rs[0] / 2]
        >>> rap_keras.register_rule(MyLayer, halved)

    Raises:
        TypeError: `layer` is not a Keras layer class, or `rule` cannot be called.
    """
    if not (isinstance(layer, type) and issubclass(layer, Layer)):
        raise TypeError(f"{layer!r} is not a Keras layer class: give the class, not a layer")
    if not callable(rule):
        raise TypeError(f"{rule!r} is not a rule: give a function of (Xs, Ys, Rs, state)")
    RULES[layer] = rule


def is_registered(layer: Layer) -> bool:
    """Whether the user has given a rule for this kind of layer."""
    return type(layer) in RULES
