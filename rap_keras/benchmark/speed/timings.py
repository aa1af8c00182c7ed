"""The table and the plot of a run."""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rap_keras.basics import whole_file
from rap_keras.benchmark.speed.suite import MEMORY_BATCH, Found
from rap_keras.hosts.titles import title

GRADIENTS = ("bare gradient", "gradient")
COLUMNS = ("device", "network", "size", "batch", "method", "seconds", "per_image", "ratio", "repeats")


def rows(found: Found) -> list[dict[str, Any]]:
    """The median of the seconds, the seconds per image, and the ratio to the gradient, of each method and batch.

    The gradient is the host's or a bare `tf.gradients`, whichever is faster in the same run.
    """
    result = []
    for row in found.times:
        same = [r for r in found.times if all(r[key] == row[key] for key in COLUMNS[:4])]
        gradient = min(median(r["seconds"]) for r in same if r["method"] in GRADIENTS)
        seconds = median(row["seconds"])
        result.append(
            {
                **row,
                "seconds": seconds,
                "per_image": seconds / row["batch"],
                "ratio": seconds / gradient,
                "repeats": len(row["seconds"]),
            }
        )
    return result


def write(found: Found, output: Path, command: str) -> None:
    """Writes `speed.csv`, `first-heatmap.csv`, `speed.md` and `speed.png` into the folder `output`."""
    timed = rows(found)
    _write_csv(output / "speed.csv", COLUMNS, timed)
    _write_csv(
        output / "first-heatmap.csv",
        ("device", "network", "size", "method", "seconds", "gigabytes"),
        found.first,
    )
    whole_file.write(output / "speed.md", ("\n".join(_markdown(found, timed, command)) + "\n").encode())
    if timed:
        _plot(timed, output / "speed.png")


def _write_csv(file: Path, columns: tuple[str, ...], lines: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(lines)
    whole_file.write(file, text.getvalue().encode())


def _markdown(found: Found, timed: list[dict[str, Any]], command: str) -> Iterator[str]:
    yield f"`{command}` on {machine(found.device)}, {date.today()}."
    yield ""
    if timed:
        yield "Medians. The ratio is relative to the gradient: the host's or a bare `tf.gradients`,"
        yield "whichever is faster in the same run."
        yield ""
        yield "| device | network | input | batch | method | seconds | ms per image | ratio |"
        yield "|---|---|---|---|---|---|---|---|"
    for row in timed:
        yield (
            f"| {row['device']} | {row['network']} | {row['size']} | {row['batch']} | {title(row['method'])} "
            f"| {row['seconds']:.3f} | {1000 * row['per_image']:.0f} | {row['ratio']:.2f} |"
        )
    if found.first:
        yield ""
        yield f"First heatmap: seconds from the finished model. Memory: the peak with a batch of {MEMORY_BATCH}."
        yield ""
        yield "| device | network | input | method | seconds | GB |"
        yield "|---|---|---|---|---|---|"
    for row in found.first:
        yield (
            f"| {row['device']} | {row['network']} | {row['size']} | {title(row['method'])} "
            f"| {row['seconds']:.1f} | {row['gigabytes']:.2f} |"
        )
    for failure in found.failed:
        yield ""
        yield f"Not measured: {failure}"


def machine(device: str) -> str:
    """A description of the machine."""
    return f"{device}, {os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"


def _plot(timed: list[dict[str, Any]], file: Path) -> None:
    """Plots the time per image over the batch size: a panel for each network, a line for each method."""
    from matplotlib.figure import Figure

    panels = sorted({(row["network"], row["size"], row["device"]) for row in timed})
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, panel in zip(np.ravel(figure.subplots(1, len(panels), squeeze=False)), panels):
        here = [row for row in timed if (row["network"], row["size"], row["device"]) == panel]
        for method in dict.fromkeys(row["method"] for row in here):
            line = sorted((row["batch"], 1000 * row["per_image"]) for row in here if row["method"] == method)
            axes.plot(*zip(*line), marker="o", label=title(method))
        axes.set(title=f"{panel[0]}, {panel[1]} x {panel[1]}, {panel[2]}", xscale="log")
        axes.set(xlabel="batch size", ylabel="milliseconds per image")
        axes.set_ylim(bottom=0)
        ticks = sorted({row["batch"] for row in here})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=120)
    whole_file.write(file, written.getvalue())
