"""The metrics of a benchmark. Each is one record, from which rows, tables, charts, report and help are made.

`METRICS` has them in the order of tables, `register` adds another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, NamedTuple

import numpy as np

from rap_keras.metrics.localisation import (
    Counts,
    confusion,
    discrimination,
    marked,
    mass_inside,
    mean_iou,
    outside_inside_ratio,
    pixel_accuracy,
)
from rap_keras.metrics.perturbation import aopc, region_perturbation

CASES = {
    "pos": "POS",
    "all": "ALL",
    "lerf": "least relevant first",
    "morf": "most relevant first",
    "random": "random order",
    "mass": "by mass",
    "density": "by mean density",
    "own": "on the own object",
    "other": "on the other object",
}
"""What tables call the cases of figures; other cases have no other name."""


WORDS = ("image", "status", "reason", "method", "flaw")
"""Columns of results per image that hold words, see `Benchmark.evaluate`."""
OF_ROWS = (*WORDS, "number", "target", "logit", "seconds")
"""The columns that results have beside those of metrics."""


class Image(NamedTuple):
    """What a metric may ask of an image, beside its heatmap; masks are bool, (H, W).

    Attributes:
        x: the network's input, (H, W, C).
        target: the explained class.
        box: the pixels in the object's boxes, or of its mask where there are no boxes; None if there is neither.
        mask: the object's pixels, or those in its boxes where there are no masks; None if there is neither.
        void: pixels that do not count.
        other: the object of another class, in a data set of pairs; else None.
        number: of the image in the data set, for seeds.
    """

    x: np.ndarray
    target: int
    box: Any
    mask: Any
    void: np.ndarray
    other: Any = None
    number: int = 0


class Removal(NamedTuple):
    """The network, and how pixels are removed; see `region_perturbation`."""

    predict: Callable[[np.ndarray], np.ndarray]
    pixels: int
    steps: int
    fill: float


@dataclass(frozen=True)
class Figure:
    """A figure that a benchmark makes of a metric's columns.

    Attributes:
        name: in table.csv.
        title: in tables and charts.
        better: "lower" or "higher", or "" where neither is.
        case: of the figure in table.csv, if there are several of its name. "all" and "signed" are about negative
            relevance, so that absolute heatmaps have no such figure.
        columns: that it is made of; by default all of the metric.
        value: maps these columns, each an array (N,) or (N, steps + 1), to the values of N images, NaN where an
            image has none; by default there is only one column, and it is the value.
        typical: "mean" or "median" of the images' values; or a function that maps the columns of all images to one
            value, along the last axis.
        short: its name among the main figures, to which each metric adds one; by default the first figure's title.
        meaning: of a main figure, in words.
        heading: in tables, if it is not the metric's.
    """

    name: str
    title: str
    better: str = ""
    case: str = ""
    columns: tuple[str, ...] = ()
    value: Callable[..., np.ndarray] | None = None
    typical: str | Callable[..., Any] = "mean"
    short: str = ""
    meaning: str = ""
    heading: str = ""


@dataclass(frozen=True)
class Metric:
    """What is measured of every heatmap, and the figures that are made of it.

    Attributes:
        name: in `Options.metrics` and --metrics.
        heading: in tables, which says what is measured.
        columns: of results per image.
        measure: maps a heatmap (H, W), which is finite, and its `Image` to a value, or one for each column.
        figures: the first, or the one with a short name, is a main figure.
        needs: "object" if `measure` needs the object's place, "pairs" if it needs that of another object too.
        note: how to read the figures.
        curve: what the metric's curve shows, where its two columns are curves: whether the image is still
            classified as before, and its logit, after each step. Then `measure` maps heatmaps (N, H, W), N images
            and a `Removal` to two arrays (N, steps + 1).
        is_shared: whether all heatmaps of an image have the same values.

    Raises:
        ValueError: a figure has an unknown column, direction or statistic, or no value; or there is no figure.
    """

    name: str
    heading: str
    columns: tuple[str, ...]
    measure: Callable[..., Any]
    figures: tuple[Figure, ...]
    needs: str = ""
    note: str = ""
    curve: str = ""
    is_shared: bool = False

    def __post_init__(self) -> None:
        if not self.figures or not self.columns:
            raise ValueError(f"the metric {self.name} needs a column and a figure that is made of it")
        figures = tuple(replace(figure, columns=figure.columns or self.columns) for figure in self.figures)
        object.__setattr__(self, "figures", figures)
        for figure in figures:
            unknown = set(figure.columns) - set(self.columns)
            if unknown:
                raise ValueError(f"the metric {self.name} has no columns {', '.join(sorted(unknown))}")
            if figure.better not in ("lower", "higher", ""):
                raise ValueError(f"better={figure.better!r}: must be 'lower', 'higher' or ''")
            if callable(figure.typical):
                continue
            if figure.typical not in ("mean", "median"):
                raise ValueError(f"typical={figure.typical!r}: must be 'mean', 'median' or a function")
            if figure.value is None and len(figure.columns) > 1:
                raise ValueError(f"{figure.name} is made of several columns: give `value`, or one of the columns")

    @property
    def main(self) -> Figure:
        """The main figure."""
        return next((figure for figure in self.figures if figure.short), self.figures[0])

    @property
    def in_words(self) -> str:
        """The heading within a sentence."""
        return self.heading[0].lower() + self.heading[1:]

    def label(self, figure: Figure) -> str:
        """What tables call a figure: its title, and its case if there are several of its name."""
        is_alone = sum(figure.name == other.name for other in self.figures) == 1
        return figure.title if is_alone else in_full(figure)

    def of_batch(self, heatmaps: np.ndarray, images: Sequence[Image], removal: Removal) -> dict[str, list]:
        """The values of each column for the heatmaps (N, H, W) of N images."""
        if self.curve:
            found = self.measure(heatmaps, images, removal)
            return {column: np.asarray(one, float).tolist() for column, one in zip(self.columns, found)}
        values = [self._of_image(heatmap, image) for heatmap, image in zip(heatmaps, images)]
        return {column: [float(one[i]) for one in values] for i, column in enumerate(self.columns)}

    def _of_image(self, heatmap: np.ndarray, image: Image) -> Sequence[float]:
        if (self.needs and image.mask is None) or (self.needs == "pairs" and image.other is None):
            return [np.nan] * len(self.columns)
        found = np.ravel(self.measure(heatmap, image)).tolist()
        if len(found) != len(self.columns):
            raise ValueError(f"the metric {self.name} gave {len(found)} values for {len(self.columns)} columns")
        return found


def in_full(figure: Figure) -> str:
    """A figure's title and its case."""
    return f"{figure.title}, {CASES.get(figure.case, figure.case)}" if figure.case else figure.title


def _counts(heatmap: np.ndarray, image: Image) -> list[int]:
    """The counts of the marked pixels, of both cases."""
    cases = (marked(heatmap, case, void=image.void) for case in ("pos", "signed"))
    return [count for case in cases for count in confusion(case, image.mask, void=image.void)]


def _ratios(heatmap: np.ndarray, image: Image) -> list[float]:
    ratios = (outside_inside_ratio(heatmap, image.box, positive, void=image.void) for positive in (False, True))
    return [*ratios, mass_inside(heatmap, image.box, void=image.void)]


def _apart(heatmap: np.ndarray, image: Image) -> Sequence[float]:
    return discrimination(heatmap, image.mask, image.other, image.void)


def _pooled_iou(*counts: np.ndarray) -> Any:
    return mean_iou(Counts(*(count.sum(-1) for count in counts)))


def _of_counts(name: str, title: str, function: Callable[..., Any], typical: Any = "mean") -> tuple[Figure, ...]:
    """Figures of the counts of marked pixels, for both cases."""

    def value(*counts: np.ndarray) -> np.ndarray:
        return function(Counts(*counts))

    columns = {case: tuple(f"{count}_{case}" for count in Counts._fields) for case in ("pos", "signed")}
    return tuple(Figure(name, title, "higher", case, columns[case], value, typical) for case in columns)


def _remove(heatmaps: np.ndarray, images: Sequence[Image], removal: Removal, order: str) -> tuple:
    """Whether each image is still classified as before after each step, and its logit."""
    x, targets = np.array([image.x for image in images]), np.array([image.target for image in images])
    seeds = np.array([image.number for image in images])
    how = removal.pixels, removal.steps, removal.fill
    return region_perturbation(removal.predict, x, heatmaps, targets, order, *how, seeds)


def _mean_of_steps(correct: np.ndarray, logit: np.ndarray) -> np.ndarray:
    return correct[:, 1:].mean(axis=1) if correct.shape[1] > 1 else np.full(len(correct), np.nan)


def _removal(order: str, heading: str, curve: str, better: str, short: str, meaning: str) -> Metric:
    """What the network still recognises while pixels are removed; `better` is the direction of the accuracy."""
    opposite = {"higher": "lower", "lower": "higher", "": ""}[better]
    figures = (
        Figure("accuracy_left", "accuracy left, mean of steps", better, order, value=_mean_of_steps),
        Figure(
            "accuracy_end",
            "accuracy left at the end",
            better,
            order,
            value=lambda correct, logit: correct[:, -1],
            short=short,
            meaning=meaning,
        ),
        Figure("aopc", "AOPC, logit", opposite, order, value=lambda correct, logit: aopc(logit)),
    )
    columns = f"{order}_correct", f"{order}_logit"
    measure = partial(_remove, order=order)
    return Metric(order, heading, columns, measure, figures, curve=curve, is_shared=order == "random")


_DISCRIMINATION = Metric(
    "discrimination",
    "Why this class and not the other one of the image",
    ("own_above_other_mass", "own_above_other_density", "pointing_own", "pointing_other"),
    _apart,
    (
        Figure(
            "own_above_other",
            "own object above the other",
            "higher",
            "mass",
            ("own_above_other_mass",),
            short="own above other",
            meaning="how often the explained object has more positive relevance than the other object of the "
            "image; 0.5 for a heatmap that does not depend on the class",
        ),
        Figure("own_above_other", "own object above the other", "higher", "density", ("own_above_other_density",)),
        Figure("pointing", "highest pixel", "higher", "own", ("pointing_own",)),
        Figure("pointing", "highest pixel", "lower", "other", ("pointing_other",)),
    ),
    needs="pairs",
    note="Each image has objects of two classes, the network's first two choices, and is explained once for each. "
    'A method whose heatmap does not depend on the class has 0.5 for "own object above the other". Intervals '
    "resample these questions, not the images.",
)
_OUTSIDE_INSIDE = Metric(
    "outside-inside",
    "Relevance inside and outside of the object",
    ("outside_inside_all", "outside_inside_pos", "mass_inside"),
    _ratios,
    (
        Figure(
            "outside_inside_ratio",
            "outside-inside ratio",
            "",  # as the note says
            "all",
            ("outside_inside_all",),
            typical="median",
            heading="As in the paper, for completeness",
        ),
        Figure(
            "outside_inside_ratio",
            "outside-inside ratio",
            "lower",
            "pos",
            ("outside_inside_pos",),
            typical="median",
            short="POS ratio",
            meaning="mean positive relevance outside of the object's box over that inside, the median of the "
            "images",
        ),
        Figure("mass_inside", "mass inside", "higher", "pos", ("mass_inside",)),
    ),
    needs="object",
    note="ALL tells little about RAP and has no best value here: where positive and negative relevance nearly "
    "cancel, it tends to minus the ratio of inside to outside pixels, whatever the heatmap. The paper reports it; "
    "read POS, mass inside and mIOU instead. A ratio has no value where the mean inside is 0; for POS such a "
    "heatmap is the worst of all.",
)
_IOU, *_IOUS = _of_counts("miou", "mIOU", mean_iou)
_MASK = Metric(
    "mask",
    "Segmentation mask",
    tuple(f"{count}_{case}" for case in ("pos", "signed") for count in Counts._fields),
    _counts,
    (
        replace(
            _IOU,
            short="mIOU",
            meaning="overlap of the pixels of much positive relevance with the object's mask, intersection over "
            "union",
        ),
        *_IOUS,
        *_of_counts("miou_pooled", "mIOU, pooled", mean_iou, typical=_pooled_iou),
        *_of_counts("pixel_accuracy", "pixel accuracy", pixel_accuracy),
    ),
    needs="object",
    note="POS marks positive relevance above its mean, signed marks all positive relevance. That is nearly every "
    "pixel for methods without negative relevance.",
)
METRICS = {
    metric.name: metric
    for metric in (
        _DISCRIMINATION,
        _OUTSIDE_INSIDE,
        _MASK,
        _removal(
            "lerf",
            "Least relevant pixels removed first",
            "Accuracy while the least relevant pixels are removed first",
            "higher",
            "accuracy left",
            "share of the images still classified as before after the least relevant pixels are removed",
        ),
        _removal(
            "morf",
            "Most relevant pixels removed first",
            "Accuracy while the most relevant pixels are removed first",
            "lower",
            "with morf",
            "the same share after the most relevant pixels are removed (the order morf)",
        ),
        _removal(
            "random",
            "Pixels removed in random order",
            "Accuracy while pixels are removed in random order",
            "",
            "with random",
            "the share of images still classified as before after random pixels are removed, the same for all "
            "methods",
        ),
    )
}
"""The metrics by their names, in the order of tables."""

DEFAULT_METRICS = ("outside-inside", "mask", "lerf")
"""The metrics of the paper."""
PAIR_METRICS = ("discrimination", "outside-inside", "mask")
"""The metrics for data sets of pairs, see `Dataset.pairs`."""
_BUILT_IN = tuple(METRICS)


def register(metric: Metric) -> None:
    """Adds a metric to those of benchmarks and their command; it replaces your own one of the same name.

    Raises:
        ValueError: the metric has the name, a column or a figure of another one.
    """
    if metric.name in _BUILT_IN:
        raise ValueError(f"the benchmark has a metric {metric.name} already: choose another name")
    if set(metric.columns) & set(OF_ROWS):
        raise ValueError(f"results have other columns of these names, {', '.join(OF_ROWS)}: choose another name")
    for other in METRICS.values():
        taken = set(metric.columns) & set(other.columns) or _names(metric) & _names(other)
        if taken and other.name != metric.name:
            raise ValueError(
                f"the metric {other.name} has {' and '.join(sorted(taken))} already: choose another name"
            )
    METRICS[metric.name] = metric


def _names(metric: Metric) -> set[str]:
    return {f"{figure.name} {figure.case}".strip() for figure in metric.figures}
