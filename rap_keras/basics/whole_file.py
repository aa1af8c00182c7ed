"""Files that are either complete or not there, even if the disk is full or the process is killed."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LEFTOVER = re.compile(r"\..+\.\d+\.unfinished(\.\w+)*")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The name to write to; the new file takes the place of `path` when it is complete and on the disk."""
    # After an error the file that was there before stays as it was. Of a link, the file it points to is replaced.
    target = Path(path).resolve()
    require_file(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    suffixes = "".join(target.suffixes[-2:])
    unfinished = target.with_name(f".{target.name:.40}.{os.getpid()}{threading.get_ident()}.unfinished{suffixes}")
    new_folders = [folder for folder in target.parents if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, unfinished)
        unfinished.replace(target)
    except OSError as error:
        # The error of a full disk names no file, and the unfinished file's name would mean nothing to the user.
        if error.errno is None:
            raise OSError(f"{path}: {error}") from error
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)
        for folder in new_folders:
            with suppress(OSError):  # it is not empty, as it should be
                folder.rmdir()


def write(path: str | Path, data: bytes) -> None:
    """Writes a file as `replacing` does; raises OSError that names the file, even on a full disk."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(data)


def write_npz(path: str | Path, arrays: Mapping[str, Any], compressed: bool = False) -> None:
    """Writes arrays by their names as `replacing` does, whatever the file's extension."""
    import numpy as np

    buffer = io.BytesIO()  # on a full disk numpy would leave a half-closed archive, and a traceback when it goes
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    write(path, buffer.getvalue())


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files of killed processes. No process may be writing into the folder."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _LEFTOVER.fullmatch(path.name) and path.is_file():
                path.unlink()


def require_writable(folder: Path) -> None:
    """Raises OSError if no files can be written into a folder, which need not exist yet."""
    nearest = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))


def require_file(path: str | Path) -> None:
    """Raises OSError for a pipe, a device or a socket, which may never end; folders pass."""
    found = Path(path)
    if found.exists() and not (found.is_file() or found.is_dir()):
        raise OSError(f"{path} is a pipe, a device or a socket: give a file")
