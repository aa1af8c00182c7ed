"""Pictures of arrays beside their relevance: series, vectors, volumes, videos, and images of any channels.

Every function takes one sample, without the batch axis.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rap_keras.visualization.colours import Style, heatmap
from rap_keras.visualization.image_figures import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = 8
"""A series of more channels is shown by their mean."""
BARS = 64
"""Of a vector of more features those of the largest |relevance| are shown."""
SLICES = 6
"""So many slices of a volume, or frames of a video, are shown."""

# Lengths are in inches, font sizes in points.
_WIDTH = 5.0
_HEIGHTS = {1: 1.9, 2: 1.6, 3: 1.9, 4: 2.2}  # of a cell, by the axes of the sample
_CURVE = 0.7  # for every channel of a series beyond the first


class Cell(NamedTuple):
    """An input, (...), and its relevance of the same shape, in one place of a picture."""

    title: str
    values: np.ndarray
    relevance: np.ndarray


def as_photo(image: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """An image, (H, W, C), as a photo, uint8, (H, W, 3): of 1 channel grey, of 3 RGB, of 4 RGB over white.

    Of any other number of channels it is the mean, in grey. `low` becomes black and `high` white, by default the
    smallest and the largest value; where all values are equal it is grey.
    """
    values = image.astype(np.float64)
    if image.shape[-1] not in (1, 3, 4):
        values = values.mean(axis=-1, keepdims=True)
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    scaled = np.clip((values - low) / (high - low), 0, 1) if high > low else np.full(values.shape, 0.5)
    if scaled.shape[-1] == 4:
        opacity = scaled[..., 3:]
        scaled = opacity * scaled[..., :3] + 1 - opacity
    return np.rint(255 * np.broadcast_to(scaled, (*scaled.shape[:2], 3))).astype(np.uint8)


def curves(values: np.ndarray, relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """What is drawn of a series, (T, C), its relevance, and a note for the title: of many channels the mean."""
    count = values.shape[1]
    if count <= CURVES:
        return values, relevance, ""
    summed = relevance.sum(axis=1, keepdims=True, dtype=np.float64)
    return values.mean(axis=1, keepdims=True, dtype=np.float64), summed, f"mean of {count} channels"


def segments(curve: np.ndarray) -> np.ndarray:
    """A curve, (T,), in one piece per step, (T, 3, 2), so that each step can have the colour of its own relevance.

    The points (x, y) of a piece are half a step before it, at it and half a step behind. The curve ends level.
    """
    steps = np.arange(len(curve), dtype=float)
    padded = np.concatenate([curve[:1], curve, curve[-1:]]).astype(float)
    between = (padded[:-1] + padded[1:]) / 2
    x = np.stack([steps - 0.5, steps, steps + 0.5], axis=1)
    return np.stack([x, np.stack([between[:-1], curve, between[1:]], axis=1)], axis=2)


def strongest(relevance: np.ndarray, count: int) -> np.ndarray:
    """At most `count` indices along the first axis, in order, where the sum of |relevance| is largest."""
    sums = np.abs(relevance.astype(np.float64)).reshape(len(relevance), -1).sum(axis=1)
    return np.sort(np.argsort(-sums, kind="stable")[:count])


def colours(relevance: np.ndarray, limit: float, style: Style) -> np.ndarray:
    """Colours of relevance, (N,), as floats in [0, 1], (N, 3)."""
    return style.colours(relevance, limit) / 255


def stacked(cells: Sequence[Sequence[Cell]], style: Style) -> Figure:
    """Cells below and beside each other, row by row, each with a colour bar of its own.

    Samples of 1 axis are vectors, of 2 series, of 3 images and of 4 volumes and videos; those of more are cut into
    slices along all axes except the last three. `style.overlay` is for images on their own.
    """
    from matplotlib.figure import Figure

    heights = [max(_height(cell) for cell in row) for row in cells]
    columns = max(map(len, cells))
    figure = Figure(figsize=(style.width or _WIDTH * columns, sum(heights)), dpi=150, layout="constrained")
    grid = figure.add_gridspec(len(cells), columns, height_ratios=heights)
    for number, row in enumerate(cells):
        for column, cell in enumerate(row):
            _draw(figure, grid[number, column], cell, style)
    figure.supxlabel(style.note(), fontsize=style.font_size, color=GREY)
    return figure


def _height(cell: Cell) -> float:
    channels = cell.values.shape[1] if cell.values.ndim == 2 else 1
    return _HEIGHTS[min(max(cell.values.ndim, 1), 4)] + _CURVE * (channels - 1 if channels <= CURVES else 0)


def _draw(figure: Figure, place: Any, cell: Cell, style: Style) -> None:
    values, relevance = np.atleast_1d(cell.values), np.atleast_1d(cell.relevance)
    relevance = relevance if np.isfinite(relevance).all() else np.zeros_like(relevance)
    if relevance.ndim <= 2:  # images and volumes are summed over their channels first
        relevance = style.shown(relevance)
    inner = figure.add_subfigure(place)
    if values.ndim == 1:
        limit, note = _vector(inner, values, relevance, style)
    elif values.ndim == 2:
        limit, note = _series(inner, values, relevance, style)
    elif values.ndim == 3:
        limit, note = _image(inner, values, relevance, style)
    else:
        shape = (-1, *values.shape[-3:])
        limit, note = _volume(inner, values.reshape(shape), relevance.reshape(shape), style)
    title = cell.title + f" ({note})" * bool(note)
    inner.suptitle(textwrap.fill(title, 70), fontsize=style.font_size, parse_math=False)
    _colour_bar(inner, limit, style)


def _vector(figure: Any, values: np.ndarray, relevance: np.ndarray, style: Style) -> tuple[float, str]:
    """A bar per feature, and below it a field of the same colour, for bars of height 0."""
    shown = strongest(relevance, BARS)
    note = f"{len(shown)} of {len(values)} features, of the largest |relevance|" * (len(shown) < len(values))
    limit = style.limit(relevance)
    bars, strip = figure.subplots(2, 1, height_ratios=[8, 1], sharex=True)
    positions = np.arange(len(shown))
    bars.bar(
        positions, values[shown], color=colours(relevance[shown], limit, style), edgecolor="0.5", linewidth=0.4
    )
    strip.imshow(style.colours(relevance[np.newaxis, shown], limit), aspect="auto")
    strip.set(yticks=[])
    strip.set_xticks(positions, [str(number) for number in shown], rotation=90 if len(shown) > 16 else 0)
    small = _small(style)
    bars.tick_params(labelsize=small, labelbottom=False)
    strip.tick_params(labelsize=small if len(shown) <= 32 else small - 2)
    return limit, note


def _series(figure: Any, values: np.ndarray, relevance: np.ndarray, style: Style) -> tuple[float, str]:
    """A curve per channel, all in one scale of colours."""
    from matplotlib.collections import LineCollection

    drawn, of_it, note = curves(values, relevance)
    of_it = style.shown(of_it)
    limit = style.limit(of_it)
    for channel, axes in enumerate(figure.subplots(drawn.shape[1], 1, sharex=True, squeeze=False)[:, 0]):
        pieces, order = segments(drawn[:, channel]), np.argsort(np.abs(of_it[:, channel]), kind="stable")
        # White is no relevance, and would not show without the grey line behind it. The strongest comes last:
        # where there are more steps than pixels it is on top.
        axes.add_collection(LineCollection(list(pieces), colors="0.6", linewidths=2.6))
        shades = colours(of_it[:, channel], limit, style)
        axes.add_collection(LineCollection(list(pieces[order]), colors=shades[order], linewidths=1.8))
        axes.autoscale_view()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=_small(style))
        if not note:
            axes.set_ylabel(f"channel {channel}", fontsize=_small(style))
    return limit, note


def _image(figure: Any, values: np.ndarray, relevance: np.ndarray, style: Style) -> tuple[float, str]:
    summed = style.shown(heatmap(relevance))
    limit = style.limit(summed)
    _images(figure.subplots(1, 2), [as_photo(values), style.colours(summed, limit)])
    return limit, channels_note(values.shape[-1])


def _volume(figure: Any, values: np.ndarray, relevance: np.ndarray, style: Style) -> tuple[float, str]:
    """The strongest slices, all in one scale of grey and one of colours, each above its heatmap."""
    maps = style.shown(heatmap(relevance))
    shown, limit = strongest(maps, SLICES), style.limit(maps)
    means = values if values.shape[-1] in (1, 3, 4) else values.mean(axis=-1, keepdims=True, dtype=np.float64)
    low, high = float(means.min()), float(means.max())
    axes = figure.subplots(2, len(shown), squeeze=False)
    _images(axes[0], [as_photo(means[number], low, high) for number in shown])
    _images(axes[1], [style.colours(maps[number], limit) for number in shown])
    for number, upper in zip(shown, axes[0]):
        upper.set_title(str(number), fontsize=_small(style), pad=2)
    count = f"{len(shown)} of {len(values)} slices, of the largest |relevance|" * (len(shown) < len(values))
    return limit, "; ".join(filter(None, [count, channels_note(values.shape[-1])]))


def channels_note(channels: int) -> str:
    """What is told of an image that cannot be shown in its own colours; "" for others."""
    return "" if channels in (1, 3, 4) else f"mean of {channels} channels"


def _images(places: Any, images: Sequence[np.ndarray]) -> None:
    for axes, image in zip(places, images):
        axes.imshow(image, interpolation="nearest")
        axes.set(xticks=[], yticks=[])


def _small(style: Style) -> float:
    """The font size of numbers on axes."""
    return style.font_size - 1


def _colour_bar(figure: Any, limit: float, style: Style) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    low = 0.0 if style.absolute else -limit
    values = ScalarMappable(Normalize(low, limit), ListedColormap(style.ramp() / 255))
    bar = figure.colorbar(values, ax=figure.axes, pad=0.02, aspect=30)
    bar.ax.tick_params(labelsize=_small(style))
