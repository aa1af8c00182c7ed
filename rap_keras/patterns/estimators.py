"""Patterns from sums over data, in numpy.

Weights, and arrays of their shape, have the inputs of a neuron along the first axes and the neurons along the last
ones. A neuron is y = w^T x + b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Sums:
    """Sums over all samples and positions that a neuron has seen, float64.

    The regime is where the estimator looks: everywhere ("linear"), or where the neuron is active ("relu").

    Attributes:
        count: how often each neuron was calculated.
        y: sum over all y, for each neuron.
        regime_count: how often each neuron was in the regime.
        regime_x: sum over x in the regime, shaped as the weights.
        regime_xy: sum over x y in the regime, likewise.
    """

    count: float
    y: np.ndarray
    regime_count: np.ndarray
    regime_x: np.ndarray
    regime_xy: np.ndarray


def pattern(w: np.ndarray, sums: Sums, rounding: float) -> np.ndarray:
    """The direction a of a neuron's signal, scaled so that w^T a = 1; 0 for a neuron that never varies.

    a = c / (w^T c) with c = E[xy] - E[x] E[y] in the linear estimator (Eq. 4 of the paper) and
    c = E+[xy] - E+[x] E[y] in the two-component one (Eq. 8), where E+ is the mean over the positive regime.

    Args:
        w: the weights.
        sums: over the data; y may be shifted by any constant, since c does not depend on it.
        rounding: relative rounding error of the sums. A neuron never varies if its w^T c is no larger than the
            rounding error of its parts.

    Returns:
        The patterns, shaped as w, float64.
    """
    seen = np.maximum(sums.regime_count, 1)
    mean_y = sums.y / max(sums.count, 1)
    together, apart = sums.regime_xy / seen, sums.regime_x / seen * mean_y
    inputs = tuple(range(w.ndim - np.ndim(sums.y)))
    w = w.astype(np.float64)
    covariance = together - apart
    variance = (w * covariance).sum(inputs)
    parts = (np.abs(w) * (np.abs(together) + np.abs(apart))).sum(inputs)
    varies = np.abs(variance) > rounding * parts
    return np.where(varies, covariance / np.where(varies, variance, 1), 0)
