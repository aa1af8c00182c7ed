"""ImageNet segmentation: ImageNet photos with masks of their object.

Source: Guillaumin, Kuettel, Ferrari, ImageNet Auto-Annotation with Segmentation Propagation, International Journal
of Computer Vision 110, 2014.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rap_keras.datasets.dataset import BrokenExample, Dataset, find_folder, fingerprint
from rap_keras.datasets.example import BACKGROUND, OBJECT, Example

_FILE = "gtsegs_ijcv.mat"
_LAYOUT = f"{_FILE}, a MATLAB v7.3 file with value/img and value/gt, or the folder that contains it"


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
        path = find_folder(path, ("",), _FILE, _LAYOUT) / _FILE
    names = tuple(f"{index:04d}" for index in range(_count(path)))

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


def _count(path: Path) -> int:
    try:
        with h5py.File(path, "r") as file:
            photos, masks = (_references(file, name).size for name in ("value/img", "value/gt"))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: {error}; the expected layout is {_LAYOUT}") from error
    if photos != masks or not photos:
        raise ValueError(f"{path}: {photos} images and {masks} masks in it; the expected layout is {_LAYOUT}")
    return photos


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
        raise ValueError(f"the mask has {_size(mask.shape)} pixels, its photo {_size(photo.shape[1:])}")
    return np.ascontiguousarray(photo.transpose(2, 1, 0)), np.ascontiguousarray(mask.T)


def _reference(array: Any, index: int) -> Any:
    # MATLAB's vectors have two axes, whichever of them is long.
    return array[np.unravel_index(index, array.shape)]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
