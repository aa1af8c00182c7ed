"""Pascal VOC 2012, segmentation.

Source: Everingham et al., The Pascal Visual Object Classes Challenge: A Retrospective, International Journal of
Computer Vision 111, 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rap_keras.datasets.dataset import BrokenExample, Dataset, find_folder, fingerprint
from rap_keras.datasets.example import BACKGROUND, VOID, Example
from rap_keras.datasets.reading import read_annotation, read_mask, read_photo, to_boxes

CLASSES: tuple[str, ...] = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor".split()
)
"""Names of the classes; a label is an index into it."""

_NUMBERS = {name: number for number, name in enumerate(CLASSES)}
_LAYOUT = (
    "VOCdevkit/VOC2012 with ImageSets/Segmentation/val.txt, JPEGImages, SegmentationClass and Annotations; name "
    "VOC2012, VOCdevkit or the folder that contains it"
)
_LIST = "ImageSets/Segmentation/val.txt"


def voc2012(root: str | Path) -> Dataset:
    """The segmentation validation set of Pascal VOC 2012: 1,449 photos with masks and boxes.

    Right answers are the classes that have pixels in the mask: a class that only has a box, or only
    void pixels, could be right but not be measured.

    Args:
        root: VOC2012, VOCdevkit, or the folder that contains VOCdevkit.

    Raises:
        FileNotFoundError: The layout of `root` is another one.
        ValueError: The list of names is empty, or has a name twice or one that is no file name.
    """
    base = find_folder(root, ("", "VOC2012", "VOCdevkit/VOC2012"), _LIST, _LAYOUT)
    for folder in ("JPEGImages", "SegmentationClass", "Annotations"):
        find_folder(base, ("",), folder, _LAYOUT)
    names = _read_list(base / _LIST)

    def read(name: str) -> Example:
        photo = read_photo(base / "JPEGImages" / f"{name}.jpg")
        pixels = _read_pixels(base / "SegmentationClass" / f"{name}.png", photo)
        path = base / "Annotations" / f"{name}.xml"
        # Columns and rows of Pascal VOC count from 1.
        boxes = to_boxes(read_annotation(path, photo), _NUMBERS, 1, photo, path)
        labels = frozenset(int(number) for number in np.unique(pixels) if number >= 0)
        return Example(name, photo, labels, pixels, boxes)

    files = (
        base / folder / f"{name}{suffix}"
        for name in names
        for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"), ("Annotations", ".xml"))
    )
    return Dataset("voc2012", names, read, fingerprint(names, files), len(CLASSES))


def _read_list(path: Path) -> tuple[str, ...]:
    names = tuple(path.read_text(encoding="utf-8").split())
    if not names:
        raise ValueError(f"{path}: no names in it")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: it has the same name twice")
    for name in names:
        if "/" in name or "\\" in name:
            raise ValueError(f"{path}: {name!r} is not the name of a photo")
    return names


def _read_pixels(path: Path, photo: np.ndarray) -> np.ndarray:
    """0 is background, 1 to 20 the classes in order, 255 void."""
    mask = read_mask(path, photo)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise BrokenExample(f"{path}: colours instead of a palette's numbers; take the masks as published")
    unknown = np.setdiff1d(mask, [*range(len(CLASSES) + 1), 255])
    if unknown.size:
        raise BrokenExample(f"{path}: unknown class {unknown[0]} in the mask")
    pixels = mask.astype(np.int16) - 1
    pixels[mask == 0] = BACKGROUND
    pixels[mask == 255] = VOID
    return pixels
