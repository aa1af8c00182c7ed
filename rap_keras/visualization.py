"""Pictures of relevance: heatmaps in the seismic colours and the figures of the RAP paper.

Red is relevant (positive), blue is irrelevant (negative), white is 0. The figures are plain
`matplotlib.figure.Figure` objects, unknown to pyplot: they need no display, and go when nothing
refers to them any more. Write one to a file with `figure.savefig(path)`.

The paper is Nam et al., "Relative Attributing Propagation", AAAI 2020.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lengths are in inches, font sizes in points.
_DPI = 200
_MARGIN = 0.08
_GAP = 0.05
_LINE = 1.25 / 72  # height of a line of text, per point of its font size
_HEADING, _LABEL, _NAME, _SMALL = 9, 8, 7, 6
_INK, _GREY, _FRAME = "0.1", "0.4", "0.7"

_CELL = 1.25  # width of an image in the grid
_PANEL = 0.9  # height of an image in the layer strip
_BAR = 0.12  # width of a layer without rows and columns in the layer strip
_BAR_STEPS = 90  # steps in such a bar: at _DPI, two pixels each
_STRIP = 8.0  # the layer strip wraps before it gets wider
_LEGEND = 0.42  # height of the legend, with the space above it
_LEGEND_WIDTH = 2.2

_MAP = {2: "(H, W)"}
_MAPS = {2: "(H, W)", 3: "(N, H, W)"}


def heatmap(relevance: ArrayLike) -> np.ndarray:
    """Relevance of each pixel: the sum over its channels, as in the figures of the paper.

    Args:
        relevance: Relevance at the input, (H, W, C), or of a batch, (N, H, W, C).

    Returns:
        The sums over the last axis, added up in float64: (H, W) or (N, H, W).

    Raises:
        TypeError: `relevance` does not hold real numbers.
        ValueError: `relevance` has another number of axes.
    """
    values = _numbers(relevance, "relevance", {3: "(H, W, C)", 4: "(N, H, W, C)"})
    return np.sum(values, axis=-1, dtype=np.float64)


def to_rgb(heatmap: ArrayLike, scale: float | None = None) -> np.ndarray:
    """Relevance in the seismic colours: 0 is white, +scale dark red, -scale dark blue.

    The halves mirror each other: swapping the red and the blue of x's colour gives that of -x.
    (Matplotlib's seismic is not quite so: its blue end is darker than its red one, and its
    centre is off-white.)

    Args:
        heatmap: Relevance, (H, W), or of a batch, (N, H, W).
        scale: The relevance that gets the darkest colour; values beyond it are clipped. Without
            it, each sample's own largest absolute value. A sample of zeros is white.

    Returns:
        Colours, uint8, (H, W, 3) or (N, H, W, 3).

    Raises:
        TypeError: `heatmap` or `scale` is not made of real numbers.
        ValueError: `heatmap` has another number of axes, or values that are not finite; `scale` is
            not positive and finite.
    """
    return _colours(_fractions(heatmap, "heatmap", _MAPS, scale))


def overlay(heatmap: ArrayLike, photo: ArrayLike, opacity: float = 1.0) -> np.ndarray:
    """Relevance, in the colours of `to_rgb`, over the photo in grey.

    Args:
        heatmap: Relevance, (H, W).
        photo: The photo, (H, W, 3), uint8 or float in [0, 1].
        opacity: Opacity, in [0, 1], where the absolute relevance is largest. Elsewhere it is
            proportional to the absolute relevance, so that the photo shows where that is 0.

    Returns:
        The picture, uint8, (H, W, 3).

    Raises:
        TypeError: An argument is not made of real numbers, or `photo` of other integers than uint8.
        ValueError: The heatmap and the photo differ in size, an array has another number of axes,
            `heatmap` has values that are not finite, or `photo` or `opacity` is out of its range.
    """
    fractions = _fractions(heatmap, "heatmap", _MAP)
    pixels = _photo(photo, "photo")
    _same_size(fractions, "heatmap", pixels, "photo")
    if not isinstance(opacity, Real):
        raise TypeError(f"opacity is {opacity!r}: it must be a number from 0 to 1")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}: it must be from 0 to 1")
    grey = 255 * (pixels @ [0.299, 0.587, 0.114])[..., np.newaxis]  # luma of ITU-R BT.601
    alpha = float(opacity) * np.abs(fractions)[..., np.newaxis]
    return np.rint((1 - alpha) * grey + alpha * _colours(fractions)).astype(np.uint8)


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
        TypeError: `heatmaps` is not a mapping, or a photo or heatmap holds other than real numbers.
        ValueError: There is no photo or no method, the numbers of photos, heatmaps and titles
            differ, a heatmap differs from its photo in size or has values that are not finite, or
            a photo is out of its range.
    """
    if not isinstance(heatmaps, Mapping):
        raise TypeError(
            f"heatmaps is a {type(heatmaps).__name__}: it must be a dict from each method's name to its heatmaps"
        )
    if len(photos) == 0 or len(heatmaps) == 0:
        raise ValueError(f"{len(photos)} photos and {len(heatmaps)} methods: a grid needs at least one of each")
    for method, maps in heatmaps.items():
        if len(maps) != len(photos):
            raise ValueError(
                f"method {method!r} has {len(maps)} heatmaps for {len(photos)} photos: give one per photo"
            )
    if titles is not None and len(titles) != len(photos):
        raise ValueError(f"{len(titles)} titles for {len(photos)} photos: give one per photo")

    rows = []
    for index, photo in enumerate(photos):
        pixels = _photo(photo, f"photos[{index}]")
        row = [pixels]
        for method, maps in heatmaps.items():
            name = f"heatmaps[{method!r}][{index}]"
            fractions = _fractions(maps[index], name, _MAP)
            _same_size(fractions, name, pixels, f"photos[{index}]")
            row.append(_colours(fractions))
        rows.append(row)

    headings = [_wrapped(str(name), _CELL, _HEADING) for name in ("photo", *heatmaps)]
    lines = max(heading.count("\n") + 1 for heading in headings)
    left, top = _MARGIN, _MARGIN + lines * _LINE * _HEADING
    if titles is not None:
        left += max(_text_width(title, _LABEL) for title in titles) + 2 * _GAP
    heights = [_CELL * row[0].shape[0] / row[0].shape[1] for row in rows]
    width = len(headings) * (_CELL + _GAP) - _GAP  # at least two columns: the legend fits
    figure = _figure(left + width + _MARGIN, top + sum(heights) + _GAP * (len(rows) - 1) + _LEGEND)
    for index, (row, height) in enumerate(zip(rows, heights)):
        for column, image in enumerate(row):
            axes = _axes(figure, left + column * (_CELL + _GAP), top, _CELL, height)
            axes.imshow(image, aspect="auto")
            if index == 0:
                axes.set_title(headings[column], fontsize=_HEADING, color=_INK, pad=3)
        if titles is not None:
            figure.axes[-len(row)].set_ylabel(
                titles[index],
                fontsize=_LABEL,
                color=_INK,
                rotation="horizontal",
                horizontalalignment="right",
                verticalalignment="center",
                labelpad=72 * _GAP,
            )
        top += height + _GAP
    _legend(figure, left + width / 2)
    return figure


def layer_strip(
    relevances: Mapping[str, np.ndarray | Sequence[np.ndarray]], photo: ArrayLike | None = None
) -> Figure:
    """Relevance layer by layer, from the output to the input, as Figure 4 of the paper.

    Each picture is scaled by its own largest absolute value and has the shape of its array below.
    Deep networks take several rows.

    Args:
        relevances: For each layer's name, from the network's input to its output, the relevance of
            one sample at that layer's input: (H, W, C), shown as the sum over the channels, or
            (features,), shown as a bar with the first feature on top. A bar of more than 90
            features has 90 steps, each the strongest of the features there. A list of such arrays
            for a layer with several inputs.
        photo: The photo to show after the last heatmap, (H, W, 3), uint8 or float in [0, 1].

    Returns:
        The figure, with a legend of the colours.

    Raises:
        TypeError: `relevances` is not a mapping, or an array holds other than real numbers.
        ValueError: There is no layer or a layer without an array, an array has another number of
            axes or values that are not finite, or `photo` is out of its range.
    """
    if not isinstance(relevances, Mapping):
        raise TypeError(
            f"relevances is a {type(relevances).__name__}: it must be a dict from each layer's "
            "name to its relevance"
        )
    if len(relevances) == 0:
        raise ValueError("relevances is empty: give the relevance of at least one layer")
    panels: list[tuple[str, tuple[int, ...], np.ndarray]] = []
    for layer, value in reversed(list(relevances.items())):
        name = f"relevances[{layer!r}]"
        if not isinstance(value, (list, tuple)):
            panels.append((str(layer), *_panel(value, name)))
        elif len(value) == 0:
            raise ValueError(f"{name} is an empty list: give an array per input of the layer")
        else:
            for index, part in enumerate(value):
                panels.append((f"{layer}[{index}]", *_panel(part, f"{name}[{index}]")))
    if photo is not None:
        pixels = _photo(photo, "photo")
        panels.append(("photo", pixels.shape, pixels))

    # First the place of every picture, then the figure: its size has to be known to draw in it.
    heading = _LINE * _NAME
    places, left, top = [], _MARGIN, _MARGIN + heading
    right = _MARGIN
    for label, shape, _ in panels:
        width = _BAR if len(shape) == 1 else min(_PANEL * shape[1] / shape[0], _STRIP)
        slot = max(width, _text_width(label, _NAME), _text_width(_shape_text(shape), _SMALL))
        if left > _MARGIN and left + slot > _STRIP:
            left, top = _MARGIN, top + _PANEL + heading + 2 * _LINE * _SMALL
        places.append((left + (slot - width) / 2, top, width))
        right = max(right, left + slot)
        left += slot + 2 * _GAP
    bottom = top + _PANEL + _LINE * _SMALL
    figure = _figure(max(right, _LEGEND_WIDTH) + _MARGIN, bottom + _LEGEND)
    for (label, shape, image), (left, top, width) in zip(panels, places):
        axes = _axes(figure, left, top, width, _PANEL)
        axes.imshow(image, aspect="auto")
        axes.set_title(label, fontsize=_NAME, color=_INK, pad=3)
        axes.set_xlabel(_shape_text(shape), fontsize=_SMALL, color=_GREY, labelpad=2)
    _legend(figure, figure.get_figwidth() / 2)
    return figure


def _numbers(values: ArrayLike, name: str, shapes: Mapping[int, str]) -> np.ndarray:
    """`values` as an array of real numbers with as many axes as one of `shapes`."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}: it must hold real numbers")
    if array.ndim not in shapes:
        raise ValueError(f"{name} has shape {array.shape}: it must be {' or '.join(shapes.values())}")
    return array


def _fractions(values: ArrayLike, name: str, shapes: Mapping[int, str], scale: float | None = None) -> np.ndarray:
    """Relevance over its scale, clipped to [-1, 1]."""
    maps = _numbers(values, name, shapes).astype(np.float64)
    counts = np.atleast_1d(np.sum(~np.isfinite(maps), axis=(-2, -1)))
    if counts.any():
        sample = np.flatnonzero(counts)[0]
        where = f"sample {sample} of {name}" if maps.ndim == 3 else name
        raise ValueError(
            f"{where} has {counts[sample]} values that are not finite: find the layer where the "
            "relevance overflowed, or replace them, for instance with numpy.nan_to_num"
        )
    if scale is None:
        limit = np.abs(maps).max(axis=(-2, -1), keepdims=True, initial=0.0)
        limit[limit == 0] = 1.0
    elif not isinstance(scale, Real):
        raise TypeError(f"scale is {scale!r}: it must be a positive number or None")
    elif not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}: it must be positive and finite")
    else:
        limit = np.float64(scale)
    # Clipped before the division, which could overflow.
    return np.clip(maps, -limit, limit) / limit


def _colours(fractions: np.ndarray) -> np.ndarray:
    """Seismic colours, uint8, of values in [-1, 1]."""
    # The points of matplotlib's seismic. Its blue end is (0, 0, 0.3) where its red end is
    # (0.5, 0, 0), which makes -1 look stronger than 1: here both ends are 0.5.
    size = np.abs(fractions)
    own = np.interp(size, [0.0, 0.5, 1.0], [1.0, 1.0, 0.5])
    others = np.interp(size, [0.0, 0.5], [1.0, 0.0])
    red = np.where(fractions < 0, others, own)
    blue = np.where(fractions < 0, own, others)
    return np.rint(255 * np.stack([red, others, blue], axis=-1)).astype(np.uint8)


def _photo(values: ArrayLike, name: str) -> np.ndarray:
    """The photo as float64 in [0, 1]."""
    photo = _numbers(values, name, {3: "(H, W, 3)"})
    if photo.shape[2] != 3 or photo.size == 0:
        raise ValueError(f"{name} has shape {photo.shape}: it must be (H, W, 3)")
    if photo.dtype == np.uint8:
        return photo / 255
    if photo.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {photo.dtype}: it must be uint8 or float in [0, 1]")
    low, high = photo.min(), photo.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}: floats must be in [0, 1]. Give the photo "
            "as it was before the network's preprocessing, or divide it by 255"
        )
    return photo.astype(np.float64)


def _same_size(fractions: np.ndarray, name: str, photo: np.ndarray, photo_name: str) -> None:
    if fractions.shape != photo.shape[:2]:
        raise ValueError(
            f"{name} has height and width {fractions.shape}, {photo_name} has {photo.shape[:2]}: "
            "resize the photo to the heatmap's size"
        )


def _panel(values: ArrayLike, name: str) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape and the colours of one layer's relevance."""
    relevance = _numbers(values, name, {1: "(features,)", 3: "(H, W, C)"})
    if relevance.size == 0:
        raise ValueError(f"{name} has shape {relevance.shape}: it is empty")
    if relevance.ndim == 3:
        return relevance.shape, _colours(_fractions(heatmap(relevance), name, _MAP))
    bar = _fractions(relevance[:, np.newaxis], name, _MAP)
    # Left to the renderer, the few relevant of thousands of features would fade into the mean.
    steps = np.array_split(bar, min(len(bar), _BAR_STEPS))
    return relevance.shape, _colours(np.stack([step[np.abs(step).argmax()] for step in steps]))


def _shape_text(shape: tuple[int, ...]) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, facecolor="white")


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without ticks, placed in inches from the left and the top of the figure."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set(xticks=[], yticks=[])
    # A white heatmap would have no edge on a white page.
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, edgecolor=_FRAME)
    return axes


def _legend(figure: Figure, centre: float) -> None:
    """What the colours mean, at the foot of the figure; `centre` in inches from the left."""
    width = 1.0
    axes = _axes(figure, centre - width / 2, figure.get_figheight() - 0.28, width, 0.09)
    axes.imshow(_colours(np.linspace(-1, 1, 201)[np.newaxis]), aspect="auto", extent=(-1.0, 1.0, 0.0, 1.0))
    axes.set_xticks([-1, 0, 1], labels=["\N{MINUS SIGN}max", "0", "+max"])
    axes.tick_params(length=0, pad=2, labelsize=_SMALL, labelcolor=_GREY)
    for x, side, text in ((-1.1, "right", "irrelevant"), (1.1, "left", "relevant")):
        axes.text(x, 0.5, text, fontsize=_NAME, color=_INK, ha=side, va="center_baseline")


def _text_width(text: str, size: float) -> float:
    """Width of the longest line of `text`, in inches, at a font size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size)
    widths = (text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n"))
    return max(widths) / 72


def _wrapped(text: str, width: float, size: float) -> str:
    """`text` in lines of about `width` inches."""
    whole = _text_width(text, size)
    if whole <= width:
        return text
    return "\n".join(textwrap.wrap(text, max(1, int(len(text) * width / whole))))
