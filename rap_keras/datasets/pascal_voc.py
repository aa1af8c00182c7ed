"""Pascal VOC 2012, segmentation.

Source: Everingham et al., The Pascal Visual Object Classes Challenge: A Retrospective, International Journal of
Computer Vision 111, 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from rap_keras.basics.progress import progress_bar
from rap_keras.datasets.dataset import BACKGROUND, VOID, BrokenExample, Dataset, Example
from rap_keras.datasets.reading import find_folder, fingerprint, read_annotation, read_mask, read_photo, to_boxes

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
_FILES = (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"), ("Annotations", ".xml"))
_LARGE = 0.04  # of a photo's pixels


def voc2012(root: str | Path) -> Dataset:
    """The segmentation validation set of Pascal VOC 2012: 1,449 photos with masks and boxes.

    The right answers are the classes that have pixels in the mask: a class that only has a box, or
    only void pixels, could be right but could not be measured.

    Args:
        root: VOC2012, VOCdevkit, or the folder that contains VOCdevkit.

    Raises:
        FileNotFoundError: `root` has another layout.
        ValueError: The list of names is empty, or has a name twice or one that is not a file name.
    """
    base, names = _open(root)
    digest = fingerprint(names, _files(base, names))
    return Dataset("voc2012", names, partial(_read, base), digest, len(CLASSES), class_names=CLASSES)


def voc2012_pairs(root: str | Path) -> Dataset:
    """The photos of `voc2012` with objects of two classes or more, once for each of these classes.

    Only classes that cover more than 4 % of the photo count. A photo whose mask cannot be read has no
    known classes and is left out. An example has a name such as 2007_000123:person.

    Raises:
        ValueError: `voc2012` raises it, or no photo has two such classes.
    """
    base, photos = _open(root)
    names: list[str] = []
    for photo in progress_bar(photos, unit=" masks"):
        _, mask, _ = _files(base, [photo])
        with suppress(BrokenExample):
            large = _classes(_read_pixels(mask), _LARGE)
            names += [f"{photo}:{CLASSES[number]}" for number in large if len(large) > 1]
    if not names:
        raise ValueError(f"{base / _LIST}: no photo in it has two classes of more than 4 % of its pixels each")
    digest = fingerprint(names, _files(base, photos))
    return Dataset("voc2012-pairs", tuple(names), partial(_read, base), digest, len(CLASSES), True, CLASSES)


def _open(root: str | Path) -> tuple[Path, tuple[str, ...]]:
    """The folder VOC2012 and the names of its photos; raises ValueError for a list that is not as published."""
    base = find_folder(root, ("", "VOC2012", "VOCdevkit/VOC2012"), _LIST, _LAYOUT)
    for folder, _ in _FILES:
        find_folder(base, ("",), folder, _LAYOUT)
    path = base / _LIST
    names = tuple(path.read_text(encoding="utf-8").split())
    if not names:
        raise ValueError(f"{path}: no names in it")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: it has the same name twice")
    for name in names:
        if "/" in name or "\\" in name:
            raise ValueError(f"{path}: {name!r} is not the name of a photo")
    return base, names


def _files(base: Path, names: Iterable[str]) -> Iterator[Path]:
    return (base / folder / f"{name}{suffix}" for name in names for folder, suffix in _FILES)


def _read(base: Path, name: str) -> Example:
    """The photo of a name such as 2007_000123, or as 2007_000123:person of one class to explain of several."""
    photo_name, _, explained = name.partition(":")
    photo_path, mask_path, path = _files(base, [photo_name])
    photo = read_photo(photo_path)
    pixels = _read_pixels(mask_path, photo)
    # Columns and rows of Pascal VOC count from 1.
    boxes = to_boxes(read_annotation(path, photo), _NUMBERS, 1, photo, path)
    labels = frozenset(_classes(pixels, _LARGE if explained else 0))
    return Example(name, photo, labels, pixels, boxes, _NUMBERS[explained] if explained else None)


def _classes(pixels: np.ndarray, least: float) -> list[int]:
    """Numbers of the classes that cover more than this part of a photo."""
    numbers, counts = np.unique(pixels, return_counts=True)
    return [int(number) for number, count in zip(numbers, counts) if number >= 0 and count > least * pixels.size]


def _read_pixels(path: Path, photo: np.ndarray | None = None) -> np.ndarray:
    """The class of each pixel; in the file 0 is background, 1 to 20 are the classes in order, 255 is void."""
    mask = read_mask(path, photo)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise BrokenExample(f"{path}: colours instead of palette indices; use the masks as published")
    unknown = np.setdiff1d(mask, [*range(len(CLASSES) + 1), 255])
    if unknown.size:
        raise BrokenExample(f"{path}: unknown class {unknown[0]} in the mask")
    pixels = mask.astype(np.int16) - 1
    pixels[mask == 0] = BACKGROUND
    pixels[mask == 255] = VOID
    return pixels
