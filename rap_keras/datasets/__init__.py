"""Data sets with ground truth: where in each image the object is.

`open_dataset` opens one by name, `truth` gives an example's masks and boxes at a network's input resolution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from rap_keras.datasets.dataset import (
    BACKGROUND,
    OBJECT,
    VOID,
    Box,
    BrokenExample,
    Dataset,
    Example,
    Truth,
    truth,
)
from rap_keras.datasets.embedded import shapes, shapes_pairs
from rap_keras.datasets.imagenet_photos import imagenet, imagenet_segmentation
from rap_keras.datasets.own_folder import folder
from rap_keras.datasets.pascal_voc import voc2012, voc2012_pairs

__all__ = [
    "BACKGROUND",
    "DATASETS",
    "OBJECT",
    "VOID",
    "Box",
    "BrokenExample",
    "Dataset",
    "Example",
    "Truth",
    "folder",
    "imagenet",
    "imagenet_segmentation",
    "open_dataset",
    "shapes",
    "shapes_pairs",
    "truth",
    "voc2012",
    "voc2012_pairs",
]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "shapes": shapes,
    "imagenet": imagenet,
    "imagenet-seg": imagenet_segmentation,
    "voc2012": voc2012,
    "folder": folder,
    "shapes-pairs": shapes_pairs,
    "voc2012-pairs": voc2012_pairs,
}
"""The function that opens each data set, by name; all except those of shapes take the path to it."""


def open_dataset(name: str, root: str | Path | None = None) -> Dataset:
    """The data set `name`, a key of `DATASETS`, found at `root`.

    Raises:
        FileNotFoundError: `root` does not have the data set's layout.
        ValueError: There is no data set of that name; or `root` is missing, or is given for one of shapes.
    """
    if name not in DATASETS:
        raise ValueError(f"no data set {name!r}: choose one of {', '.join(DATASETS)}")
    if name.startswith("shapes"):
        if root is not None:
            raise ValueError(f"the data set {name} comes with this package: leave the folder out")
        return DATASETS[name]()
    if root is None:
        raise ValueError(f"the data set {name} does not come with this package: give the folder that it is in")
    return DATASETS[name](root)
