"""From results per image to a table, curves, times, and a list of what was left out.

The metrics are those of the RAP paper (Nam et al., AAAI 2020, Tables 1 and 2, Figure 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Callable, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.metrics import Figure, Metric
from rap_keras.metrics.records import METRICS

TABLE = ["model", "dataset", "method", "metric", "case", "mean", "median", "low", "high", "images", "excluded"]
"""The columns of `Summary.table`."""

_CURVES = ["method", "order", "step", "accuracy", "logit", "images", "low", "high"]
_TIMES = ["method", "seconds", "images"]
_LEFT_OUT = ["kind", "method", "metric", "case", "reason", "images", "names"]
_STATISTICS: dict[Any, Callable[..., Any]] = {"mean": np.mean, "median": np.median}
_RESAMPLES = 1000
_SEED = 0
_DRAWN_AT_ONCE = 200_000


class Summary(NamedTuple):
    """The outcome of a benchmark.

    Attributes:
        model: the network's name.
        dataset: the data set's name.
        used: how many images were used, that is, read and classified correctly.
        table: one row for each method, metric and case, with the columns of `TABLE`. `low` and `high` bound a
            bootstrap 95 % interval, of the median for outside_inside_ratio and otherwise of the mean. For
            miou_pooled `mean` is the value over the pooled pixels, and there is no median. An absolute heatmap has
            no rows of the cases "all" and "signed".
        curves: method, order, step, accuracy (share of the images still classified as before), logit (mean),
            images (how many these are means of), and low and high, the bounds of the accuracy's 95 % interval.
        left_out: kind (of image or heatmap: "misclassified", "broken", "not finite", "undefined"), method, metric
            and case (empty where it concerns them all), reason, images (how many) and names (a tuple).
        times: method, seconds (that it took for an image, the median over the images) and images (how many). An
            image's seconds are those of its batch, divided by the number of images in it.
    """

    model: str
    dataset: str
    used: int
    table: pd.DataFrame
    curves: pd.DataFrame
    left_out: pd.DataFrame
    times: pd.DataFrame


def summarise(parts: Iterable[pd.DataFrame], model: str, dataset: str) -> Summary:
    """The summary of results per image.

    The same rows in the same order give the same summary to the last digit, however they are divided into parts.
    A row takes some 550 bytes of memory while it runs.

    Args:
        parts: tables of one row for each image and heatmap, read one after the other, with the columns that
            `Benchmark.evaluate` describes. What is computed from columns that no part has is left out.
        model: the network's name.
        dataset: the data set's name.

    Raises:
        ValueError: an image has two rows of one method, or lists differ in length.
    """
    images: dict[str, int] = {}
    methods: dict[str, int] = {}
    unused: dict[tuple[str, str], list[str]] = {}
    totals: _Totals = {}
    reduced = []
    for part in parts:
        is_used = (part["status"] == "used").to_numpy(bool)
        for name, status, reason in part.loc[~is_used, ["image", "status", "reason"]].itertuples(index=False):
            # Misclassified images are counted together, whatever class each got.
            unused.setdefault((status, "" if status == "misclassified" else reason), []).append(name)
        rows = part[is_used & part["method"].notna().to_numpy(bool)]
        if len(rows):
            numbers = {
                "image": [images.setdefault(name, len(images)) for name in rows["image"]],
                "method": [methods.setdefault(name, len(methods)) for name in rows["method"]],
            }
            reduced.append(_reduced(rows, totals).assign(**numbers))
    found = pd.concat(reduced, ignore_index=True) if reduced else pd.DataFrame()
    names = list(images)
    table: list[tuple] = []
    curves: list[tuple] = []
    times: list[tuple] = []
    left_out = [
        (status, "", "", "", reason, len(missing), tuple(missing))
        for (status, reason), missing in sorted(unused.items(), key=lambda item: item[0][0] != "misclassified")
    ]
    for method in kinds.in_order(methods):
        rows = found[found["method"] == methods[method]]
        _refuse_twice(method, rows, names)
        table += _table(method, rows, len(names))
        curves += _curve_rows(method, totals)
        left_out += _left_out(method, rows, names)
        known = rows["seconds"].dropna()
        times += [(method, float(np.median(known)), len(known))] if len(known) else []
    return Summary(
        model,
        dataset,
        len(names),
        pd.DataFrame([(model, dataset, *row) for row in table], columns=TABLE),
        pd.DataFrame(curves, columns=_CURVES),
        pd.DataFrame(left_out, columns=_LEFT_OUT),
        pd.DataFrame(times, columns=_TIMES),
    )


_Totals = dict[tuple[str, str], np.ndarray]
"""For each method and order (2, steps + 2): sums of correct and logit over the images, then how many these are."""


def _reduced(rows: pd.DataFrame, totals: _Totals) -> pd.DataFrame:
    """The rows with what the figures are estimated from, see `_keys`; curves are added to `totals`."""
    seconds = rows["seconds"].to_numpy(np.float64, na_value=np.nan) if "seconds" in rows else np.nan
    found: dict[str, Any] = {"flaw": rows["flaw"], "seconds": seconds}
    for metric in METRICS.values():
        if metric.curve and set(metric.columns) <= set(rows.columns):
            where, curves = _curves(rows, metric, totals)
        for figure in metric.figures:
            if not set(figure.columns) <= set(rows.columns):
                continue
            if metric.curve:
                data = curves
            else:
                data = [rows[column].to_numpy(np.float64, na_value=np.nan) for column in figure.columns]
                where = np.flatnonzero(np.isfinite(data).all(axis=0))
                data = [column[where] for column in data]
            value = figure.value(*data) if figure.value and len(where) else data[0]
            for key, kept in zip(_keys(figure), data if callable(figure.typical) else [value]):
                found[key] = np.full(len(rows), np.nan)
                found[key][where] = np.where(np.isfinite(value), kept, np.nan)
    return pd.DataFrame(found)


def _keys(figure: Figure) -> list[str]:
    """The columns that a figure is estimated from: its values, or its own columns if all images have one value."""
    count = len(figure.columns) if callable(figure.typical) else 1
    return [f"{figure.name}/{figure.case}/{number}" for number in range(count)]


def _figures(method: str, rows: pd.DataFrame) -> Iterator[tuple[Figure, np.ndarray]]:
    """The figures that a method's rows have, and what they are estimated from, (rows, keys)."""
    for metric in METRICS.values():
        for figure in metric.figures:
            keys = _keys(figure)
            if keys[0] in rows and kinds.has_case(method, figure.case):
                yield figure, rows[keys].to_numpy()


def _curves(rows: pd.DataFrame, metric: Metric, totals: _Totals) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which rows have curves of finite values, and these: correct and logit, (rows, steps + 1) each.

    Raises:
        ValueError: curves of the same order differ in length.
    """
    lists = list(zip(*(rows[column] for column in metric.columns)))
    there = [i for i, pair in enumerate(lists) if all(isinstance(one, (list, tuple, np.ndarray)) for one in pair)]
    lengths = {len(one) for i in there for one in lists[i]}
    lengths |= {total.shape[1] - 1 for (_, order), total in totals.items() if order == metric.name}
    if len(lengths) > 1:
        raise ValueError(
            f"lists of {' and '.join(metric.columns)} have {' and '.join(map(str, sorted(lengths)))} values: "
            "all must have the same number of steps, so do not mix results of different options"
        )
    steps = max(lengths, default=1)
    pairs = np.array([[np.asarray(one, np.float64) for one in lists[i]] for i in there]).reshape(-1, 2, steps)
    finite = np.isfinite(pairs).all(axis=(1, 2))
    where, pairs = np.array(there, int)[finite], pairs[finite]
    method_of = rows["method"].to_numpy(object)[where]
    for method in dict.fromkeys(method_of):
        own = pairs[method_of == method]
        before = totals.get((method, metric.name), np.zeros((2, steps + 1)))
        counted = np.concatenate([own, np.ones((len(own), 2, 1))], axis=2)
        # cumsum adds one image after the other, so that rounding does not depend on how parts are divided.
        totals[method, metric.name] = np.cumsum(np.concatenate([before[np.newaxis], counted]), axis=0)[-1]
    return where, [pairs[:, 0], pairs[:, 1]]


def _refuse_twice(method: str, rows: pd.DataFrame, names: list[str]) -> None:
    counts = np.bincount(rows["image"])
    if counts.max() > 1:
        raise ValueError(
            f"{names[counts.argmax()]} has {counts.max()} results of {method}: there must be one for "
            "each method, so give every image a name of its own, or start again if several runs were mixed"
        )


def _table(method: str, rows: pd.DataFrame, used: int) -> Iterator[tuple]:
    """A method's rows of `Summary.table`, without model and dataset."""
    for figure, values in _figures(method, rows):
        data = values[np.isfinite(values).all(axis=1)]
        yield method, figure.name, figure.case, *_estimate(figure, data), len(data), used - len(data)


def _estimate(figure: Figure, data: np.ndarray) -> tuple[float, float, float, float]:
    """Mean (or the value of all images together), median (or NaN), and the bounds of the interval."""
    if len(data) == 0:
        return (np.nan,) * 4
    columns = tuple(data.T)
    if callable(figure.typical):
        together = figure.typical
        mean, median = float(together(*columns)), np.nan
        return mean, median, *_interval(columns, lambda *drawn, axis: together(*drawn))
    mean, median = float(np.mean(columns[0])), float(np.median(columns[0]))
    return mean, median, *_interval(columns, _STATISTICS[figure.typical])


def _interval(data: tuple[np.ndarray, ...], statistic: Callable[..., Any]) -> tuple[float, float]:
    """Bootstrap 95 % percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993)."""
    count = len(data[0])
    if count == 1:
        value = float(statistic(*data, axis=-1))
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


def share_interval(share: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap 95 % percentile interval of shares of `count` images, without resampling.

    How often something is met in a resample has a binomial distribution, whose percentiles are known.
    """
    low, high = (stats.binom.ppf(quantile, count, share) / count for quantile in (0.025, 0.975))
    # scipy 1.9 has 0 as the low percentile of what is always met.
    return np.where(share == 1, 1.0, low), high


def _left_out(method: str, rows: pd.DataFrame, names: list[str]) -> Iterator[tuple]:
    """A method's rows of `Summary.left_out`."""
    flawed = rows[rows["flaw"] != ""]
    for flaw, group in flawed.groupby("flaw", sort=False):
        yield flaw, method, "", "", "", len(group), tuple(names[image] for image in group["image"])
    for figure, values in _figures(method, rows):
        named = {*rows["image"][np.isfinite(values).all(axis=1)], *flawed["image"]}
        missing = [name for image, name in enumerate(names) if image not in named]
        if missing:
            yield "undefined", method, figure.name, figure.case, "", len(missing), tuple(missing)


def _curve_rows(method: str, totals: _Totals) -> Iterator[tuple]:
    """A method's rows of `Summary.curves`."""
    for order in METRICS:
        if (method, order) in totals:
            total = totals[method, order]
            images = int(total[0, -1])
            low, high = share_interval(total[0, :-1] / images, images)
            for step, (correct, logit) in enumerate(total[:, :-1].T):
                means = float(correct / images), float(logit / images)
                yield method, order, step, *means, images, float(low[step]), float(high[step])
