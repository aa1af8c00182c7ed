"""A folder of the user's own photos, masks and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken_files import cut_off, save_photo
from PIL import Image

from rap_keras.datasets import BACKGROUND, OBJECT, BrokenExample, folder

MASK = np.zeros((30, 40), np.uint8)
MASK[3:9, 10:30] = 1
MASK[12, 10] = 255


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "masks").mkdir()
    for name in ("b.png", "a.jpg"):
        save_photo(tmp_path / "images" / name)
        Image.fromarray(MASK).save(tmp_path / "masks" / f"{name[0]}.png")
    return tmp_path


def test_without_labels(root):
    made = folder(root)
    assert list(made.names) == ["a", "b"]
    for name in made.names:
        example = made.read(name)
        assert (example.name, example.labels, example.boxes) == (name, None, ())
        assert example.photo.shape == (30, 40, 3)
        assert example.pixels.dtype == np.int16
        np.testing.assert_array_equal(example.pixels, np.where(MASK, OBJECT, BACKGROUND))


def test_with_labels(root):
    before = folder(root).digest
    (root / "labels.csv").write_text("image,label\na.jpg,3\nb,1\na.jpg,7\n")
    made = folder(root)
    assert made.read("a").labels == {3, 7}
    assert made.read("b").labels == {1}
    assert made.digest != before


def test_labels_from_a_spreadsheet(root):
    (root / "labels.csv").write_bytes('\ufeffimage,label,remark\r\na.jpg, 3 ,"x, y"\r\nb.png,1,\r\n'.encode())
    assert folder(root).read("a").labels == {3}


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_masks_of_all_kinds(root, mode):
    grey = np.where(MASK, 255, 0).astype(np.uint8)
    if mode == "P":
        image = Image.fromarray((grey > 0).astype(np.uint8), "P")
        image.putpalette([255, 255, 255, 0, 0, 0])
    elif mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 256)
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(root / "masks" / "a.png")
    np.testing.assert_array_equal(folder(root).read("a").pixels == OBJECT, MASK > 0)


def test_photos_are_upright_as_editors_show_them(root):
    save_photo(root / "images" / "a.jpg", size=(30, 40), orientation=6)
    assert folder(root).read("a").photo.shape == (30, 40, 3)


def test_broken_examples_are_named(root):
    made = folder(root)
    Image.fromarray(MASK[:, :20]).save(root / "masks" / "a.png")
    with pytest.raises(BrokenExample, match=r"a\.png: the mask has 20 x 30 pixels, its photo 40 x 30"):
        made.read("a")
    cut_off(root / "masks" / "a.png")
    with pytest.raises(BrokenExample, match=r"a\.png: damaged"):
        made.read("a")
    (root / "masks" / "a.png").unlink()
    with pytest.raises(BrokenExample, match=r"a\.png: no such mask"):
        made.read("a")
    cut_off(root / "images" / "a.jpg")
    with pytest.raises(BrokenExample, match=r"a\.jpg: damaged"):
        made.read("a")
    assert made.read("b").name == "b"


def test_a_photo_without_a_label_is_named(root):
    (root / "labels.csv").write_text("image,label\na.jpg,3\n")
    with pytest.raises(BrokenExample, match=r"labels\.csv: no label for b\.png"):
        folder(root).read("b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no columns image and label"),
        (b"image;label\na.jpg;3\n", "no columns image and label"),
        (b"image,label\na.jpg,cat\n", "the label of 'a.jpg' is 'cat', not a class number"),
        (b"image,label\na.jpg,-1\n", "is '-1', not a class number"),
        (b"image,label\na.jpg\n", "is '', not a class number"),
        (b"image,label\n\xe4.jpg,1\n", "utf-8"),
        (b'image,label\n"a.jpg,1\n', "unexpected end"),
    ],
)
def test_labels_that_cannot_be_read_are_refused_early(root, content, message):
    (root / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"labels\.csv: .*{message}"):
        folder(root)


def test_a_wrong_layout_is_refused_early(root):
    save_photo(root / "images" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png and a\.jpg would have the same mask"):
        folder(root)
    (root / "masks").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"no masks in there; the expected layout is images/\*"):
        folder(root)
    (root / "masks").mkdir()
    for photo in (root / "images").iterdir():
        photo.unlink()
    with pytest.raises(ValueError, match="no image in this folder"):
        folder(root)
