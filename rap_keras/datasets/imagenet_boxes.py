"""ImageNet 2012, validation photos with bounding boxes.

Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, International Journal of Computer
Vision 115, 2015.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Callable

import numpy as np

from rap_keras.datasets.dataset import BrokenExample, Dataset, find_folder, fingerprint
from rap_keras.datasets.example import Example
from rap_keras.datasets.reading import Corners, read_annotation, read_photo, read_table, to_boxes

_LAYOUT = (
    "ILSVRC with Data/CLS-LOC/val/*.JPEG and Annotations/CLS-LOC/val/*.xml, and in it or beside it "
    "LOC_synset_mapping.txt (and LOC_val_solution.csv if there is no XML); name ILSVRC or the folder it is in"
)
_PHOTOS = "Data/CLS-LOC/val"
_ANNOTATIONS = "Annotations/CLS-LOC/val"
_CLASSES = "LOC_synset_mapping.txt"
_SOLUTION = "LOC_val_solution.csv"

FindCorners = Callable[[str, np.ndarray], "tuple[list[Corners], Path]"]


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
    classes_path = _find_list(base, _CLASSES)
    classes, ambiguous, class_names = _read_classes(classes_path)
    names = tuple(sorted(path.stem for path in (base / _PHOTOS).glob("[!.]*.JPEG")))
    if not names:
        raise ValueError(f"{base / _PHOTOS}: no .JPEG files in there; the expected layout is {_LAYOUT}")
    find, files = _annotations(base, names)

    def read(name: str) -> Example:
        photo = read_photo(base / _PHOTOS / f"{name}.JPEG")
        found, path = find(name, photo)
        for corners in found:
            if corners.name in ambiguous:
                raise BrokenExample(f"{classes_path}: {corners.name}, the class of {name}, is listed twice")
        # Columns and rows of ImageNet count from 0.
        boxes = to_boxes(found, classes, 0, photo, path)
        return Example(name, photo, frozenset(box.label for box in boxes), boxes=boxes)

    photos = (base / _PHOTOS / f"{name}.JPEG" for name in names)
    digest = fingerprint(names, [*photos, *files, classes_path])
    return Dataset("imagenet", names, read, digest, len(class_names), class_names=class_names)


def _annotations(base: Path, names: tuple[str, ...]) -> tuple[FindCorners, list[Path]]:
    """A function that finds the boxes of a photo and the file they come from, and all those files."""
    folder = base / _ANNOTATIONS
    if next(folder.glob("*.xml"), None) is not None:

        def find_xml(name: str, photo: np.ndarray) -> tuple[list[Corners], Path]:
            path = folder / f"{name}.xml"
            return read_annotation(path, photo), path

        return find_xml, [folder / f"{name}.xml" for name in names]

    solution = _find_list(base, _SOLUTION)
    rows = {row["ImageId"]: row["PredictionString"] for row in read_table(solution, "ImageId", "PredictionString")}

    def find_row(name: str, photo: np.ndarray) -> tuple[list[Corners], Path]:
        if name not in rows:
            raise BrokenExample(f"{solution}: no row for {name}")
        return _parse_row(rows[name], name, solution), solution

    return find_row, [solution]


def _find_list(base: Path, file: str) -> Path:
    # The public challenge download has its lists beside ILSVRC.
    return find_folder(base.parent, (base.name, ""), file, _LAYOUT) / file


def _read_classes(path: Path) -> tuple[dict[str, int], set[str], list[str]]:
    """Class numbers by WordNet id, the ids listed more than once (by mistake), and the names of the classes.

    A line is "n01440764 tench, Tinca tinca"; the first of its words for the class is the name.

    Raises:
        ValueError: There is no line.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    synsets = [line.split()[0] for line in lines]
    if not synsets:
        raise ValueError(f"{path}: there must be one line per class, beginning with its WordNet id")
    counts = Counter(synsets)
    numbers = {synset: number for number, synset in enumerate(synsets)}
    names = [line.partition(synset)[2].partition(",")[0].strip() or synset for line, synset in zip(lines, synsets)]
    return numbers, {synset for synset in counts if counts[synset] > 1}, names


def _parse_row(row: str, name: str, path: Path) -> list[Corners]:
    """A row is "n01751748 111 108 441 193 ...": synset, xmin, ymin, xmax and ymax of each box."""
    words = row.split()
    if not words or len(words) % 5:
        raise BrokenExample(f"{path}: the row of {name} is not made of a class and four numbers per box")
    try:
        return [Corners(words[at], *map(int, words[at + 1 : at + 5])) for at in range(0, len(words), 5)]
    except ValueError as error:
        raise BrokenExample(f"{path}: the row of {name} is damaged ({error})") from error
