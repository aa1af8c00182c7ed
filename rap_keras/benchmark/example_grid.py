"""The picture of some images of a run with the heatmaps of all methods."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rap_keras.benchmark.evaluate import Benchmark, heatmaps
from rap_keras.datasets import images
from rap_keras.hosts.titles import title
from rap_keras.visualization import picture

_ROWS = 5
_DPI = 160


class Chosen(NamedTuple):
    """An image, by its name in the data set, and the class that is explained."""

    image: str
    target: int


def choose(results: Iterable[pd.DataFrame], pairs: bool) -> list[Chosen]:
    """The first used image of each of some classes; of pairs the first used images, with both their classes."""
    chosen: dict[Any, Chosen] = {}
    wanted = 2 * (_ROWS // 2) if pairs else _ROWS
    for rows in results:
        for row in rows[rows["status"] == "used"].itertuples():
            chosen.setdefault(row.image if pairs else row.target, Chosen(row.image, int(row.target)))
        if len(chosen) >= wanted:
            break
    return list(chosen.values())[:wanted]


def draw(benchmark: Benchmark, chosen: list[Chosen]) -> bytes:
    """Photos and heatmaps of all methods side by side, as in the paper's Figures 5 and 6; a PNG."""
    pairs = benchmark.dataset.pairs
    examples = [benchmark.dataset.read(one.image) for one in chosen]
    photos = [images.fit(example.photo, benchmark.size, benchmark.short_side) for example in examples]
    targets = np.array([one.target for one in chosen]) if pairs else None
    x = images.preprocess(photos, benchmark.preprocessing)
    maps = {}
    for method, analyzer in benchmark.analyzers.items():
        values = heatmaps(analyzer, x, targets)
        finite = np.isfinite(values).all(axis=(1, 2), keepdims=True)
        maps[title(method)] = np.where(finite, values, 0)  # a heatmap that is not finite is left white
    file = io.BytesIO()
    labels = [textwrap.fill(_label(benchmark, one), 24) for one in chosen]
    picture(maps, photos, titles=labels).savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def caption(benchmark: Benchmark, chosen: list[Chosen]) -> str:
    """What the picture shows, in words."""
    labels = [_label(benchmark, one) for one in chosen]
    which = (label if label == one.image else f"{label} ({one.image})" for label, one in zip(labels, chosen))
    return f"Photos and heatmaps of all methods: {', '.join(which)}"


def _label(benchmark: Benchmark, one: Chosen) -> str:
    """The name of the class; the name of the image where classes have none."""
    names = benchmark.dataset.class_names
    if names is None:
        return one.image if len(one.image) <= 24 else f"...{one.image[-21:]}"
    return f"why {names[one.target]}" if benchmark.dataset.pairs else names[one.target]
