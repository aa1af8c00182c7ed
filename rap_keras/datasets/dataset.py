"""What every data set is: a list of names, and a function that reads one image with its ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Callable, NamedTuple

import numpy as np
from PIL import Image

from rap_keras.datasets.images import fit

BACKGROUND = -1
"""A pixel of no object."""
VOID = -2
"""A pixel that is never counted: the annotators left open what it belongs to."""
OBJECT = -3
"""An object of unknown class."""


class BrokenExample(ValueError):  # noqa: N818 - it is the example's fault
    """An example that cannot be used; the message names the file and the cause."""


class Box(NamedTuple):
    """A class number or `OBJECT`, and a box in pixels of the photo: photo[top:bottom, left:right]."""

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
        pixels: The class of each pixel, or `BACKGROUND`, `VOID` or `OBJECT`, int16, (H, W); None without masks.
        boxes: Bounding boxes of the objects; empty if the data set has none.
        explained: The class to explain; None for the top-scoring class.
    """

    name: str
    photo: np.ndarray
    labels: frozenset[int] | None = None
    pixels: np.ndarray | None = None
    boxes: tuple[Box, ...] = ()
    explained: int | None = None


@dataclass(frozen=True)
class Dataset:
    """Examples that are read one at a time, never all at once.

    Attributes:
        name: As in `DATASETS`.
        names: Unique names of the examples, in the official order.
        read: Reads the example of a name; raises `BrokenExample` if it is damaged.
        digest: A hash of names and file sizes, so that another data set under the same name is noticed.
        classes: How many classes a network trained on it has; None if unknown.
        pairs: Whether its images have objects of several classes and each example says which one is explained. An
            image is then one example for each class, and all these classes are right answers.
        class_names: The names of the classes, for pictures; None if they have none.
    """

    name: str
    names: Sequence[str]
    read: Callable[[str], Example]
    digest: str
    classes: int | None = None
    pairs: bool = False
    class_names: Sequence[str] | None = None

    def first(self, count: int) -> Dataset:
        """The data set of its first `count` examples, or all if there are fewer.

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"count is {count}: ask for 1 example or more")
        return replace(self, names=self.names[:count])


class Truth(NamedTuple):
    """Where the object is, bool, (height, width) each; `mask` is None without masks, `box` without boxes.

    `box` is the union of the boxes. `void` is where pixels are never counted.
    """

    mask: np.ndarray | None
    box: np.ndarray | None
    void: np.ndarray


def truth(
    example: Example, size: tuple[int, int], short_side: int | None = None, target: int | None = None
) -> Truth:
    """Where the object is at the network's input resolution.

    Masks and boxes are drawn at the photo's size and then fitted like the photo, with nearest neighbour.

    Args:
        example: The image with its ground truth.
        size: Height and width of the network's input, in pixels.
        short_side: What `images.fit` resizes the shorter side to before it cuts out the centre.
        target: Only objects of this class and of unknown class are included; without it, every object.
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
