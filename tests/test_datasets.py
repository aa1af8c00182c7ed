"""What all data sets share: examples, their truth at the network's resolution, opening one by name."""

from __future__ import annotations

import numpy as np
import pytest

from rap_keras.datasets import BACKGROUND, DATASETS, OBJECT, VOID, Box, Example, open_dataset, shapes, truth
from rap_keras.datasets.images import fit
from rap_keras.datasets.reading import fingerprint
from rap_keras.shapes import TEST_SEED, sample

PIXELS = np.array(
    [
        [-1, -1, 3, 3],
        [-1, -2, 3, 5],
        [-1, -3, -3, 5],
    ],
    np.int16,
)


def example(pixels: np.ndarray | None = PIXELS, boxes: tuple[Box, ...] = ()) -> Example:
    shape = (3, 4) if pixels is None else pixels.shape
    return Example("one", np.zeros((*shape, 3), np.uint8), None, pixels, boxes)


def test_the_mask_is_every_object_or_those_of_the_class_and_of_no_known_class():
    every = truth(example(), (3, 4))
    np.testing.assert_array_equal(every.mask, [[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]])
    three = truth(example(), (3, 4), target=3)
    np.testing.assert_array_equal(three.mask, [[0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 1, 0]])
    nine = truth(example(), (3, 4), target=9)
    np.testing.assert_array_equal(nine.mask, [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]])
    for made in (every, three, nine):
        assert made.mask.dtype == made.void.dtype == bool
        np.testing.assert_array_equal(made.void, [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
        assert made.box is None


def test_boxes_have_right_and_bottom_exclusive_and_are_united():
    boxes = (Box(3, 0, 0, 2, 1), Box(5, 1, 0, 2, 3), Box(OBJECT, 3, 2, 4, 3))
    every = truth(example(None, boxes), (3, 4))
    np.testing.assert_array_equal(every.box, [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1]])
    three = truth(example(None, boxes), (3, 4), target=3)
    np.testing.assert_array_equal(three.box, [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    assert every.mask is None
    assert every.box.dtype == bool
    assert not every.void.any()


def test_a_target_that_is_not_there_gives_empty_truth_not_none():
    pixels = np.where(PIXELS == OBJECT, BACKGROUND, PIXELS)
    made = truth(example(pixels, (Box(3, 0, 0, 2, 1),)), (3, 4), target=0)
    assert made.mask is not None
    assert made.box is not None
    assert not made.mask.any()
    assert not made.box.any()


@pytest.mark.parametrize(
    ("size", "short_side"), [((40, 40), None), ((9, 52), None), ((40, 40), 48), ((32, 24), 64)]
)
@pytest.mark.parametrize("shape", [(61, 97), (97, 61), (20, 21)])
def test_mask_box_and_void_follow_the_photo(shape, size, short_side):
    """Painted into the photo, they end up after its resizing and cropping where the truth says."""
    rng = np.random.default_rng(5)
    height, width = shape
    disagree = []
    for _ in range(5):
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        box = Box(2, left, top, left + width // 2, top + height // 2)
        rows, columns = np.ogrid[:height, :width]
        disc = (rows - rng.integers(height)) ** 2 + (columns - rng.integers(width)) ** 2 < (min(shape) // 3) ** 2
        void = ~disc & (rows > height * 2 // 3)
        pixels = np.full(shape, BACKGROUND, np.int16)
        pixels[disc], pixels[void] = 2, VOID
        photo = np.zeros((*shape, 3), np.uint8)
        photo[disc, 0] = photo[box.top : box.bottom, box.left : box.right, 1] = photo[void, 2] = 255
        made = truth(Example("one", photo, None, pixels, (box,)), size, short_side)
        painted = fit(photo, size, short_side)  # bilinear: values in between only at edges
        for channel, found in enumerate((made.mask, made.box, made.void)):
            assert found.shape == size
            assert found[painted[..., channel] == 255].all()
            assert not found[painted[..., channel] == 0].any()
            disagree.append(np.mean(found != (painted[..., channel] >= 128)))
    assert np.mean(disagree) < 0.01


def test_a_centre_crop_by_hand():
    # 8 x 4 is halved to 4 x 2, then columns 1 and 2 are cut out: columns 2 to 5 of the photo.
    pixels = np.full((4, 8), BACKGROUND, np.int16)
    pixels[:, 4:] = 0
    made = truth(example(pixels, (Box(0, 0, 0, 4, 2),)), (2, 2), short_side=2)
    np.testing.assert_array_equal(made.mask, [[0, 1], [0, 1]])
    np.testing.assert_array_equal(made.box, [[1, 0], [0, 0]])


def test_nearest_neighbour_takes_the_pixel_in_the_middle():
    pixels = np.full((3, 6), BACKGROUND, np.int16)
    pixels[1, 1] = 0  # in the middle of the left 3 x 3 pixels: a mean or a vote would lose it
    pixels[:, 3] = VOID
    made = truth(example(pixels, (Box(0, 4, 0, 5, 3),)), (1, 2))
    np.testing.assert_array_equal(made.mask, [[1, 0]])
    np.testing.assert_array_equal(made.box, [[0, 1]])
    assert not made.void.any()


def test_the_lengths_are_checked_as_for_the_photo():
    with pytest.raises(ValueError, match="cannot be cut out"):
        truth(example(), (8, 8), short_side=4)


def test_shapes_are_the_test_series():
    made = shapes(12)
    assert list(made.names) == [f"{index:05d}" for index in range(12)]
    read, wanted = made.read("00011"), sample(11, TEST_SEED)
    assert read.name == "00011"
    assert read.labels == {1}
    np.testing.assert_array_equal(read.photo, wanted.image)
    np.testing.assert_array_equal(read.pixels, np.where(wanted.mask, 1, BACKGROUND))
    assert read.pixels.dtype == np.int16
    np.testing.assert_array_equal(read.boxes, [[1, *wanted.box]])
    at_size = truth(read, (96, 96), target=1)
    np.testing.assert_array_equal(at_size.mask, wanted.mask)
    assert at_size.box.sum() == (wanted.box[2] - wanted.box[0]) * (wanted.box[3] - wanted.box[1])
    with pytest.raises(ValueError, match="count is 0"):
        shapes(0)


def test_another_count_has_another_digest():
    assert shapes(3).digest == shapes(3).digest
    assert shapes(3).digest != shapes(4).digest


def test_a_fingerprint_tells_names_order_and_sizes_apart(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"123")

    def made(names: str = "ab") -> str:
        return fingerprint(names, [one, other])

    seen = [made(), made("ba"), made("abc")]
    one.write_bytes(b"1234")
    seen.append(made())
    other.write_bytes(b"")
    seen.append(made())
    assert len(set(seen)) == 5
    assert made() == seen[-1]


def test_opening_by_name(tmp_path):
    assert list(DATASETS) == "shapes imagenet imagenet-seg voc2012 folder shapes-pairs voc2012-pairs".split()
    assert len(open_dataset("shapes").names) == 200
    with pytest.raises(ValueError, match=r"'cifar'.*imagenet-seg, voc2012"):
        open_dataset("cifar")
    with pytest.raises(ValueError, match="leave the folder out"):
        open_dataset("shapes", tmp_path)
    for name in (name for name in DATASETS if not name.startswith("shapes")):
        with pytest.raises(
            ValueError, match=f"the data set {name} does not come with this package: give the folder"
        ):
            open_dataset(name)
        with pytest.raises(FileNotFoundError, match="the expected layout is"):
            open_dataset(name, tmp_path)
        with pytest.raises(FileNotFoundError, match="no such folder"):
            open_dataset(name, tmp_path / "nowhere")
