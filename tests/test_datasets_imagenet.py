"""ImageNet with boxes: its layout, boxes from XML and CSV, and errors about damaged files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from broken_files import BROKEN_XML, annotation, cut_off, save_photo

from rap_keras.datasets import Box, BrokenExample, imagenet

FIRST, SECOND = "ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"
HEADER = "ImageId,PredictionString\n"


@pytest.fixture
def ilsvrc(tmp_path) -> Path:
    base = tmp_path / "data" / "ILSVRC"
    annotations = base / "Annotations/CLS-LOC/val"
    annotations.mkdir(parents=True)
    for name in (SECOND, FIRST):
        save_photo(base / "Data/CLS-LOC/val" / f"{name}.JPEG")
    (base / "LOC_synset_mapping.txt").write_text("n01 tench, Tinca tinca\nn02 goldfish\nn03 great white shark\n")
    (annotations / f"{FIRST}.xml").write_text(annotation([("n03", 0, 2, 39, 4), ("n03", 5, 6, 5, 6)]))
    (annotations / f"{SECOND}.xml").write_text(annotation([("n01", 1, 2, 3, 4)]))
    (base / "LOC_val_solution.csv").write_text(
        f"{HEADER}{SECOND},n01 1 2 3 4 \n{FIRST},n03 0 2 39 4 n03 5 6 5 6 \n"
    )
    return base


def without_xml(base: Path) -> Path:
    shutil.rmtree(base / "Annotations")
    return base


def test_an_example(ilsvrc):
    made = imagenet(ilsvrc)
    assert list(made.names) == [FIRST, SECOND]
    assert (made.classes, made.class_names) == (3, ["tench", "goldfish", "great white shark"])
    example = made.read(FIRST)
    assert example.name == FIRST
    assert example.photo.shape == (30, 40, 3)
    assert example.labels == {2}
    assert example.pixels is None
    assert example.boxes == (Box(2, 0, 2, 40, 5), Box(2, 5, 6, 6, 7))


def test_the_table_gives_the_same_as_the_xml(ilsvrc):
    before = imagenet(ilsvrc)
    examples = [before.read(name) for name in before.names]
    after = imagenet(without_xml(ilsvrc))
    for example in examples:
        read = after.read(example.name)
        assert (read.boxes, read.labels) == (example.boxes, example.labels)


@pytest.mark.parametrize("beside", [False, True])
def test_root_may_be_the_folder_above_and_lists_may_be_beside(ilsvrc, beside):
    without_xml(ilsvrc)
    if beside:
        for file in ("LOC_synset_mapping.txt", "LOC_val_solution.csv"):
            (ilsvrc / file).rename(ilsvrc.parent / file)
    for root in (ilsvrc, ilsvrc.parent):
        assert imagenet(root).read(SECOND).labels == {0}
    assert imagenet(ilsvrc).digest == imagenet(ilsvrc.parent).digest


def test_root_may_be_a_relative_path(ilsvrc, monkeypatch):
    (ilsvrc / "LOC_synset_mapping.txt").rename(ilsvrc.parent / "LOC_synset_mapping.txt")
    monkeypatch.chdir(ilsvrc)
    assert imagenet(".").read(FIRST).labels == {2}


def test_the_digest_sees_another_photo(ilsvrc):
    before = imagenet(ilsvrc).digest
    save_photo(ilsvrc / "Data/CLS-LOC/val" / f"{FIRST}.JPEG", size=(80, 60))
    assert imagenet(ilsvrc).digest != before


def test_photos_are_as_stored_whatever_exif_says(ilsvrc):
    stored = save_photo(ilsvrc / "Data/CLS-LOC/val" / f"{FIRST}.JPEG", orientation=6)
    np.testing.assert_array_equal(imagenet(ilsvrc).read(FIRST).photo, stored)


@pytest.mark.parametrize("case", BROKEN_XML)
def test_a_broken_annotation_is_named(ilsvrc, case):
    text, message = BROKEN_XML[case]
    (ilsvrc / "Annotations/CLS-LOC/val" / f"{FIRST}.xml").write_text(text)
    made = imagenet(ilsvrc)
    with pytest.raises(BrokenExample, match=rf"{FIRST}\.xml: .*{message}"):
        made.read(FIRST)
    assert made.read(SECOND).labels == {0}


def test_a_missing_annotation_is_named(ilsvrc):
    (ilsvrc / "Annotations/CLS-LOC/val" / f"{FIRST}.xml").unlink()
    with pytest.raises(BrokenExample, match=rf"{FIRST}\.xml: no such annotation"):
        imagenet(ilsvrc).read(FIRST)


def test_a_truncated_photo_is_named(ilsvrc):
    cut_off(ilsvrc / "Data/CLS-LOC/val" / f"{FIRST}.JPEG")
    with pytest.raises(BrokenExample, match=rf"{FIRST}\.JPEG: damaged"):
        imagenet(ilsvrc).read(FIRST)


def test_boxes_for_a_resized_photo_are_refused(ilsvrc):
    save_photo(ilsvrc / "Data/CLS-LOC/val" / f"{FIRST}.JPEG", size=(20, 15))
    with pytest.raises(BrokenExample, match="40 x 30 pixels, but this one has 20 x 15"):
        imagenet(ilsvrc).read(FIRST)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("", "no row"),
        (f"{FIRST},\n", "not made of a class and four numbers"),
        (f"{FIRST}\n", "not made of a class and four numbers"),
        (f"{FIRST},n01 1 2 3\n", "not made of a class and four numbers"),
        (f"{FIRST},n01 1 2 3 x\n", "damaged"),
        (f"{FIRST},n09 1 2 3 4\n", "unknown class 'n09'"),
        (f"{FIRST},n01 60 2 70 4\n", "outside the photo"),
    ],
)
def test_a_broken_row_is_named(ilsvrc, row, message):
    (without_xml(ilsvrc) / "LOC_val_solution.csv").write_text(f"{HEADER}{row}{SECOND},n01 1 2 3 4\n")
    made = imagenet(ilsvrc)
    with pytest.raises(BrokenExample, match=rf"LOC_val_solution\.csv: .*{message}"):
        made.read(FIRST)
    assert made.read(SECOND).boxes == (Box(0, 1, 2, 4, 5),)


def test_a_class_with_two_numbers_spoils_its_own_photos_only(ilsvrc):
    (ilsvrc / "LOC_synset_mapping.txt").write_text("n01 tench\nn03 crane\nn03 crane\n")
    made = imagenet(ilsvrc)
    with pytest.raises(BrokenExample, match=rf"mapping\.txt: n03, the class of {FIRST}, is listed twice"):
        made.read(FIRST)
    assert made.read(SECOND).labels == {0}


def test_a_wrong_layout_is_refused_early(ilsvrc):
    mapping, solution = ilsvrc / "LOC_synset_mapping.txt", ilsvrc / "LOC_val_solution.csv"
    text = mapping.read_text()
    mapping.write_text("\n")
    with pytest.raises(ValueError, match=r"LOC_synset_mapping\.txt: there must be one line per class"):
        imagenet(ilsvrc)
    mapping.write_text(text)
    without_xml(ilsvrc)
    solution.write_text("name,boxes\n")
    with pytest.raises(ValueError, match=r"LOC_val_solution\.csv: it has no columns ImageId and PredictionString"):
        imagenet(ilsvrc)
    solution.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no LOC_val_solution\.csv in there; the expected layout is ILSVRC"
    ):
        imagenet(ilsvrc)
    mapping.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no LOC_synset_mapping\.txt in there; the expected layout is ILSVRC"
    ):
        imagenet(ilsvrc)
    mapping.write_text(text)
    for photo in (ilsvrc / "Data/CLS-LOC/val").iterdir():
        photo.unlink()
    with pytest.raises(ValueError, match=r"no \.JPEG files in there"):
        imagenet(ilsvrc)


@pytest.mark.realdata
def test_the_real_photos(shared, tmp_path):
    made = imagenet(shared / "data")
    assert len(made.names) == 200
    for part in ("Data", "LOC_val_solution.csv", "LOC_synset_mapping.txt"):
        (tmp_path / part).symlink_to(shared / "data/ILSVRC" / part)
    by_table = imagenet(tmp_path)
    assert by_table.names == made.names
    labels = set()
    for name in made.names:
        example = made.read(name)
        assert len(example.labels) == 1
        labels |= example.labels
        assert by_table.read(name).boxes == example.boxes
    assert labels <= set(range(1000))
    assert len(labels) > 150
    assert made.read(FIRST).labels == {65}
    assert made.class_names[65] == "sea snake"
