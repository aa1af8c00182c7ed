"""The folder of a run: results on disk, one file per batch of images, and a lock that keeps other runs out.

A run that is killed loses only the batch it was evaluating.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from rap_keras.basics import whole_file
from rap_keras.metrics.records import WORDS

_LOCK = ".lock"
_FOLDER = "parts"
_NAME = re.compile(r"(\d{6}|[1-9]\d{6,})\.parquet", re.ASCII)
_LONGEST_REASON = 300  # characters; TensorFlow's messages can have thousands


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keeps other runs out of a folder, which is made if it does not exist; its file stays.

    The operating system releases the lock when the process ends, even if it is killed.

    Raises:
        BlockingIOError: another run works in the folder.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(
            f"another run works in {output}: wait until it has ended, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def write(output: Path, number: int, rows: pd.DataFrame) -> None:
    """Writes the rows of batch `number`."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    whole_file.write(_file(output, number), buffer.getvalue())


def finished(output: Path) -> set[int]:
    """Numbers of the batches that are done; files with other names than ours are ignored."""
    files = (output / _FOLDER).glob("*.parquet")
    return {int(file.stem) for file in files if _NAME.fullmatch(file.name) and file.is_file()}


def remove_leftovers(output: Path) -> None:
    """Removes what a killed run left unfinished."""
    whole_file.remove_leftovers(output / _FOLDER)


def read(output: Path, count: int) -> Iterator[pd.DataFrame]:
    """The rows of batches 0 to `count` - 1 in this order; raises ValueError for a file that is damaged."""
    for number in range(count):
        file = _file(output, number)
        data = file.read_bytes()
        try:
            rows = pd.read_parquet(io.BytesIO(data))
            missing = [name for name in WORDS if name not in rows]
            if missing:
                raise ValueError(f"no column {' or '.join(missing)}")
        # pyarrow has no exception for damaged files alone.
        except Exception as error:
            raise ValueError(
                f"{file} is damaged ({in_one_line(error)}): delete this file and give the same command again, "
                "which evaluates its batch anew"
            ) from error
        yield rows


def in_one_line(error: BaseException) -> str:
    """The kind of an exception and its message, without line breaks, shortened where it is very long."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."


def _file(output: Path, number: int) -> Path:
    return output / _FOLDER / f"{number:06d}.parquet"
