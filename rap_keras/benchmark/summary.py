"""From results per image to a table, curves, times, and a list of what was left out.

The metrics are those of the RAP paper (Nam et al., AAAI 2020, Tables 1 and 2, Figure 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark.estimates import (
    COLUMNS,
    DERIVED,
    ESTIMATES,
    SECONDS,
    STORED,
    estimate,
    share_interval,
    values_of,
)
from rap_keras.metrics import ORDERS, aopc

TABLE = ["model", "dataset", "method", "metric", "case", "mean", "median", "low", "high", "images", "excluded"]
"""The columns of `Summary.table`."""

_CURVES = ["method", "order", "step", "accuracy", "logit", "images", "low", "high"]
_TIMES = ["method", "seconds", "images"]
_LEFT_OUT = ["kind", "method", "metric", "case", "reason", "images", "names"]


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
    A row takes some 190 bytes of memory while it runs.

    Args:
        parts: tables of one row for each image and heatmap, read one after the other. Columns: image, status
            ("used", "misclassified", "broken"), reason, method (the heatmap's name; None for an image that is not
            used), flaw ("" or "not finite"), seconds, outside_inside_all, outside_inside_pos, mass_inside,
            own_above_other_mass and the others of the metric discrimination, the counts tp, fp, fn, tn of pixels
            as tp_pos, tp_signed and so on, and lists of what is left after each step, lerf_correct, lerf_logit and
            so on, from step 0. What is computed from columns that no part has is left out.
        model: the network's name.
        dataset: the data set's name.

    Raises:
        ValueError: an image has two rows of one method, or lists differ in length.
    """
    found = _collect(parts)
    _refuse_twice(found)
    return Summary(
        model,
        dataset,
        len(found.images),
        pd.DataFrame([(model, dataset, *row) for row in _table(found)], columns=TABLE),
        pd.DataFrame(_curve_rows(found), columns=_CURVES),
        pd.DataFrame(_left_out(found), columns=_LEFT_OUT),
        pd.DataFrame(_times(found), columns=_TIMES),
    )


class _Collected(NamedTuple):
    images: list[str]  # the used ones
    methods: dict[str, int]  # a method's number, in the order of tables
    columns: set[str]  # that some part has
    places: list[np.ndarray]  # of each part: numbers of image and method, (rows, 2)
    values: list[np.ndarray]  # of each part: (rows, len(COLUMNS))
    totals: dict[tuple[str, str], np.ndarray]  # see _perturbation
    unused: dict[tuple[str, str], list[str]]  # images by status and reason
    flawed: dict[tuple[str, str], list[int]]  # numbers of images by method and flaw


def _collect(parts: Iterable[pd.DataFrame]) -> _Collected:
    images: dict[str, int] = {}
    methods: dict[str, int] = {}
    columns: set[str] = set()
    places: list[np.ndarray] = []
    values: list[np.ndarray] = []
    totals: dict[tuple[str, str], np.ndarray] = {}
    unused: dict[tuple[str, str], list[str]] = {}
    flawed: dict[tuple[str, str], list[int]] = {}
    for part in parts:
        columns |= set(part.columns)
        is_used = (part["status"] == "used").to_numpy(bool)
        for name, status, reason in part.loc[~is_used, ["image", "status", "reason"]].itertuples(index=False):
            # Misclassified images are counted together, whatever class each got.
            unused.setdefault((status, "" if status == "misclassified" else reason), []).append(name)
        rows = part[is_used & part["method"].notna().to_numpy(bool)]
        place = np.empty((len(rows), 2), np.int64)
        place[:, 0] = [images.setdefault(name, len(images)) for name in rows["image"]]
        place[:, 1] = [methods.setdefault(name, len(methods)) for name in rows["method"]]
        block = np.full((len(rows), len(COLUMNS)), np.nan)
        for number, column in enumerate(STORED):
            if column in rows:
                block[:, number] = rows[column].to_numpy(np.float64, na_value=np.nan)
        for order in ORDERS:
            if f"{order}_correct" in rows:
                first = COLUMNS.index(f"aopc_{order}")
                block[:, first : first + 3] = _perturbation(rows, order, totals)
        for flaw, method, image in zip(rows["flaw"], rows["method"], place[:, 0]):
            if flaw:
                flawed.setdefault((method, flaw), []).append(int(image))
        places.append(place)
        values.append(block)
    columns |= {name for name in DERIVED if f"{name.rpartition('_')[2]}_correct" in columns}
    ordered = {name: methods[name] for name in kinds.in_order(methods)}
    return _Collected(list(images), ordered, columns, places, values, totals, unused, flawed)


def _rows_of(number: int, found: _Collected) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of images, and values, of all rows of one method; those of all methods would double the memory."""
    own = [place[:, 1] == number for place in found.places]
    images = [place[rows, 0] for place, rows in zip(found.places, own)]
    return np.concatenate(images), np.concatenate([block[rows] for block, rows in zip(found.values, own)])


def _table(found: _Collected) -> Iterator[tuple]:
    """The rows of `Summary.table`, without model and dataset."""
    for method, number in found.methods.items():
        _, values = _rows_of(number, found)
        for metric in ESTIMATES:
            if found.columns.issuperset(metric.columns) and kinds.has_case(method, metric.case):
                data, defined = values_of(metric, values)
                images = int(defined.sum())
                yield method, metric.name, metric.case, *estimate(metric, data), images, len(found.images) - images


def _left_out(found: _Collected) -> Iterator[tuple]:
    """The rows of `Summary.left_out`."""
    for (status, reason), names in sorted(found.unused.items(), key=lambda item: item[0][0] != "misclassified"):
        yield status, "", "", "", reason, len(names), tuple(names)
    for method, number in found.methods.items():
        named = set()
        for (flawed, flaw), images in found.flawed.items():
            if flawed == method:
                named |= set(images)
                yield flaw, method, "", "", "", len(images), tuple(found.images[image] for image in images)
        images_of, values = _rows_of(number, found)
        for metric in ESTIMATES:
            if found.columns.issuperset(metric.columns) and kinds.has_case(method, metric.case):
                defined = set(images_of[values_of(metric, values)[1]])
                names = [name for i, name in enumerate(found.images) if i not in defined and i not in named]
                if names:
                    yield "undefined", method, metric.name, metric.case, "", len(names), tuple(names)


def _perturbation(rows: pd.DataFrame, order: str, totals: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    """AOPC, mean and last accuracy of each row, (rows, 3).

    Adds the curves to `totals`, which has an array (2, steps + 2) for each method and order: the sums of correct
    and logit over the images, and the number of images in the last column.

    Raises:
        ValueError: curves of the same order differ in length.
    """
    result = np.full((len(rows), 3), np.nan)
    lists = list(zip(rows[f"{order}_correct"], rows[f"{order}_logit"]))
    there = [i for i, pair in enumerate(lists) if all(isinstance(one, (list, tuple, np.ndarray)) for one in pair)]
    if not there:
        return result
    lengths = {len(one) for i in there for one in lists[i]}
    lengths |= {total.shape[1] - 1 for (_, other), total in totals.items() if other == order}
    if len(lengths) > 1:
        raise ValueError(
            f"lists of {order}_correct and {order}_logit have {' and '.join(map(str, sorted(lengths)))} values: "
            "all must have the same number of steps, so do not mix results of different options"
        )
    pairs = np.array([[np.asarray(one, np.float64) for one in lists[i]] for i in there])
    finite = np.isfinite(pairs).all(axis=(1, 2))
    where, pairs = np.array(there)[finite], pairs[finite]
    correct, logit = pairs[:, 0], pairs[:, 1]
    result[where, 0] = aopc(logit)
    if pairs.shape[2] > 1:
        result[where, 1] = correct[:, 1:].mean(axis=1)
    result[where, 2] = correct[:, -1]
    method_of = rows["method"].to_numpy(object)[where]
    for method in dict.fromkeys(method_of):
        own = pairs[method_of == method]
        before = totals.get((method, order), np.zeros((2, pairs.shape[2] + 1)))
        counted = np.concatenate([own, np.ones((len(own), 2, 1))], axis=2)
        # cumsum adds one image after the other, so that rounding does not depend on how parts are divided.
        totals[method, order] = np.cumsum(np.concatenate([before[np.newaxis], counted]), axis=0)[-1]
    return result


def _refuse_twice(found: _Collected) -> None:
    for method, number in found.methods.items():
        images, _ = _rows_of(number, found)
        counts = np.bincount(images)
        if counts.max() > 1:
            raise ValueError(
                f"{found.images[counts.argmax()]} has {counts.max()} results of {method}: there must be one for "
                "each method, so give every image a name of its own, or start again if several runs were mixed"
            )


def _curve_rows(found: _Collected) -> Iterator[tuple]:
    for method in found.methods:
        for order in ORDERS:
            if (method, order) in found.totals:
                total = found.totals[method, order]
                images = int(total[0, -1])
                low, high = share_interval(total[0, :-1] / images, images)
                for step, (correct, logit) in enumerate(total[:, :-1].T):
                    means = float(correct / images), float(logit / images)
                    yield method, order, step, *means, images, float(low[step]), float(high[step])


def _times(found: _Collected) -> Iterator[tuple]:
    """The rows of `Summary.times`."""
    for method, number in found.methods.items():
        seconds = _rows_of(number, found)[1][:, COLUMNS.index(SECONDS)]
        known = seconds[np.isfinite(seconds)]
        if known.size:
            yield method, float(np.median(known)), known.size
