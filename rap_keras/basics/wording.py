"""Lists and numbers in sentences."""

from __future__ import annotations

from collections.abc import Iterable


def listed(things: Iterable[object], last: str = "and", most: int | None = None) -> str:
    """Things in a sentence: "a", "a and b", "a, b and c"; of more than `most` things "a, b and 3 more".

    Empty ones are left out.
    """
    words = list(filter(None, map(str, things)))
    if most is not None and len(words) > most:
        words[most:] = [f"{len(words) - most} more"]
        last = "and"
    return f" {last} ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def counted(number: int, thing: str, things: str = "") -> str:
    """A number with its noun: "1 photo", "2 photos"; `things` is the plural if it does not end in s."""
    return f"{number} {thing if number == 1 else things or f'{thing}s'}"
