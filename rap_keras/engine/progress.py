"""Progress of long work, where somebody watches, and what happens meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Iterable[Any] | None = None, shown: bool = True, **options: Any) -> tqdm:
    """A bar of tqdm on a terminal and in notebooks; nothing is shown where output goes to a file or a pipe.

    Args:
        iterable: what is gone through, if anything.
        shown: False for work that is not long.
        **options: as tqdm takes them.
    """
    # To tqdm itself a notebook is no terminal.
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(iterable, disable=not (shown and watched), **options)


def tell(text: str) -> None:
    """Writes a line to standard error, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)
