"""All methods and metrics on one batch of images after the other."""

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

from rap_keras import metrics
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark.metric_options import Options
from rap_keras.benchmark.rows import columns, discrimination, localisation, types, unused
from rap_keras.datasets import Dataset, Example, Truth, images, truth
from rap_keras.datasets.images import Preprocessing
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts.methods import explains_single_images
from rap_keras.visualization import heatmap


class _Images(NamedTuple):
    """The images of a batch that are used.

    `random` holds the columns of the removal in random order, which depends on no heatmap. `others` are the masks
    of the objects that the explained ones are to be told from; it is empty without pairs.
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
        analyzers: one for each method, for `model`; for a data set of pairs with neuron_selection_mode="index".
        dataset: where the images come from.
        preprocessing: as for `rap_keras.images.preprocess`.
        size: height and width of the network's input in pixels.
        short_side: as for `rap_keras.images.fit`.
        options: what is calculated.
        unable: methods that were to be compared but cannot explain this network, and why; for the report.

    Raises:
        ValueError: more pixels are to be removed than an input has; the metric discrimination without pairs; or an
            analyzer has a name that results give to another heatmap.
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
        """Results of batch `number`: a row for each image and heatmap, or one row for an image that is not used.

        An image is used if it can be read and the network classifies it correctly; where the data set has no
        classes, every readable image is used. An image of a pair is used if the explained class and another one of
        the image are the network's first two choices.

        The heatmaps are those of the methods and those that `rap_keras.benchmark.heatmap_kinds` adds to them.
        `rap_keras.benchmark.rows.columns` says what a row has.
        """
        rows, images_used = self._classify(number)
        if images_used is not None:
            for method, analyzer in self.analyzers.items():
                targets = images_used.targets if self.dataset.pairs else None
                began = time.perf_counter()
                with warnings.catch_warnings():  # a table of many images does not tell of the sums of each
                    warnings.filterwarnings("ignore", message="the Integrated Gradients of sample")
                    warnings.filterwarnings("ignore", message="the relevance of sample .* is absurd")
                    maps = heatmaps(analyzer, images_used.x, targets)
                seconds = (time.perf_counter() - began) / len(maps)
                rows += self._rows(method, images_used, maps, seconds)
                absolute = kinds.absolute_of(method)
                if absolute:
                    rows += self._rows(absolute, images_used, np.abs(maps))
            rows += self._rows(kinds.CONTROL, images_used, kinds.random_heatmaps(images_used.numbers, self.size))
        rows.sort(key=lambda row: row["number"])  # stable: an image's heatmaps keep their order
        return self._frame(rows)

    def given_up(self, number: int, reason: str) -> pd.DataFrame:
        """Rows of a batch that cannot be evaluated: they call all its images broken, for the same reason."""
        start = number * self.options.batch_size
        names = self.dataset.names[start : start + self.options.batch_size]
        return self._frame([unused(index, name, "broken", reason) for index, name in enumerate(names, start)])

    def _frame(self, rows: list[dict[str, Any]]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=columns(self.options)).astype(types(self.options))

    def _classify(self, number: int) -> tuple[list[dict[str, Any]], _Images | None]:
        """Rows of the batch's images that are not used, and the images that are; None if there are none."""
        start = number * self.options.batch_size
        rows, numbers, examples, photos = [], [], [], []
        for index, name in enumerate(self.dataset.names[start : start + self.options.batch_size], start):
            try:
                example = self.dataset.read(name)
                photos.append(images.fit(example.photo, self.size, self.short_side))
            except (ValueError, OSError) as error:
                rows.append(unused(index, name, "broken", " ".join(str(error).split())))
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
        rows += [unused(i, e.name, "misclassified") for i, e, used in zip(numbers, examples, right) if not used]
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

    def _rows(self, name: str, used: _Images, maps: np.ndarray, seconds: float = np.nan) -> list[dict[str, Any]]:
        """A row for each image that is used, from the heatmaps (N, H, W) of this name."""
        finite = np.isfinite(maps).all(axis=(1, 2))
        curves: dict[str, np.ndarray] = {}
        for order in self.options.orders:
            if order != "random" and finite.any():
                curves.update(self._perturb(used.x[finite], used.targets[finite], order, maps[finite]))
        curves.update({column: values[finite] for column, values in used.random.items()})
        place = np.cumsum(finite) - 1  # of an image among those whose heatmap is finite
        rows = []
        for index, number in enumerate(used.numbers):
            row = {
                "number": number,
                "image": used.names[index],
                "status": "used",
                "reason": "",
                "method": name,
                "flaw": "" if finite[index] else "not finite",
                "target": int(used.targets[index]),
                "logit": used.logits[index],
                "seconds": seconds,
            }
            if finite[index]:
                row.update(localisation(maps[index], used.truths[index], self.options.metrics))
                if "discrimination" in self.options.metrics:
                    row.update(discrimination(maps[index], used.truths[index], used.others[index]))
                row.update({column: values[place[index]].tolist() for column, values in curves.items()})
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
    """The class that is explained, the one it is to be told from, and whether the image is used."""

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


def heatmaps(analyzer: Any, x: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    """Heatmaps by an analyzer of either host, (N, H, W).

    Args:
        analyzer: gets all images at once, or one at a time where it makes a batch of every image, as Integrated
            Gradients of iNNvestigate does.
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
