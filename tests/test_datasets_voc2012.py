"""Pascal VOC 2012: its layout, its palette masks and boxes, and errors about damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from broken_files import BROKEN_XML, annotation, cut_off, save_photo
from PIL import Image

from rap_keras.datasets import BACKGROUND, VOID, Box, BrokenExample, truth, voc2012
from rap_keras.datasets.pascal_voc import CLASSES

NAME = "2007_000033"


def save_mask(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(mask, "P")
    image.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    image.save(path)


@pytest.fixture
def voc(tmp_path) -> Path:
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("ImageSets/Segmentation", "SegmentationClass", "Annotations"):
        (base / folder).mkdir(parents=True)
    (base / "ImageSets/Segmentation/val.txt").write_text(f"{NAME}\n2007_000001\n")
    save_photo(base / "JPEGImages" / f"{NAME}.jpg")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:10, 5:20], mask[10:12, 5:20], mask[20:, 30:] = 3, 255, 20
    save_mask(base / "SegmentationClass" / f"{NAME}.png", mask)
    (base / "Annotations" / f"{NAME}.xml").write_text(
        annotation([("bird", 6, 6, 20, 12), ("tvmonitor", 31, "20.7", 40, 30), ("cat", 1, 1, 1, 1)])
    )
    return base


def test_an_example(voc):
    made = voc2012(voc).read(NAME)
    assert made.name == NAME
    assert made.photo.shape == (30, 40, 3)
    assert made.labels == {2, 19}  # from the mask: the cat only has a box
    assert made.pixels.dtype == np.int16
    assert (made.pixels[5:10, 5:20] == 2).all()
    assert (made.pixels[10:12, 5:20] == VOID).all()
    assert (made.pixels[20:, 30:] == 19).all()
    assert (made.pixels == BACKGROUND).sum() == 30 * 40 - 5 * 15 - 2 * 15 - 10 * 10
    # Boxes from 1, inclusive, become boxes from 0, exclusive: the bird's box is that of its pixels.
    assert made.boxes == (Box(2, 5, 5, 20, 12), Box(19, 30, 20, 40, 30), Box(7, 0, 0, 1, 1))


def test_the_classes_are_the_official_ones():
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)
    assert (CLASSES[0], CLASSES[14], CLASSES[19]) == ("aeroplane", "person", "tvmonitor")


@pytest.mark.parametrize("up", [0, 1, 2])
def test_root_may_be_any_of_three_folders(voc, up):
    root = (voc, *voc.parents)[up]
    assert list(voc2012(root).names) == [NAME, "2007_000001"]
    assert voc2012(str(root)).digest == voc2012(voc).digest


def test_nothing_is_read_before_it_is_asked_for(voc):
    made = voc2012(voc)  # the second name has no files
    assert made.read(NAME).name == NAME
    with pytest.raises(BrokenExample, match=r"2007_000001\.jpg: no such photo"):
        made.read("2007_000001")


def test_the_digest_sees_another_annotation(voc):
    before = voc2012(voc).digest
    (voc / "Annotations" / f"{NAME}.xml").write_text(annotation([("bird", 6, 6, 20, 12)]))
    assert voc2012(voc).digest != before


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_as_stored_whatever_exif_says(voc, orientation):
    stored = save_photo(voc / "JPEGImages" / f"{NAME}.jpg", orientation=orientation)
    np.testing.assert_array_equal(voc2012(voc).read(NAME).photo, stored)


@pytest.mark.parametrize("case", BROKEN_XML)
def test_a_broken_annotation_is_named(voc, case):
    text, message = BROKEN_XML[case]
    (voc / "Annotations" / f"{NAME}.xml").write_text(text)
    with pytest.raises(BrokenExample, match=rf"{NAME}\.xml: .*{message}"):
        voc2012(voc).read(NAME)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([("unicorn", 1, 1, 2, 2)], "unknown class 'unicorn'"),
        ([("bird", 5, 5, 4, 9)], "outside the photo"),
        ([("bird", 41, 5, 50, 9)], "outside the photo"),
        ([("bird", 1, 1, "nan", 9)], "bndbox/xmax is 'nan'"),
        ([("bird", 1, 1, "1e999", 9)], "bndbox/xmax is '1e999'"),
    ],
)
def test_boxes_that_make_no_sense_are_named(voc, boxes, message):
    (voc / "Annotations" / f"{NAME}.xml").write_text(annotation(boxes))
    with pytest.raises(BrokenExample, match=rf"{NAME}\.xml: .*{message}"):
        voc2012(voc).read(NAME)


def test_boxes_are_cut_at_the_edge(voc):
    (voc / "Annotations" / f"{NAME}.xml").write_text(annotation([("bird", 0, 5, 99, 9)]))
    assert voc2012(voc).read(NAME).boxes == (Box(2, 0, 4, 40, 9),)


def test_boxes_for_a_photo_of_another_size_are_refused(voc):
    (voc / "Annotations" / f"{NAME}.xml").write_text(annotation([("bird", 1, 1, 9, 9)], size=(80, 60)))
    with pytest.raises(BrokenExample, match="80 x 60 pixels, but this one has 40 x 30"):
        voc2012(voc).read(NAME)


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass", "Annotations"])
def test_a_missing_file_is_named(voc, folder):
    (path,) = (voc / folder).iterdir()
    path.unlink()
    with pytest.raises(BrokenExample, match=f"{path.name}: no such"):
        voc2012(voc).read(NAME)


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass"])
def test_a_truncated_image_is_named(voc, folder):
    (path,) = (voc / folder).iterdir()
    cut_off(path)
    with pytest.raises(BrokenExample, match=f"{path.name}: damaged"):
        voc2012(voc).read(NAME)


def test_masks_that_cannot_be_are_named(voc):
    path = voc / "SegmentationClass" / f"{NAME}.png"
    save_mask(path, np.zeros((30, 39), np.uint8))
    with pytest.raises(BrokenExample, match=r"\.png: the mask has 39 x 30 pixels, its photo 40 x 30"):
        voc2012(voc).read(NAME)
    save_mask(path, np.full((30, 40), 21, np.uint8))
    with pytest.raises(BrokenExample, match=r"\.png: unknown class 21"):
        voc2012(voc).read(NAME)
    save_photo(path)
    with pytest.raises(BrokenExample, match=r"\.png: colours instead"):
        voc2012(voc).read(NAME)


@pytest.mark.parametrize(
    ("text", "message"),
    [("\n", "no names"), ("a\nb\na\n", "twice"), ("../a\n", "not the name"), ("a\\b\n", "not the name")],
)
def test_a_list_that_makes_no_sense_is_refused(voc, text, message):
    (voc / "ImageSets/Segmentation/val.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"val\.txt: .*{message}"):
        voc2012(voc)


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass", "Annotations"])
def test_a_missing_folder_is_refused_early(voc, folder):
    (voc / folder).rename(voc / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"no {folder} in there; the expected layout is VOCdevkit"):
        voc2012(voc)


@pytest.mark.realdata
def test_the_real_photos(shared):
    made = voc2012(shared / "data")
    assert len(made.names) == 290
    assert (made.class_names[0], made.class_names[14]) == ("aeroplane", "person")
    inside = []
    for name in made.names:
        example = made.read(name)
        assert example.labels == {box.label for box in example.boxes}
        at_size = truth(example, (224, 224))
        inside.append((at_size.mask & at_size.box).sum() / at_size.mask.sum())
    # One of the published annotations lacks an object that its mask has.
    assert np.sort(inside)[1] > 0.9
    assert np.median(inside) > 0.995
