"""What a function does to the places and to the values of a tensor, found by trying it on numbers.

Names do not tell: an activation may be any function, and one function has many spellings. So no fact stands in a
list. Each is measured, and the same function has the same facts however it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.execution import compiled

Function = Callable[[tf.Tensor], Any]
Shape = Optional[tuple[int, ...]]

ELEMENTWISE, SYMMETRIC, MOVES = "elementwise", "symmetric", "moves"
"""What becomes of places. SYMMETRIC: each output is its own input, scaled and shifted by a statistic that treats
all values along an axis alike, as in a softmax. MOVES: anything else, such as reversing, sorting, smoothing."""

_SHAPES: list[tuple[int, ...]] = [(4,), (5, 4), (5, 6, 4), (3, 5, 6, 4)]  # of a sample, in all ranks
_MOST = 4_000_000  # numbers at a time
_ROUNDING = 1e-5


class Facts(NamedTuple):
    """What is known of a function's values, see `kinds.Kind`; nothing by default."""

    keeps_sign: bool = False
    keeps_order: bool = False
    nonnegative: bool = False
    saturates: bool = False
    is_relu: bool = False


class Trial(NamedTuple):
    """What becomes of places, None if the function takes no shape that was tried; and what of values."""

    places: str | None
    facts: Facts


_tried: WeakKeyDictionary[Any, dict[Shape, Trial]] = WeakKeyDictionary()
_measured: WeakKeyDictionary[Any, Facts] = WeakKeyDictionary()


def tried(function: Function, own_shape: Shape = None) -> Trial:
    """The trial of any function.

    Args:
        function: takes and returns a tensor, batch first.
        own_shape: the shape of a sample where the function is used, for functions that take no other.
    """
    try:
        known = _tried.setdefault(function, {})
    except TypeError:  # not every callable object can be a key
        known = {}
    if own_shape not in known:
        known[own_shape] = _trial(function, own_shape)
    return known[own_shape]


def measured(function: Function, key: Any, own_shape: Shape, of_graph: bool) -> Facts:
    """The facts of a function that is known to be elementwise; they are measured once for each `key`.

    `of_graph` is as in `calculated`.
    """
    if key not in _measured:
        _measured[key] = _facts_on_grid(function, own_shape, of_graph)
    return _measured[key]


def calculated(function: Function, x: np.ndarray, of_graph: bool | None = None) -> np.ndarray:
    """The values of a function for an array, in either host.

    Args:
        function: as in `tried`.
        x: the array.
        of_graph: whether the function may use tensors of the model's graph; by default if it is not of a library.
    """
    if tf.executing_eagerly():
        return np.asarray(function(tf.constant(x)))
    if of_graph is None:
        of_graph = str(getattr(function, "__module__", "")).split(".")[0] not in ("keras", "tensorflow")
    if not of_graph:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:  # which are thrown away
            return session.run(tf.convert_to_tensor(function(tf.constant(x))))
    # With a tensor of another graph TensorFlow would crash.
    return np.asarray(compiled(function, [tf.TensorSpec([None, *x.shape[1:]], x.dtype)])([x]))


def _trial(function: Function, own_shape: Shape) -> Trial:
    shapes = [shape for shape in _SHAPES if _takes(function, shape)]
    if not shapes and own_shape is not None and _takes(function, own_shape):
        shapes = [own_shape]
    if not shapes:
        return Trial(None, Facts())
    if not all(_keeps_samples_apart(function, shape) for shape in shapes):
        return Trial(MOVES, Facts())
    if all(_is_elementwise(function, shape) for shape in shapes):
        return Trial(ELEMENTWISE, _facts_on_grid(function, own_shape))
    if all(_is_elementwise(function, shape) or _is_symmetric(function, shape) for shape in shapes):
        shares = all(_gives_shares(function, shape) for shape in shapes)
        return Trial(SYMMETRIC, Facts(keeps_sign=shares, nonnegative=shares, saturates=shares))
    return Trial(MOVES, Facts())


def _takes(function: Function, shape: tuple[int, ...]) -> bool:
    """Whether a function takes samples of a shape, and gives such samples."""
    try:
        return calculated(function, np.zeros((2, *shape), np.float32)).shape == (2, *shape)
    # The function is the user's and may refuse a tensor of this shape.
    except Exception:
        return False


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether values are equal except for rounding, which depends on the place in the memory."""
    return np.allclose(a, b, _ROUNDING, _ROUNDING * np.abs(np.nan_to_num(b)).max(initial=0), equal_nan=True)


def _keeps_samples_apart(function: Function, shape: tuple[int, ...]) -> bool:
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    return _same(calculated(function, x[:1]), calculated(function, x)[:1])


def _is_elementwise(function: Function, shape: tuple[int, ...]) -> bool:
    """Whether values at other places never change an output; each change is one sample of a batch."""
    random = np.random.default_rng(0)
    x = random.normal(size=shape)
    masks = list(_parts(shape))
    changed = [np.where(m, other, x) for m in masks for other in (random.normal(size=shape), x - 60, x + 60)]
    y, *after = calculated(function, np.stack([x, *changed]).astype(np.float32))
    kept = [~mask for mask in masks for _ in range(3)]
    return all(_same(other[same], y[same]) for other, same in zip(after, kept))


def _parts(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Parts of a sample: random halves with their complements, and single values."""
    random = np.random.default_rng(1)
    for _ in range(6):
        half = random.random(shape) < 0.5
        yield from (half, ~half)
    for _ in range(4):
        yield np.arange(half.size).reshape(shape) == random.integers(half.size)


def _is_symmetric(function: Function, shape: tuple[int, ...]) -> bool:
    """Whether permuting the inputs along any axis permutes the outputs, and each input matters to its own most."""
    random = np.random.default_rng(2)
    x = random.uniform(-0.05, 0.05, shape)  # no value is so large that it decides alone
    orders = [(axis, random.permutation(length)) for axis, length in enumerate(shape) for _ in range(3)]
    places = random.integers(x.size, size=6)
    steps = [x + 0.01 * (np.arange(x.size).reshape(shape) == place) for place in places]
    batch = np.stack([x, *(np.take(x, order, axis) for axis, order in orders), *steps]).astype(np.float32)
    y, *after = calculated(function, batch)
    if not all(_same(other, np.take(y, order, axis)) for (axis, order), other in zip(orders, after)):
        return False
    if function in vars(keras.activations).values():  # Keras 3's sparsemax has no influence of the largest value
        return True
    changes = np.stack(after[len(orders) :]).reshape(places.size, -1) - y.ravel()
    own = changes[np.arange(places.size), places]
    others = (changes.sum(1) - own) / (x.size - 1)
    return bool((np.minimum(np.abs(own), np.abs(own - others)) > 0.05 * np.abs(changes).max(1)).all())


def _gives_shares(function: Function, shape: tuple[int, ...]) -> bool:
    """Whether all outputs are between 0 and 1, whatever the size of the inputs."""
    x = np.random.default_rng(3).normal(size=(30, *shape)) * np.logspace(-3, 3, 30).reshape(-1, *[1] * len(shape))
    y = calculated(function, x.astype(np.float32))
    return bool(((y >= 0) & (y <= 1 + _ROUNDING)).all())


def _facts_on_grid(function: Function, own_shape: Shape, of_graph: bool | None = None) -> Facts:
    """The facts of an elementwise function, on a grid of numbers between -1e15 and 1e15."""
    positive = np.concatenate([np.linspace(0, 20, 2001), np.logspace(-6, 15, 400)])
    grid = np.unique(np.concatenate([-positive, positive]).astype(np.float32))
    for shape in ((1,), (1, 1), (1, 1, 1), (1, 1, 1, 1), *([own_shape] if own_shape else [])):
        x = grid[:: -(-grid.size * int(np.prod(shape)) // _MOST)].reshape(-1, *[1] * len(shape))
        try:
            y = calculated(function, np.broadcast_to(x, (len(x), *shape)), of_graph)
        # The function may not take numbers of that shape.
        except Exception:
            continue
        if y.shape == (len(x), *shape) and y.dtype.kind == "f":
            return _facts(x.astype(float), y.astype(float))
    return Facts()


def _facts(x: np.ndarray, y: np.ndarray) -> Facts:
    """The facts of values y (M, ...) for the sorted numbers x (M, 1, ...)."""
    if np.isnan(y).any():
        return Facts()
    # Beyond 1e30 only the order counts.
    y = np.clip(y, -1e30, 1e30)
    rises, slack = np.diff(y, axis=0), 1e-6 * (np.abs(x) + np.abs(y))[1:]
    far, near = np.abs(y).max(), np.abs(y[np.abs(x.ravel()) < 1e9]).max()
    return Facts(
        keeps_sign=bool((y[x.ravel() >= 0] >= 0).all()),
        keeps_order=bool((rises >= -slack).all() or (rises <= slack).all()),
        nonnegative=bool((y >= 0).all()),
        saturates=bool(far <= 1.01 * near and far < 1e30),
        is_relu=bool((y == np.maximum(x, 0)).all()),
    )
