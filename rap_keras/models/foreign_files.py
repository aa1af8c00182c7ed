"""Checks of files from elsewhere: pickled data, links to the outside and oversized data are not read."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rap_keras.basics.whole_file import require_file

_HARMLESS = 2**28  # bytes: less than this is unpacked whatever the ratio
_RATIO = 100  # compression hardly shrinks weights
_MOST = 2**34  # bytes: ten times the largest network of keras.applications


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns whatever a reader raises on a damaged or foreign file into a short ValueError with the file's name."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    # Keras, NumPy and HDF5 raise no particular type for a broken or foreign file.
    except Exception as error:
        raise ValueError(f"{path}: {brief(error, 600)}") from None


def brief(error: Exception, length: int = 300) -> str:
    """An error in one line of at most `length` characters: Keras puts whole configurations into its messages."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, (KeyError, RecursionError, MemoryError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def require_sane_size(unpacked: int, packed: int) -> None:
    """Raises ValueError if so many bytes are far more than those in the file, or more than any network has."""
    if unpacked > _MOST or unpacked > max(_HARMLESS, _RATIO * packed):
        raise ValueError(
            f"{packed:,} bytes would be unpacked to {unpacked:,}, unlike any network's weights: the file is "
            "damaged, or meant to fill the memory"
        )


def check_zip(archive: zipfile.ZipFile, size: int) -> None:
    """Raises ValueError if an archive of `size` bytes would unpack to far more."""
    require_sane_size(sum(entry.file_size for entry in archive.infolist()), size)


def check_hdf5(file: h5py.File, size: int) -> None:
    """Raises ValueError if its data are in other files, or far larger than the `size` of the file or archive."""
    links: list[tuple[bytes, int]] = []
    file.id.links.visit(lambda name, link: links.append((name, link.type)), info=True)
    total = 0
    for name, kind in links:
        shown = name.decode("utf-8", "replace")
        if kind != h5py.h5l.TYPE_HARD:
            raise ValueError(f"its {shown!r:.100} is a link to another place or file, which Keras never writes")
        item = file[name]
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"the data of {shown!r:.100} are in other files, where Keras never writes them")
            total += math.prod(item.shape or ()) * item.dtype.itemsize
            require_sane_size(total, size)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, of any shape; raises ValueError for pickled or oversized ones."""
    require_file(path)
    with naming(path):
        if not zipfile.is_zipfile(path):
            with open(path, "rb"):  # raises FileNotFoundError if it is missing
                raise ValueError("not a .npz file, or a damaged one")
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, Path(path).stat().st_size)
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    _check_array(file, entry)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _check_array(file: Any, entry: zipfile.ZipInfo) -> None:
    """Raises ValueError unless an array is as large as its header says: NumPy would first allocate that much."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"its {entry.filename!r} is pickled, which could run code")
    if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
        raise ValueError(f"its {entry.filename!r} is damaged: it is not as large as its header says")
