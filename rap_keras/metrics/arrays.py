"""Checks of heatmaps and masks that all metrics share."""

from __future__ import annotations

import numpy as np


def finite(heatmap: np.ndarray) -> np.ndarray:
    """Relevance (H, W) or (N, H, W) as float64.

    Raises:
        ValueError: the number of axes is wrong, or values are not finite; the message says how many, and in which
            samples.
    """
    values = np.asarray(heatmap, np.float64)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"the heatmap has shape {values.shape}: it must be (H, W) or (N, H, W), relevance summed over channels"
        )
    wrong = ~np.isfinite(values)
    if wrong.any():
        samples = ", ".join(map(str, np.flatnonzero(wrong.any(axis=(-2, -1)))))
        where = f", in sample {samples}" if values.ndim == 3 else ""
        raise ValueError(f"the heatmap has {wrong.sum()} values that are not finite{where}")
    return values


def mask_of(mask: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A mask as a bool array.

    Raises:
        ValueError: the mask has another shape, or is not bool.
    """
    array = np.asarray(mask)
    if array.shape != shape:
        raise ValueError(f"the heatmap has shape {shape}, the {name} mask {array.shape}")
    # In an array of labels 0, 1 and 255, void pixels would count as the object's.
    if array.dtype != bool:
        raise ValueError(f"the {name} mask is {array.dtype}: it must be bool, as in labels == 1")
    return array


def counted(void: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels are not void, bool."""
    return np.ones(shape, bool) if void is None else ~mask_of(void, shape, "void")
