"""Images of textured shapes over clutter, with the class, the mask and the box of every object."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rap_keras.shapes.outlines import (
    OUTLINES,
    SIZE,
    SUBSAMPLES,
    Pose,
    Window,
    coverage,
    distractor,
    turn,
    unit_area,
)

CLASSES: tuple[str, ...] = tuple(OUTLINES)
"""Names of the classes; a label is an index into it."""

# The smallest and largest part of the image that an object covers, alone and beside another object.
_ALONE = (0.05, 0.22)
_OF_TWO = (0.04, 0.08)
_MARGIN = 1.0  # pixels, at least, between an object and the edge or the other object

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_FULL = 256
"""The mix at which a texture shows only its light shade; at 0 it shows only its dark one."""

_PALETTE: tuple[Colour, ...] = (
    *((38, 50, 72), (60, 92, 138), (104, 150, 196), (178, 206, 222)),
    *((34, 74, 62), (72, 122, 84), (136, 170, 98), (206, 214, 150)),
    *((88, 44, 52), (158, 64, 62), (212, 108, 82), (238, 176, 140)),
    *((78, 58, 42), (140, 104, 66), (204, 160, 84), (240, 218, 160)),
    *((66, 48, 96), (122, 88, 152), (176, 140, 194), (222, 200, 222)),
    *((52, 54, 56), (108, 108, 104), (168, 164, 158), (226, 222, 212)),
)

_JITTER = 14
_LEAST_DISTANCE = 100


class Sample(NamedTuple):
    """One image with its ground truth.

    The second object's entries are None if there is none.

    Attributes:
        image: RGB, uint8, (96, 96, 3).
        label: the class of the object, an index into `CLASSES`.
        mask: the pixels that the object covers by at least half, bool, (96, 96).
        box: (left, top, right, bottom) of the mask in pixels, right and bottom exclusive:
            mask[top:bottom, left:right].
        second_label: the class of the second object.
        second_mask: the mask of the second object.
        second_box: the box of the second object.
    """

    image: np.ndarray
    label: int
    mask: np.ndarray
    box: np.ndarray
    second_label: int | None = None
    second_mask: np.ndarray | None = None
    second_box: np.ndarray | None = None


class Samples(NamedTuple):
    """N samples, stacked along a first axis, see `Sample`; labels and boxes are int64."""

    images: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray
    second_labels: np.ndarray | None = None
    second_masks: np.ndarray | None = None
    second_boxes: np.ndarray | None = None


def sample(index: int, seed: int, second_object: bool = False) -> Sample:
    """Image `index` of the endless series `seed`; its bytes are the same on every platform.

    Classes take turns: the label is `index` modulo the number of classes.

    Args:
        index: 0 or more; a sample does not depend on what else is generated.
        seed: 0 or more; each seed is a series of its own.
        second_object: whether there is a second object, of another class, apart from the first;
            these images differ from those of the same index and seed with one object.

    Returns:
        An image and its ground truth; its objects cover 5 to 22 % of it each, 4 to 8 % where there are two.

    Raises:
        ValueError: `index` or `seed` is negative.
    """
    rng, placed = placements(index, seed, second_object)
    ground, colours = _colours(rng, len(placed))
    canvas = np.zeros((3, SIZE, SIZE), dtype=np.int32)
    everywhere = (slice(0, SIZE), slice(0, SIZE))
    _paint(canvas, rng, ground, everywhere, np.full((SIZE, SIZE), SUBSAMPLES))
    for _ in range(int(rng.integers(4, 10))):
        _paint(canvas, rng, _unlike(rng, colours), *distractor(rng))
    truth: list[Any] = []
    for (label, pose), colour in zip(placed, colours):
        window, counts = coverage(OUTLINES[CLASSES[label]], pose)
        _paint(canvas, rng, colour, window, counts)
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        mask[window] = counts >= SUBSAMPLES // 2
        truth += [label, mask, _box(mask)]
    canvas += rng.integers(0, 256, canvas.shape, dtype=np.uint8) >> 4  # grain of 4 bits
    planes = np.clip(canvas - 8, 0, 255).astype(np.uint8)
    return Sample(np.ascontiguousarray(planes.transpose(1, 2, 0)), *truth)


def generate(count: int, seed: int, second_object: bool = False) -> Samples:
    """Samples 0 to `count` - 1 of the series `seed`, stacked; see `sample`.

    Raises:
        ValueError: `count` is less than 1, or `seed` negative.
    """
    if count < 1:
        raise ValueError(f"count is {count}: ask for 1 image or more")
    columns = zip(*(sample(index, seed, second_object) for index in range(count)))
    stacked = [np.stack(column) for column in columns if column[0] is not None]
    return Samples(*(x.astype(np.int64) if x.ndim == 1 else x for x in stacked))  # Windows has int32 labels


def placements(
    index: int, seed: int, second_object: bool = False
) -> tuple[np.random.Generator, list[tuple[int, Pose]]]:
    """The labels and poses of a sample's objects, and the generator of random numbers for the rest of it."""
    if index < 0 or seed < 0:
        raise ValueError(f"index {index}, seed {seed}: both must be 0 or more")
    entropy = np.random.SeedSequence([seed, index, int(second_object)])
    rng = np.random.Generator(np.random.PCG64(entropy))
    labels = [int(index) % len(CLASSES)]
    if second_object:
        labels.append((labels[0] + int(rng.integers(1, len(CLASSES)))) % len(CLASSES))
    radii = [_radius(rng, CLASSES[label], _OF_TWO if second_object else _ALONE) for label in labels]
    while True:  # until they are apart from each other; each is wholly inside the image
        centres = [_centre(rng, radius) for radius in radii]
        if not second_object or _apart(centres, radii):
            break
    return rng, [(label, Pose(x, y, radius, *turn(rng))) for label, radius, (x, y) in zip(labels, radii, centres)]


def _colours(rng: np.random.Generator, objects: int) -> tuple[Colour, list[Colour]]:
    """A colour for the background, and for every object a colour unlike it."""
    # Rejecting whole sets, not single colours, keeps the rule symmetric: object, background and (see `_unlike`)
    # distractor have the same distribution of colours.
    while True:
        ground, *colours = (_random_colour(rng) for _ in range(1 + objects))
        if not any(_alike(ground, colour) for colour in colours):
            return ground, colours


def _unlike(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    while True:
        found = _random_colour(rng)
        if not any(_alike(found, colour) for colour in colours):
            return found


def _radius(rng: np.random.Generator, name: str, areas: tuple[float, float]) -> float:
    """Unit length, in pixels, at which a class covers a random part of the image within `areas`."""
    low, high = (math.sqrt(area * SIZE * SIZE / unit_area(name)) for area in areas)
    return low + (high - low) * rng.random()


def _centre(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    free = SIZE - 2 * (radius + _MARGIN)
    return radius + _MARGIN + free * rng.random(), radius + _MARGIN + free * rng.random()


def _apart(centres: list[tuple[float, float]], radii: list[float]) -> bool:
    (x0, y0), (x1, y1) = centres
    reach = sum(radii) + _MARGIN
    return (x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0) >= reach * reach


def _box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.int64)


def _random_colour(rng: np.random.Generator) -> Colour:
    """A colour of the palette, jittered."""
    base = _PALETTE[int(rng.integers(len(_PALETTE)))]
    red, green, blue = (int(c) for c in rng.integers(-_JITTER, _JITTER + 1, 3) + base)
    return red, green, blue


def _alike(one: Colour, other: Colour) -> bool:
    """Whether two colours are too close, less than 100 of 255, to tell shapes apart by them."""
    return sum((a - b) * (a - b) for a, b in zip(one, other)) < _LEAST_DISTANCE**2


def _paint(
    canvas: np.ndarray, rng: np.random.Generator, colour: Colour, window: Window, opacity: np.ndarray
) -> None:
    """Lays a random texture in two shades of `colour` over a window of `canvas`, int32 (3, SIZE, SIZE), in place.

    The opacity has an integer for each pixel of the window, from 0, which keeps what was there, to `SUBSAMPLES`.
    """
    mix = _texture(rng, window)
    shade = int(rng.integers(6, 23))
    brightness = mix * (2 * shade) // _FULL - shade
    weight = opacity.astype(np.int32)
    for channel in range(3):
        plane = canvas[channel][window]
        plane += (colour[channel] + brightness - plane) * weight // SUBSAMPLES


def _texture(rng: np.random.Generator, window: Window) -> np.ndarray:
    """A random texture over a window: the mix of its two shades, int32, 0 to _FULL."""
    rows = np.arange(window[0].start, window[0].stop)
    columns = np.arange(window[1].start, window[1].stop)
    kind = int(rng.integers(4))
    if kind == 0:
        return _noise(rng, rows, columns, cell=int(rng.integers(4, 9)))
    if kind == 1:
        return _noise(rng, rows, columns, cell=int(rng.integers(10, 33)))
    cosine, sine = turn(rng)
    period = 5 + 9 * rng.random()
    across = _wave(cosine / period, sine / period, rng.random(), rows, columns)
    if kind == 2:
        return _sharpen(across)
    along = _wave(-sine / period, cosine / period, rng.random(), rows, columns)
    return _sharpen(across * along)


def _noise(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, cell: int) -> np.ndarray:
    """Value noise: random numbers on a lattice of `cell` pixels, smoothly interpolated."""
    lattice = rng.integers(-_FULL // 4, _FULL + _FULL // 4, (SIZE // cell + 3,) * 2, dtype=np.int32)
    across = _interpolate(lattice, rows + int(rng.integers(cell)), cell)
    both = _interpolate(across.T, columns + int(rng.integers(cell)), cell).T
    return np.clip(both, 0, _FULL)


def _interpolate(values: np.ndarray, positions: np.ndarray, cell: int) -> np.ndarray:
    """Rows of `values` at `positions` in pixels, `cell` apart, by the cubic smooth step."""
    index, rest = positions // cell, positions % cell
    weight = ((rest * rest * (3 * cell - 2 * rest) * _FULL) // cell**3).astype(np.int32)[:, None]
    low = values[index]
    return low + (values[index + 1] - low) * weight // _FULL


def _wave(x_step: float, y_step: float, phase: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A triangle wave between -1 and 1, one period per unit of x_step x + y_step y + phase."""
    position = (rows * y_step + phase)[:, None] + (columns * x_step)[None, :]
    return 4 * np.abs(position - np.floor(position) - 0.5) - 1


def _sharpen(wave: np.ndarray) -> np.ndarray:
    """Values of -1 to 1 as a mix of mostly 0 and _FULL, with soft edges."""
    mix = np.clip(wave * _FULL + _FULL // 2, 0, _FULL)
    return mix.astype(np.int32)
