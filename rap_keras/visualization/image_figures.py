"""Figures of images, laid out in inches: methods side by side, and relevance layer by layer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rap_keras.basics.wording import counted
from rap_keras.visualization.colours import (
    MAP,
    Style,
    as_pixels,
    blended,
    fractions,
    heatmap,
    numbers,
    require_finite,
    require_same_size,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Lengths are in inches, font sizes in points.
INK, GREY = "0.1", "0.4"
WIDEST = 8.0
"""A strip of layers wraps before it gets wider."""

_DPI = 200
_MARGIN = 0.08
_GAP = 0.05
_LINE = 1.25 / 72  # height of a line of text, per point of its font size
_BAR_WIDTH, _BAR_HEIGHT = 1.0, 0.09  # of the colours
# What the two ends of the colours mean: only RAP's negative relevance is of irrelevant pixels.
_MEANING, _SIGNS = ("irrelevant", "relevant"), ("negative", "positive")

_CELL = 1.25  # width of an image beside others
_NARROWEST = 0.55
_CELLS = {1: 2.4, 2: 2.2, 3: 2.0, 4: 1.6, 5: 1.4}  # by the number of columns

_NAME, _SMALL = 7, 6  # font sizes of a strip of layers
_PANEL = 0.9  # height of an image
_BAR = 0.12  # width of a layer without rows and columns
_BAR_STEPS = 90  # steps in such a bar: at _DPI, two pixels each


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
        ValueError: There is no photo or no method, the numbers of photos, heatmaps and titles differ, a heatmap
            differs from its photo in size or has values that are not finite, or a photo is out of its range.
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
    rows = []
    for index, (label, photo, of_photo) in enumerate(by_photo(photos, heatmaps, titles)):
        pixels = as_pixels(photo, f"photos[{index}]")
        for method, values in of_photo.items():
            name = f"heatmaps[{method!r}][{index}]"
            require_same_size(fractions(values, name, MAP), name, pixels, f"photos[{index}]")
        rows.append(Row(label, pixels, of_photo))
    return drawn(rows, Style(scale="max"), cell=_CELL)


def by_photo(
    photos: Sequence[Any] | np.ndarray, heatmaps: Mapping[str, Any], titles: Sequence[str] | None
) -> Iterator[tuple[str, Any, dict[str, np.ndarray]]]:
    """The title, the photo and the heatmaps of each photo; raises ValueError if there are not equally many."""
    if len(photos) == 0:
        raise ValueError("photo is an empty list: give at least one photo")
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
    for index, photo in enumerate(photos):
        of_photo = {str(method): np.asarray(maps[index]) for method, maps in heatmaps.items()}
        yield "" if titles is None else titles[index], photo, of_photo


def drawn(rows: Sequence[Row], style: Style, cell: float | None = None, is_turned: bool = False) -> Figure:
    """The figure of some rows, with a bar of the colours.

    A single row without `cell` has its label above the images; several have theirs on the left.

    Args:
        rows: with the same methods in each, and all with a photo or none.
        style: of the figure.
        cell: width of an image, in inches; by default as the number of columns or the figure's width has it.
        is_turned: whether in some row blue is relevant, as the logit is negative.

    Raises:
        ValueError: the figure's width is too small for one image beside the labels, or for the colours.
    """
    size, headings = style.font_size, list(rows[0].heatmaps)
    words = meaning(headings, style, is_turned)
    if rows[0].photo is not None and style.overlay is None:
        headings.insert(0, "photo")
    is_title = cell is None and len(rows) == 1
    labels = ["" if is_title else row.label for row in rows]
    left = _MARGIN
    if any(labels):
        left += max(text_width(label, size) for label in labels) + 2 * _GAP
    cell, across = _columns(headings, style, left, cell)
    content = left + across * (cell + _GAP) - _GAP + _MARGIN
    needed = legend_width(words, style) + 2 * _MARGIN
    width = style.width or max(content, needed)
    if width < needed:
        raise ValueError(_too_narrow(style, "the meaning of the colours needs", needed))
    centre = width / 2 if style.width or is_title else (left + content - _MARGIN) / 2
    if is_title and not style.width:
        left += (width - content) / 2
    in_one_line = rows[0].label.replace(":\n", ": ").replace("\n", ", ")
    title = _wrapped(in_one_line, width - 2 * _MARGIN, size) if is_title else ""

    # First the place of every image, then the figure: its size has to be known to draw in it.
    names = [_wrapped(heading, cell, size) for heading in headings]
    places, top = [], _MARGIN + (title.count("\n") + 1) * _LINE * size * bool(title)
    for number, row in enumerate(rows):
        down, right = np.shape(next(iter(row.heatmaps.values())))
        for start in range(0, len(headings), across):
            columns = range(start, min(start + across, len(headings)))
            has_heads = number == 0 or across < len(headings)
            lines = max(names[column].count("\n") for column in columns) + 1
            top += lines * _LINE * size * has_heads
            for column in columns:
                x = left + (column - start) * (cell + _GAP)
                places.append((number, column, names[column] * has_heads, (x, top, cell, cell * down / right)))
            top += cell * down / right + _GAP
    figure = _new_figure(width, top - _GAP + legend_height(size))
    for number, column, name, place in places:
        label = labels[number] if column == 0 else ""
        _show(figure, place, _image(rows[number], headings[column], style), size, name, label)
    if title:
        y = 1 - _MARGIN / figure.get_figheight()
        figure.text(0.5, y, title, fontsize=size, color=INK, ha="center", va="top", parse_math=False)
    legend(figure, min(max(centre, needed / 2), width - needed / 2), words, style)
    return figure


def meaning(methods: Sequence[str], style: Style, is_turned: bool) -> tuple[str, str]:
    """What the two ends of the colours mean, for the titles of all methods in a figure."""
    if style.absolute:
        return "0", "strongest"
    return _MEANING if set(methods) == {"RAP"} and not is_turned else _SIGNS


def _columns(headings: Sequence[str], style: Style, left: float, cell: float | None) -> tuple[float, int]:
    """The width of an image and how many lie side by side; raises ValueError if the figure is too narrow."""
    if style.width is None:
        return cell or _CELLS.get(len(headings), _CELL), len(headings)
    words = [word for heading in headings for word in heading.split()]
    narrowest = max(_NARROWEST, *(text_width(word, style.font_size) for word in words))
    room = style.width - left - _MARGIN + _GAP
    fitting = int(room / (narrowest + _GAP))
    if fitting < 1:
        raise ValueError(_too_narrow(style, "the labels and one image need", left + _MARGIN + narrowest))
    across = math.ceil(len(headings) / math.ceil(len(headings) / fitting))
    return room / across - _GAP, across


def _too_narrow(style: Style, what_needs: str, inches: float) -> str:
    return (
        f"width is {style.width:g} inches, and {what_needs} {math.ceil(10 * inches) / 10}: give a larger width "
        "or a smaller font_size"
    )


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


def layer_strip(
    relevances: Mapping[str, np.ndarray | Sequence[np.ndarray]],
    photo: ArrayLike | None = None,
    negative_logit: bool = False,
    scale: str = "max",
) -> Figure:
    """Relevance layer by layer, from the output to the input, as Figure 4 of the paper.

    Each picture has its own scale, and the shape of its array below. Deep networks take several rows.

    Args:
        relevances: For each layer's name, from the network's input to its output, the relevance of one sample at
            that layer's input: (H, W, C), shown as the sum over the channels, or (features,), shown as a bar with
            the first feature on top. A bar of more than 90 features has 90 steps, each the strongest of the
            features there. A list of such arrays for a layer with several inputs.
        photo: The photo to show after the last heatmap, (H, W, 3), uint8 or float in [0, 1].
        negative_logit: Whether the logit is negative, so that blue is relevant.
        scale: What gets the darkest colour: "max", the largest |relevance|, or "percentile", the 99th percentile.

    Returns:
        The figure, with a legend of the colours.

    Raises:
        TypeError: `relevances` is not a mapping, or an array holds something other than real numbers.
        ValueError: There is no layer or a layer without an array, an array has another number of
            axes or values that are not finite, `photo` is out of its range, or there is no such scale.
    """
    style = Style(scale, font_size=_NAME)
    panels = _panels(relevances, style)
    if photo is not None:
        pixels = as_pixels(photo, "photo")
        panels.append(("photo", pixels.shape, pixels))
    # First the place of every picture, then the figure: its size has to be known to draw in it.
    heading = _LINE * _NAME
    places, left, top, right = [], _MARGIN, _MARGIN + heading, _MARGIN
    for label, shape, _ in panels:
        width = _BAR if len(shape) == 1 else min(_PANEL * shape[1] / shape[0], WIDEST)
        slot = max(width, text_width(label, _NAME), text_width(_shape_text(shape), _SMALL))
        if left > _MARGIN and left + slot > WIDEST:
            left, top = _MARGIN, top + _PANEL + heading + 2 * _LINE * _SMALL
        places.append((left + (slot - width) / 2, top, width, _PANEL))
        right = max(right, left + slot)
        left += slot + 2 * _GAP
    words = _SIGNS if negative_logit else _MEANING
    bottom = top + _PANEL + _LINE * _SMALL + legend_height(_NAME)
    figure = _new_figure(max(right, legend_width(words, style)) + _MARGIN, bottom)
    for (label, shape, image), place in zip(panels, places):
        axes = _show(figure, place, image, _NAME, label)
        axes.set_xlabel(_shape_text(shape), fontsize=_SMALL, color=GREY, labelpad=2)
    legend(figure, figure.get_figwidth() / 2, words, style)
    return figure


def _panels(relevances: Any, style: Style) -> list[tuple[str, tuple[int, ...], np.ndarray]]:
    """The label, the shape and the colours of each array of relevance, the last layer first."""
    if not isinstance(relevances, Mapping):
        raise TypeError(
            f"relevances is a {type(relevances).__name__}: it must be a dict from each layer's "
            "name to its relevance"
        )
    if len(relevances) == 0:
        raise ValueError("relevances is empty: give the relevance of at least one layer")
    panels = []
    for layer, value in reversed(list(relevances.items())):
        name = f"relevances[{layer!r}]"
        if not isinstance(value, (list, tuple)):
            panels.append((str(layer), *_panel(value, name, style)))
        elif len(value) == 0:
            raise ValueError(f"{name} is an empty list: give an array per input of the layer")
        else:
            for index, part in enumerate(value):
                panels.append((f"{layer}[{index}]", *_panel(part, f"{name}[{index}]", style)))
    return panels


def _panel(values: ArrayLike, name: str, style: Style) -> tuple[tuple[int, ...], np.ndarray]:
    relevance = numbers(values, name, {1: "(features,)", 3: "(H, W, C)"})
    if relevance.size == 0:
        raise ValueError(f"{name} has shape {relevance.shape}: it is empty")
    maps = heatmap(relevance) if relevance.ndim == 3 else relevance[:, np.newaxis].astype(np.float64)
    require_finite(maps, name)
    limit = style.limit(maps)
    if relevance.ndim == 1:
        # Left to the renderer, the few relevant of thousands of features would fade into the mean.
        steps = np.array_split(np.clip(maps, -limit, limit), min(len(maps), _BAR_STEPS))
        maps = np.stack([step[np.abs(step).argmax()] for step in steps])
    return relevance.shape, style.colours(maps, limit)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape))


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, facecolor="white")


def _show(
    figure: Figure,
    place: tuple[float, float, float, float],
    image: np.ndarray,
    size: float,
    title: str = "",
    label: str = "",
) -> Any:
    """Axes without ticks with an image, its title above and its label on the left.

    `place` is the left, the top, the width and the height in inches, from the left and the top of the figure.
    """
    left, top, width, height = place
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():  # a white heatmap would have no edge on a white page
        spine.set(linewidth=0.4, edgecolor="0.7")
    axes.imshow(image, aspect="auto")
    text: dict[str, Any] = {"fontsize": size, "color": INK, "parse_math": False}
    if title:
        axes.set_title(title, pad=3, **text)
    if label:
        axes.set_ylabel(label, rotation="horizontal", ha="right", va="center", labelpad=72 * _GAP, **text)
    return axes


def legend_height(font_size: float) -> float:
    """Height of the colour bar with its words, its note and the space around it."""
    return 0.14 + _BAR_HEIGHT + _LINE * font_size + 0.05


def legend_width(words: tuple[str, str], style: Style) -> float:
    """The width that the colour bar needs, with its words and its note."""
    wings = max(text_width(word, style.font_size) for word in words) + 0.1
    return max(_BAR_WIDTH + 2 * wings, text_width(style.note(), style.font_size))


def legend(figure: Figure, centre: float, words: tuple[str, str], style: Style) -> None:
    """A bar of the colours in the `legend_height` at the foot of a figure; `words` say what its ends mean."""
    size = style.font_size
    top = figure.get_figheight() - legend_height(size) + 0.14
    place = (centre - _BAR_WIDTH / 2, top, _BAR_WIDTH, _BAR_HEIGHT)
    axes = _show(figure, place, style.ramp()[np.newaxis], size)
    axes.images[0].set_extent((-1.0, 1.0, 0.0, 1.0))
    gap = 0.1 / (_BAR_WIDTH / 2)
    for x, side, text in ((-1 - gap, "right", words[0]), (1 + gap, "left", words[1])):
        axes.text(x, 0.5, text, fontsize=size, color=INK, ha=side, va="center_baseline")
    axes.set_xlabel(style.note(), fontsize=size, color=GREY, labelpad=2)


def text_width(text: str, size: float) -> float:
    """Width of the longest line of `text`, in inches, at a font size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    widths = (text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n"))
    return max(widths) / 72


def _wrapped(text: str, width: float, size: float) -> str:
    """Wraps `text` into lines of about `width` inches, and keeps its own line breaks."""
    lines = []
    for line in text.split("\n"):
        whole = text_width(line, size)
        lines += [line] if whole <= width else textwrap.wrap(line, max(1, int(len(line) * width / whole)))
    return "\n".join(lines)
