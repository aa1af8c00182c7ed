"""Annotations and photos for the tests of data sets, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

# What a file has in place of its boxes, and what the error must say about it.
BROKEN_XML = {
    "hostile": (
        '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;&b;">]><annotation><object><name>&c;</name></object>'
        "</annotation>",
        "malicious",
    ),
    "outside entity": (
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><annotation>&b;</annotation>',
        "malicious",
    ),
    "cut off": ("<annotation><object><name>bird</name>", "not well-formed"),
    "empty": ("", "not well-formed"),
    "no boxes": ("<annotation><size><width>40</width><height>30</height></size></annotation>", "no boxes"),
    "no bndbox": ("<annotation><object><name>bird</name></object></annotation>", "bndbox/xmin is ''"),
}


def annotation(boxes: list[tuple], size: tuple[int, int] = (40, 30)) -> str:
    """The XML of boxes, each a class name, xmin, ymin, xmax and ymax, for a photo of `size` (width, height)."""
    objects = "".join(
        f"<object><name>{name}</name><part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax>"
        f"<ymax>3</ymax></bndbox></part><bndbox><ymin>{ymin}</ymin><xmin>{xmin}</xmin><xmax>{xmax}</xmax>"
        f"<ymax>{ymax}</ymax></bndbox></object>"
        for name, xmin, ymin, xmax, ymax in boxes
    )
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"


def save_photo(path: Path, size: tuple[int, int] = (40, 30), orientation: int = 1) -> np.ndarray:
    """Writes a photo of `size` (width, height) that is not its own mirror image; returns its pixels as stored."""
    width, height = size
    photo = np.zeros((height, width, 3), np.uint8)
    photo[: height // 3, : width // 4] = (250, 200, 10)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path, exif=exif, **({"quality": 95} if path.suffix != ".png" else {}))
    with Image.open(path) as image:
        return np.array(image)


def cut_off(path: Path) -> None:
    """Leaves the first half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
