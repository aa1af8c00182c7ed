"""Images of textured shapes over clutter, with the class, the mask and the box of every object."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from rap_keras.shapes.clutter import distractor
from rap_keras.shapes.outlines import OUTLINES, SIZE, SUBSAMPLES, Pose, coverage, turn, unit_area
from rap_keras.shapes.textures import Colour, alike, paint, random_colour

CLASSES: tuple[str, ...] = tuple(OUTLINES)
"""Names of the classes; a label is an index into it."""

# The smallest and largest part of the image that an object covers, alone and beside another object.
_ALONE = (0.05, 0.22)
_OF_TWO = (0.04, 0.08)
_MARGIN = 1.0  # pixels, at least, between an object and the edge or the other object


class Placed(NamedTuple):
    """An object before it is drawn: its label and where it lies."""

    label: int
    pose: Pose


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
    """N samples, stacked; the second objects' entries are None if there are none.

    Attributes:
        images: RGB, uint8, (N, 96, 96, 3).
        labels: int64, (N,).
        masks: bool, (N, 96, 96).
        boxes: int64, (N, 4), see `Sample`.
        second_labels: int64, (N,).
        second_masks: bool, (N, 96, 96).
        second_boxes: int64, (N, 4).
    """

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
        An image of 96 x 96 pixels, uint8 RGB, whose objects cover 5 to 22 % of it each (4 to 8 %
        where there are two), and its ground truth.

    Raises:
        ValueError: `index` or `seed` is negative.
    """
    rng = _generator(index, seed, second_object)
    placed = _place(rng, index, second_object)
    ground, colours = _colours(rng, len(placed))
    canvas = np.zeros((3, SIZE, SIZE), dtype=np.int32)
    everywhere = (slice(0, SIZE), slice(0, SIZE))
    paint(canvas, rng, ground, everywhere, np.full((SIZE, SIZE), SUBSAMPLES))
    for _ in range(int(rng.integers(4, 10))):
        paint(canvas, rng, _unlike(rng, colours), *distractor(rng))
    truth: list[Any] = []
    for (label, pose), colour in zip(placed, colours):
        window, counts = coverage(OUTLINES[CLASSES[label]], pose)
        paint(canvas, rng, colour, window, counts)
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
    return Samples(*(_stack(column) for column in columns if column[0] is not None))


def placements(index: int, seed: int, second_object: bool = False) -> list[Placed]:
    """The objects of a sample before they are drawn: one, or the first and the second."""
    return _place(_generator(index, seed, second_object), index, second_object)


def _generator(index: int, seed: int, second_object: bool) -> np.random.Generator:
    if index < 0 or seed < 0:
        raise ValueError(f"index {index}, seed {seed}: both must be 0 or more")
    entropy = np.random.SeedSequence([seed, index, int(second_object)])
    return np.random.Generator(np.random.PCG64(entropy))


def _place(rng: np.random.Generator, index: int, second_object: bool) -> list[Placed]:
    """Objects apart from each other and wholly inside the image."""
    labels = [int(index) % len(CLASSES)]
    if second_object:
        labels.append((labels[0] + int(rng.integers(1, len(CLASSES)))) % len(CLASSES))
    radii = [_radius(rng, CLASSES[label], _OF_TWO if second_object else _ALONE) for label in labels]
    while True:
        centres = [_centre(rng, radius) for radius in radii]
        if not second_object or _apart(centres, radii):
            break
    return [Placed(label, Pose(x, y, radius, *turn(rng))) for label, radius, (x, y) in zip(labels, radii, centres)]


def _colours(rng: np.random.Generator, objects: int) -> tuple[Colour, list[Colour]]:
    """A colour for the background, and for every object a colour unlike it.

    Rejecting whole sets, not single colours, keeps the rule symmetric: object, background and (see
    `_unlike`) distractor have the same distribution of colours.
    """
    while True:
        ground, *colours = (random_colour(rng) for _ in range(1 + objects))
        if not any(alike(ground, colour) for colour in colours):
            return ground, colours


def _unlike(rng: np.random.Generator, colours: list[Colour]) -> Colour:
    while True:
        found = random_colour(rng)
        if not any(alike(found, colour) for colour in colours):
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


def _stack(column: tuple) -> np.ndarray:
    if isinstance(column[0], int):
        return np.array(column, dtype=np.int64)  # the default would be int32 on Windows
    return np.stack(column)


def _box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.int64)
