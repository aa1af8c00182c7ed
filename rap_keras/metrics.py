"""How well heatmaps mark an object of known place, as in the evaluation of the RAP paper."""

from __future__ import annotations

import numpy as np


def outside_inside_ratio(heatmap: np.ndarray, inside: np.ndarray, positive: bool = True) -> float:
    """Mean relevance outside of an object over mean relevance inside; lower is better.

    Source: Lapuschkin et al., Analyzing Classifiers, CVPR 2016; the paper's "POS" case takes positive relevance
    alone, its "ALL" case (`positive=False`) all of it.

    Args:
        heatmap: relevance, (H, W).
        inside: which pixels are the object's, or in its box, bool (H, W).
        positive: whether negative relevance counts as 0.

    Returns:
        The ratio; NaN where it has none: nothing is inside or outside, or the mean inside is 0.

    Raises:
        ValueError: the shapes differ, or the heatmap has values that are not finite.
    """
    values = _checked(heatmap, inside)
    values = np.maximum(values, 0) if positive else values
    inside = inside.astype(bool)
    if inside.all() or not inside.any():
        return float("nan")
    mean = values[inside].mean()
    return float(values[~inside].mean() / mean) if mean else float("nan")


def mean_iou(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Mean of the intersection over union of object and of background; higher is better.

    What counts as marked is positive relevance above its mean over the image, the paper's first case.

    Args:
        heatmap: relevance, (H, W).
        mask: the object's pixels, bool (H, W).

    Raises:
        ValueError: the shapes differ, or the heatmap has values that are not finite.
    """
    values = np.maximum(_checked(heatmap, mask), 0)
    marked, mask = values > values.mean(), mask.astype(bool)
    return (_iou(marked, mask) + _iou(~marked, ~mask)) / 2


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.sum(a | b)
    return float(np.sum(a & b) / union) if union else 1.0


def _checked(heatmap: np.ndarray, mask: np.ndarray) -> np.ndarray:
    values = np.asarray(heatmap, np.float64)
    if values.shape != np.shape(mask):
        raise ValueError(f"the heatmap has shape {values.shape}, the mask {np.shape(mask)}")
    if not np.isfinite(values).all():
        raise ValueError(f"the heatmap has {np.sum(~np.isfinite(values))} values that are not finite")
    return values
