"""Results on disk, one file per batch of images. A run that is killed loses only the batch it was evaluating."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rap_keras.basics import whole_file
from rap_keras.benchmark.attempts import in_one_line
from rap_keras.benchmark.evaluate import WORDS

_FOLDER = "parts"
_NAME = re.compile(r"(\d{6}|[1-9]\d{6,})\.parquet", re.ASCII)


def write(output: Path, number: int, rows: pd.DataFrame) -> None:
    """Writes the rows of batch `number`.

    Raises:
        OSError: the folder cannot be written.
    """
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
    """The rows of batches 0 to `count` - 1 in this order, whatever the order in which they were evaluated.

    Yields:
        The rows of a batch.

    Raises:
        OSError: a batch is not done yet, or its file cannot be read.
        ValueError: a file is damaged.
    """
    for number in range(count):
        yield _read(_file(output, number))


def _read(file: Path) -> pd.DataFrame:
    data = file.read_bytes()
    try:
        rows = pd.read_parquet(io.BytesIO(data))
        missing = [name for name in WORDS if name not in rows]
        if missing:
            raise ValueError(f"no column {' or '.join(missing)}")
    # pyarrow has no exception for damaged files alone.
    except Exception as error:
        raise ValueError(
            f"{file} is damaged ({in_one_line(error)}): delete this file and give the same command again, which "
            "evaluates its batch anew"
        ) from error
    return rows


def _file(output: Path, number: int) -> Path:
    return output / _FOLDER / f"{number:06d}.parquet"
