"""How long RAP takes, beside a forward pass, a gradient and iNNvestigate's methods.

`run` does one measurement after the other, each in a process of its own, which is
`python -m rap_keras.benchmark.timings TASK`, with TASK in JSON. `write` makes the tables and the plot.

The methods are those of the host, by name. There are two references: "forward", and "bare gradient" (one
`tf.gradients` of the highest logit, which is as fast as TensorFlow can be). Within iNNvestigate, a name that ends
in " (slow build)" is an analyzer as iNNvestigate builds it, and a name that ends in " (native)" a native analyzer.
"""

from __future__ import annotations

import io
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorflow import keras

from rap_keras import build_quickly, create_analyzer, models
from rap_keras.basics import whole_file
from rap_keras.benchmark.manifest import gpu_names
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.flattening import predictor
from rap_keras.engine.reading.network import specs
from rap_keras.hosts import choice, methods
from rap_keras.hosts.titles import title

SLOW = " (slow build)"
NATIVE = " (native)"
GRADIENTS = ("bare gradient", "gradient")
COLUMNS = ["device", "network", "size", "batch", "method", "seconds", "per_image", "ratio", "repeats"]
MEMORY_BATCH = 8
"""The batch at which the peak of memory is taken."""


@dataclass(frozen=True)
class Plan:
    """What is measured: methods of the host, some also as iNNvestigate builds them or as native analyzers."""

    networks: Sequence[str]
    methods: Sequence[str]
    sizes: Sequence[int] = (224,)
    batches: Sequence[int] = (1, 8, 32)
    repeats: int = 5
    slow: Sequence[str] = ()
    native: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The names of all methods."""
        others = [*(f"{name}{SLOW}" for name in self.slow), *(f"{name}{NATIVE}" for name in self.native)]
        return ["bare gradient", *self.methods, *others]


@dataclass
class Found:
    """Results: rows of seconds per batch, and rows of first heatmaps; `failed` says what could not be measured."""

    device: str
    times: list[dict[str, Any]] = field(default_factory=list)
    first: list[dict[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run(plan: Plan) -> Iterator[tuple[str, Found]]:
    """Does one measurement after the other.

    On a GPU everything is measured with and without TF32, which halves the digits of products.

    Yields:
        The name of the measurement, and everything found so far.
    """
    device = _task(kind="device")
    found = Found(device)
    memory = {"kind": "first", "batch": MEMORY_BATCH}
    times = {"kind": "times", "names": ["forward", *plan.names], "repeats": plan.repeats}
    for tf32 in (True, False) if device != "CPU" else (True,):
        precision = "" if device == "CPU" else (" TF32" if tf32 else " float32")
        for network in plan.networks:
            for size in plan.sizes:
                where = {"network": network, "size": size}
                tasks = [{**memory, "method": name} for name in plan.names]
                tasks += [{**times, "batch": batch} for batch in plan.batches]
                for task in tasks:
                    yield _attempt(found, {**where, "device": device + precision}, {**where, "tf32": tf32, **task})


def _attempt(found: Found, where: dict[str, Any], task: dict[str, Any]) -> tuple[str, Found]:
    """Does a task, and adds its rows to what was found."""
    what = f"first heatmap of {task['method']}" if "method" in task else f"batches of {task['batch']}"
    name = f"{where['network']} {where['size']}: {what}"
    try:
        result = _task(**task)
    except RuntimeError as error:
        found.failed.append(f"{name}: {error}")
        return f"{name}: failed, {error}", found
    if "method" in task:
        found.first.append({**where, "method": task["method"], **result})
        return f"{name}: {result['seconds']:.1f} s, {result['gigabytes']:.1f} GB", found
    batch = task["batch"]
    found.times += [{**where, "batch": batch, "method": key, "seconds": values} for key, values in result.items()]
    return name, found


def _task(**task: Any) -> Any:
    """The result of a task.

    Raises:
        RuntimeError: its process failed; the message has its last words.
    """
    done = subprocess.run(
        [sys.executable, "-m", "rap_keras.benchmark.timings", json.dumps(task)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode < 0:
        raise RuntimeError(f"killed by signal {-done.returncode}, perhaps because the memory was full")
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1][:300])
    return json.loads(done.stdout.splitlines()[-1])


def first_heatmap(network: str, size: int, method: str, batch: int) -> dict[str, Any]:
    """Seconds from the model to a method's first heatmap, and the peak of memory (GB) with a batch.

    The model makes a prediction first, so that its own start-up does not count.
    """
    model, x = _model_and_input(network, size, batch)
    _runner(model, "forward")(x[:1])
    start = perf_counter()
    run = _runner(model, method)
    run(x[:1])
    seconds = perf_counter() - start
    for _ in range(2):
        run(x)
    if tf.config.list_physical_devices("GPU"):
        peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
    return {"seconds": seconds, "gigabytes": peak}


def times(network: str, size: int, names: Sequence[str], batch: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each method for one batch, `repeats` times, taken in turns after a warm-up."""
    model, x = _model_and_input(network, size, batch)
    # Analyzers on one model can disturb each other, so each gets its own copy.
    runners = {name: _runner(model, name, copied=True) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        for name, run in runners.items():
            start = perf_counter()
            run(x)
            if turn > 0:
                found[name].append(perf_counter() - start)
    return found


def device() -> str:
    """The name of the GPU, or "CPU" if there is none."""
    return (gpu_names() or ["CPU"])[0]


def _model_and_input(network: str, size: int, batch: int) -> tuple[keras.Model, np.ndarray]:
    build = models.applications()[network.lower()]
    model = build(weights=None, input_shape=(size, size, 3), classes=1000, classifier_activation=None)
    return lively_weights(model), np.random.default_rng(0).normal(0, 50, (batch, size, size, 3)).astype(np.float32)


def _runner(model: keras.Model, method: str, copied: bool = False) -> Callable[[np.ndarray], Any]:
    """A function that applies a method to a batch; its first call may build the graph."""
    if method == "forward":
        return predictor(model)  # not model.predict, which Keras 3 compiles with XLA on a GPU
    if method == "bare gradient":
        function = compiled(
            lambda x: tf.gradients(tf.reduce_max(model(x, training=False), axis=1), x), specs(model)
        )
        return lambda x: function([x])
    if method.endswith(NATIVE):
        return create_analyzer(method[: -len(NATIVE)], model).analyze
    is_slow = method.endswith(SLOW)
    if not is_slow and (copied or not choice.is_plugin()):
        return methods.create(method, model).analyze
    import innvestigate

    if not is_slow:
        return build_quickly(innvestigate.create_analyzer(method, model)).analyze
    if copied:
        weights = model.get_weights()
        model = keras.models.clone_model(model)
        model.set_weights(weights)
    return innvestigate.create_analyzer(method[: -len(SLOW)], model).analyze


def main(task: dict[str, Any]) -> None:
    """Does one task and prints the result as one line of JSON."""
    choice.begin()
    tf.config.experimental.enable_tensor_float_32_execution(task.pop("tf32", True))
    tasks: dict[str, Callable[..., Any]] = {"first": first_heatmap, "times": times, "device": device}
    print(json.dumps(tasks[task.pop("kind")](**task)))


def rows(found: Found) -> list[dict[str, Any]]:
    """The median of the seconds, the seconds per image, and the ratio to the gradient, of each method and batch.

    The gradient is the host's or a bare `tf.gradients`, whichever is faster in the same run.
    """
    result = []
    for row in found.times:
        same = [r for r in found.times if all(r[key] == row[key] for key in COLUMNS[:4])]
        gradient = min(median(r["seconds"]) for r in same if r["method"] in GRADIENTS)
        taken = median(row["seconds"])
        each = {"per_image": taken / row["batch"], "ratio": taken / gradient, "repeats": len(row["seconds"])}
        result.append({**row, "seconds": taken, **each})
    return result


def write(found: Found, output: Path, command: str) -> None:
    """Writes `speed.csv`, `first-heatmap.csv`, `speed.md` and `speed.png` into the folder `output`."""
    timed = rows(found)
    first = ["device", "network", "size", "method", "seconds", "gigabytes"]
    for name, lines, columns in (("speed.csv", timed, COLUMNS), ("first-heatmap.csv", found.first, first)):
        table = pd.DataFrame(lines, columns=columns)
        whole_file.write(output / name, table.to_csv(index=False, lineterminator="\r\n").encode())
    whole_file.write(output / "speed.md", ("\n".join(_markdown(found, timed, command)) + "\n").encode())
    if timed:
        _plot(timed, output / "speed.png")


def _markdown(found: Found, timed: list[dict[str, Any]], command: str) -> Iterator[str]:
    machine = f"{found.device}, {os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"
    yield f"`{command}` on {machine}, {date.today()}."
    yield ""
    if timed:
        yield "Medians. The ratio is relative to the gradient: the host's or a bare `tf.gradients`,"
        yield "whichever is faster in the same run."
        yield from ("", "| device | network | input | batch | method | seconds | ms per image | ratio |")
        yield "|---|---|---|---|---|---|---|---|"
    for row in timed:
        yield (
            f"| {row['device']} | {row['network']} | {row['size']} | {row['batch']} | {title(row['method'])} "
            f"| {row['seconds']:.3f} | {1000 * row['per_image']:.0f} | {row['ratio']:.2f} |"
        )
    if found.first:
        yield ""
        yield f"First heatmap: seconds from the finished model. Memory: the peak with a batch of {MEMORY_BATCH}."
        yield from ("", "| device | network | input | method | seconds | GB |", "|---|---|---|---|---|---|")
    for row in found.first:
        yield (
            f"| {row['device']} | {row['network']} | {row['size']} | {title(row['method'])} "
            f"| {row['seconds']:.1f} | {row['gigabytes']:.2f} |"
        )
    for failure in found.failed:
        yield from ("", f"Not measured: {failure}")


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


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
