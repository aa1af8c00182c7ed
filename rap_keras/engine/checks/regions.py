"""Regions: neurons explained together, in an output that has places, such as a map of classes for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow import keras


def class_axis(rank: int) -> int:
    """The axis of the classes in an output with `rank` axes, including the batch."""
    return 1 if keras.backend.image_data_format() == "channels_first" and rank > 2 else -1


def region(model: keras.Model, target_class: int, mask: Any) -> np.ndarray:
    """The neurons of one class at the places of a mask, as `neuron_selection` of `analyze` takes them.

    The sum of the class's logits at these places is explained.

    Examples:
        >>> analyzer = rap_keras.create_analyzer("rap", model, neuron_selection_mode="index")
        >>> relevance = analyzer.analyze(x, neuron_selection=rap_keras.region(model, 3, mask))

    Args:
        model: a model whose output is a map of classes, (N, height, width, classes), or (N, classes, height,
            width) if Keras is set to channels first.
        target_class: the number of the class; a map of one channel has only number 0.
        mask: boolean, True at the places: (H, W) for all samples, or (N, H, W) with one for each. A mask whose
            size is not the map's but, for example, the photo's is resized by nearest neighbour.

    Returns:
        Boolean, in the shape of the output: (height, width, classes), or (N, height, width, classes).

    Raises:
        ValueError: the model has several outputs, or its output is not a map of a fixed size; there is no such
            class; the mask is not boolean, has another number of axes, or is False everywhere.
    """
    if len(model.outputs) != 1:
        raise ValueError(
            f"the model has {len(model.outputs)} outputs: choose one, such as the first with "
            "rap_keras.models.one_output(model, 0)"
        )
    shape = fixed_shape(model)
    if len(shape) != 3:
        raise ValueError(
            f"the output has shape {shape} for a sample, but region is for maps, (height, width, classes): give "
            "analyze a boolean array of the output's shape, or an index"
        )
    axis = class_axis(4) % 4 - 1
    is_number = isinstance(target_class, (int, np.integer)) and not isinstance(target_class, bool)
    if not is_number or not 0 <= target_class < shape[axis]:
        one_channel = (
            " That channel is class 1; rap_keras.models.two_classes(model) adds class 0."
            if shape[axis] == 1
            else ""
        )
        raise ValueError(
            f"target_class={target_class!r}: the map has classes 0 to {shape[axis] - 1}.{one_channel}"
        )
    given = np.asarray(mask)
    if given.dtype != bool:
        raise ValueError(f"mask has data type {given.dtype}: give a boolean array, such as mask > 0")
    if given.ndim not in (2, 3) or given.size == 0:
        raise ValueError(f"mask has shape {given.shape}: give (H, W), or (N, H, W) with one for each sample")
    places = resized(given, tuple(np.delete(shape, axis)))
    _require_places(places.reshape(-1, *places.shape[-2:]), given)
    found = np.zeros((*places.shape[:-2], *shape), bool)
    np.moveaxis(found, axis - 3, -1)[..., target_class] = places
    return found


def resized(mask: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes a mask (..., H, W) to the size (height, width) by nearest neighbour; so with other axes."""
    old_size = mask.shape[mask.ndim - len(size) :]
    for axis, (old, new) in enumerate(zip(old_size, size), mask.ndim - len(size)):
        mask = mask.take(((np.arange(new) + 0.5) * old / new).astype(int), axis)
    return mask


def _require_places(places: np.ndarray, given: np.ndarray) -> None:
    """Raises ValueError if a mask of `places` (N, height, width), resized from `given`, is False everywhere."""
    for number, (at, mask) in enumerate(zip(places, given.reshape(-1, *given.shape[-2:]))):
        if not at.any():
            of = f" of sample {number}" if given.ndim == 3 else ""
            height, width = at.shape
            raise ValueError(
                f"the mask{of} is True only at places too small for the map, which has {height} x {width}: make "
                "them larger"
                if mask.any()
                else f"the mask{of} is False everywhere: set the places to explain to True"
            )


def is_region(selection: Any) -> bool:
    """Whether `neuron_selection` is a region: an array of booleans, while indices are integers."""
    return np.asarray(selection).dtype == bool


def valid_region(selection: Any, batch: int, model: keras.Model) -> np.ndarray:
    """A region for each sample, boolean, (N, shape of the output).

    Raises:
        ValueError: the output has no places, or no fixed size; the region has another shape, or is False
            everywhere (the message names the sample).
    """
    given, shape = np.asarray(selection), fixed_shape(model)
    if len(shape) < 2:
        raise ValueError(
            "neuron_selection is boolean, which is for outputs that have places, but this output has shape "
            f"{shape} for a sample: give the index of a neuron"
        )
    if given.shape not in (shape, (batch, *shape)):
        raise ValueError(
            f"neuron_selection is boolean, of shape {given.shape}: a region has the output's shape, {shape} for "
            f"all samples or {(batch, *shape)} with one for each. rap_keras.region(model, target_class, mask) "
            "makes one from a mask (H, W)"
        )
    regions = np.broadcast_to(given, (batch, *shape))
    empty = np.flatnonzero(~regions.any(axis=tuple(range(1, regions.ndim))))
    if empty.size:
        raise ValueError(
            f"the region of sample {', '.join(map(str, empty))} is False everywhere: set the neurons to explain "
            "to True, at least one for each sample"
        )
    return regions


def require_one_class(regions: np.ndarray) -> None:
    """Raises ValueError if a region has several classes at one place, so that no single class can be compared."""
    if (regions.sum(axis=class_axis(regions.ndim)) > 1).any():
        raise ValueError(
            "the region has several classes at one place, but contrast='log_odds' compares one class with all "
            "others: give one class for each place, or create the analyzer with contrast='logit'"
        )


def fixed_shape(model: keras.Model) -> tuple[int, ...]:
    """The shape of one sample's output.

    Raises:
        ValueError: the shape depends on the input, so the places of a region are unknown.
    """
    shape = tuple(model.outputs[0].shape)[1:]
    if None in shape:
        raise ValueError(
            f"the output has shape {shape} for a sample, but a region needs a fixed one: give the model an input "
            "of a fixed size, as in x = keras.Input((height, width, 3)); keras.Model(x, model(x))"
        )
    return shape
