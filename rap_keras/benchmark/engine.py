"""A benchmark from its first batch, or from where it was interrupted, to its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rap_keras import images
from rap_keras.benchmark import manifest, parts, report
from rap_keras.benchmark.evaluate import Benchmark, heatmaps
from rap_keras.benchmark.summary import Summary, summarise
from rap_keras.methods import title
from rap_keras.progress import progress_bar
from rap_keras.visualization import grid

_EXAMPLES = 5  # photos in the picture of heatmaps


Results = Iterable[tuple[int, pd.DataFrame]]
"""Numbers of batches and their rows, in any order."""


def run(
    benchmark: Benchmark,
    output: str | Path,
    model: str,
    command: str = "",
    evaluate: Callable[[list[int]], Results] | None = None,
) -> Summary:
    """Evaluates what is not evaluated yet, with a progress bar, and writes the outcome.

    Interrupted at any moment and called again it goes on where it was and ends with the same tables.

    Args:
        benchmark: what to evaluate.
        output: the folder of the results, made if it does not exist.
        model: the network's name in the tables.
        command: how the user began the run, for the report.
        evaluate: evaluates the batches of these numbers; by default in this process, one after the other.

    Raises:
        ValueError: `output` holds a run with other options.
        OSError: `output` cannot be written.
    """
    output = Path(output)
    about = manifest.begin(output, manifest.describe(benchmark, model, command))
    missing = unfinished(output, benchmark.batches)
    results = evaluate(missing) if evaluate else ((number, benchmark.evaluate(number)) for number in missing)
    images_missing = sum(benchmark.batch_length(number) for number in missing)
    collect(results, output, len(benchmark.dataset.names), images_missing)
    return finish(benchmark, output, about)


def unfinished(output: Path, batches: int) -> list[int]:
    """The numbers of the batches that have no results in `output` yet."""
    done = parts.finished(output)
    return [number for number in range(batches) if number not in done]


def collect(results: Results, output: Path, total: int, missing: int) -> None:
    """Writes the rows of batches as they come, with a progress bar of images: `missing` of `total` are to come."""
    with progress_bar(total=total, initial=total - missing, unit=" images", smoothing=0.05) as bar:
        for number, rows in results:
            parts.write(output, number, rows)
            bar.update(rows["image"].nunique())


def finish(benchmark: Benchmark, output: Path, about: dict[str, Any]) -> Summary:
    """Writes tables, curves, pictures and the report of a run whose batches are all done."""
    results = parts.read(output, benchmark.batches)
    summary = summarise(results, about["model"], benchmark.dataset.name)
    pictures = []
    names = _examples(parts.read(output, benchmark.batches))
    if names:
        pictures.append(output / "heatmaps.png")
        _picture(benchmark, names, pictures[0])
    report.write(output, summary, about, pictures, benchmark.options.pixels)
    return summary


def _examples(results: Iterator[pd.DataFrame]) -> list[str]:
    """The first used image of each of some classes."""
    chosen: dict[int, str] = {}
    for rows in results:
        for row in rows[rows["status"] == "used"].itertuples():
            chosen.setdefault(row.target, row.image)
        if len(chosen) >= _EXAMPLES:
            break
    return list(chosen.values())[:_EXAMPLES]


def _picture(benchmark: Benchmark, names: list[str], file: Path) -> None:
    """Photos and heatmaps of all methods side by side, as in the paper's Figures 5 and 6."""
    photos = [
        images.fit(benchmark.dataset.read(name).photo, benchmark.size, benchmark.short_side) for name in names
    ]
    x = images.preprocess(photos, benchmark.preprocessing)
    maps = {}
    for method, analyzer in benchmark.analyzers.items():
        values = heatmaps(analyzer, x)
        finite = np.isfinite(values).all(axis=(1, 2), keepdims=True)
        maps[title(method)] = np.where(finite, values, 0)  # nothing is shown of what is not finite
    grid(photos, maps, [_short(name) for name in names]).savefig(file, dpi=120)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"...{name[-21:]}"
