"""The images of shapes that come with this package."""

from __future__ import annotations

import numpy as np

from rap_keras.datasets.dataset import Dataset, fingerprint
from rap_keras.datasets.example import BACKGROUND, Box, Example
from rap_keras.shapes.generator import CLASSES, Sample, sample
from rap_keras.shapes.training import TEST_SEED


def shapes(count: int = 200) -> Dataset:
    """The first `count` test images of `rap_keras.shapes`, which no embedded network was trained on.

    Each has one object, with its class, mask and box.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}: ask for 1 image or more")
    names = tuple(f"{index:05d}" for index in range(count))
    digest = fingerprint((f"series {TEST_SEED}", *names), ())
    return Dataset("shapes", names, _read, digest, len(CLASSES), class_names=CLASSES)


def shapes_pairs(count: int = 200) -> Dataset:
    """The first `count` images of a series of two objects each, of two classes; each class is explained.

    No network was trained on them, and nothing was tuned on them. An example has a name such as 00012:disc.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}: ask for 1 image or more")
    names = [f"{index:05d}:{CLASSES[box.label]}" for index in range(count) for box in _pair(index)[1]]
    digest = fingerprint((f"series {PAIRS_SEED}", *names), ())
    return Dataset("shapes-pairs", tuple(names), _read_pair, digest, len(CLASSES), True, CLASSES)


PAIRS_SEED = 20261125
"""The series of `shapes_pairs`."""


def _read_pair(name: str) -> Example:
    index, _, explained = name.partition(":")
    made, boxes = _pair(int(index))
    pixels = np.full(made.mask.shape, BACKGROUND, np.int16)
    for box, mask in zip(boxes, (made.mask, made.second_mask)):
        pixels[mask] = box.label
    labels = frozenset(box.label for box in boxes)
    return Example(name, made.image, labels, pixels, boxes, CLASSES.index(explained))


def _pair(index: int) -> tuple[Sample, tuple[Box, ...]]:
    """An image of two objects, and their boxes."""
    made = sample(index, PAIRS_SEED, second_object=True)
    objects = ((made.label, made.box), (made.second_label, made.second_box))
    boxes = (Box(int(label), *map(int, box)) for label, box in objects if label is not None and box is not None)
    return made, tuple(boxes)


def _read(name: str) -> Example:
    made = sample(int(name), TEST_SEED)
    pixels = np.where(made.mask, made.label, BACKGROUND).astype(np.int16)
    box = Box(made.label, *(int(edge) for edge in made.box))
    return Example(name, made.image, frozenset({made.label}), pixels, (box,))
