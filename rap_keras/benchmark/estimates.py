"""The metrics of a benchmark: from values per image to a mean, a median and an interval."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np
from scipy import stats

from rap_keras.metrics import ORDERS, Counts, mean_iou, pixel_accuracy

_COUNTS = {case: tuple(f"{count}_{case}" for count in Counts._fields) for case in ("pos", "signed")}
_TOLD_APART = {
    ("own_above_other", "mass"): "own_above_other_mass",
    ("own_above_other", "density"): "own_above_other_density",
    ("pointing", "own"): "pointing_own",
    ("pointing", "other"): "pointing_other",
}
SECONDS = "seconds"
"""The column of the time that a method took; no metric."""
STORED = (
    *("outside_inside_all", "outside_inside_pos", "mass_inside"),
    *(*_COUNTS["pos"], *_COUNTS["signed"], *_TOLD_APART.values()),
    SECONDS,
)
"""Columns of the results of an image, as they come."""
DERIVED = tuple(f"{metric}_{order}" for order in ORDERS for metric in ("aopc", "accuracy_left", "accuracy_end"))
"""Columns that are computed from the lists of what is left after each step."""
COLUMNS = STORED + DERIVED

_RESAMPLES = 1000
_SEED = 0
_DRAWN_AT_ONCE = 200_000


class Metric(NamedTuple):
    """A metric and case of the table.

    Attributes:
        name: as in the table.
        case: as in the table.
        columns: the ones of `COLUMNS` that it is computed from.
        per_image: maps these to a value for each image; None if only all images together have a value.
        typical: the statistic that the interval belongs to, over the last axis.
    """

    name: str
    case: str
    columns: tuple[str, ...]
    per_image: Callable[..., np.ndarray] | None
    typical: Callable[..., Any]


def _pooled(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray, axis: int = -1) -> Any:
    return mean_iou(Counts(tp.sum(axis), fp.sum(axis), fn.sum(axis), tn.sum(axis)))


def _itself(values: np.ndarray) -> np.ndarray:
    return values


def _of_counts(function: Callable[[Counts], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda *counts: function(Counts(*counts))


ESTIMATES = (
    *(Metric("outside_inside_ratio", c, (f"outside_inside_{c}",), _itself, np.median) for c in ("all", "pos")),
    Metric("mass_inside", "pos", ("mass_inside",), _itself, np.mean),
    *(Metric(name, case, (column,), _itself, np.mean) for (name, case), column in _TOLD_APART.items()),
    *(Metric("pixel_accuracy", c, _COUNTS[c], _of_counts(pixel_accuracy), np.mean) for c in _COUNTS),
    *(Metric("miou", c, _COUNTS[c], _of_counts(mean_iou), np.mean) for c in _COUNTS),
    *(Metric("miou_pooled", c, _COUNTS[c], None, _pooled) for c in _COUNTS),
    *(
        Metric(metric, order, (f"{metric}_{order}",), _itself, np.mean)
        for metric in ("aopc", "accuracy_left", "accuracy_end")
        for order in ORDERS
    ),
)


def values_of(metric: Metric, values: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """What the metric is estimated from.

    Args:
        metric: the metric.
        values: one row for each image, (images, len(COLUMNS)).

    Returns:
        Arrays to be averaged or pooled, of the images that have a value; and which images do, bool (images,).
    """
    data = tuple(values[:, COLUMNS.index(column)] for column in metric.columns)
    defined = np.isfinite(data).all(axis=0)
    if metric.per_image is not None:
        per_image = np.full(len(values), np.nan)
        per_image[defined] = metric.per_image(*(column[defined] for column in data))
        data, defined = (per_image,), np.isfinite(per_image)
    else:
        defined &= np.sum(data, axis=0) > 0  # otherwise every pixel is void
    return tuple(column[defined] for column in data), defined


def estimate(metric: Metric, data: tuple[np.ndarray, ...]) -> tuple[float, float, float, float]:
    """Mean (or pooled value), median (NaN if pooled), and the bounds of the interval; NaN without an image."""
    if len(data[0]) == 0:
        return (np.nan,) * 4
    pooled = metric.per_image is None
    mean = float(metric.typical(*data)) if pooled else float(np.mean(data[0]))
    median = np.nan if pooled else float(np.median(data[0]))
    return mean, median, *_interval(data, metric.typical)


def share_interval(share: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap 95 % percentile interval of shares, without resampling.

    How often something is met in a resample of `count` images has a binomial distribution, whose percentiles are
    known.

    Args:
        share: of the images, in [0, 1], any shape.
        count: how many images there are.
    """
    low, high = (stats.binom.ppf(quantile, count, share) / count for quantile in (0.025, 0.975))
    # scipy 1.9 has 0 as the low percentile of what is always met.
    return np.where(share == 1, 1.0, low), high


def _interval(data: tuple[np.ndarray, ...], statistic: Callable[..., Any]) -> tuple[float, float]:
    """Bootstrap 95 % percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""
    count = len(data[0])
    if count == 1:
        value = float(statistic(*data))
        return value, value
    # Each row of the table has a generator of its own, so that it does not depend on the other rows.
    bounds = stats.bootstrap(
        data,
        statistic,
        n_resamples=_RESAMPLES,
        batch=max(1, _DRAWN_AT_ONCE // count),
        vectorized=True,
        paired=len(data) > 1,
        axis=-1,
        method="percentile",
        random_state=np.random.default_rng(_SEED),
    ).confidence_interval
    return float(bounds.low), float(bounds.high)
