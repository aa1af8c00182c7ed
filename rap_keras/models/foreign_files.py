"""Files from elsewhere: limits, so that nothing is read that is pickled, lies outside or would fill the memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_HARMLESS = 2**28  # bytes: less than this is unpacked whatever the ratio
_RATIO = 100  # weights hardly shrink when they are packed
_MOST = 2**34  # bytes: ten times the largest network of keras.applications


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turns whatever a reader raises on a damaged or foreign file into a short ValueError with the file's name.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the file may not be read.
        ValueError: anything else was raised.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    # What a broken or foreign file makes Keras, NumPy and HDF5 raise has no type of its own.
    except Exception as error:
        raise ValueError(f"{path}: {brief(error, 600)}") from None


def brief(error: Exception, length: int = 300) -> str:
    """An error in one line of at most `length` characters: Keras puts whole configurations into its messages."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, (KeyError, RecursionError, MemoryError)):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def require_sane_size(unpacked: int, packed: int) -> None:
    """Raises ValueError if what a file holds is far larger than the file, or larger than any network.

    Args:
        unpacked: bytes in memory.
        packed: bytes in the file.
    """
    if unpacked > _MOST or unpacked > max(_HARMLESS, _RATIO * packed):
        raise ValueError(
            f"{packed:,} bytes would be unpacked to {unpacked:,}, which no network's weights do: the file is "
            "damaged, or meant to fill the memory"
        )


def check_zip(archive: zipfile.ZipFile, size: int) -> None:
    """Raises ValueError if an archive of `size` bytes would be unpacked to a multiple of them."""
    require_sane_size(sum(entry.file_size for entry in archive.infolist()), size)


def check_hdf5(file: h5py.File, size: int) -> None:
    """Raises ValueError if data of an HDF5 file lie outside of it, or are far larger than it.

    Args:
        file: the file, open.
        size: bytes of it, or of the archive that it is in.
    """
    links: list[tuple[bytes, int]] = []
    file.id.links.visit(lambda name, link: links.append((name, link.type)), info=True)
    total = 0
    for name, kind in links:
        shown = name.decode("utf-8", "replace")
        if kind != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{shown!r:.100} in it is a link to another place or file, which Keras never writes")
        item = file[name]
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"the data of {shown!r:.100} are in other files, which Keras never writes")
            total += math.prod(item.shape or ()) * item.dtype.itemsize
            require_sane_size(total, size)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, of any shape; none of them is pickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, is damaged, holds pickled objects, or arrays far larger than the file.
    """
    with naming(path):
        if not zipfile.is_zipfile(path):
            with open(path, "rb"):  # a missing file is told apart
                raise ValueError("no .npz file, or a damaged one")
        with zipfile.ZipFile(path) as archive:
            check_zip(archive, Path(path).stat().st_size)
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    _check_array(file, entry)
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}


def _check_array(file: Any, entry: zipfile.ZipInfo) -> None:
    """Raises ValueError unless an array is as large as its header says: NumPy would get the memory first."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError(f"{entry.filename!r} in it is pickled, which could run code")
    if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
        raise ValueError(f"{entry.filename!r} in it is damaged: it is not as large as it says")
