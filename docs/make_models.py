"""Makes docs/models.md: networks of six kinds, trained on data of known truth, and where each method looks.

    python docs/make_models.py             # trains and explains all, a few minutes, and writes the page
    python docs/make_models.py vit ...     # only these, and prints their sections

The networks and their data are in docs/models.
"""

from __future__ import annotations

import os
import platform
import sys
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

from rap_keras import NotAnalyzeableModelException, create_analyzer, methods
from rap_keras.engine.conservation import check
from rap_keras.engine.keras_graph import version
from rap_keras.metrics import outside_inside_ratio

PAGE = Path(__file__).parent / "models.md"
METHODS: dict[str, dict[str, Any]] = {
    "rap": {},
    "rap.contrastive": {},
    "lrp.alpha_1_beta_0": {},
    "lrp.epsilon": {},
    "input_t_gradient": {},
    "gradient": {},
    "integrated_gradients": {"steps": 16},
}
TITLES = {"lrp.epsilon": "LRP ε", "random": "random numbers"}
TRAINING_SEED, TEST_SEED = 1, 2
BATCH, RATE = 32, 2e-3
TESTED, EXPLAINED, CHECKED, DRAWS = 400, 100, 4, 1000

HEAD = """\
# Networks of other kinds

Images and convolutions are not all. Here are six small networks of other kinds: EEGNet, a 1-D ResNet, a 3-D U-Net, a video
model, a Vision Transformer and a siamese network. Each is trained on made data in which it is known what the class
depends on. {explained} held-out samples are then explained by every method.

The figure is the POS [outside-inside ratio](guide/benchmark.md#metrics): mean positive relevance outside of the truth over
that inside, lower is better, 1 for a heatmap that knows nothing. It is the median over the first {explained} held-out samples
that have a truth and are classified correctly, with a bootstrap 95 % interval. Relevance is summed over channels first.
A heatmap without positive relevance inside counts as worse than any other. "Conserved" is what
[`rap-keras check`](guide/check.md) says of {checked} of the samples. Data is simple and networks are small: what follows
shows that the methods run and where they look here, not how they rank on recordings of patients or on photos.

LRP is [iNNvestigate's](native_methods.md), which does not treat BatchNormalization as the equations of LRP would; this
concerns EEGNet and the 1-D ResNet.

Made by `python docs/make_models.py` on {date}, {machine}, TensorFlow {tensorflow}, Keras {keras}.
The networks and their data are in `docs/models`.
"""


class Row(NamedTuple):
    """What a method did: the ratio of each sample, and whether relevance is conserved, where that is a question."""

    name: str
    ratios: np.ndarray
    conserved: str
    refused: str = ""


class Result(NamedTuple):
    """What became of a network."""

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


def ratios(relevance: Any, truth: Any) -> np.ndarray:
    """The POS outside-inside ratio of each sample, over all its inputs together, whatever their shape."""
    maps = [np.sum(R, axis=-1, dtype=np.float64) for R in as_list(relevance)]
    values, inside = (
        np.concatenate([array.reshape(len(array), 1, -1) for array in arrays], axis=-1)
        for arrays in (maps, as_list(truth))
    )
    found = outside_inside_ratio(values, inside)
    return np.where(np.isnan(found), np.inf, found)


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
    rows = [explained(name, model, x, truth) for name in METHODS]
    noise = np.random.default_rng(0)
    rows.append(Row("random", ratios([noise.normal(size=part.shape) for part in as_list(x)], truth), ""))
    negative = int((logits[which].max(1) < 0).sum())
    return Result(model.count_params(), float(correct.mean()), seconds, negative, rows)


def train(model: keras.Model, module: ModuleType) -> None:
    """Trains a network on its data; one unit is a sigmoid's, several are a softmax's."""
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
    """The class that a network decides for; of one unit class 1 if it is positive."""
    return logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).astype(int)


def explained(name: str, model: keras.Model, x: Any, truth: Any) -> Row:
    """The row of one method."""
    try:
        analyzer = create_analyzer(name, model, **METHODS[name])
    except NotAnalyzeableModelException as error:
        return Row(name, np.array([]), "", " ".join(str(error).split()))
    found = ratios(analyzer.analyze(x, batch_size=20), truth)
    conserved = ""
    if name.startswith("rap"):
        checked = check(analyzer, take(x, np.arange(CHECKED)))
        conserved = "yes" if checked.passed() else f"**no**: {', '.join(checked.not_conserved())}"
    return Row(name, found, conserved)


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


def title(name: str) -> str:
    """What the page calls a method."""
    return TITLES.get(name) or methods.title(name)


def section(module: ModuleType, result: Result) -> str:
    """The part of the page about one network."""
    best = min((row for row in result.rows if not row.refused), key=lambda row: median(row.ratios))
    lines = [
        f"## {module.NAME}\n",
        module.TEXT,
        f"{result.parameters:,} parameters, {module.TRAINING['count']:,} samples for training, "
        f"{result.seconds:.0f} s. Held-out accuracy **{result.accuracy:.3f}** on {TESTED} samples, "
        f"{len(result.rows[0].ratios)} explained, {result.negative} of them with a logit below 0.\n",
        "| method | ratio ↓ | conserved |",
        "|---|---|---|",
    ]
    for row in result.rows:
        text = figure(row)
        if row is best:
            number, interval = text.split(" ", 1)
            text = f"**{number}** {interval}"
        lines.append(f"| {title(row.name)} | {text} | {row.conserved} |")
    remark = getattr(module, "REMARK", "")
    return "\n".join(lines) + "\n" + (f"\n{remark}" if remark else "")


def summary(results: dict[ModuleType, Result]) -> str:
    """All medians in one table."""
    names = [row.name for row in next(iter(results.values())).rows]
    head = " | ".join(f"[{module.NAME}](#{anchor(module.NAME)})" for module in results)
    lines = [f"| | {head} |", "|---" * (len(results) + 1) + "|"]
    lines.append("| held-out accuracy | " + " | ".join(f"{r.accuracy:.3f}" for r in results.values()) + " |")
    for number, name in enumerate(names):
        cells = []
        for result in results.values():
            row = result.rows[number]
            least = min(median(other.ratios) for other in result.rows if not other.refused)
            value = "refused" if row.refused else f"{median(row.ratios):.3f}"
            cells.append(f"**{value}**" if not row.refused and median(row.ratios) == least else value)
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def anchor(name: str) -> str:
    """The anchor that the documentation site makes of a title."""
    kept = "".join(c for c in name.lower() if c.isalnum() or c in " -_")
    return "-".join(kept.split())


def main(names: list[str]) -> None:
    """Examines the networks of these names, or all, and then writes the page."""
    results = {}
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
    PAGE.write_text("\n".join([head, summary(results), *sections]), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
