"""Makes docs/vit.md: where the methods look in a trained Vision Transformer, on photos of Pascal VOC 2012.

    python docs/make_vit.py BUILDER.py VOCDEVKIT

BUILDER.py has `build(keras)`, which gives the network with its weights and logits of the 20 classes, and
`preprocess`. Half of the photos choose gamma, the other half is reported.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from tensorflow import keras

import rap_keras
from rap_keras.datasets import open_dataset, truth
from rap_keras.datasets.images import fit
from rap_keras.engine.keras_graph import version
from rap_keras.hosts.titles import title
from rap_keras.metrics import (
    confusion,
    discrimination,
    marked,
    mass_inside,
    mean_iou,
    outside_inside_ratio,
    region_perturbation,
)

PAGE = Path(__file__).parent / "vit.md"
PHOTOS, PAIRS, BATCH, DRAWS = 60, 20, 5, 1000
REMOVED_STEPS = 5
GAMMAS = (0.02, 0.1, 0.25, 1.0)

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("rap", {}),
    ("rap", {"input_rule": None}),
    ("rap", {"attention": "attnlrp"}),
    ("rap.contrastive", {}),
    ("lrp.attn", {}),
    ("lrp.epsilon", {}),
    ("lrp.alpha_1_beta_0", {}),
    ("integrated_gradients", {"steps": 16}),
    ("input_t_gradient", {}),
    ("gradient", {}),
]
OF_GAMMA = ("lrp.attn", "lrp.gamma")


class Photos(NamedTuple):
    """Inputs (N, H, W, 3), masks of the explained object and of another one, void pixels, and classes."""

    x: np.ndarray
    inside: np.ndarray
    void: np.ndarray
    target: np.ndarray
    other: np.ndarray | None = None

    def part(self, which: slice) -> Photos:
        """Some of the photos."""
        return Photos(*(None if array is None else array[which] for array in self))


class Row(NamedTuple):
    """A method's values of each photo, and the largest sum of relevance in units of the logit."""

    title: str
    mass: np.ndarray
    ratio: np.ndarray
    iou: np.ndarray
    peak: np.ndarray
    kept: np.ndarray
    largest_sum: float
    own_above_other: np.ndarray | None = None


def photos(model: keras.Model, builder: Any, root: str, name: str, count: int) -> Photos:
    """The first photos, of every third, that the network classifies correctly; pairs are explained twice."""
    dataset, found = open_dataset(name, root), []
    names = dataset.names[::3] if name == "voc2012" else dataset.names
    for example in map(dataset.read, names):
        x = builder.preprocess(fit(example.photo, (224, 224))[None])
        logits = np.asarray(model(x))[0]
        target = int(logits.argmax()) if example.explained is None else example.explained
        known = example.labels or frozenset()
        if example.explained is None and target not in known:
            continue
        if example.explained is not None and set(np.argsort(-logits)[:2]) != set(known):
            continue
        own = truth(example, (224, 224), target=target)
        others = [truth(example, (224, 224), target=k).mask for k in known if k != target]
        found.append((x[0], own.mask, own.void, target, others[0] if others else None))
        if len(found) == count:
            break
    x, inside, void, target, other = zip(*found)
    is_pair = name != "voc2012"
    return Photos(*map(np.array, (x, inside, void, target)), np.array(other) if is_pair else None)


def heatmaps(analyzer: Any, given: Photos) -> np.ndarray:
    """Heatmaps of each photo's class, (N, H, W)."""
    parts = [slice(start, start + BATCH) for start in range(0, len(given.x), BATCH)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [analyzer.analyze(given.x[p], neuron_selection=given.target[p]) for p in parts]
    return np.concatenate(found).sum(-1, dtype=np.float64)


def measured(named: str, maps: np.ndarray, given: Photos, model: keras.Model, logits: np.ndarray) -> Row:
    """A method's row."""
    ratios = outside_inside_ratio(maps, given.inside, void=given.void)
    counted = np.where(given.void, -np.inf, maps).reshape(len(maps), -1).argmax(1)
    size = maps[0].size // REMOVED_STEPS
    kept = region_perturbation(
        lambda x: np.asarray(model(x)), given.x, maps, given.target, "lerf", size - 1, REMOVED_STEPS - 1
    )
    return Row(
        named,
        mass_inside(maps, given.inside, given.void),
        np.where(np.isnan(ratios), np.inf, ratios),
        mean_iou(confusion(marked(maps, "pos", given.void), given.inside, given.void)),
        given.inside.reshape(len(maps), -1)[np.arange(len(maps)), counted],
        kept.correct[:, 1:].mean(1),
        float(np.abs(maps.sum((1, 2)) / logits).max()),
    )


def rows(model: keras.Model, single: Photos, pairs: Photos) -> Iterator[Row]:
    """The rows of all methods on the second half of the photos, with gamma from the first half."""
    half = len(single.x) // 2
    first, second = single.part(slice(None, half)), single.part(slice(half, None))
    logits = model.predict(second.x, verbose=0)[np.arange(len(second.x)), second.target]
    methods = list(METHODS)
    for name in OF_GAMMA:
        found = {}
        for gamma in GAMMAS:
            maps = heatmaps(created(model, name, {"gamma": gamma}), first)
            found[gamma] = np.nanmean(mass_inside(maps, first.inside, first.void))
        print(name, found, flush=True)
        methods.append((name, {"gamma": max(found, key=found.__getitem__)}))
    for name, options in methods:
        start, analyzer = perf_counter(), created(model, name, options)
        told = "".join(f", `{option}={value!r}`" for option, value in options.items() if option != "steps")
        row = measured(title(name) + told, heatmaps(analyzer, second), second, model, logits)
        maps = heatmaps(analyzer, pairs)
        apart = [discrimination(*each).density for each in zip(maps, pairs.inside, pairs.other, pairs.void)]
        print(f"{row.title}: {np.nanmean(row.mass):.3f}, {perf_counter() - start:.0f} s", flush=True)
        yield row._replace(own_above_other=np.array(apart))
    for control, maps in (("Gaussian in the centre", gaussian(half)), ("random numbers", noise(half))):
        yield measured(control, maps, second, model, np.full(half, np.inf))


def created(model: keras.Model, name: str, options: dict[str, Any]) -> Any:
    """An analyzer that is told which class to explain."""
    return rap_keras.create_analyzer(name, model, neuron_selection_mode="index", **options)


def gaussian(count: int) -> np.ndarray:
    """A Gaussian in the centre, of a fifth of the side."""
    y, x = np.mgrid[:224, :224] - 111.5
    return np.repeat(np.exp(-(x**2 + y**2) / (2 * 45**2))[None], count, 0)


def noise(count: int) -> np.ndarray:
    """Random numbers."""
    return np.random.default_rng(0).normal(size=(count, 224, 224))


def interval(values: np.ndarray, typical: Any = np.nanmean) -> str:
    """A mean or median with its bootstrap 95 % interval."""
    draws = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile([typical(values[draw]) for draw in draws], [0.025, 0.975])
    return f"{typical(values):.2f} [{low:.2f}, {high:.2f}]"


def table(found: list[Row]) -> str:
    """The page's table."""
    lines = [
        "| method | mass inside ↑ | POS ratio ↓ | mIOU ↑ | highest pixel ↑ | left after removal ↑ "
        "| own above other ↑ | largest sum / logit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        apart = "" if row.own_above_other is None else interval(row.own_above_other)
        total = f"{row.largest_sum:.3g}" if row.largest_sum else ""
        lines.append(
            f"| {row.title} | {interval(row.mass)} | {interval(row.ratio, np.median)} | {interval(row.iou)} "
            f"| {row.peak.mean():.2f} | {row.kept.mean():.2f} | {apart} | {total} |"
        )
    return "\n".join(lines)


def main(path: str, root: str) -> None:
    """Measures all methods, and writes the table into the page."""
    specification = importlib.util.spec_from_file_location("builder", path)
    builder = importlib.util.module_from_spec(specification)  # type: ignore[arg-type]
    specification.loader.exec_module(builder)  # type: ignore[union-attr]
    model = builder.build(keras)
    single, pairs = (
        photos(model, builder, root, "voc2012", PHOTOS),
        photos(model, builder, root, "voc2012-pairs", PAIRS),
    )
    found = list(rows(model, single, pairs))
    half, cores = len(single.x) // 2, f"{os.cpu_count()} cores {platform.machine()}"
    made = (
        f"Made by `python docs/make_vit.py BUILDER.py VOCDEVKIT` on {date.today()}, {cores}, no GPU, TensorFlow "
        f"{tf.__version__}, Keras {version()}. {half} photos chose gamma, and {half} others are reported, whose "
        f"objects cover {single.inside[half:].mean():.2f} of the pixels. {len(pairs.x)} questions are about "
        "photos of two classes."
    )
    print(made, table(found), sep="\n\n")
    if PAGE.exists():
        before, _, rest = PAGE.read_text("utf-8").partition("<!-- table -->\n")
        after = rest.partition("<!-- end -->")[2]
        PAGE.write_text(f"{before}<!-- table -->\n{made}\n\n{table(found)}\n<!-- end -->{after}", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
