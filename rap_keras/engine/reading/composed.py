"""Operations of keras.ops that are made of others: these are what relevance goes through."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.reading.of_shapes import CannotBeOpenedError, Given

ops: Any = getattr(keras, "ops", None)


def code_of(operation: Any) -> Callable[..., Any] | None:
    """What an operation does, written with others; it takes the operation's arguments. None for any other one."""
    found = COMPOSED.get(keras_graph.operation_name(operation) or "") if keras_graph.KERAS_3 else None
    return found and (lambda *args, **kwargs: found(operation, *args, **kwargs))


def _attention(
    operation: Any, query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, scale: Any = None
) -> Any:
    """Scaled dot-product attention, (N, places, heads, width); a key may serve several queries."""
    groups = query.shape[2] // key.shape[2]
    if groups > 1:
        key, value = (ops.repeat(x, groups, axis=2) for x in (key, value))
    scores = ops.einsum("nqhd,nkhd->nhqk", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = ops.where(mask, scores, -1e30)
    if operation.is_causal:
        earlier = ops.arange(query.shape[1])[:, None] >= ops.arange(key.shape[1])[None]
        scores = ops.where(earlier, scores, -1e30)
    return ops.einsum("nhqk,nkhd->nqhd", ops.softmax(scores, axis=-1), value)


def _moments(operation: Any, x: Any) -> tuple[Any, Any]:
    mean = ops.mean(x, axis=operation.axes, keepdims=True)
    variance = ops.mean(ops.square(x - mean), axis=operation.axes, keepdims=operation.keepdims)
    return (mean if operation.keepdims else ops.squeeze(mean, operation.axes)), variance


def _variance(operation: Any, x: Any) -> Any:
    mean = ops.mean(x, axis=operation.axis, keepdims=True)
    return ops.mean(ops.square(x - mean), axis=operation.axis, keepdims=operation.keepdims)


def _deviation(operation: Any, x: Any) -> Any:
    return ops.sqrt(_variance(operation, x))


def _norm(operation: Any, x: Any) -> Any:
    if operation.ord not in (None, "fro") and not (operation.ord == 2 and isinstance(operation.axis, int)):
        raise CannotBeOpenedError(
            f"only the root of the sum of squares is known of norms, not ord={operation.ord!r}"
        )
    return ops.sqrt(ops.sum(ops.square(x), axis=operation.axis, keepdims=operation.keepdims))


def _range(operation: Any, x: Any) -> Any:
    high, low = (f(x, axis=operation.axis, keepdims=operation.keepdims) for f in (ops.max, ops.min))
    return high - low


def _difference(operation: Any, x: Any) -> Any:
    for _ in range(operation.n):
        later, earlier = (
            ops.take(x, range(first, x.shape[operation.axis] - 1 + first), axis=operation.axis) for first in (1, 0)
        )
        x = later - earlier
    return x


def _hypotenuse(operation: Any, a: Any, b: Any) -> Any:
    return ops.sqrt(ops.square(a) + ops.square(b))


def _glu(operation: Any, x: Any) -> Any:
    values, gates = ops.split(x, 2, axis=operation.axis)
    return values * ops.sigmoid(gates)


def _fourier_2d(operation: Any, x: tuple[Any, Any]) -> tuple[Any, Any]:
    """The Fourier transform along the last two axes: along one, then along the other."""
    return _along(_along(x, -1), -2)


def _fourier(operation: Any, x: tuple[Any, Any]) -> tuple[Any, Any]:
    return _along(x, -1)


def _along(x: tuple[Any, Any], axis: int) -> tuple[Any, Any]:
    """The Fourier transform of real and imaginary parts along the last axis or the one before it."""
    real, imaginary = x
    length = real.shape[axis]
    angles = ops.arange(length, dtype="float32") * (2 * math.pi / length)
    steps = ops.cast(ops.mod(ops.arange(length)[:, None] * ops.arange(length)[None], length), "int32")
    cosines, sines = ops.take(ops.cos(angles), steps), ops.take(ops.sin(angles), steps)

    def turned(part: Any, matrix: Any) -> Any:
        return ops.matmul(part, matrix) if axis == -1 else ops.matmul(matrix, part)

    return (
        turned(real, cosines) + turned(imaginary, sines),
        turned(imaginary, cosines) - turned(real, sines),
    )


COMPOSED: dict[str, Callable[..., Any]] = {
    "dotproductattention": _attention,
    "moments": _moments,
    "var": _variance,
    "std": _deviation,
    "norm": _norm,
    "ptp": _range,
    "diff": _difference,
    "hypot": _hypotenuse,
    "glu": _glu,
    "fft": _fourier,
    "fft2": _fourier_2d,
}

OF_SHAPES = frozenset("zeroslike oneslike fulllike emptylike".split())
"""The operations that depend only on the shape of their input."""


def depends_on_shapes(layer: Any) -> bool:
    """Whether the outputs of a layer or operation depend only on the shapes of its inputs."""
    return isinstance(layer, Given) or (keras_graph.operation_name(layer) in OF_SHAPES and keras_graph.KERAS_3)
