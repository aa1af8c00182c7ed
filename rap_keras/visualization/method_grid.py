"""Heatmaps of images side by side: a row for each image or target, a column for each method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rap_keras.basics.wording import counted
from rap_keras.visualization import layout
from rap_keras.visualization.colours import MAP, as_pixels, blended, fractions, require_finite, require_same_size
from rap_keras.visualization.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CELL = 1.25  # inches, width of an image
_NARROWEST = 0.55
_CELLS = {1: 2.4, 2: 2.2, 3: 2.0, 4: 1.6, 5: 1.4}  # by the number of columns


class Row(NamedTuple):
    """An image with its heatmaps, (H, W), by the names of the methods; `photo` is (H, W, 3) in [0, 1], or None."""

    label: str
    photo: np.ndarray | None
    heatmaps: Mapping[str, np.ndarray]


def grid(
    photos: Sequence[ArrayLike] | np.ndarray,
    heatmaps: Mapping[str, Sequence[ArrayLike] | np.ndarray],
    titles: Sequence[str] | None = None,
) -> Figure:
    """Methods side by side: a row per photo, a column per method, as Figure 5 of the paper.

    Each heatmap is scaled by its own largest absolute value.

    Args:
        photos: The photos, each (H, W, 3), uint8 or float in [0, 1].
        heatmaps: For each method's name, which heads its column, a heatmap (H, W) per photo.
        titles: A label per photo, written left of its row, for instance its class.

    Returns:
        The figure, with a legend of the colours.

    Raises:
        TypeError: `heatmaps` is not a mapping, or a photo or heatmap holds something other than real numbers.
        ValueError: There is no photo or no method, the numbers of photos, heatmaps and titles
            differ, a heatmap differs from its photo in size or has values that are not finite, or
            a photo is out of its range.
    """
    if not isinstance(heatmaps, Mapping):
        raise TypeError(
            f"heatmaps is a {type(heatmaps).__name__}: it must be a dict from each method's name to its heatmaps"
        )
    if len(photos) == 0 or len(heatmaps) == 0:
        raise ValueError(
            f"{counted(len(photos), 'photo')} and {counted(len(heatmaps), 'method')}: a grid needs at least one "
            "of each"
        )
    for method, maps in heatmaps.items():
        if len(maps) != len(photos):
            raise ValueError(
                f"method {method!r} has {counted(len(maps), 'heatmap')} for {counted(len(photos), 'photo')}: "
                "give one per photo"
            )
    if titles is not None and len(titles) != len(photos):
        raise ValueError(
            f"{counted(len(titles), 'title')} for {counted(len(photos), 'photo')}: give one per photo"
        )
    rows = []
    for index, photo in enumerate(photos):
        pixels, found = as_pixels(photo, f"photos[{index}]"), {}
        for method, maps in heatmaps.items():
            name = f"heatmaps[{method!r}][{index}]"
            require_same_size(fractions(maps[index], name, MAP), name, pixels, f"photos[{index}]")
            found[str(method)] = np.asarray(maps[index])
        rows.append(Row("" if titles is None else titles[index], pixels, found))
    return drawn(rows, Style(scale="max"), cell=_CELL)


def drawn(rows: Sequence[Row], style: Style, cell: float | None = None, is_turned: bool = False) -> Figure:
    """The figure of some rows, with a bar of the colours.

    A single row without `cell` has its label above the images; several have theirs on the left.

    Args:
        rows: with the same methods in each, and all with a photo or none.
        style: of the figure.
        cell: width of an image, in inches; by default as the number of columns or the figure's width has it.
        is_turned: whether in some row blue is relevant, as the logit is negative.

    Raises:
        ValueError: the figure's width is too small for one image beside the labels.
    """
    size, headings = style.font_size, list(rows[0].heatmaps)
    if rows[0].photo is not None and style.overlay is None:
        headings.insert(0, "photo")
    is_title = cell is None and len(rows) == 1
    left = layout.MARGIN
    labels = ["" if is_title else row.label for row in rows]
    if any(labels):
        left += max(layout.text_width(label, size) for label in labels) + 2 * layout.GAP
    cell, across = _columns(headings, style, left, cell)
    words = ("0", "strongest") if style.absolute else _meaning(list(rows[0].heatmaps), is_turned)
    note = layout.note_of(style.scale, style.absolute)
    content = left + across * (cell + layout.GAP) - layout.GAP + layout.MARGIN
    needed = layout.legend_width(words, note, size) + 2 * layout.MARGIN
    width = style.width or max(content, needed)
    if width < needed:
        raise ValueError(
            f"width is {width:g} inches, and the meaning of the colours needs {_rounded_up(needed)}: give a "
            "larger width or a smaller font_size"
        )
    if cell and not style.width and is_title:
        left += (width - content) / 2
    title = layout.wrapped(one_line(rows[0].label), width - 2 * layout.MARGIN, size) if is_title else ""

    # First the place of every image, then the figure: its size has to be known to draw in it.
    names = [layout.wrapped(heading, cell, size) for heading in headings]
    places, top = [], layout.MARGIN + (title.count("\n") + 1) * layout.LINE * size * bool(title)
    several_lines = across < len(headings)
    for number, row in enumerate(rows):
        rows_and_columns = np.shape(next(iter(row.heatmaps.values())))
        height = cell * rows_and_columns[0] / rows_and_columns[1]
        for start in range(0, len(headings), across):
            has_heads = number == 0 or several_lines
            lines = max(name.count("\n") for name in names[start : start + across]) + 1
            top += lines * layout.LINE * size * has_heads
            for column in range(start, min(start + across, len(headings))):
                place = (left + (column - start) * (cell + layout.GAP), top, cell, height)
                places.append((number, column, has_heads, place))
            top += height + layout.GAP
    figure = layout.new_figure(width, top - layout.GAP + layout.legend_height(size))
    for number, column, has_heads, place in places:
        axes = layout.axes_at(figure, *place)
        axes.imshow(_image(rows[number], headings[column], style), aspect="auto")
        if has_heads:
            axes.set_title(names[column], fontsize=size, color=layout.INK, pad=3, parse_math=False)
        if column == 0 and labels[number]:
            axes.set_ylabel(
                labels[number],
                fontsize=size,
                color=layout.INK,
                rotation="horizontal",
                horizontalalignment="right",
                verticalalignment="center",
                labelpad=72 * layout.GAP,
                parse_math=False,
            )
    if title:
        y = 1 - layout.MARGIN / figure.get_figheight()
        figure.text(0.5, y, title, fontsize=size, color=layout.INK, ha="center", va="top", parse_math=False)
    centre = width / 2 if style.width or is_title else left + (content - layout.MARGIN - left) / 2
    centre = min(max(centre, needed / 2), width - needed / 2) if needed <= width else width / 2
    layout.legend(figure, centre, words, note, size, style.colormap, style.absolute)
    return figure


def one_line(label: str) -> str:
    """A label of several lines in one."""
    return label.replace(":\n", ": ").replace("\n", ", ")


def _columns(headings: Sequence[str], style: Style, left: float, cell: float | None) -> tuple[float, int]:
    """The width of an image and how many lie side by side; raises ValueError if the figure is too narrow."""
    if style.width is None:
        return cell or _CELLS.get(len(headings), _CELL), len(headings)
    words = [word for heading in headings for word in heading.split()]
    narrowest = max(_NARROWEST, *(layout.text_width(word, style.font_size) for word in words))
    room = style.width - left - layout.MARGIN + layout.GAP
    fitting = int(room / (narrowest + layout.GAP))
    if fitting < 1:
        least = left + layout.MARGIN + narrowest
        raise ValueError(
            f"width is {style.width:g} inches, and the labels and one image need {_rounded_up(least)}: give a "
            "larger width or a smaller font_size"
        )
    lines = math.ceil(len(headings) / fitting)
    across = math.ceil(len(headings) / lines)
    return room / across - layout.GAP, across


def _rounded_up(inches: float) -> float:
    """A width to advise, in tenths of inches."""
    return math.ceil(10 * inches) / 10


def _meaning(methods: Sequence[str], is_turned: bool) -> tuple[str, str]:
    """What the two ends of the colours mean: only RAP's negative relevance is of irrelevant pixels."""
    return ("irrelevant", "relevant") if methods == ["RAP"] and not is_turned else ("negative", "positive")


def _image(row: Row, heading: str, style: Style) -> np.ndarray:
    if row.photo is not None and heading not in row.heatmaps:
        return row.photo
    require_finite(row.heatmaps[heading], f"the heatmap of {heading}")
    relevance = style.shown(row.heatmaps[heading])
    limit = style.limit(relevance)
    colours = style.colours(relevance, limit)
    if style.overlay is None or row.photo is None:
        return colours
    return blended(colours, np.minimum(np.abs(relevance) / limit, 1), row.photo, style.overlay)
