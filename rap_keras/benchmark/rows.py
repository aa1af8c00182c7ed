"""Results as rows, one for each image and heatmap: their columns, and the metrics that fill them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rap_keras import metrics
from rap_keras.benchmark.metric_options import METRICS, Options
from rap_keras.datasets import Truth

WORDS = ("image", "status", "reason", "method", "flaw")
"""The columns that every row has, whatever is measured; `columns` says what they hold."""

DISCRIMINATION = ("own_above_other_mass", "own_above_other_density", "pointing_own", "pointing_other")
"""The columns of the metric discrimination."""


def columns(options: Options) -> list[str]:
    """The columns of a row.

    image, status ("used", "misclassified", "broken"), reason (of a broken image), method (the heatmap's name, see
    `rap_keras.benchmark.heatmap_kinds`), flaw ("" or "not finite"), target (the explained class), logit, seconds
    (that the method took for an image; NaN for absolute and random heatmaps), and those of the metrics:
    outside_inside_all, outside_inside_pos, mass_inside, `DISCRIMINATION`, counts of pixels (tp_pos and so on), and
    curves of steps + 1 values (lerf_correct and so on).
    """
    return [*WORDS, "target", "logit", "seconds", *_measures(options), *_curves(options)]


def types(options: Options) -> dict[str, Any]:
    """Types of the columns, the same for every batch, including one in which no image is used."""
    numbers = ("logit", "seconds", *_measures(options))
    return {"target": "int64", **dict.fromkeys(numbers, "float64")}


def unused(number: int, name: str, status: str, reason: str = "") -> dict[str, Any]:
    """The row of an image that is not used: number `number` of the data set."""
    return {
        "number": number,
        "image": name,
        "status": status,
        "reason": reason,
        "method": None,
        "flaw": "",
        "target": -1,
    }


def localisation(values: np.ndarray, where: Truth, wanted: tuple[str, ...] = METRICS) -> dict[str, float]:
    """How well a heatmap marks the object, as columns of a row.

    The outside-inside ratio and the mass inside go by the box where there is one, else by the mask; the
    segmentation goes by the mask where there is one, else by the box.

    Args:
        values: the heatmap, finite, (H, W).
        where: the object's place.
        wanted: "outside-inside", "mask" or both.
    """
    box = where.mask if where.box is None else where.box
    mask = where.box if where.mask is None else where.mask
    row: dict[str, float] = {}
    if box is None or mask is None:
        return row
    if "outside-inside" in wanted:
        for case in ("all", "pos"):
            ratio = metrics.outside_inside_ratio(values, box, positive=case == "pos", void=where.void)
            row[f"outside_inside_{case}"] = float(ratio)
        row["mass_inside"] = float(metrics.mass_inside(values, box, void=where.void))
    if "mask" in wanted:
        for case in ("pos", "signed"):
            counts = metrics.confusion(metrics.marked(values, case, void=where.void), mask, void=where.void)
            row.update({f"{name}_{case}": float(count) for name, count in counts._asdict().items()})
    return row


def discrimination(values: np.ndarray, own: Truth, other: np.ndarray) -> dict[str, float]:
    """How well a heatmap tells the objects of two classes apart, as columns of a row.

    Args:
        values: the heatmap, finite, (H, W).
        own: the place of the explained object; it has a mask.
        other: the mask of the other object, bool, (H, W).
    """
    assert own.mask is not None  # data sets of pairs have masks
    found = metrics.discrimination(values, own.mask, other, own.void)
    return dict(zip(DISCRIMINATION, found))


def _measures(options: Options) -> list[str]:
    found = []
    if "outside-inside" in options.metrics:
        found += ["outside_inside_all", "outside_inside_pos", "mass_inside"]
    if "discrimination" in options.metrics:
        found += DISCRIMINATION
    if "mask" in options.metrics:
        found += [f"{name}_{case}" for case in ("pos", "signed") for name in metrics.Counts._fields]
    return found


def _curves(options: Options) -> list[str]:
    return [f"{order}_{what}" for order in options.orders for what in ("correct", "logit")]
