"""Outlines of the classes and of distractors, made of polygons and discs, and their exact rendering."""

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

    Pixel (column, row) covers [column, column + 1] x [row, row + 1]. A point (u, v) of the outline falls on
    x + radius (cosine u - sine v), y + radius (sine u + cosine v).
    """

    x: float
    y: float
    radius: float
    cosine: float
    sine: float


Window = tuple[slice, slice]
"""Rows and columns of an image."""


def _box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return (left, top), (right, top), (right, bottom), (left, bottom)


OUTLINES: dict[str, Outline] = {
    "disc": Outline((Disc(0, 0, 1),)),
    "ring": Outline((Disc(0, 0, 1),), (Disc(0, 0, 0.58),)),
    "triangle": Outline((((0, -1), (0.866, 0.5), (-0.866, 0.5)),)),
    "square": Outline((_box(-0.707, -0.707, 0.707, 0.707),)),
    "cross": Outline((_box(-0.94, -0.3, 0.94, 0.3), _box(-0.3, -0.94, 0.3, 0.94))),
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
    "arrow": Outline((((0, -1), (0.84, -0.06), (-0.84, -0.06)), _box(-0.24, -0.1, 0.24, 0.96))),
    "angle": Outline((((-0.6, -0.8), (-0.16, -0.8), (-0.16, 0.36), (0.6, 0.36), (0.6, 0.8), (-0.6, 0.8)),)),
}
"""The outline of every class. None looks like another one, however it is turned."""


def coverage(outline: Outline, pose: Pose) -> tuple[Window, np.ndarray]:
    """The pixels that an outline can reach, and how many of the test points of each lie inside it, uint8.

    The arithmetic is only + - * /, on single numbers and elementwise, which IEEE 754 fixes to the last bit: every
    platform finds the same counts.
    """
    placed = [_place(part, pose) for part in outline.parts]
    extents = [_extent(part) for part in placed]
    rows, columns = _pixels(extents, axis=1), _pixels(extents, axis=0)
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
    """Cosine and sine of a random angle, almost uniform over the full turn."""
    # From the rational parametrisation of the circle, as `math.cos` and `math.sin` differ between platforms in the
    # last bit: t = tan(angle / 2) covers -45 to 45 degrees, and quarter turns do the rest.
    t = (2 * rng.random() - 1) * 0.41421356
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    for _ in range(int(rng.integers(4))):
        cosine, sine = -sine, cosine
    return cosine, sine


def distractor(rng: np.random.Generator) -> tuple[Window, np.ndarray]:
    """A random outline of no class, perhaps partly outside the image, as `coverage` gives it.

    It is a thin bent bar, a lump of three discs, an irregular polygon of 7 corners, or a cloud without an edge.
    """
    cosine, sine = turn(rng)
    x, y = SIZE * rng.random(), SIZE * rng.random()
    kind = int(rng.integers(4))
    if kind == 0:
        return coverage(_bar(rng), Pose(x, y, 20 + 50 * rng.random(), cosine, sine))
    pose = Pose(x, y, 6 + 12 * rng.random(), cosine, sine)
    if kind == 1:
        return coverage(_lump(rng), pose)
    if kind == 2:
        return coverage(_irregular_polygon(rng), pose)
    return _cloud(pose)


def _bar(rng: np.random.Generator) -> Outline:
    half = 0.015 + 0.02 * rng.random()
    bend = 0.3 * rng.random()
    lower = ((1.0, bend + half), (0.0, half - bend), (-1.0, bend + half))
    upper = ((-1.0, bend - half), (0.0, -half - bend), (1.0, bend - half))
    return Outline((lower + upper,))


def _lump(rng: np.random.Generator) -> Outline:
    # Three discs in a crooked row: the ends are too far apart to look like one disc.
    sizes = 0.32 + 0.13 * rng.random(3)
    lift = 0.2 + 0.2 * rng.random()
    row = ((-0.52, -lift / 2), (0.0, lift / 2), (0.52, -lift / 2))
    return Outline(tuple(Disc(x, y, float(size)) for (x, y), size in zip(row, sizes)))


def _irregular_polygon(rng: np.random.Generator) -> Outline:
    # Corners on seven rays (rational directions), one of them far out and one deep inside, the others at uneven
    # distances: neither convex nor regular.
    rays = ((5, 0), (3, 4), (-1.4, 4.8), (-4.8, 1.4), (-4, -3), (0, -5), (4, -3))
    lengths = 0.4 + 0.4 * rng.random(7)
    far = int(rng.integers(7))
    lengths[far] = 1.0
    lengths[(far + int(rng.integers(2, 6))) % 7] = 0.2
    return Outline((tuple((float(r) * u / 5, float(r) * v / 5) for r, (u, v) in zip(lengths, rays)),))


def _cloud(pose: Pose) -> tuple[Window, np.ndarray]:
    window, _ = coverage(Outline((Disc(0, 0, 1),)), pose)
    dy = (np.arange(window[0].start, window[0].stop) + 0.5 - pose.y)[:, None]
    dx = (np.arange(window[1].start, window[1].stop) + 0.5 - pose.x)[None, :]
    length = (pose.cosine * dx + pose.sine * dy) / pose.radius
    width = (pose.cosine * dy - pose.sine * dx) / (0.5 * pose.radius)
    nearness = 1 - (length * length + width * width)
    return window, (np.clip(nearness, 0, 1) * SUBSAMPLES).astype(np.uint8)


def _place(part: Part, pose: Pose) -> Part:
    """A part of an outline in the coordinates of the image."""
    x, y, radius, cosine, sine = pose

    def placed(u: float, v: float) -> tuple[float, float]:
        return x + radius * (cosine * u - sine * v), y + radius * (sine * u + cosine * v)

    if isinstance(part, Disc):
        return Disc(*placed(part.x, part.y), radius * part.radius)
    return tuple(placed(u, v) for u, v in part)


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
