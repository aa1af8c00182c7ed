"""One image with its ground truth, and that truth at a network's input resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from rap_keras.datasets.images import fit

BACKGROUND = -1
"""A pixel of no object."""
VOID = -2
"""A pixel that is never counted: the annotators left open what it belongs to."""
OBJECT = -3
"""An object of unknown class."""


class Box(NamedTuple):
    """A bounding box in pixels of the photo, right and bottom exclusive: photo[top:bottom, left:right].

    The label is a class number, or `OBJECT`.
    """

    label: int
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, eq=False)
class Example:
    """One image with its ground truth.

    Attributes:
        name: Unique within the data set.
        photo: RGB, uint8, (H, W, 3).
        labels: The classes that are right answers; None if unknown.
        pixels: The class of each pixel, or `BACKGROUND`, `VOID` or `OBJECT`, int16, (H, W); None if
            the data set has no masks.
        boxes: Bounding boxes of the objects; empty if the data set has none.
        explained: The class to explain; None for the top-scoring class.
    """

    name: str
    photo: np.ndarray
    labels: frozenset[int] | None = None
    pixels: np.ndarray | None = None
    boxes: tuple[Box, ...] = ()
    explained: int | None = None


class Truth(NamedTuple):
    """Where the object is, bool, (height, width) each.

    `mask` is None if the example has no masks, `box` if it has no boxes; `box` is the union of
    the boxes. `void` is where pixels are never counted.
    """

    mask: np.ndarray | None
    box: np.ndarray | None
    void: np.ndarray


def truth(
    example: Example,
    size: tuple[int, int],
    short_side: int | None = None,
    target: int | None = None,
) -> Truth:
    """Where the object is at the network's input resolution.

    Masks and boxes are drawn at the photo's size and then fitted like the photo, by `images.fit`,
    with nearest neighbour.

    Args:
        example: The image with its ground truth.
        size: Height and width of the network's input, in pixels.
        short_side: As for `images.fit`.
        target: Only objects of this class and of unknown class are included; without it, every
            object.

    Raises:
        ValueError: `images.fit` refuses the sizes.
    """
    planes = np.zeros(example.photo.shape, np.uint8)
    mask, box, void = np.moveaxis(planes, -1, 0)
    if example.pixels is not None:
        void[:] = example.pixels == VOID
        if target is None:
            mask[:] = (example.pixels != BACKGROUND) & (example.pixels != VOID)
        else:
            mask[:] = (example.pixels == target) | (example.pixels == OBJECT)
    for label, left, top, right, bottom in example.boxes:
        if target is None or label in (target, OBJECT):
            box[top:bottom, left:right] = 1
    fitted = fit(planes, size, short_side, Image.Resampling.NEAREST).astype(bool)
    return Truth(
        mask=None if example.pixels is None else fitted[..., 0],
        box=fitted[..., 1] if example.boxes else None,
        void=fitted[..., 2],
    )
