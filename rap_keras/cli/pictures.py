"""Pictures of arrays beside their relevance: series, vectors, volumes, videos, and images of any channels.

All take one sample at a time, without the batch axis. The colours are those of `visualization.to_rgb`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rap_keras.visualization import heatmap, to_rgb

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
_TITLE, _SMALL = 8, 6


class Cell(NamedTuple):
    """An input, (...), and its relevance of the same shape, in one place of a picture."""

    title: str
    values: np.ndarray
    relevance: np.ndarray


def as_photo(image: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """An image of any channels as a photo: of 1 grey, of 3 RGB, of 4 RGB and opacity, over white.

    Of any other number of channels it is the mean, in grey.

    Args:
        image: real numbers, (H, W, C).
        low: what becomes black; without it the smallest value.
        high: what becomes white; without it the largest value.

    Returns:
        uint8, (H, W, 3); grey where all values are equal.
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
    """What is drawn of a series: its channels, or of more than `CURVES` the mean, with their relevance summed up.

    Args:
        values: (T, C).
        relevance: (T, C).

    Returns:
        Values and relevance, (T, channels that are drawn), and a note for the title, "" where all are drawn.
    """
    count = values.shape[1]
    if count <= CURVES:
        return values, relevance, ""
    summed = relevance.sum(axis=1, keepdims=True, dtype=np.float64)
    return values.mean(axis=1, keepdims=True, dtype=np.float64), summed, f"mean of {count} channels"


def segments(curve: np.ndarray) -> np.ndarray:
    """A curve, (T,), in one piece per step, so that each step can have the colour of its own relevance.

    Returns:
        The points (x, y) of each piece, (T, 3, 2): half a step before it, at it and half a step behind. The curve
        ends level.
    """
    steps = np.arange(len(curve), dtype=float)
    padded = np.concatenate([curve[:1], curve, curve[-1:]]).astype(float)
    between = (padded[:-1] + padded[1:]) / 2
    x = np.stack([steps - 0.5, steps, steps + 0.5], axis=1)
    return np.stack([x, np.stack([between[:-1], curve, between[1:]], axis=1)], axis=2)


def strongest(relevance: np.ndarray, count: int) -> np.ndarray:
    """The places along the first axis where the sum of |relevance| is largest, at most `count`, in their order."""
    sums = np.abs(relevance.astype(np.float64)).reshape(len(relevance), -1).sum(axis=1)
    return np.sort(np.argsort(-sums, kind="stable")[:count])


def colours(relevance: np.ndarray, limit: float) -> np.ndarray:
    """Colours of relevance, floats in [0, 1], (N, 3), for (N,); +limit is dark red, -limit dark blue."""
    return to_rgb(relevance[np.newaxis], limit)[0] / 255


def stacked(cells: Sequence[Sequence[Cell]]) -> Figure:
    """Cells below and beside each other, each drawn by how many axes its sample has.

    Args:
        cells: row by row. Samples of 1 axis are vectors, of 2 series, of 3 images and of 4 volumes and videos;
            those of more are cut into slices along all axes but the last three.

    Returns:
        The figure; every cell has a colour bar of its own, which is as far up as down.
    """
    from matplotlib.figure import Figure

    heights = [max(_height(cell) for cell in row) for row in cells]
    columns = max(map(len, cells))
    figure = Figure(figsize=(_WIDTH * columns, sum(heights)), dpi=150, layout="constrained")
    grid = figure.add_gridspec(len(cells), columns, height_ratios=heights)
    for number, row in enumerate(cells):
        for column, cell in enumerate(row):
            _draw(figure, grid[number, column], cell)
    return figure


def _height(cell: Cell) -> float:
    channels = cell.values.shape[1] if cell.values.ndim == 2 else 1
    return _HEIGHTS[min(max(cell.values.ndim, 1), 4)] + _CURVE * (channels - 1 if channels <= CURVES else 0)


def _draw(figure: Figure, place: Any, cell: Cell) -> None:
    values, relevance = np.atleast_1d(cell.values), np.atleast_1d(cell.relevance)
    relevance = relevance if np.isfinite(relevance).all() else np.zeros_like(relevance)
    inner = figure.add_subfigure(place)
    if values.ndim == 1:
        limit, note = _vector(inner, values, relevance)
    elif values.ndim == 2:
        limit, note = _series(inner, values, relevance)
    elif values.ndim == 3:
        limit, note = _image(inner, values, relevance)
    else:
        shape = (-1, *values.shape[-3:])
        limit, note = _volume(inner, values.reshape(shape), relevance.reshape(shape))
    inner.suptitle(textwrap.fill(cell.title + f" ({note})" * bool(note), 70), fontsize=_TITLE)
    _colour_bar(inner, limit)


def _limit(relevance: np.ndarray) -> float:
    """The largest |relevance|, 1 where there is none."""
    return float(np.abs(relevance).max()) or 1.0


def _vector(figure: Any, values: np.ndarray, relevance: np.ndarray) -> tuple[float, str]:
    """A bar per feature, and below it a field of the same colour, for bars of height 0."""
    shown = strongest(relevance, BARS)
    note = f"{len(shown)} of {len(values)} features, of the largest |relevance|" * (len(shown) < len(values))
    limit = _limit(relevance)
    bars, strip = figure.subplots(2, 1, height_ratios=[8, 1], sharex=True)
    places = np.arange(len(shown))
    bars.bar(places, values[shown], color=colours(relevance[shown], limit), edgecolor="0.5", linewidth=0.4)
    strip.imshow(to_rgb(relevance[np.newaxis, shown], limit), aspect="auto")
    strip.set(yticks=[])
    strip.set_xticks(places, [str(number) for number in shown], rotation=90 if len(shown) > 16 else 0)
    bars.tick_params(labelsize=_SMALL, labelbottom=False)
    strip.tick_params(labelsize=_SMALL if len(shown) <= 32 else _SMALL - 2)
    return limit, note


def _series(figure: Any, values: np.ndarray, relevance: np.ndarray) -> tuple[float, str]:
    """A curve per channel, all in one scale of colours."""
    from matplotlib.collections import LineCollection

    drawn, of_it, note = curves(values, relevance)
    limit = _limit(of_it)
    for channel, axes in enumerate(figure.subplots(drawn.shape[1], 1, sharex=True, squeeze=False)[:, 0]):
        pieces, order = segments(drawn[:, channel]), np.argsort(np.abs(of_it[:, channel]), kind="stable")
        # White is no relevance, and would not show without the grey line behind it. The strongest comes last:
        # where there are more steps than pixels it is on top.
        axes.add_collection(LineCollection(list(pieces), colors="0.6", linewidths=2.6))
        shades = colours(of_it[:, channel], limit)
        axes.add_collection(LineCollection(list(pieces[order]), colors=shades[order], linewidths=1.8))
        axes.autoscale_view()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=_SMALL)
        if not note:
            axes.set_ylabel(f"channel {channel}", fontsize=_SMALL)
    return limit, note


def _image(figure: Any, values: np.ndarray, relevance: np.ndarray) -> tuple[float, str]:
    summed = heatmap(relevance)
    limit = _limit(summed)
    _pictures(figure.subplots(1, 2), [as_photo(values), to_rgb(summed, limit)])
    return limit, channels_note(values.shape[-1])


def _volume(figure: Any, values: np.ndarray, relevance: np.ndarray) -> tuple[float, str]:
    """The strongest slices, all in one scale of grey and one of colours, each above its heatmap."""
    shown = strongest(heatmap(relevance), SLICES)
    limit = _limit(heatmap(relevance))
    means = values if values.shape[-1] in (1, 3, 4) else values.mean(axis=-1, keepdims=True, dtype=np.float64)
    low, high = float(means.min()), float(means.max())
    axes = figure.subplots(2, len(shown), squeeze=False)
    _pictures(axes[0], [as_photo(means[number], low, high) for number in shown])
    _pictures(axes[1], [to_rgb(heatmap(relevance[number]), limit) for number in shown])
    for number, upper in zip(shown, axes[0]):
        upper.set_title(str(number), fontsize=_SMALL, pad=2)
    count = f"{len(shown)} of {len(values)} slices, of the largest |relevance|" * (len(shown) < len(values))
    return limit, "; ".join(filter(None, [count, channels_note(values.shape[-1])]))


def channels_note(channels: int) -> str:
    """What is told of an image that cannot be shown in its own colours; "" for others."""
    return "" if channels in (1, 3, 4) else f"mean of {channels} channels"


def _pictures(places: Any, pictures: Sequence[np.ndarray]) -> None:
    for axes, picture in zip(places, pictures):
        axes.imshow(picture, interpolation="nearest")
        axes.set(xticks=[], yticks=[])


def _colour_bar(figure: Any, limit: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    scale = ListedColormap(colours(np.linspace(-1, 1, 201), 1.0))
    bar = figure.colorbar(ScalarMappable(Normalize(-limit, limit), scale), ax=figure.axes, pad=0.02, aspect=30)
    bar.ax.tick_params(labelsize=_SMALL)
