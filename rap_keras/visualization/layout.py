"""Figures laid out in inches: axes, text that fits, and the bar that tells the colours."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from rap_keras.visualization.colours import PERCENTILE, SEISMIC, coloured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lengths are in inches, font sizes in points.
DPI = 200
MARGIN = 0.08
GAP = 0.05
LINE = 1.25 / 72  # height of a line of text, per point of its font size
INK, GREY = "0.1", "0.4"
_FRAME = "0.7"
_BAR_WIDTH, _BAR_HEIGHT = 1.0, 0.09


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without ticks, placed in inches from the left and the top of the figure."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set(xticks=[], yticks=[])
    # A white heatmap would have no edge on a white page.
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, edgecolor=_FRAME)
    return axes


def legend_height(font_size: float) -> float:
    """Height of the colour bar with its words, its note and the space around it."""
    return 0.14 + _BAR_HEIGHT + LINE * font_size + 0.05


def legend_width(words: tuple[str, str], note: str, font_size: float) -> float:
    """The width that the colour bar needs, with its words and its note."""
    wings = max(text_width(word, font_size) for word in words) + 0.1
    return max(_BAR_WIDTH + 2 * wings, text_width(note, font_size))


def legend(
    figure: Figure,
    centre: float,
    words: tuple[str, str],
    note: str,
    font_size: float,
    colormap: str = SEISMIC,
    absolute: bool = False,
) -> None:
    """A bar of the colours at the foot of a figure.

    Args:
        figure: has `legend_height` free at its foot.
        centre: of the bar, from the left of the figure.
        words: what the left and the right end mean.
        note: what the ends are, in one line below the bar.
        font_size: of the words and the note.
        colormap: as `coloured` takes it.
        absolute: whether the bar begins with 0, on its left.
    """
    top = figure.get_figheight() - legend_height(font_size) + 0.14
    axes = axes_at(figure, centre - _BAR_WIDTH / 2, top, _BAR_WIDTH, _BAR_HEIGHT)
    ramp = coloured(np.linspace(0.0 if absolute else -1.0, 1.0, 201)[np.newaxis], colormap, absolute)
    axes.imshow(ramp, aspect="auto", extent=(-1.0, 1.0, 0.0, 1.0))
    gap = 0.1 / (_BAR_WIDTH / 2)
    for x, side, text in ((-1 - gap, "right", words[0]), (1 + gap, "left", words[1])):
        axes.text(x, 0.5, text, fontsize=font_size, color=INK, ha=side, va="center_baseline")
    axes.set_xlabel(note, fontsize=font_size, color=GREY, labelpad=2)


def note_of(scale: str, absolute: bool) -> str:
    """What the ends of the colours are, for `limit_of` with the same scale."""
    sign = "" if absolute else "\N{PLUS-MINUS SIGN}"
    end = "largest" if scale == "max" else f"{PERCENTILE}th percentile of"
    return f"darkest: {sign}{end} |relevance|"


def text_width(text: str, size: float) -> float:
    """Width of the longest line of `text`, in inches, at a font size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    widths = (text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n"))
    return max(widths) / 72


def wrapped(text: str, width: float, size: float) -> str:
    """Wraps `text` into lines of about `width` inches, and keeps its own line breaks."""
    lines = []
    for line in text.split("\n"):
        whole = text_width(line, size)
        fits = whole <= width
        lines += [line] if fits else textwrap.wrap(line, max(1, int(len(line) * width / whole)))
    return "\n".join(lines)
