"""Results on disk, one file per batch of images: a run that is killed loses the batch it was at, and no other."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from rap_keras.benchmark import whole_file

_FOLDER = "parts"


def write(output: Path, number: int, rows: pd.DataFrame) -> None:
    """Writes the rows of batch `number`.

    Raises:
        OSError: the folder cannot be written.
    """
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    file = _file(output, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    whole_file.write(file, buffer.getvalue())


def finished(output: Path) -> set[int]:
    """Numbers of the batches that are done; what a killed run left unfinished is removed."""
    folder = output / _FOLDER
    for leftover in folder.glob(".*"):
        leftover.unlink()
    return {int(file.stem) for file in folder.glob("*.parquet")}


def read(output: Path, count: int) -> Iterator[pd.DataFrame]:
    """The rows of batches 0 to `count` - 1 one after the other, whatever the order that they were done in.

    Raises:
        FileNotFoundError: a batch is not done yet.
    """
    for number in range(count):
        yield pd.read_parquet(_file(output, number))


def _file(output: Path, number: int) -> Path:
    return output / _FOLDER / f"{number:06d}.parquet"
