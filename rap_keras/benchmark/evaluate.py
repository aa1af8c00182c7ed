"""What a benchmark evaluates, and all methods and metrics on one batch of images after the other."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tensorflow import keras

from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.datasets import Dataset, Example, images, truth
from rap_keras.datasets.images import Preprocessing
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts.methods import explains_single_images
from rap_keras.metrics import Image, Metric, Removal
from rap_keras.metrics.records import DEFAULT_METRICS, METRICS, WORDS
from rap_keras.visualization import heatmap


@dataclass(frozen=True)
class Options:
    """What is calculated, apart from network, data and methods.

    Attributes:
        metrics: names of `METRICS`; by default those of the paper.
        foreground: "predicted" for objects of the predicted class, "all" for every object.
        batch_size: images at a time. It is one of the options since the last digits of a heatmap may depend on it.
        pixels: how many are set to `fill` at each step of region perturbation.
        steps: of region perturbation.
        fill: what pixels are set to, in units of the network's input.

    Raises:
        ValueError: an unknown metric or foreground, a number below 1, or a fill that is not finite.
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
        if not abs(self.fill) <= np.finfo(np.float32).max:
            raise ValueError(f"fill={self.fill}: must be a finite number of float32")

    @property
    def chosen(self) -> list[Metric]:
        """The metrics that are asked for, in the order of tables."""
        return [metric for name, metric in METRICS.items() if name in self.metrics]

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders of region perturbation that are asked for."""
        return tuple(metric.name for metric in self.chosen if metric.curve)


class _Used(NamedTuple):
    """The images of a batch that are used; `shared` holds the columns that depend on no heatmap."""

    rows: list[dict[str, Any]]  # what the rows of all heatmaps of an image have in common
    images: list[Image]
    x: np.ndarray
    targets: np.ndarray
    shared: dict[str, list]


@dataclass(frozen=True)
class Benchmark:
    """One network and its analyzers, ready to be applied to the images of a data set.

    Attributes:
        model: without softmax, (N, H, W, 3) to logits (N, classes).
        analyzers: one for each method, for `model`; for a data set of pairs with neuron_selection_mode="index".
        dataset: where the images come from.
        preprocessing: as for `rap_keras.images.preprocess`.
        size: height and width of the network's input in pixels.
        short_side: as for `rap_keras.images.fit`.
        options: what is calculated.
        unable: methods that were to be compared but cannot explain this network, and why; for the report.

    Raises:
        ValueError: more pixels are to be removed than an input has; a metric is for pairs, and the data set has
            none; or an analyzer has a name that results give to another heatmap.
    """

    model: keras.Model
    analyzers: Mapping[str, Any]
    dataset: Dataset
    preprocessing: Preprocessing
    size: tuple[int, int]
    short_side: int | None = None
    options: Options = field(default_factory=Options)
    unable: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pixels, steps = self.options.pixels, self.options.steps
        if self.options.orders and pixels * steps > self.size[0] * self.size[1]:
            raise ValueError(
                f"{steps} steps of {pixels} pixels are more than an input of {self.size[0]}x{self.size[1]} has: "
                "take fewer"
            )
        taken = sorted(set(self.analyzers) & set(kinds.added(self.analyzers)))
        if taken:
            raise ValueError(
                f"{' and '.join(taken)}: the benchmark adds heatmaps of this name by itself, so give the analyzer "
                "another name"
            )
        for metric in self.options.chosen:
            if metric.needs == "pairs" and not self.dataset.pairs:
                raise ValueError(
                    f"the metric {metric.name} is for images of two classes, and {self.dataset.name} is no such "
                    "data set: take shapes-pairs or voc2012-pairs, or leave the metric out"
                )

    @cached_property
    def predict(self) -> Callable[[np.ndarray], np.ndarray]:
        """From a batch to its logits."""
        return predictor(self.model)

    @property
    def batches(self) -> int:
        """How many batches the data set has."""
        return -(-len(self.dataset.names) // self.options.batch_size)

    def names_of(self, number: int) -> list[tuple[int, str]]:
        """The images of batch `number`: their numbers in the data set, and their names."""
        start = number * self.options.batch_size
        return list(enumerate(self.dataset.names[start : start + self.options.batch_size], start))

    def evaluate(self, number: int) -> pd.DataFrame:
        """Results of batch `number`: a row for each image and heatmap, or one row for an image that is not used.

        An image is used if it can be read and the network classifies it correctly; where the data set has no
        classes, every readable image is used. An image of a pair is used if the explained class and another one of
        the image are the network's first two choices.

        The heatmaps are those of the methods and those that `rap_keras.benchmark.heatmap_kinds` adds to them.

        Returns:
            The columns image, status ("used", "misclassified", "broken"), reason (of a broken image), method (the
            heatmap's name), flaw ("" or "not finite"), target (the explained class), logit, seconds (that the
            method took for an image; NaN for absolute and random heatmaps), and those of the metrics.
        """
        rows, used = self._classify(number)
        if used is not None:
            for method, analyzer in self.analyzers.items():
                targets = used.targets if self.dataset.pairs else None
                began = time.perf_counter()
                with warnings.catch_warnings():  # a table of many images does not tell of the sums of each
                    warnings.filterwarnings("ignore", message="the Integrated Gradients of sample")
                    warnings.filterwarnings("ignore", message="the relevance of sample .* is absurd")
                    maps = heatmaps(analyzer, used.x, targets)
                seconds = (time.perf_counter() - began) / len(maps)
                rows += self._rows(method, used, maps, seconds)
                absolute = kinds.absolute_of(method)
                if absolute:
                    rows += self._rows(absolute, used, np.abs(maps))
            numbers = [image.number for image in used.images]
            rows += self._rows(kinds.CONTROL, used, kinds.random_heatmaps(numbers, self.size))
        rows.sort(key=lambda row: row["number"])  # stable: an image's heatmaps keep their order
        return self._frame(rows)

    def given_up(self, number: int, reason: str) -> pd.DataFrame:
        """Rows of a batch that cannot be evaluated: they call all its images broken, for the same reason."""
        return self._frame([_row(index, name, "broken", reason) for index, name in self.names_of(number)])

    def _frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        """The rows with the same columns and types for every batch, including one in which no image is used."""
        numbers = ["logit", "seconds", *(c for m in self.options.chosen if not m.curve for c in m.columns)]
        curves = [column for metric in self.options.chosen if metric.curve for column in metric.columns]
        types = {"target": "int64", **dict.fromkeys(numbers, "float64")}
        return pd.DataFrame(rows, columns=[*WORDS, *types, *curves]).astype(types)

    def _classify(self, number: int) -> tuple[list[dict[str, Any]], _Used | None]:
        """Rows of the batch's images that are not used, and the images that are; None if there are none."""
        rows, numbers, examples, photos = [], [], [], []
        for index, name in self.names_of(number):
            try:
                example = self.dataset.read(name)
                photos.append(images.fit(example.photo, self.size, self.short_side))
            except (ValueError, OSError) as error:
                rows.append(_row(index, name, "broken", " ".join(str(error).split())))
                continue
            examples.append(example)
            numbers.append(index)
        if not examples:
            return rows, None
        x = images.preprocess(photos, self.preprocessing)
        logits = self.predict(x)
        choices = [_choice(example, row, self.dataset.pairs) for example, row in zip(examples, logits)]
        right = [choice.right for choice in choices]
        rows += [_row(i, e.name, "misclassified") for i, e, used in zip(numbers, examples, right) if not used]
        chosen = np.flatnonzero(right)
        if chosen.size == 0:
            return rows, None
        seen = [self._image(x[i], examples[i], choices[i], numbers[i]) for i in chosen]
        shared: dict[str, list] = {}
        for metric in self.options.chosen:
            if metric.is_shared:
                shared.update(metric.of_batch(np.zeros((len(seen), *self.size)), seen, self._removal))
        in_common = [
            _row(image.number, examples[i].name, "used", target=image.target, logit=float(logits[i, image.target]))
            for i, image in zip(chosen, seen)
        ]
        return rows, _Used(in_common, seen, x[chosen], np.array([image.target for image in seen]), shared)

    def _image(self, x: np.ndarray, example: Example, choice: _Choice, number: int) -> Image:
        """What metrics may ask of an image."""
        place = self.size, self.short_side
        mask, box, void = truth(example, *place, choice.target if self.options.foreground == "predicted" else None)
        other = truth(example, *place, choice.other).mask if self.dataset.pairs else None
        return Image(
            x, choice.target, mask if box is None else box, box if mask is None else mask, void, other, number
        )

    @property
    def _removal(self) -> Removal:
        return Removal(self.predict, self.options.pixels, self.options.steps, self.options.fill)

    def _rows(self, name: str, used: _Used, maps: np.ndarray, seconds: float = np.nan) -> list[dict[str, Any]]:
        """A row for each image that is used, from the heatmaps (N, H, W) of this name."""
        finite = np.isfinite(maps).all(axis=(1, 2))
        whole = np.flatnonzero(finite)
        measured = {column: [values[i] for i in whole] for column, values in used.shared.items()}
        for metric in self.options.chosen:
            if not metric.is_shared and whole.size:
                measured.update(metric.of_batch(maps[whole], [used.images[i] for i in whole], self._removal))
        rows = [
            {**row, "method": name, "flaw": "" if is_finite else "not finite", "seconds": seconds}
            for row, is_finite in zip(used.rows, finite)
        ]
        for place, index in enumerate(whole):
            rows[index].update({column: values[place] for column, values in measured.items()})
        return rows


class _Choice(NamedTuple):
    """The class that is explained, the one it is to be told from, and whether the image is used."""

    target: int
    other: int | None
    right: bool


def _choice(example: Example, logits: np.ndarray, pairs: bool) -> _Choice:
    """The highest class; of a pair the explained one, if the first two choices are the classes of the image."""
    if not pairs:
        target = int(logits.argmax())
        return _Choice(target, None, example.labels is None or target in example.labels)
    labels = example.labels or frozenset()
    first_two = {int(number) for number in np.argsort(-logits, kind="stable")[:2]}
    assert example.explained is not None  # as `Dataset.pairs` has it
    right = example.explained in first_two and first_two <= labels
    others = list(first_two - {example.explained})
    return _Choice(example.explained, others[0] if right else None, right)


def _row(number: int, name: str, status: str, reason: str = "", target: int = -1, **more: Any) -> dict[str, Any]:
    """A row of image `number` of the data set; without a method if the image is not used."""
    row = {"number": number, "image": name, "status": status, "reason": reason, "target": target}
    return {**row, "method": None, "flaw": "", **more}


def heatmaps(analyzer: Any, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    """Heatmaps by an analyzer of either host, (N, H, W), see `relevances`."""
    return heatmap(relevances(analyzer, x, targets))


def relevances(analyzer: Any, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    """Relevance by an analyzer of either host, of the shape of the inputs; `targets` for one that takes an index.

    It gets all inputs at once, or one by one if it makes a batch of each, as iNNvestigate's Integrated Gradients.
    """
    size = 1 if explains_single_images(analyzer) else len(x)
    found = []
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        chosen = {} if targets is None else {"neuron_selection": targets[rows]}
        found.append(analyzer.analyze(x[rows], **chosen))
    return np.concatenate(found)
