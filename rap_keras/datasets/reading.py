"""Reading photos, masks and annotations; whatever is wrong with them raises `BrokenExample`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import Image

from rap_keras.basics.whole_file import require_file
from rap_keras.datasets.dataset import BrokenExample
from rap_keras.datasets.example import Box
from rap_keras.datasets.images import load_photo, opened

_ORIENTATION = 0x0112  # of EXIF
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


class Corners(NamedTuple):
    """A box as annotations have it: a class name, and the first and last column and row."""

    name: str
    xmin: int
    ymin: int
    xmax: int
    ymax: int


def read_photo(path: Path, upright: bool = False) -> np.ndarray:
    """A photo as RGB, uint8, (H, W, 3).

    By default its pixels stay as stored, whatever EXIF says about the orientation: official masks
    and boxes refer to them. `upright` turns the photo as image viewers do.

    Raises:
        BrokenExample: There is no such file, or it is damaged.
    """
    try:
        photo = load_photo(path)
        if upright:
            return photo
        with opened(path) as image:
            undo = _UNDO.get(image.getexif().get(_ORIENTATION, 1))
    except FileNotFoundError:
        raise BrokenExample(f"{path}: no such photo") from None
    except (OSError, ValueError) as error:
        raise BrokenExample(str(error)) from error
    return photo if undo is None else np.array(Image.fromarray(photo).transpose(undo))


def read_mask(path: Path, photo: np.ndarray) -> np.ndarray:
    """A mask's numbers, (H, W) or with channels, as they are stored: a palette's indices, not its colours.

    An alpha channel is dropped.

    Raises:
        BrokenExample: There is no such file, it is damaged, or its size is not the photo's.
    """
    try:
        with opened(path) as image:
            image.load()
            without_alpha = {"LA": "L", "PA": "P", "RGBA": "RGB"}.get(image.mode)
            mask = np.array(image if without_alpha is None else image.convert(without_alpha))
    except FileNotFoundError:
        raise BrokenExample(f"{path}: no such mask") from None
    except (OSError, ValueError) as error:
        raise BrokenExample(f"mask {error}") from error
    if mask.shape[:2] != photo.shape[:2]:
        raise BrokenExample(f"{path}: the mask has {_size(mask)} pixels, its photo {_size(photo)}")
    return mask


def _size(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    return f"{width} x {height}"


def read_annotation(path: Path, photo: np.ndarray) -> list[Corners]:
    """The boxes of an annotation in the XML format of Pascal VOC, which ImageNet uses too.

    Raises:
        BrokenExample: There is no such file, it is not well-formed or defines entities, it has no
            boxes or an incomplete one, or it is for a photo of another size.
    """
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
        return [_corners(thing) for thing in objects]
    except ValueError as error:
        raise BrokenExample(f"{path}: {error}") from error


def _corners(thing: Element) -> Corners:
    name = (thing.findtext("name") or "").strip()
    return Corners(name, *(_number(thing, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")))


def _number(element: Element, path: str) -> int:
    """A whole number; some official annotations have fractions of pixels, which are rounded."""
    text = element.findtext(path) or ""
    try:
        return round(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{path} is {text!r}, not a number") from None


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file that has these columns.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is not such a file.
    """
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
    """Boxes with class numbers, counted from 0, right and bottom exclusive, cut at the photo's edge.

    Args:
        found: The boxes as the annotation has them.
        classes: Class numbers by name.
        origin: The annotation's number for the first column and row.
        photo: The photo that the boxes belong to.
        path: The annotation's file, for messages.

    Raises:
        BrokenExample: A class is unknown, or a box has no pixel in the photo.
    """
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
