"""Makes docs/models.md: networks of six kinds, trained on data with known truth, and where each method looks.

    python docs/make_models.py             # trains and explains all in a few minutes, writes the page
    python docs/make_models.py vit ...     # only these, and prints their sections

The networks and their data are in docs/models. `python docs/make_charts.py` then draws the page's charts.
"""

from __future__ import annotations

import os
import platform
import sys
import textwrap
from datetime import date
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import models
import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras import NotAnalyzeableModelException, create_analyzer
from rap_keras.engine.checks.conservation import check
from rap_keras.engine.keras_graph import version
from rap_keras.metrics import confusion, marked, mean_iou, outside_inside_ratio

PAGE = Path(__file__).parent / "models.md"
LRP = "LRP \N{GREEK SMALL LETTER ALPHA}1\N{GREEK SMALL LETTER BETA}0"
# The title of a method on the page, its name, and its options.
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("RAP", "rap", {}),
    ("RAP, `input_rule=None`", "rap", {"input_rule": None}),
    ("RAP, bounds of the data", "rap", {"input_rule": "data"}),
    ("Contrastive RAP", "rap.contrastive", {}),
    (LRP, "lrp.alpha_1_beta_0", {}),
    ("LRP ε", "lrp.epsilon", {}),
    ("Input*Gradient", "input_t_gradient", {}),
    ("Gradient", "gradient", {}),
    ("Integrated Gradients", "integrated_gradients", {"steps": 16}),
    ("Integrated Gradients from 0.5", "integrated_gradients", {"steps": 16, "reference_inputs": 0.5}),
)
TRAINING_SEED, TEST_SEED = 1, 2
BATCH, RATE = 32, 2e-3
TESTED, EXPLAINED, CHECKED, DRAWS = 400, 100, 4, 1000

# What the charts show, and what folds a table.
CHARTS = {"ratio": "bars of the median outside-inside ratio", "miou": "bars of the mean mIOU"}
BEFORE_TABLE = '\n<details markdown="1">\n<summary>Table: all figures</summary>\n'
AFTER_TABLE = "\n</details>\n"

HEAD = """\
# Networks of other kinds

This page tests the methods on six small networks: EEGNet, a 1-D ResNet, a 3-D U-Net, a video model, a Vision
Transformer and a siamese network. Each is trained on synthetic data, for which it is known what the class
depends on. Every method then explains {explained} held-out samples.

The POS [outside-inside ratio](guide/benchmark.md#metrics) is mean positive relevance outside of the truth over
that inside: lower is better, and a heatmap that knows nothing has about 1. The tables show its median, over the
first {explained} held-out samples that have a truth and are classified correctly, with a bootstrap 95 %
interval. Relevance is summed over channels first. A heatmap without positive relevance inside counts as worse
than any other. mIOU compares the truth with the values above the mean positive relevance; the tables show its
mean. "Conserved" is what [`rap-keras check`](guide/check.md) says about {checked} of the samples.

Made by `python docs/make_models.py` on {date}, {machine}, TensorFlow {tensorflow}, Keras {keras}. The networks
and their data are in `docs/models`.
"""

# Written after the run of 2026-11-30, whose numbers it gives.
FOUND = f"""\
Relevance of RAP and of contrastive RAP is conserved in all six networks. What else the tables say, and what they
do not:

- **RAP is well below the random control in every network.** By the ratio, Integrated Gradients lead in four
  networks, {LRP} in the 1-D ResNet, and contrastive RAP in the siamese network. By mIOU, contrastive RAP leads in
  EEGNet and the siamese network, RAP with bounds in the 1-D ResNet, RAP with `input_rule=None` in the Vision
  Transformer, and Integrated Gradients in the 3-D U-Net and the video model.
- **Integrated Gradients know that 0 is the background**: it is their reference. From 0.5, which is no
  background, their ratio is above RAP's in four networks (from 0 in two), and in the U-Net and the video model
  over 7 and about 18 times what it is from 0.
- **A logit below 0 inverts RAP's heatmap.** It does not occur in these tables; [its
  effect](#siamese-network) is described below, for the siamese network. Contrastive RAP is not affected.
- **{LRP} is worse than random numbers in EEGNet because of its average pooling**, which LRP shares in proportion
  to the values. ELU gives values of both signs. Where they nearly cancel, as in noise, one gets many times the
  relevance of its window and another as much below 0. The sum is right, and the ratio counts what is positive. In
  a trial with the absolute values, as in RAP, the ratio was 0.427 instead of 1.709; with equal parts 0.739.
  iNNvestigate's [rule for BatchNormalization](native_methods.md#what-innvestigate-does-and-these-methods-too) is
  not the reason: where relevance passed it unchanged the ratio was 1.505.
- The siamese network had two units at first; it has one because the first run showed the problem described at its
  table.
- The data is synthetic and simple, and the networks are small. This shows that the methods run, and where they
  look here. It does not rank them for recordings of patients or for films.

## Which rule at the input

[$z^B$](method.md#zb) is the rule of the layer that sees the input. It measures each value relative to the lowest
and the highest one. For photos these are black and white. Here most values lie around 0, between the two, and
$z^B$ gives relevance to a value of 0, too. "Bounds of the data" in the tables is RAP with $z^B$: its ratio is
higher than without in all six networks, in the U-Net twice as high. The Vision Transformer's input has the shape
of a colour photo, so $z^B$ is its default, and `input_rule=None` is better. For all others it is not the default.
[Data of more kinds](method.md#input-rule) was tried, too.
"""


class Row(NamedTuple):
    """The results of a method: ratio and mIOU of each sample; for RAP only, whether relevance is conserved."""

    title: str
    ratios: np.ndarray
    mean_ious: np.ndarray
    conserved: str = ""
    refused: str = ""


class Result(NamedTuple):
    """The results of a network."""

    parameters: int
    accuracy: float
    seconds: float
    negative: int
    rows: list[Row]


def as_list(value: Any) -> list[np.ndarray]:
    """A model's inputs, or heatmaps of these, as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def take(value: Any, which: np.ndarray) -> Any:
    """Some samples of an array, or of each array of a list."""
    return [array[which] for array in value] if isinstance(value, list) else value[which]


def measured(relevance: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """The POS outside-inside ratio and mIOU of each sample, over all its inputs together, whatever their shape."""
    maps = [np.sum(R, axis=-1, dtype=np.float64) for R in as_list(relevance)]
    values, inside = (
        np.concatenate([array.reshape(len(array), 1, -1) for array in arrays], axis=-1)
        for arrays in (maps, as_list(truth))
    )
    ratios = outside_inside_ratio(values, inside)
    return np.where(np.isnan(ratios), np.inf, ratios), mean_iou(confusion(marked(values, "pos"), inside))


def examine(module: ModuleType) -> Result:
    """Trains a network, and explains held-out samples by every method."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = module.build()
    start = perf_counter()
    train(model, module)
    seconds = perf_counter() - start

    x, labels, truth = module.data(TESTED, TEST_SEED)
    logits = model.predict(x, verbose=0)
    correct = decisions(logits) == labels
    has_truth = as_list(truth)[0].reshape(TESTED, -1).any(1)
    which = np.flatnonzero(correct & has_truth)[:EXPLAINED]
    x, truth = take(x, which), take(truth, which)
    rows = [explained(*method, model, x, truth) for method in METHODS]
    noise = np.random.default_rng(0)
    rows.append(Row("random numbers", *measured([noise.normal(size=part.shape) for part in as_list(x)], truth)))
    negative = int((logits[which].max(1) < 0).sum())
    return Result(model.count_params(), float(correct.mean()), seconds, negative, rows)


def train(model: keras.Model, module: ModuleType) -> None:
    """Trains a network on its data, with a sigmoid if it ends in one unit, else with a softmax."""
    count, epochs = module.TRAINING["count"], module.TRAINING["epochs"]
    x, labels, _ = module.data(count, TRAINING_SEED)
    steps = epochs * -(-count // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
    several = model.output_shape[-1] > 1
    losses = keras.losses
    loss = (losses.SparseCategoricalCrossentropy if several else losses.BinaryCrossentropy)(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(x, labels, batch_size=BATCH, epochs=epochs, verbose=0)


def decisions(logits: np.ndarray) -> np.ndarray:
    """The class that a network decides for; with one unit, class 1 if it is positive."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(int)


def explained(title: str, name: str, options: dict[str, Any], model: keras.Model, x: Any, truth: Any) -> Row:
    """The row of one method; an `input_rule` of "data" stands for the lowest and highest value of all samples."""
    if options.get("input_rule") == "data":
        parts = as_list(x)
        options = {"input_rule": (min(part.min() for part in parts), max(part.max() for part in parts))}
    try:
        analyzer = create_analyzer(name, model, **options)
    except NotAnalyzeableModelException as error:
        return Row(title, np.array([]), np.array([]), refused=" ".join(str(error).split()))
    found = measured(analyzer.analyze(x, batch_size=20), truth)
    if not name.startswith("rap"):
        return Row(title, *found)
    checked = check(analyzer, take(x, np.arange(CHECKED)))
    return Row(title, *found, "yes" if checked.passed() else f"**no**: {', '.join(checked.not_conserved())}")


def median(values: np.ndarray) -> float:
    """The median, also where some values are infinite."""
    return float(np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]].mean())


def figure(row: Row) -> str:
    """The median with its interval."""
    if row.refused:
        return f"refused: {row.refused}"
    draws = np.random.default_rng(0).integers(0, len(row.ratios), (DRAWS, len(row.ratios)))
    low, high = np.quantile([median(row.ratios[draw]) for draw in draws], [0.025, 0.975], method="nearest")
    without = int(np.isinf(row.ratios).sum())
    return f"{median(row.ratios):.3f} [{low:.3f}, {high:.3f}]" + (f", {without} have none" if without else "")


def least(result: Result) -> float:
    """The lowest median of all methods."""
    return min(median(row.ratios) for row in result.rows if not row.refused)


def section(module: ModuleType, result: Result) -> str:
    """The part of the page about one network."""
    lines = [
        f"## {module.NAME}\n",
        module.TEXT,
        f"{result.parameters:,} parameters, {module.TRAINING['count']:,} samples for training, "
        f"{result.seconds:.0f} s.\n"
        f"Held-out accuracy **{result.accuracy:.3f}** on {TESTED} samples. "
        f"{len(result.rows[0].ratios)} of them are explained; "
        f"{result.negative or 'none'} of their logits are below 0.\n",
        chart(module, "ratio"),
        chart(module, "miou"),
        BEFORE_TABLE,
        "| method | ratio ↓ | mIOU ↑ | conserved |",
        "|---|---|---|---|",
    ]
    for row in result.rows:
        text = figure(row)
        if not row.refused and median(row.ratios) == least(result):
            number, interval = text.split(" ", 1)
            text = f"**{number}** {interval}"
        iou = "" if row.refused else f"{row.mean_ious.mean():.3f}"
        lines.append(f"| {row.title} | {text} | {iou} | {row.conserved} |")
    remark = getattr(module, "REMARK", "")
    return "\n".join([*lines, AFTER_TABLE, lower_than_rap(result), *([remark] if remark else [])])


def chart(module: ModuleType, kind: str) -> str:
    """The line that shows a chart of a network, which docs/make_charts.py draws from the network's table."""
    number = list(models.ALL.values()).index(module) + 1
    return f"![{module.NAME}: {CHARTS[kind]}](images/charts/models-{number}-{kind}.svg){{ .chart }}"


def lower_than_rap(result: Result) -> str:
    """Which methods have a lower median than RAP, and in how many of the samples they are lower."""
    rap, *others = (row for row in result.rows if not row.refused)
    lower = [
        f"{row.title} ({np.sum(row.ratios < rap.ratios)})"
        for row in others
        if median(row.ratios) < median(rap.ratios)
    ]
    samples = len(rap.ratios)
    of = f"These methods have a lower median than RAP (in brackets: in how many of the {samples} samples): "
    text = f"{of}{', '.join(lower)}." if lower else "No method is lower than RAP."
    return textwrap.fill(text, 115, break_long_words=False, break_on_hyphens=False) + "\n"


def summary(results: dict[ModuleType, Result]) -> str:
    """All medians in one table."""
    head = " | ".join(f"[{module.NAME}](#{anchor(module.NAME)})" for module in results)
    lines = [f"| | {head} |", "|---" * (len(results) + 1) + "|"]
    lines.append("| held-out accuracy | " + " | ".join(f"{r.accuracy:.3f}" for r in results.values()) + " |")
    for rows in zip(*(result.rows for result in results.values())):
        cells = []
        for row, result in zip(rows, results.values()):
            value = "refused" if row.refused else f"{median(row.ratios):.3f}"
            cells.append(f"**{value}**" if not row.refused and median(row.ratios) == least(result) else value)
        lines.append(f"| {rows[0].title} | {' | '.join(cells)} |")
    charts = [chart(module, "ratio") for module in results]
    return "\n".join([*charts, BEFORE_TABLE, *lines, AFTER_TABLE])


def anchor(name: str) -> str:
    """The anchor that the documentation site gives a title."""
    kept = "".join(c for c in name.lower() if c.isalnum() or c in " -_")
    return "-".join(kept.split())


def main(names: list[str]) -> None:
    """Examines the networks of these names, or all, and then writes the page."""
    results: dict[ModuleType, Result] = {}
    for name in names or models.ALL:
        module = models.ALL[name]
        start = perf_counter()
        results[module] = examine(module)
        print(section(module, results[module]), f"{perf_counter() - start:.0f} s in all\n", flush=True)
    if names:
        return
    machine = f"{os.cpu_count()} cores {platform.machine()}, no GPU, Python {platform.python_version()}"
    head = HEAD.format(
        explained=EXPLAINED,
        checked=CHECKED,
        date=date.today(),
        machine=machine,
        tensorflow=tf.__version__,
        keras=version(),
    )
    sections = [section(module, result) for module, result in results.items()]
    PAGE.write_text("\n".join([head, summary(results), FOUND, *sections]).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
