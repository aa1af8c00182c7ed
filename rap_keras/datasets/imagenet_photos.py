"""Photos of ImageNet with boxes, and with masks of their object.

Sources: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, International Journal of Computer
Vision 115, 2015. Guillaumin, Kuettel, Ferrari, ImageNet Auto-Annotation with Segmentation Propagation, the same
journal, volume 110, 2014.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rap_keras.datasets.dataset import BACKGROUND, OBJECT, BrokenExample, Dataset, Example
from rap_keras.datasets.reading import (
    Corners,
    find_folder,
    fingerprint,
    read_annotation,
    read_photo,
    read_table,
    to_boxes,
)

_LAYOUT = (
    "ILSVRC with Data/CLS-LOC/val/*.JPEG and Annotations/CLS-LOC/val/*.xml, and in it or beside it "
    "LOC_synset_mapping.txt (and LOC_val_solution.csv if there is no XML); name ILSVRC or the folder it is in"
)
_PHOTOS = "Data/CLS-LOC/val"
_ANNOTATIONS = "Annotations/CLS-LOC/val"

_MASKS = "gtsegs_ijcv.mat"
_LAYOUT_OF_MASKS = f"{_MASKS}, a MATLAB v7.3 file with value/img and value/gt, or the folder that contains it"


def imagenet(root: str | Path) -> Dataset:
    """The validation set of ImageNet 2012: 50,000 photos of 1,000 classes, with boxes.

    The boxes come from the XML files or, if there are none at all, from LOC_val_solution.csv.
    The right answers are the classes of a photo's boxes, only one class in the published files.
    Line n of LOC_synset_mapping.txt is class n, counted from 0, as in `keras.applications`.

    Args:
        root: ILSVRC or the folder that contains it.

    Raises:
        FileNotFoundError: `root` has another layout.
        ValueError: There are no photos, or a list cannot be read.
    """
    base = Path(os.path.abspath(find_folder(root, ("", "ILSVRC"), _PHOTOS, _LAYOUT)))
    classes_path = _find_list(base, "LOC_synset_mapping.txt")
    classes, ambiguous, class_names = _read_classes(classes_path)
    names = tuple(sorted(path.stem for path in (base / _PHOTOS).glob("[!.]*.JPEG")))
    if not names:
        raise ValueError(f"{base / _PHOTOS}: no .JPEG files in there; the expected layout is {_LAYOUT}")
    files, rows = [base / _ANNOTATIONS / f"{name}.xml" for name in names], {}
    has_xml = next((base / _ANNOTATIONS).glob("*.xml"), None) is not None
    if not has_xml:
        files = [_find_list(base, "LOC_val_solution.csv")]
        table = read_table(files[0], "ImageId", "PredictionString")
        rows = {row["ImageId"]: row["PredictionString"] for row in table}

    def read(name: str) -> Example:
        photo = read_photo(base / _PHOTOS / f"{name}.JPEG")
        path = base / _ANNOTATIONS / f"{name}.xml" if has_xml else files[0]
        found = read_annotation(path, photo) if has_xml else _parse_row(rows.get(name), name, path)
        for corners in found:
            if corners.name in ambiguous:
                raise BrokenExample(f"{classes_path}: {corners.name}, the class of {name}, is listed twice")
        # Columns and rows of ImageNet count from 0.
        boxes = to_boxes(found, classes, 0, photo, path)
        return Example(name, photo, frozenset(box.label for box in boxes), boxes=boxes)

    photos = (base / _PHOTOS / f"{name}.JPEG" for name in names)
    digest = fingerprint(names, [*photos, *files, classes_path])
    return Dataset("imagenet", names, read, digest, len(class_names), class_names=class_names)


def _find_list(base: Path, file: str) -> Path:
    # The public challenge download has its lists beside ILSVRC.
    return find_folder(base.parent, (base.name, ""), file, _LAYOUT) / file


def _read_classes(path: Path) -> tuple[dict[str, int], set[str], list[str]]:
    """Class numbers by WordNet id, the ids listed more than once (by mistake), and the names of the classes."""
    # A line is "n01440764 tench, Tinca tinca"; the first of its words for the class is the name.
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    synsets = [line.split()[0] for line in lines]
    if not synsets:
        raise ValueError(f"{path}: there must be one line per class, beginning with its WordNet id")
    numbers = {synset: number for number, synset in enumerate(synsets)}
    names = [line.partition(synset)[2].partition(",")[0].strip() or synset for line, synset in zip(lines, synsets)]
    return numbers, {synset for synset, count in Counter(synsets).items() if count > 1}, names


def _parse_row(row: str | None, name: str, path: Path) -> list[Corners]:
    """A row is "n01751748 111 108 441 193 ...": synset, xmin, ymin, xmax and ymax of each box."""
    if row is None:
        raise BrokenExample(f"{path}: no row for {name}")
    words = row.split()
    if not words or len(words) % 5:
        raise BrokenExample(f"{path}: the row of {name} is not made of a class and four numbers per box")
    try:
        return [Corners(words[at], *map(int, words[at + 1 : at + 5])) for at in range(0, len(words), 5)]
    except ValueError as error:
        raise BrokenExample(f"{path}: the row of {name} is damaged ({error})") from error


def imagenet_segmentation(root: str | Path) -> Dataset:
    """ImageNet segmentation: 4,276 photos with a mask of the object, whose class is unknown.

    Names are the positions in the file, counted from 0. The file is opened again for each example,
    so that several processes may read it.

    Args:
        root: gtsegs_ijcv.mat, or the folder that contains it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has another format.
    """
    path = Path(root)
    if not path.is_file():
        path = find_folder(path, ("",), _MASKS, _LAYOUT_OF_MASKS) / _MASKS
    try:
        with h5py.File(path, "r") as file:
            photos, masks = (_references(file, name).size for name in ("value/img", "value/gt"))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: {error}; the expected layout is {_LAYOUT_OF_MASKS}") from error
    if photos != masks or not photos:
        raise ValueError(
            f"{path}: {photos} images and {masks} masks in it; the expected layout is {_LAYOUT_OF_MASKS}"
        )
    names = tuple(f"{index:04d}" for index in range(photos))

    def read(name: str) -> Example:
        try:
            with h5py.File(path, "r") as file:
                photo, mask = _read_pair(file, int(name))
        # A damaged file raises KeyError, OSError, RuntimeError and others.
        except Exception as error:
            raise BrokenExample(f"{path}, image {name}: {error}") from error
        pixels = np.where(mask != 0, OBJECT, BACKGROUND).astype(np.int16)
        return Example(name, photo, None, pixels)

    return Dataset("imagenet-seg", names, read, fingerprint(names, [path]))


def _references(file: h5py.File, name: str) -> Any:
    found = file[name]
    if not isinstance(found, h5py.Dataset) or h5py.check_ref_dtype(found.dtype) is not h5py.Reference:
        raise ValueError(f"{name} is not an array of object references")
    return found


def _read_pair(file: h5py.File, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The photo (H, W, 3) and the mask (H, W); MATLAB's axes are the other way round."""
    photo = file[_reference(file["value/img"], index)][()]
    mask = file[_reference(file[_reference(file["value/gt"], index)], 0)][()]
    if photo.ndim != 3 or photo.shape[0] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"the image is {photo.dtype} {photo.shape}, not uint8 (3, W, H)")
    if mask.shape != photo.shape[1:]:
        sizes = [" x ".join(map(str, shape)) for shape in (mask.shape, photo.shape[1:])]
        raise ValueError(f"the mask has {sizes[0]} pixels, its photo {sizes[1]}")
    return np.ascontiguousarray(photo.transpose(2, 1, 0)), np.ascontiguousarray(mask.T)


def _reference(array: Any, index: int) -> Any:
    # MATLAB's vectors have two axes, whichever of them is long.
    return array[np.unravel_index(index, array.shape)]
