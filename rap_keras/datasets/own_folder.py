"""A folder of the user's own photos and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rap_keras.datasets.dataset import BACKGROUND, OBJECT, BrokenExample, Dataset, Example
from rap_keras.datasets.images import expand
from rap_keras.datasets.reading import find_folder, fingerprint, read_mask, read_photo, read_table

_LAYOUT = "images/*, masks/STEM.png with the stem of each image's name, and perhaps labels.csv"


def folder(root: str | Path) -> Dataset:
    """Photos with masks, and perhaps labels.

    ROOT/images has the photos, which are sorted by name. ROOT/masks/STEM.png is the mask of each, of
    the photo's size: pixels that are not 0 are object. Photos are turned upright by EXIF, as image
    viewers and editors show them. ROOT/labels.csv, if there is one, has the columns image (with or without
    its extension) and label (a class number); several rows for one image are several right answers.

    Raises:
        FileNotFoundError: `root` has another layout.
        ValueError: There is no image, two have the same stem, or labels.csv cannot be read.
    """
    base = find_folder(root, ("",), "images", _LAYOUT)
    find_folder(base, ("",), "masks", _LAYOUT)
    photos: dict[str, Path] = {}
    for path in expand([base / "images"]):
        if path.stem in photos:
            raise ValueError(f"{path} and {photos[path.stem].name} would have the same mask: rename one of them")
        photos[path.stem] = path
    labels_path = base / "labels.csv"
    labels = _read_labels(labels_path) if labels_path.exists() else None

    def read(name: str) -> Example:
        path = photos[name]
        photo = read_photo(path, upright=True)
        mask = read_mask(base / "masks" / f"{name}.png", photo)
        inside = mask.any(axis=2) if mask.ndim == 3 else mask != 0
        pixels = np.where(inside, OBJECT, BACKGROUND).astype(np.int16)
        if labels is None:
            return Example(name, photo, None, pixels)
        found = labels.get(path.name, frozenset()) | labels.get(name, frozenset())
        if not found:
            raise BrokenExample(f"{labels_path}: no label for {path.name}")
        return Example(name, photo, found, pixels)

    names = tuple(photos)
    masks = (base / "masks" / f"{name}.png" for name in names)
    return Dataset("folder", names, read, fingerprint(names, [*photos.values(), *masks, labels_path]))


def _read_labels(path: Path) -> dict[str, frozenset[int]]:
    labels: dict[str, frozenset[int]] = {}
    for row in read_table(path, "image", "label"):
        name, label = row["image"], row["label"]
        if not label.isdecimal():
            raise ValueError(f"{path}: the label of {name!r} is {label!r}, not a class number")
        labels[name] = labels.get(name, frozenset()) | {int(label)}
    return labels
