"""Files that are either complete or not there, even if the process that writes them is killed."""

from __future__ import annotations

import os
import re
from pathlib import Path

_UNFINISHED = ".{name}.{process}.unfinished"
_LEFTOVER = re.compile(r"\..+\.\d+\.unfinished")


def write(path: Path, data: bytes) -> None:
    """Writes a file; until it is complete and on the disk, the file that was there before stays.

    Raises:
        OSError: the folder does not exist or cannot be written, or the disk is full; it names the file.
    """
    unfinished = path.with_name(_UNFINISHED.format(name=path.name, process=os.getpid()))
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        # The error of a full disk names no file, and the unfinished file's name would mean nothing to the user.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes the unfinished files of killed processes. No process may be writing into the folder."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _LEFTOVER.fullmatch(path.name) and path.is_file():
                path.unlink()
