"""ImageNet segmentation: a file of the official layout, and files that are not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from broken_files import cut_off

from rap_keras.datasets import BACKGROUND, OBJECT, BrokenExample, imagenet_segmentation

RNG = np.random.default_rng(2)
PHOTOS = [RNG.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((5, 7), (6, 4), (3, 3))]
MASKS = [RNG.random(photo.shape[:2]) < 0.4 for photo in PHOTOS]


def save(path: Path, photos: list[np.ndarray], masks: list[np.ndarray], across: bool = False) -> None:
    """Writes a file as MATLAB does: axes reversed, cells as references, 512 bytes of its own first."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, count in (("value/img", len(photos)), ("value/gt", len(masks))):
            file.create_dataset(name, (1, count) if across else (count, 1), h5py.ref_dtype)
        for index, photo in enumerate(photos):
            stored = file.create_dataset(f"#refs#/image{index}", data=photo.transpose())
            file["value/img"][(0, index) if across else (index, 0)] = stored.ref
        for index, mask in enumerate(masks):
            stored = file.create_dataset(f"#refs#/mask{index}", data=mask.transpose())
            cell = file.create_dataset(f"#refs#/cell{index}", (1, 1), h5py.ref_dtype)
            cell[0, 0] = stored.ref
            file["value/gt"][(0, index) if across else (index, 0)] = cell.ref


@pytest.mark.parametrize("across", [False, True])
def test_photos_and_masks(tmp_path, across):
    save(tmp_path / "gtsegs_ijcv.mat", PHOTOS, [mask.astype(np.uint8) for mask in MASKS], across)
    made = imagenet_segmentation(tmp_path)
    assert list(made.names) == ["0000", "0001", "0002"]
    for name, photo, mask in zip(made.names, PHOTOS, MASKS):
        example = made.read(name)
        assert example.name == name
        assert example.labels is None
        assert example.boxes == ()
        assert example.photo.dtype == np.uint8
        assert example.pixels.dtype == np.int16
        np.testing.assert_array_equal(example.photo, photo)
        np.testing.assert_array_equal(example.pixels, np.where(mask, OBJECT, BACKGROUND))


def test_root_may_be_the_file_under_any_name(tmp_path):
    save(tmp_path / "mine.mat", PHOTOS, MASKS)
    assert len(imagenet_segmentation(tmp_path / "mine.mat").names) == 3


def test_the_digest_sees_another_file(tmp_path):
    digests = set()
    for count in (2, 3):
        save(tmp_path / "gtsegs_ijcv.mat", PHOTOS[:count], MASKS[:count])
        digests.add(imagenet_segmentation(tmp_path).digest)
    assert len(digests) == 2


def test_broken_examples_are_named_and_others_read(tmp_path):
    path = tmp_path / "gtsegs_ijcv.mat"
    save(path, [PHOTOS[0], PHOTOS[1], PHOTOS[2][:, :, 0]], [MASKS[0], MASKS[0], MASKS[2]])
    made = imagenet_segmentation(path)
    made.read("0000")
    with pytest.raises(BrokenExample, match=r"mat, image 0001: the mask has 7 x 5 pixels, its photo 4 x 6"):
        made.read("0001")
    with pytest.raises(BrokenExample, match=r"image 0002: the image is uint8 \(3, 3\), not uint8 \(3, W, H\)"):
        made.read("0002")
    cut_off(path)
    with pytest.raises(BrokenExample, match=r"mat, image 0000: .*truncated"):
        made.read("0000")


def test_a_missing_mask_is_named(tmp_path):
    path = tmp_path / "gtsegs_ijcv.mat"
    save(path, PHOTOS, MASKS)
    with h5py.File(path, "a") as file:
        cell = file[file["value/gt"][1, 0]]
        cell[0, 0] = h5py.Reference()
    with pytest.raises(BrokenExample, match="image 0001"):
        imagenet_segmentation(path).read("0001")


def test_other_files_are_refused_early(tmp_path):
    path = tmp_path / "gtsegs_ijcv.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(1000))
    with pytest.raises(
        ValueError, match=r"gtsegs_ijcv\.mat: .*the expected layout is gtsegs_ijcv\.mat, a MATLAB v7\.3"
    ):
        imagenet_segmentation(path)
    with h5py.File(path, "w") as file:
        file["value/img"] = np.zeros((2, 1))
        file["value/gt"] = np.zeros((2, 1))
    with pytest.raises(ValueError, match="value/img is not an array of object references"):
        imagenet_segmentation(path)
    save(path, PHOTOS, MASKS[:2])
    with pytest.raises(ValueError, match="3 images and 2 masks"):
        imagenet_segmentation(path)
    save(path, [], [])
    with pytest.raises(ValueError, match="0 images and 0 masks"):
        imagenet_segmentation(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no gtsegs_ijcv\.mat in there"):
        imagenet_segmentation(tmp_path)
