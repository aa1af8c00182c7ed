"""One run at a time in a folder of results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_FILE = ".lock"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keeps other runs out of a folder, which is made if it does not exist.

    The operating system releases the lock when the process ends, even if it is killed. The lock's file stays.

    Args:
        output: the folder.

    Raises:
        BlockingIOError: another run works in the folder.
        OSError: the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / _FILE)
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
