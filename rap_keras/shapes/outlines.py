"""Outlines of the classes, made of polygons and discs, and their exact rendering."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple, Union

import numpy as np

SIZE = 96
"""Height and width of every image, in pixels."""

SUBSAMPLES = 16
"""Points at which every pixel is tested, on a grid of 4 x 4."""

_GRID = 4

Polygon = tuple[tuple[float, float], ...]
"""Corners (x, y), in order, of any polygon; the even-odd rule decides what is inside."""


class Disc(NamedTuple):
    """All points at most `radius` away from (x, y)."""

    x: float
    y: float
    radius: float


Part = Union[Disc, Polygon]


class Outline(NamedTuple):
    """The union of `parts` less the union of `holes`, all within the unit disc; y points down."""

    parts: tuple[Part, ...]
    holes: tuple[Part, ...] = ()


class Pose(NamedTuple):
    """Where an outline lies: its origin (x, y) and the length of its unit, in pixels; its turn.

    Pixel (column, row) covers [column, column + 1] x [row, row + 1]. A point (u, v) of the outline
    falls on x + radius (cosine u - sine v), y + radius (sine u + cosine v).
    """

    x: float
    y: float
    radius: float
    cosine: float
    sine: float


Window = tuple[slice, slice]
"""Rows and columns of an image."""

OUTLINES: dict[str, Outline] = {
    "disc": Outline((Disc(0, 0, 1),)),
    "ring": Outline((Disc(0, 0, 1),), (Disc(0, 0, 0.58),)),
    "triangle": Outline((((0, -1), (0.866, 0.5), (-0.866, 0.5)),)),
    "square": Outline((((-0.707, -0.707), (0.707, -0.707), (0.707, 0.707), (-0.707, 0.707)),)),
    "cross": Outline(
        (
            ((-0.94, -0.3), (0.94, -0.3), (0.94, 0.3), (-0.94, 0.3)),
            ((-0.3, -0.94), (0.3, -0.94), (0.3, 0.94), (-0.3, 0.94)),
        )
    ),
    "star": Outline(
        (
            (
                *((0.0, -1.0), (0.247, -0.34), (0.951, -0.309), (0.4, 0.13), (0.588, 0.809)),
                *((0.0, 0.42), (-0.588, 0.809), (-0.4, 0.13), (-0.951, -0.309), (-0.247, -0.34)),
            ),
        )
    ),
    "crescent": Outline((Disc(0, 0, 1),), (Disc(0.52, 0, 0.8),)),
    "heart": Outline(
        (
            # The lower sides touch the two discs at (0.768, -0.066).
            ((0, 0.93), (0.768, -0.066), (0.4, -0.35), (-0.4, -0.35), (-0.768, -0.066)),
            Disc(0.4, -0.35, 0.465),
            Disc(-0.4, -0.35, 0.465),
        )
    ),
    "arrow": Outline(
        (
            ((0, -1), (0.84, -0.06), (-0.84, -0.06)),
            ((-0.24, -0.1), (0.24, -0.1), (0.24, 0.96), (-0.24, 0.96)),
        )
    ),
    "angle": Outline((((-0.6, -0.8), (-0.16, -0.8), (-0.16, 0.36), (0.6, 0.36), (0.6, 0.8), (-0.6, 0.8)),)),
}
"""The outline of every class. None looks like another one, however it is turned."""


def coverage(outline: Outline, pose: Pose) -> tuple[Window, np.ndarray]:
    """How much of every pixel an outline covers.

    The arithmetic is only + - * /, on single numbers and elementwise, which IEEE 754 fixes to the
    last bit: every platform finds the same counts.

    Returns:
        The rows and columns of the image that the outline can reach, and for each of their pixels
        the number, 0 to `SUBSAMPLES`, of its test points that lie inside: uint8 (rows, columns).
    """
    placed = [_place(part, pose) for part in outline.parts]
    lows_and_highs = [_extent(part) for part in placed]
    rows = _pixels(lows_and_highs, axis=1)
    columns = _pixels(lows_and_highs, axis=0)
    ys, xs = _test_points(rows), _test_points(columns)
    inside = np.zeros((ys.size, xs.size), dtype=bool)
    for part in placed:
        inside |= _inside(part, ys, xs)
    for hole in outline.holes:
        inside &= ~_inside(_place(hole, pose), ys, xs)
    # Adding up strided views is several times faster than a sum over two axes.
    counts = np.zeros((ys.size // _GRID, xs.size // _GRID), dtype=np.uint8)
    points = inside.view(np.uint8)
    by_row = sum((points[i::_GRID] for i in range(1, _GRID)), start=points[::_GRID])
    for i in range(_GRID):
        counts += by_row[:, i::_GRID]
    return (rows, columns), counts


@cache
def unit_area(name: str) -> float:
    """Area of the outline of a class whose unit disc has radius 1, measured by drawing it."""
    half = SIZE / 2
    _, counts = coverage(OUTLINES[name], Pose(half, half, half, 1.0, 0.0))
    return int(counts.sum(dtype=np.int64)) / (SUBSAMPLES * half * half)


def turn(rng: np.random.Generator) -> tuple[float, float]:
    """Cosine and sine of a random angle, almost uniform over the full turn.

    They come from the rational parametrisation of the circle, as `math.cos` and `math.sin` differ
    between platforms in the last bit: t = tan(angle / 2) covers -45 to 45 degrees, and quarter
    turns do the rest.
    """
    t = (2 * rng.random() - 1) * 0.41421356
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    for _ in range(int(rng.integers(4))):
        cosine, sine = -sine, cosine
    return cosine, sine


def _place(part: Part, pose: Pose) -> Part:
    """A part of an outline in the coordinates of the image."""
    if isinstance(part, Disc):
        return Disc(*_to_image(pose, part.x, part.y), pose.radius * part.radius)
    return tuple(_to_image(pose, u, v) for u, v in part)


def _to_image(pose: Pose, u: float, v: float) -> tuple[float, float]:
    return (
        pose.x + pose.radius * (pose.cosine * u - pose.sine * v),
        pose.y + pose.radius * (pose.sine * u + pose.cosine * v),
    )


def _extent(part: Part) -> Polygon:
    """The lowest and the highest x and y of a part."""
    if isinstance(part, Disc):
        x, y, radius = part
        return (x - radius, y - radius), (x + radius, y + radius)
    xs, ys = zip(*part)
    return (min(xs), min(ys)), (max(xs), max(ys))


def _pixels(extents: list[Polygon], axis: int) -> slice:
    """The pixels of the image that parts of these extents can reach, along x (0) or y (1)."""
    low = min(math.floor(extent[0][axis]) for extent in extents)
    high = max(math.ceil(extent[1][axis]) for extent in extents)
    start = min(max(low, 0), SIZE)
    return slice(start, min(max(high, start), SIZE))


def _test_points(pixels: slice) -> np.ndarray:
    points = np.arange(pixels.start * _GRID, pixels.stop * _GRID, dtype=np.float64)
    return (points + 0.5) / _GRID


def _inside(part: Part, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
    if isinstance(part, Disc):
        dy, dx = ys - part.y, xs - part.x
        return (dy * dy)[:, None] + (dx * dx)[None, :] <= part.radius * part.radius
    inside = np.zeros((ys.size, xs.size), dtype=bool)
    for (x0, y0), (x1, y1) in zip(part, part[1:] + part[:1]):
        if y0 == y1:  # no row crosses a level edge
            continue
        first, last = np.searchsorted(ys, (min(y0, y1), max(y0, y1)))
        crossing = x0 + (ys[first:last] - y0) * ((x1 - x0) / (y1 - y0))
        inside[first:last] ^= xs[None, :] >= crossing[:, None]
    return inside
