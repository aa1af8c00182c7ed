"""All methods and metrics on one batch of images after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tensorflow import keras

from rap_keras import metrics
from rap_keras.datasets import Dataset, Example, Truth, images, truth
from rap_keras.datasets.images import Preprocessing
from rap_keras.engine.network import predictor
from rap_keras.hosts.methods import explains_single_images
from rap_keras.visualization import heatmap

METRICS = ("outside-inside", "mask", *metrics.ORDERS, "discrimination")
"""What `Options.metrics` may name: outside-inside ratio and mass inside, segmentation, orders of perturbation.

For data sets of pairs there is discrimination, whether classes are told apart.
"""
DEFAULT_METRICS = ("outside-inside", "mask", "lerf")
"""Those of the paper."""
PAIR_METRICS = ("discrimination", "outside-inside", "mask")
"""Those for data sets of pairs, see `Dataset.pairs`."""


@dataclass(frozen=True)
class Options:
    """What is calculated, apart from network, data and methods.

    Attributes:
        metrics: of `METRICS`; by default those of the paper.
        foreground: "predicted" for objects of the predicted class, "all" for every object.
        batch_size: images at a time. Part of the options, as the last digits of a heatmap may depend on it.
        pixels: set to `fill` at each step of region perturbation.
        steps: of region perturbation.
        fill: what pixels are set to, in units of the network's input.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    foreground: str = "predicted"
    batch_size: int = 8
    pixels: int = 100
    steps: int = 40
    fill: float = 0.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ValueError(f"unknown metrics {', '.join(unknown) or '(none)'}: there are {', '.join(METRICS)}")
        if self.foreground not in ("predicted", "all"):
            raise ValueError(f"foreground={self.foreground!r}: must be 'predicted' or 'all'")
        for name in ("batch_size", "pixels", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders of region perturbation that are asked for."""
        return tuple(order for order in metrics.ORDERS if order in self.metrics)


class _Images(NamedTuple):
    """The images of a batch that are used; `random` is what their removal in random order did, of no method.

    `others` are the masks of the objects that the explained ones are to be told from; empty without pairs.
    """

    numbers: list[int]
    names: list[str]
    truths: list[Truth]
    x: np.ndarray
    targets: np.ndarray
    logits: np.ndarray
    random: dict[str, np.ndarray]
    others: list[np.ndarray]


@dataclass(frozen=True)
class Benchmark:
    """One network and its analyzers, ready to be applied to the images of a data set.

    Attributes:
        model: without softmax, (N, H, W, 3) to logits (N, classes).
        analyzers: of each method, for `model`; for a data set of pairs with neuron_selection_mode="index".
        dataset: where the images come from.
        preprocessing: as for `rap_keras.images.preprocess`.
        size: height and width of the network's input in pixels.
        short_side: as for `rap_keras.images.fit`.
        options: what is calculated.
        unable: methods that were to be compared but cannot explain this network, and why; for the report.
    """

    model: keras.Model
    analyzers: Mapping[str, Any]
    dataset: Dataset
    preprocessing: Preprocessing
    size: tuple[int, int]
    short_side: int | None = None
    options: Options = Options()
    unable: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pixels, steps = self.options.pixels, self.options.steps
        if self.options.orders and pixels * steps > self.size[0] * self.size[1]:
            raise ValueError(
                f"{steps} steps of {pixels} pixels are more than an input of {self.size[0]}x{self.size[1]} has: "
                "take fewer"
            )
        if "discrimination" in self.options.metrics and not self.dataset.pairs:
            raise ValueError(
                f"the metric discrimination is for images of two classes, and {self.dataset.name} is no such data "
                "set: take shapes-pairs or voc2012-pairs, or leave the metric out"
            )

    @cached_property
    def predict(self) -> Callable[[np.ndarray], np.ndarray]:
        """From a batch to its logits."""
        return predictor(self.model)

    @property
    def batches(self) -> int:
        """How many batches the data set has."""
        return -(-len(self.dataset.names) // self.options.batch_size)

    def batch_length(self, number: int) -> int:
        """How many images batch `number` has."""
        size = self.options.batch_size
        return min(size, len(self.dataset.names) - number * size)

    def evaluate(self, number: int) -> pd.DataFrame:
        """Results of batch `number`: a row per image and method, or one row for an image that is not used.

        Images are those that can be read and that the network classifies correctly (all, where the data set
        does not tell the classes); of pairs, those of which the explained class and another one of the image are
        the network's first two choices. See `columns` for what a row has.
        """
        rows, images_used = self._classify(number)
        if images_used is not None:
            for method, analyzer in self.analyzers.items():
                targets = images_used.targets if self.dataset.pairs else None
                rows += self._rows(method, images_used, heatmaps(analyzer, images_used.x, targets))
        rows.sort(key=lambda row: row["number"])  # stable: an image's methods keep their order
        return self._frame(rows)

    def given_up(self, number: int, reason: str) -> pd.DataFrame:
        """Rows of a batch that cannot be evaluated: all its images are broken, for the same reason."""
        start = number * self.options.batch_size
        names = self.dataset.names[start : start + self.options.batch_size]
        return self._frame([_unused(index, name, "broken", reason) for index, name in enumerate(names, start)])

    def _frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=columns(self.options)).astype(_types(self.options))

    def _classify(self, number: int) -> tuple[list[dict[str, Any]], _Images | None]:
        """Rows of the batch's images that are not used, and those that are."""
        start = number * self.options.batch_size
        rows, numbers, examples, photos = [], [], [], []
        for index, name in enumerate(self.dataset.names[start : start + self.options.batch_size], start):
            try:
                example = self.dataset.read(name)
                photos.append(images.fit(example.photo, self.size, self.short_side))
            except (ValueError, OSError) as error:
                rows.append(_unused(index, name, "broken", " ".join(str(error).split())))
                continue
            examples.append(example)
            numbers.append(index)
        if not examples:
            return rows, None
        x = images.preprocess(photos, self.preprocessing)
        logits = self.predict(x)
        chosen_of = _choice_of_pair if self.dataset.pairs else _choice
        choices = [chosen_of(example, row) for example, row in zip(examples, logits)]
        targets = np.array([choice.target for choice in choices])
        right = [choice.right for choice in choices]
        rows += [_unused(i, e.name, "misclassified") for i, e, used in zip(numbers, examples, right) if not used]
        chosen = np.flatnonzero(right)
        if chosen.size == 0:
            return rows, None
        random = self._perturb(x[chosen], targets[chosen], "random", None, np.array(numbers)[chosen])
        return rows, _Images(
            numbers=[numbers[i] for i in chosen],
            names=[examples[i].name for i in chosen],
            truths=[self._truth(examples[i], int(targets[i])) for i in chosen],
            x=x[chosen],
            targets=targets[chosen],
            logits=logits[chosen, targets[chosen]].astype(float),
            random=random,
            others=[self._other_mask(examples[i], choices[i]) for i in chosen if self.dataset.pairs],
        )

    def _rows(self, method: str, used: _Images, maps: np.ndarray) -> list[dict[str, Any]]:
        """A row for each image that is used, of one method's heatmaps (N, H, W)."""
        finite = np.isfinite(maps).all(axis=(1, 2))
        curves: dict[str, np.ndarray] = {}
        for order in self.options.orders:
            if order != "random" and finite.any():
                curves.update(self._perturb(used.x[finite], used.targets[finite], order, maps[finite]))
        curves.update({name: values[finite] for name, values in used.random.items()})
        place = np.cumsum(finite) - 1  # of an image among those whose heatmap is finite
        rows = []
        for index, number in enumerate(used.numbers):
            row = {
                "number": number,
                "image": used.names[index],
                "status": "used",
                "reason": "",
                "method": method,
                "flaw": "" if finite[index] else "not finite",
                "target": int(used.targets[index]),
                "logit": used.logits[index],
            }
            if finite[index]:
                row.update(localisation(maps[index], used.truths[index], self.options.metrics))
                if "discrimination" in self.options.metrics:
                    row.update(_discrimination(maps[index], used.truths[index], used.others[index]))
                row.update({name: values[place[index]].tolist() for name, values in curves.items()})
            rows.append(row)
        return rows

    def _truth(self, example: Example, target: int) -> Truth:
        chosen = target if self.options.foreground == "predicted" else None
        return truth(example, self.size, self.short_side, chosen)

    def _other_mask(self, example: Example, choice: _Choice) -> np.ndarray:
        """Where the object is that the explained one is to be told from."""
        mask = truth(example, self.size, self.short_side, choice.other).mask
        assert mask is not None  # data sets of pairs have masks
        return mask

    def _perturb(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        order: str,
        maps: np.ndarray | None,
        seeds: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Columns of one order of perturbation, (N, steps + 1) each; none if it is not asked for."""
        options = self.options
        if order not in options.orders:
            return {}
        if maps is None:
            maps = np.zeros(x.shape[:3])
        result = metrics.region_perturbation(
            self.predict,
            x,
            maps,
            targets,
            order,
            options.pixels,
            options.steps,
            options.fill,
            seeds,
        )
        return {f"{order}_correct": result.correct.astype(float), f"{order}_logit": result.logit}


class _Choice(NamedTuple):
    """The class that is explained, that which it is to be told from, and whether the image is used."""

    target: int
    other: int | None
    right: bool


def _choice(example: Example, logits: np.ndarray) -> _Choice:
    target = int(logits.argmax())
    return _Choice(target, None, example.labels is None or target in example.labels)


def _choice_of_pair(example: Example, logits: np.ndarray) -> _Choice:
    """The explained class, if it and another one of the image are the network's first two choices."""
    labels = example.labels or frozenset()
    first_two = {int(number) for number in np.argsort(-logits, kind="stable")[:2]}
    assert example.explained is not None  # as `Dataset.pairs` has it
    right = example.explained in first_two and first_two <= labels
    others = first_two - {example.explained}
    return _Choice(example.explained, others.pop() if right else None, right)


def _discrimination(values: np.ndarray, own: Truth, other: np.ndarray) -> dict[str, float]:
    """How the heatmap tells the objects of the two classes apart, as columns of a row."""
    assert own.mask is not None
    found = metrics.discrimination(values, own.mask, other, own.void)
    return dict(zip(DISCRIMINATION, found))


DISCRIMINATION = ("own_above_other_mass", "own_above_other_density", "pointing_own", "pointing_other")
"""The columns of the metric discrimination."""


def localisation(values: np.ndarray, where: Truth, wanted: tuple[str, ...] = METRICS) -> dict[str, float]:
    """How well a heatmap marks the object, as columns of a row.

    The outside-inside ratio and the mass inside go by the box where there is one, else by the mask; the
    segmentation by the mask where there is one, else by the box.

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


def columns(options: Options) -> list[str]:
    """The columns of a row.

    image, status ("used", "misclassified", "broken"), reason (of a broken image), method, flaw ("" or "not
    finite"), target (the class explained), its logit, and those of the metrics: outside_inside_all,
    outside_inside_pos, mass_inside, `DISCRIMINATION`, counts of pixels (tp_pos and so on), and curves of steps + 1
    values (lerf_correct and so on).
    """
    return [*WORDS, "target", "logit", *_measures(options), *_curves(options)]


WORDS = ("image", "status", "reason", "method", "flaw")
"""The columns that every row has, whatever is measured; `columns` tells what they hold."""


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


def _types(options: Options) -> dict[str, Any]:
    """Types of the columns, the same for every batch, also for one in which no image is used."""
    return {"target": "int64", "logit": "float64", **dict.fromkeys(_measures(options), "float64")}


def _unused(number: int, name: str, status: str, reason: str = "") -> dict[str, Any]:
    return {
        "number": number,
        "image": name,
        "status": status,
        "reason": reason,
        "method": None,
        "flaw": "",
        "target": -1,
    }


def heatmaps(analyzer: Any, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    """Heatmaps by an analyzer of either host, (N, H, W).

    Args:
        analyzer: for one batch at a time, or one image where it makes a batch of every image, as Integrated
            Gradients does.
        x: network inputs, (N, H, W, C).
        targets: the classes to explain, (N,), for an analyzer with neuron_selection_mode="index".
    """
    size = 1 if explains_single_images(analyzer) else len(x)
    found = []
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        chosen = {} if targets is None else {"neuron_selection": targets[rows]}
        found.append(heatmap(analyzer.analyze(x[rows], **chosen)))
    return np.concatenate(found)
