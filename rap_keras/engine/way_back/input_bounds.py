"""The lowest and highest value of each input, which the rule of the first layer needs (z^B, Eq. 10).

They come from the option `input_rule`. "auto" takes the lowest and highest value of each sample, as the authors
do, if it is a colour photo by its shape: (height, width, 2 to 4 channels). There they are black and white.
Elsewhere 0 mostly means "nothing", and z^B would give relevance to it; so "auto" does not use z^B for series,
vectors, volumes, films and images of one channel (digits, spectrograms, EEG). docs/models.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Union

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.rules.weighted import Bounds

InputRule = Union[str, Sequence[Any], Mapping[str, Any], None]


class Fixed(NamedTuple):
    """Bounds given by the user, float64, in shapes that broadcast to the input's, batch first."""

    low: np.ndarray
    high: np.ndarray


_COLOUR = (2, 3, 4)
"""Numbers of channels of photos that are not grey: RGB, and either with a channel of opacity."""

InputBounds = Union[str, Fixed, None]
"""The rule of one input: "auto", fixed bounds, or None for no bounds."""


def valid_rules(value: InputRule, inputs: Mapping[str, tf.Tensor]) -> list[InputBounds]:
    """The rule of each input, in the model's order.

    Args:
        value: the option: for all inputs "auto", None, or a pair (low, high), each a number or one per channel;
            or one of these for each input, as a list in the model's order or a dict by the inputs' names.
        inputs: the model's input tensors by name.

    Raises:
        ValueError: the value is none of these, does not fit an input's channels, or low exceeds high.
    """
    names = list(inputs)
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise ValueError(f"input_rule={value!r}: must have a rule for each input: {', '.join(names)}")
        return [_valid_rule(value[name], name, inputs[name]) for name in names]
    one_per_input = len(names) > 1 and isinstance(value, (list, tuple)) and len(value) == len(names)
    by_input, _ = _tried(list(value) if one_per_input else [], inputs)  # type: ignore[arg-type]
    for_all, error = _tried([value] * len(names), inputs)
    if by_input and for_all:
        raise ValueError(
            f"input_rule={value!r} can be read in two ways: as low and high of each channel, or as the bounds of "
            f"each input. Give the bounds by the inputs' names: input_rule={{'{names[0]}': (low, high), ...}}"
        )
    if not by_input and error:
        raise error
    return by_input or for_all


def _tried(values: Sequence[Any], inputs: Mapping[str, tf.Tensor]) -> tuple[list[InputBounds], ValueError | None]:
    try:
        return [_valid_rule(value, *named) for value, named in zip(values, inputs.items())], None
    except ValueError as error:
        return [], error


def tensors(rules: Sequence[InputBounds], xs: Sequence[tf.Tensor]) -> list[Bounds | None]:
    """Lowest and highest value of each input tensor, in shapes that broadcast to it."""
    return [_tensors(rule, x) for rule, x in zip(rules, xs)]


def has_bounds(rule: InputBounds, x: tf.Tensor) -> bool:
    """Whether an input has bounds: given by the user, or for "auto" those of colour photos."""
    if rule != "auto":
        return isinstance(rule, Fixed)
    axis = 1 if keras.backend.image_data_format() == "channels_first" else -1
    return len(x.shape) == 4 and x.shape[axis] in _COLOUR


def bounded(rules: Sequence[InputBounds], numbers: Sequence[int], xs: Sequence[tf.Tensor]) -> list[int]:
    """The numbers of the inputs that have bounds, of inputs numbered so."""
    return [number for number, rule, x in zip(numbers, rules, xs) if has_bounds(rule, x)]


def require_within(rules: Sequence[InputBounds], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError if a value is outside the user's bounds; the message names input, sample and value."""
    for rule, (name, array) in zip(rules, arrays.items()):
        if not isinstance(rule, Fixed):
            continue
        for number, sample in enumerate(array):
            # The network calculates in single precision, where 0.1 is larger than a double-precision bound of 0.1.
            low, high = (np.asarray(bound[0], np.float32) for bound in rule)
            outside = (sample.astype(np.float32) < low) | (sample.astype(np.float32) > high)
            if outside.any():
                place = tuple(map(int, np.argwhere(outside)[0]))
                raise ValueError(
                    f"input '{name}': sample {number} has the value {sample[place]:.6g} at {place}, outside of "
                    f"the bounds of input_rule, {_text(rule, place)}. Give the lowest and highest value that an "
                    "input can have, in units of the model's input (after preprocessing), or input_rule='auto'"
                )


def _text(rule: Fixed, place: tuple[int, ...]) -> str:
    low, high = (
        bound[0][tuple(index if size > 1 else 0 for index, size in zip(place, bound.shape[1:]))] for bound in rule
    )
    return f"{low:.6g} to {high:.6g}"


def _valid_rule(value: Any, name: str, x: tf.Tensor) -> InputBounds:
    if value is None or (isinstance(value, str) and value == "auto"):
        return value
    try:
        low, high = (np.asarray(bound, dtype=np.float64) for bound in value)
    except (TypeError, ValueError):
        raise ValueError(
            f"input_rule={value!r}: must be 'auto', None, or (low, high), each a number or one per channel"
        ) from None
    axis = 1 if keras.backend.image_data_format() == "channels_first" and len(x.shape) > 2 else len(x.shape) - 1
    channels = x.shape[axis] if axis else None
    for bound in (low, high):
        if bound.ndim > 1 or (bound.ndim == 1 and channels not in (None, bound.size)):
            raise ValueError(
                f"input_rule={value!r}: low and high must be numbers or lists of one value per channel, and input "
                f"'{name}' has {channels} channels"
            )
    if low.ndim and high.ndim and low.size != high.size:
        raise ValueError(f"input_rule={value!r}: low and high must be lists of the same length")
    if not (np.isfinite(low).all() and np.isfinite(high).all()) or not np.all(low <= high):
        raise ValueError(f"input_rule={value!r}: low and high must be finite, with low <= high")
    shape = [1] * len(x.shape)
    shape[axis] = -1
    return Fixed(low.reshape(shape), high.reshape(shape))


def _tensors(rule: InputBounds, x: tf.Tensor) -> Bounds | None:
    if isinstance(rule, Fixed):
        # A wrapper such as SmoothGrad adds noise within the graph. A value that is then outside is its own bound.
        return tf.minimum(tf.constant(rule.low, x.dtype), x), tf.maximum(tf.constant(rule.high, x.dtype), x)
    if not has_bounds(rule, x):
        return None
    axes = list(range(1, len(x.shape)))
    return tf.reduce_min(x, axes, keepdims=True), tf.reduce_max(x, axes, keepdims=True)
