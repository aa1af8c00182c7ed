"""Shows the progress of long work where somebody watches, and messages meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(iterable: Iterable[Any] | None = None, shown: bool = True, **options: Any) -> tqdm:
    """A tqdm bar, shown on a terminal and in notebooks, but not where output goes to a file or a pipe."""
    # tqdm itself does not count a notebook as a terminal.
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(iterable, disable=not (shown and watched), **options)


def tell(text: str) -> None:
    """Writes a line to standard error, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)
