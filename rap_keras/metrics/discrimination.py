"""Whether a heatmap marks the object of the class explained, and not that of another class beside it.

Every function takes one image (H, W). Void pixels, whose label is unknown, count nowhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rap_keras.metrics import arrays as maps


class Discrimination(NamedTuple):
    """How a heatmap tells two objects apart: 1.0 for yes, 0.0 for no, NaN where an object has no pixels.

    Attributes:
        mass: the own object has more positive relevance than the other one.
        density: it has more per pixel, so that the size of the objects does not count.
        pointing_own: the pixel of the highest relevance lies on the own object (the pointing game).
        pointing_other: it lies on the other one.
    """

    mass: float
    density: float
    pointing_own: float
    pointing_other: float


def discrimination(
    heatmap: np.ndarray, own: np.ndarray, other: np.ndarray, void: np.ndarray | None = None
) -> Discrimination:
    """How a heatmap tells the object of the explained class from that of another class; higher is better.

    Without any positive relevance on either object the answer is no, as no relevance at all tells nothing apart; a
    heatmap without positive relevance points nowhere. A heatmap that does not depend on the class has 0.5 in the
    mean over both classes of each image, in `mass` as in `density`.

    Source of the pointing game: Zhang et al., Top-Down Neural Attention by Excitation Backprop, IJCV 2018.

    Args:
        heatmap: relevance, (H, W).
        own: which pixels are the explained object's, bool, (H, W).
        other: which pixels are the other object's, bool, (H, W).
        void: pixels that do not count, bool, (H, W).

    Raises:
        ValueError: the shapes differ, a mask is not bool, or the heatmap has values that are not finite.
    """
    values = maps.finite(heatmap)
    if values.ndim != 2:
        raise ValueError(f"the heatmap has shape {values.shape}: give one image, (H, W)")
    seen = maps.counted(void, values.shape)
    own = maps.mask_of(own, values.shape, "own") & seen
    other = maps.mask_of(other, values.shape, "other") & seen
    if not own.any() or not other.any():
        return Discrimination(np.nan, np.nan, np.nan, np.nan)
    positive = np.where(seen, np.maximum(values, 0), 0)
    inside, outside = positive[own], positive[other]
    peak = np.unravel_index(positive.argmax(), positive.shape)
    points = positive[peak] > 0
    return Discrimination(
        float(inside.sum() > outside.sum()),
        float(inside.mean() > outside.mean()),
        float(points and own[peak]),
        float(points and other[peak]),
    )
