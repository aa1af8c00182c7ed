"""Whether a heatmap marks the object of the explained class, or that of another class in the same image.

Every function takes one image, (H, W). Void pixels, whose label is unknown, are ignored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rap_keras.metrics import arrays as maps


class Discrimination(NamedTuple):
    """Whether a heatmap tells two objects apart: 1.0 for yes, 0.0 for no, NaN if an object has no pixels.

    Attributes:
        mass: the explained object has more positive relevance than the other one.
        density: it has more per pixel, so that the size of the objects does not matter.
        pointing_own: the pixel with the highest relevance lies on the explained object (the pointing game).
        pointing_other: it lies on the other object.
    """

    mass: float
    density: float
    pointing_own: float
    pointing_other: float


def discrimination(
    heatmap: np.ndarray, own: np.ndarray, other: np.ndarray, void: np.ndarray | None = None
) -> Discrimination:
    """Whether a heatmap tells the object of the explained class from that of another class; higher is better.

    If neither object has positive relevance, the answer is no. A heatmap without positive relevance points
    nowhere. If a heatmap does not depend on the class, the mean of `mass` over both classes of each image is 0.5,
    and so is that of `density`.

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
