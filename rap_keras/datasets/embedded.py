"""The images of shapes that come with this package."""

from __future__ import annotations

import numpy as np

from rap_keras.datasets.dataset import Dataset, fingerprint
from rap_keras.datasets.example import BACKGROUND, Box, Example
from rap_keras.shapes.generator import CLASSES, sample
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
    return Dataset("shapes", names, _read, fingerprint((f"series {TEST_SEED}", *names), ()), len(CLASSES))


def _read(name: str) -> Example:
    made = sample(int(name), TEST_SEED)
    pixels = np.where(made.mask, made.label, BACKGROUND).astype(np.int16)
    box = Box(made.label, *(int(edge) for edge in made.box))
    return Example(name, made.image, frozenset({made.label}), pixels, (box,))
