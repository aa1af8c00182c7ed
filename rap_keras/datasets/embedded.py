"""The images of shapes that come with this package."""

from __future__ import annotations

from functools import partial

import numpy as np

from rap_keras.datasets.dataset import BACKGROUND, Box, Dataset, Example
from rap_keras.datasets.reading import fingerprint
from rap_keras.shapes.generator import CLASSES, sample
from rap_keras.shapes.training import TEST_SEED

PAIRS_SEED = 20261125
"""The series of `shapes_pairs`."""


def shapes(count: int = 200) -> Dataset:
    """The first `count` test images of `rap_keras.shapes`, which no embedded network was trained on.

    Each has one object, with its class, mask and box.

    Raises:
        ValueError: `count` is less than 1.
    """
    return _generated("shapes", TEST_SEED, count)


def shapes_pairs(count: int = 200) -> Dataset:
    """The first `count` images of a series of two objects each, of two classes; each class is explained.

    No network was trained on them, and nothing was tuned on them. An example has a name such as 00012:disc.

    Raises:
        ValueError: `count` is less than 1.
    """
    return _generated("shapes-pairs", PAIRS_SEED, count, pairs=True)


def _generated(name: str, seed: int, count: int, pairs: bool = False) -> Dataset:
    if count < 1:
        raise ValueError(f"count is {count}: ask for 1 image or more")
    names = [f"{index:05d}" for index in range(count)]
    if pairs:
        names = [f"{n}:{CLASSES[box.label]}" for n in names for box in _read(seed, pairs, n).boxes]
    digest = fingerprint((f"series {seed}", *names), ())
    return Dataset(name, tuple(names), partial(_read, seed, pairs), digest, len(CLASSES), pairs, CLASSES)


def _read(seed: int, pairs: bool, name: str) -> Example:
    index, _, explained = name.partition(":")
    made = sample(int(index), seed, second_object=pairs)
    boxes, pixels = [], np.full(made.mask.shape, BACKGROUND, np.int16)
    objects = ((made.label, made.mask, made.box), (made.second_label, made.second_mask, made.second_box))
    for label, mask, box in objects:
        if label is not None and box is not None:
            boxes.append(Box(label, *map(int, box)))
            pixels[mask] = label
    labels = frozenset(box.label for box in boxes)
    return Example(name, made.image, labels, pixels, tuple(boxes), CLASSES.index(explained) if explained else None)
