"""Relevance layer by layer, in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rap_keras.visualization import layout
from rap_keras.visualization.colours import MAP, as_pixels, fractions, heatmap, limit_of, numbers, seismic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Lengths are in inches, font sizes in points.
_NAME, _SMALL = 7, 6
_PANEL = 0.9  # height of an image
_BAR = 0.12  # width of a layer without rows and columns
_BAR_STEPS = 90  # steps in such a bar: at layout.DPI, two pixels each
WIDEST = 8.0
"""A strip of layers wraps before it gets wider."""


def layer_strip(
    relevances: Mapping[str, np.ndarray | Sequence[np.ndarray]],
    photo: ArrayLike | None = None,
    negative_logit: bool = False,
    scale: str = "max",
) -> Figure:
    """Relevance layer by layer, from the output to the input, as Figure 4 of the paper.

    Each picture has its own scale, and the shape of its array below. Deep networks take several rows.

    Args:
        relevances: For each layer's name, from the network's input to its output, the relevance of
            one sample at that layer's input: (H, W, C), shown as the sum over the channels, or
            (features,), shown as a bar with the first feature on top. A bar of more than 90
            features has 90 steps, each the strongest of the features there. A list of such arrays
            for a layer with several inputs.
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
            panels.append((str(layer), *_panel(value, name, scale)))
        elif len(value) == 0:
            raise ValueError(f"{name} is an empty list: give an array per input of the layer")
        else:
            for index, part in enumerate(value):
                panels.append((f"{layer}[{index}]", *_panel(part, f"{name}[{index}]", scale)))
    if photo is not None:
        pixels = as_pixels(photo, "photo")
        panels.append(("photo", pixels.shape, pixels))

    # First the place of every picture, then the figure: its size has to be known to draw in it.
    heading = layout.LINE * _NAME
    places, left, top = [], layout.MARGIN, layout.MARGIN + heading
    right = layout.MARGIN
    for label, shape, _ in panels:
        width = _BAR if len(shape) == 1 else min(_PANEL * shape[1] / shape[0], WIDEST)
        slot = max(width, layout.text_width(label, _NAME), layout.text_width(_shape_text(shape), _SMALL))
        if left > layout.MARGIN and left + slot > WIDEST:
            left, top = layout.MARGIN, top + _PANEL + heading + 2 * layout.LINE * _SMALL
        places.append((left + (slot - width) / 2, top, width))
        right = max(right, left + slot)
        left += slot + 2 * layout.GAP
    words = ("negative", "positive") if negative_logit else ("irrelevant", "relevant")
    note = layout.note_of(scale, absolute=False)
    least = layout.legend_width(words, note, _NAME)
    bottom = top + _PANEL + layout.LINE * _SMALL
    figure = layout.new_figure(max(right, least) + layout.MARGIN, bottom + layout.legend_height(_NAME))
    for (label, shape, image), (left, top, width) in zip(panels, places):
        axes = layout.axes_at(figure, left, top, width, _PANEL)
        axes.imshow(image, aspect="auto")
        axes.set_title(label, fontsize=_NAME, color=layout.INK, pad=3, parse_math=False)
        axes.set_xlabel(_shape_text(shape), fontsize=_SMALL, color=layout.GREY, labelpad=2)
    layout.legend(figure, figure.get_figwidth() / 2, words, note, _NAME)
    return figure


def _panel(values: ArrayLike, name: str, scale: str) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape and the colours of one layer's relevance."""
    relevance = numbers(values, name, {1: "(features,)", 3: "(H, W, C)"})
    if relevance.size == 0:
        raise ValueError(f"{name} has shape {relevance.shape}: it is empty")
    if relevance.ndim == 3:
        shown = heatmap(relevance)
        return relevance.shape, seismic(fractions(shown, name, MAP, limit_of(shown, scale)))
    bar = fractions(relevance[:, np.newaxis], name, MAP, limit_of(relevance, scale))
    # Left to the renderer, the few relevant of thousands of features would fade into the mean.
    steps = np.array_split(bar, min(len(bar), _BAR_STEPS))
    return relevance.shape, seismic(np.stack([step[np.abs(step).argmax()] for step in steps]))


def _shape_text(shape: tuple[int, ...]) -> str:
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape))
