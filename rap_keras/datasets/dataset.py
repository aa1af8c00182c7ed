"""What every data set is: a list of names, and a function that reads one example."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from rap_keras.datasets.example import Example


class BrokenExample(ValueError):  # noqa: N818 - it is the example's fault
    """An example that cannot be used; the message names the file and the cause."""


@dataclass(frozen=True)
class Dataset:
    """Examples that are read one at a time, never all at once.

    Attributes:
        name: As in `DATASETS`.
        names: Unique names of the examples, in the official order.
        read: Reads the example of a name; raises `BrokenExample` if it is damaged.
        digest: A fingerprint of the data, so that another data set under the same name is noticed;
            see `fingerprint`.
        classes: How many classes a network trained on it has; None if unknown.
        pairs: Whether its images have objects of several classes and each example says which one is explained. An
            image is then one example for each class, and all these classes are right answers.
        class_names: The names of the classes, for pictures; None if they have none.
    """

    name: str
    names: Sequence[str]
    read: Callable[[str], Example]
    digest: str
    classes: int | None = None
    pairs: bool = False
    class_names: Sequence[str] | None = None

    def first(self, count: int) -> Dataset:
        """The data set of its first `count` examples, or all if there are fewer.

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"count is {count}: ask for 1 example or more")
        return replace(self, names=self.names[:count])


def fingerprint(names: Iterable[str], files: Iterable[Path]) -> str:
    """SHA-256 of the names and of the files' sizes in bytes, as hexadecimal.

    This is fast, as no file is opened, but a change that keeps all sizes goes unnoticed.
    """
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\n")
    for file in files:
        size = str(file.stat().st_size) if file.exists() else "missing"
        digest.update(size.encode() + b"\n")
    return digest.hexdigest()


def find_folder(root: str | Path, places: Sequence[str], needed: str, layout: str) -> Path:
    """The first of `places` below `root` that has `needed` in it.

    Raises:
        FileNotFoundError: There is none; the message states the expected `layout`.
    """
    root = Path(root)
    for place in places:
        if (root / place / needed).exists():
            return root / place
    cause = f"no {needed} in there" if root.exists() else "no such folder"
    raise FileNotFoundError(f"{root}: {cause}; the expected layout is {layout}")
