"""Words in the colours of their relevance: in a terminal, as HTML and in a figure."""

from __future__ import annotations

import html
import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np

from rap_keras.visualization.colours import SEISMIC, Style
from rap_keras.visualization.image_figures import GREY, INK, legend, legend_height, legend_width, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Lengths are in inches, and parts of the font size.
_WIDTH = 6.0
_MARGIN = 0.08
_LINE, _AFTER = 1.9, 0.7
_POSITIVE, _NEGATIVE = "255,40,40", "70,110,255"  # in HTML
_OPACITY = 0.6  # in HTML at most: text of the page's colour stays readable, on a white page and on a dark one
_LEVELS = (0, 95, 135, 175, 215, 255)  # of the 256 colours of terminals
_COLUMNS = 100


class Line(NamedTuple):
    """A text by one method: what stands above it, its words with their relevance, and what is shown apart."""

    title: str
    words: Sequence[tuple[str, float]]
    apart: Sequence[tuple[str, float]]

    def marks(self, style: Style) -> Iterator[list[Mark]]:
        """How the words are drawn, then what is apart. The words make the scale."""
        limit = style.limit(_drawn(self.words, style))
        for pairs in (self.words, self.apart):
            parts = np.clip(_drawn(pairs, style) / limit, -1, 1)
            shades = style.colours(parts, 1.0)
            yield [Mark(*pair, float(part), shade) for pair, part, shade in zip(pairs, parts, shades)]


class Mark(NamedTuple):
    """A word with its relevance, the part that this is of the strongest colour, and its colour, uint8, (3,)."""

    text: str
    relevance: float
    part: float
    shade: np.ndarray


def _drawn(pairs: Sequence[tuple[str, float]], style: Style) -> np.ndarray:
    """The relevance that is drawn; 0 where it is not finite."""
    values = style.shown(np.array([value for _, value in pairs], np.float64))
    return np.where(np.isfinite(values), values, 0.0)


def has_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that may show colours; see no-color.org."""
    is_terminal = getattr(stream, "isatty", lambda: False)()
    return bool(is_terminal) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_text(lines: Sequence[Line], style: Style, coloured: bool) -> str:
    """The words in the colours of a terminal, or else with their relevance as numbers."""
    found = []
    for line in lines:
        found.append(line.title)
        words, apart = line.marks(style)
        plain = [f"{_clean(mark.text)} {mark.relevance:+.2g}" for mark in [*words, *apart]]
        if coloured:
            found += _wrapped(list(map(_marked, words)), [len(_clean(mark.text)) for mark in words])
        else:
            found += _wrapped(plain[: len(words)], None)
        found += _wrapped(plain[len(words) :], None, "  apart: ")
    return "\n".join(found)


def as_html(lines: Sequence[Line], style: Style, meaning: tuple[str, str]) -> str:
    """The words as HTML, each on its colour; the colour of the text is that of the page, bright or dark.

    Raises:
        ValueError: another colour map is wanted.
    """
    if style.colormap != SEISMIC:
        raise ValueError(f"colormap is {style.colormap!r}, and HTML has red and blue only: leave colormap out")
    rows = []
    for line in lines:
        words, apart = line.marks(style)
        rest = f"<br><small>apart: {' '.join(map(_span, apart))}</small>" if apart else ""
        rows.append(
            f'<p style="line-height:1.9;margin:0 0 1em 0"><small>{html.escape(line.title)}</small><br>'
            f"{' '.join(map(_span, words))}{rest}</p>"
        )
    low, high = meaning
    colours = f"red: {high}" if style.absolute else f"red: {high}, blue: {low}"
    return f"<div>{''.join(rows)}<small>{colours}; {html.escape(style.note())}</small></div>"


def as_page(lines: Sequence[Line], style: Style, meaning: tuple[str, str]) -> str:
    """A whole page of HTML, bright or dark as the reader's system has it."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" '
        'content="light dark"><title>Relevance of words</title></head>\n'
        '<body style="font-family:sans-serif;max-width:50em;margin:2em auto">'
        f"{as_html(lines, style, meaning)}</body></html>\n"
    )


def figure(lines: Sequence[Line], style: Style, meaning: tuple[str, str]) -> Figure:
    """A figure with each text by each method below the other; `meaning` is what blue and red mean.

    Raises:
        ValueError: the figure is too narrow.
    """
    from matplotlib.figure import Figure

    size, width = style.font_size, style.width or _WIDTH
    least = legend_width(meaning, style) + 2 * _MARGIN
    if width < least:
        raise ValueError(f"width is {width:g} inches, and the meaning of the colours needs {least:.1f}")
    places, top = [], _MARGIN
    for line in lines:
        for part in _lines_of(line.title, width, size):
            places.append((part, _MARGIN, top, None, size, GREY))
            top += 1.25 * size / 72
        words, apart = ([(mark.text, mark.shade) for mark in marks] for marks in line.marks(style))
        top = _placed(places, words, width, top + 0.2 * size / 72, size)
        labelled = [("apart:", None), *apart] if apart else []
        top = _placed(places, labelled, width, top, size - 1) + _AFTER * size / 72
    height = top + legend_height(size)
    drawn = Figure(figsize=(width, height), dpi=200, facecolor="white")
    for text, left, down, shade, own, ink in places:
        _write(drawn, text, left, down, shade, own, ink)
    legend(drawn, width / 2, meaning, style)
    return drawn


def _placed(places: list[Any], words: Sequence[Any], width: float, top: float, size: float) -> float:
    """Adds the places of words in lines, from a height on; the height below them."""
    space, left = 0.45 * size / 72, _MARGIN
    for text, shade in words:
        wide = text_width(text, size)
        if left > _MARGIN and left + wide > width - _MARGIN:
            left, top = _MARGIN, top + _LINE * size / 72
        ink = INK if shade is None or _luminance(shade) > 0.4 else "white"
        places.append((text, left, top, shade, size, ink))
        left += wide + space
    return top + _LINE * size / 72 * bool(words)


def _write(drawn: Any, text: str, left: float, top: float, shade: Any, size: float, ink: str) -> None:
    width, height = drawn.get_size_inches()
    box = None
    if shade is not None:
        box = {"facecolor": tuple(shade / 255), "edgecolor": "0.8", "linewidth": 0.3, "pad": 0.12 * size}
    y = 1 - (top + 0.2 * size / 72) / height
    style = {"fontsize": size, "color": ink, "va": "top", "parse_math": False}
    drawn.text(left / width, y, text, bbox=box, **style)


def _lines_of(title: str, width: float, size: float) -> list[str]:
    """A title in lines that are as wide as the figure."""
    whole = text_width(title, size)
    room = width - 2 * _MARGIN
    return [title] if whole <= room else textwrap.wrap(title, max(1, int(0.95 * len(title) * room / whole)))


def _span(mark: Mark) -> str:
    """A word on its colour, which lets the page show through the more the weaker it is."""
    hue = _POSITIVE if mark.part > 0 else _NEGATIVE
    colour = f"rgba({hue},{_OPACITY * abs(mark.part):.2f})"
    style = f"background:{colour};color:inherit;padding:.15em .2em;border-radius:.2em"
    return f'<span title="{mark.relevance:+.4g}" style="{style}">{html.escape(_clean(mark.text))}</span>'


def _marked(mark: Mark) -> str:
    """A word with the escape codes of the nearest of a terminal's 256 colours."""
    levels = [min(range(6), key=lambda n: abs(_LEVELS[n] - int(level))) for level in mark.shade]
    number = 16 + 36 * levels[0] + 6 * levels[1] + levels[2]
    return f"\x1b[48;5;{number};38;5;{16 if _luminance(mark.shade) > 0.4 else 231}m{_clean(mark.text)}\x1b[0m"


def _clean(text: str) -> str:
    """A word without control characters, which a text from elsewhere could send to the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _luminance(shade: np.ndarray) -> float:
    return float(shade @ [0.299, 0.587, 0.114]) / 255


def _wrapped(words: Sequence[str], widths: Sequence[int] | None, head: str = "  ") -> list[str]:
    """Words in lines with two spaces between words that have numbers, and one between coloured ones."""
    space, used = "  " if widths is None else " ", 0
    lines: list[str] = []
    for word, wide in zip(words, widths or map(len, words)):
        if not lines or used + len(space) + wide > _COLUMNS:
            begin = head if not lines else " " * len(head)
            lines.append(begin + word)
            used = len(begin) + wide
        else:
            lines[-1] += space + word
            used += len(space) + wide
    return lines
