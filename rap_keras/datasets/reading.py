"""Finding and reading photos, masks and annotations; whatever is wrong with them raises `BrokenExample`."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import ExifTags, Image

from rap_keras.basics.whole_file import require_file
from rap_keras.datasets.dataset import Box, BrokenExample
from rap_keras.datasets.images import load_photo, opened

# What undoes the EXIF orientations 2 to 8.
_UNDO = dict(
    enumerate("FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_90 TRANSVERSE ROTATE_270".split(), 2)
)


class Corners(NamedTuple):
    """A box as annotations have it: a class name, and the first and last column and row."""

    name: str
    xmin: int
    ymin: int
    xmax: int
    ymax: int


def fingerprint(names: Iterable[str], files: Iterable[Path]) -> str:
    """SHA-256 of the names and of the files' sizes in bytes, as hexadecimal.

    This is fast, as no file is opened, but a change that keeps all sizes goes unnoticed.
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\n")
    for file in files:
        size = str(file.stat().st_size) if file.exists() else "missing"
        digest.update(size.encode() + b"\n")
    return digest.hexdigest()


def find_folder(root: str | Path, folders: Sequence[str], needed: str, layout: str) -> Path:
    """The first of `folders` below `root` that has `needed` in it; else FileNotFoundError states the `layout`."""
    root = Path(root)
    for folder in folders:
        if (root / folder / needed).exists():
            return root / folder
    cause = f"no {needed} in there" if root.exists() else "no such folder"
    raise FileNotFoundError(f"{root}: {cause}; the expected layout is {layout}")


def read_photo(path: Path, upright: bool = False) -> np.ndarray:
    """A photo as RGB, uint8, (H, W, 3); its pixels as stored, or `upright` as image viewers turn it by EXIF."""
    try:
        photo = load_photo(path)
        if upright:
            return photo
        with opened(path) as image:  # official masks and boxes refer to the pixels as stored
            undo = _UNDO.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except FileNotFoundError:
        raise BrokenExample(f"{path}: no such photo") from None
    except (OSError, ValueError) as error:
        raise BrokenExample(str(error)) from error
    return photo if undo is None else np.array(Image.fromarray(photo).transpose(Image.Transpose[undo]))


def read_mask(path: Path, photo: np.ndarray | None = None) -> np.ndarray:
    """A mask's numbers as stored (of a palette the indices), (H, W) or with channels, of the size of its photo."""
    try:
        with opened(path) as image:
            image.load()
            # Masks have no use for an alpha channel.
            without_alpha = {"LA": "L", "PA": "P", "RGBA": "RGB"}.get(image.mode)
            mask = np.array(image if without_alpha is None else image.convert(without_alpha))
    except FileNotFoundError:
        raise BrokenExample(f"{path}: no such mask") from None
    except (OSError, ValueError) as error:
        raise BrokenExample(f"mask {error}") from error
    if photo is not None and mask.shape[:2] != photo.shape[:2]:
        raise BrokenExample(f"{path}: the mask has {_size(mask)} pixels, its photo {_size(photo)}")
    return mask


def _size(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    return f"{width} x {height}"


def read_annotation(path: Path, photo: np.ndarray) -> list[Corners]:
    """The boxes of an annotation in the XML format of Pascal VOC, which ImageNet uses too."""
    try:
        require_file(path)
        root = fromstring(path.read_bytes())
    except FileNotFoundError:
        raise BrokenExample(f"{path}: no such annotation") from None
    except DefusedXmlException as error:
        raise BrokenExample(f"{path}: refused, since its XML may be malicious: {error}") from error
    except (ParseError, OSError, ValueError, LookupError) as error:
        raise BrokenExample(f"{path}: not well-formed XML ({error})") from error
    # Boxes of parts of objects, such as heads, are further down and are not wanted.
    objects = root.findall("object")
    if not objects:
        raise BrokenExample(f"{path}: no boxes in it")
    try:
        size = tuple(_number(root, f"size/{side}") for side in ("height", "width"))
    except ValueError:
        size = (0, 0)
    if 0 not in size and size != photo.shape[:2]:
        raise BrokenExample(
            f"{path}: its boxes are for a photo of {size[1]} x {size[0]} pixels, but this one has {_size(photo)}; "
            "use the photos as published"
        )
    try:
        sides = ("xmin", "ymin", "xmax", "ymax")
        corners = [[_number(thing, f"bndbox/{side}") for side in sides] for thing in objects]
        return [Corners((thing.findtext("name") or "").strip(), *four) for thing, four in zip(objects, corners)]
    except ValueError as error:
        raise BrokenExample(f"{path}: {error}") from error


def _number(element: Element, path: str) -> int:
    """A whole number; some official annotations have fractions of pixels, which are rounded."""
    text = element.findtext(path) or ""
    try:
        return round(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{path} is {text!r}, not a number") from None


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file that has these columns; raises ValueError if it is none."""
    require_file(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # spreadsheets begin with a byte order mark
            reader = csv.DictReader(file, strict=True)
            if not set(columns) <= set(reader.fieldnames or ()):
                raise ValueError(f"it has no columns {' and '.join(columns)}, separated by commas")
            return [{column: (row[column] or "").strip() for column in columns} for row in reader]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: {error}") from error


def to_boxes(
    found: Sequence[Corners], classes: Mapping[str, int], origin: int, photo: np.ndarray, path: Path
) -> tuple[Box, ...]:
    """Boxes counted from 0 and cut at the photo's edge; in the annotation the first row and column is `origin`."""
    height, width = photo.shape[:2]
    boxes = []
    for name, xmin, ymin, xmax, ymax in found:
        if name not in classes:
            raise BrokenExample(f"{path}: unknown class {name!r}")
        left, top = max(xmin - origin, 0), max(ymin - origin, 0)
        right, bottom = min(xmax - origin + 1, width), min(ymax - origin + 1, height)
        if left >= right or top >= bottom:
            raise BrokenExample(
                f"{path}: the box from ({xmin}, {ymin}) to ({xmax}, {ymax}) is outside the photo, {_size(photo)}"
            )
        boxes.append(Box(classes[name], left, top, right, bottom))
    return tuple(boxes)
