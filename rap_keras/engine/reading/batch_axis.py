"""Samples stay apart: the first axis of every tensor is the batch.

Relevance is that of one sample, and the rules take the first axis for the batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.keras_graph import Node
from rap_keras.engine.reading.of_shapes import SAMPLES

# In a graph of Keras 2 these have their axis as the last of their constants.
_AXIS_IS_LAST = ("roll", "reversev2", "concatv2", "cumsum")
# Without an axis these take all of them. Others then make a tensor without a batch, or take the last axis.
_OF_ALL_AXES = ("roll", "flip", "ravel", "cumsum", "append")


# In the code of layers these may put another axis in front of that of the samples, which comes back later.
_IN_FRONT = ("stack", "expanddims", "transpose", "reshape", "moveaxis", "swapaxes")


def require_kept(node: Node, name: str, batch: int | None, second: Mapping[int, tuple[int, ...]]) -> None:
    """Refuses a layer or operation that moves the axis of the batch, or lets samples see each other.

    Args:
        node: its use.
        name: of the use.
        batch: the number of samples that the model is built for; None for any.
        second: in the graph of a layer's code other shapes of the tensors, by their ids, see `Opened`.

    Raises:
        NotAnalyzeableModelException: It works along the first axis.
    """
    shapes = [tuple(tensor.shape) for tensor in node.inputs]
    kept = all(is_first(tensor, batch, second) for tensor in node.inputs)
    if kept and second and keras_graph.operation_name(node.layer) in _IN_FRONT:
        return
    if kept and (_moves(node, batch, second) or _works_along(node, shapes)):
        raise NotAnalyzeableModelException(
            f"layer '{name}' works along the first axis, which is that of the samples: a sample's relevance would "
            "depend on the others. Use another axis, such as axis=1, or a layer that keeps the samples apart"
        )


def is_first(tensor: Any, batch: int | None, second: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether the first axis of a symbolic tensor is that of the samples, or of samples and places."""
    shape = tuple(tensor.shape)
    if not shape or id(tensor) not in second:
        return bool(shape) and shape[0] in (None, batch)
    other = second[id(tensor)]
    return shape[0] is not None and shape[0] * SAMPLES[1] == other[0] * SAMPLES[0]


def _moves(node: Node, batch: int | None, second: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether no output of an operation has the batch as its first axis. Whole numbers may be shapes."""
    if not keras_graph.is_operation(node.layer):
        return False
    if keras_graph.operation_name(node.layer) in ("concatv2", "concat", "concatenate"):
        return False  # a constant in it may fix the length of the batch; it names its axis
    floating = [tensor for tensor in node.outputs if keras_graph.dtype(tensor).is_floating]
    return bool(floating) and not any(is_first(tensor, batch, second) for tensor in floating)


def _works_along(node: Node, shapes: list[tuple[int | None, ...]]) -> bool:
    """Whether the axis that it is given, or all axes, are those of the batch."""
    if keras_graph.operation_name(node.layer) == "take" and not any(node.args[0] is x for x in node.inputs):
        return False  # the axis is that of a table of constants
    axis = _axis(node)
    if axis is None:
        return keras_graph.operation_name(node.layer) in _OF_ALL_AXES
    if not isinstance(axis, (int, np.integer, list, tuple, np.ndarray)):
        return False
    return any(number in (0, -len(shape)) for number in np.ravel(axis) for shape in shapes)


def _axis(node: Node) -> Any:
    """The axis, or several, that a layer or operation works along; None where it has no such option."""
    layer = node.layer
    inner = keras_graph.constants(layer)
    if inner and keras_graph.operation_name(layer) in _AXIS_IS_LAST:
        return inner[max(inner)]
    if "axis" in node.kwargs:
        return node.kwargs["axis"]
    function = getattr(layer, "function", None)
    if callable(function) and keras_graph.is_operation(layer):
        try:
            return inspect.signature(function).bind(*node.args, **node.kwargs).arguments.get("axis")
        except (TypeError, ValueError):  # a function of TensorFlow that does not tell its arguments
            return None
    return getattr(layer, "axis", None)
