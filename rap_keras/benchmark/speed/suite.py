"""All measurements of a run, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rap_keras.benchmark.speed.measure import NATIVE, SLOW

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
    for tf32 in (True, False) if device != "CPU" else (True,):
        precision = "" if device == "CPU" else (" TF32" if tf32 else " float32")
        for network in plan.networks:
            for size in plan.sizes:
                where = {"network": network, "size": size, "device": device + precision}
                for method in plan.names:
                    yield _attempt(found, found.first, where, plan, tf32, method=method)
                for batch in plan.batches:
                    yield _attempt(found, found.times, where, plan, tf32, batch=batch)


def _attempt(
    found: Found, rows: list, where: dict, plan: Plan, tf32: bool, method: str = "", batch: int = 0
) -> tuple[str, Found]:
    task = {"network": where["network"], "size": where["size"], "tf32": tf32}
    if method:
        name = f"{where['network']} {where['size']}: first heatmap of {method}"
        task.update(kind="first", method=method, batch=MEMORY_BATCH)
    else:
        name = f"{where['network']} {where['size']}: batches of {batch}"
        task.update(kind="times", names=["forward", *plan.names], batch=batch, repeats=plan.repeats)
    try:
        result = _task(**task)
    except RuntimeError as error:
        found.failed.append(f"{name}: {error}")
        return f"{name}: failed, {error}", found
    if method:
        rows.append({**where, "method": method, **result})
        return f"{name}: {result['seconds']:.1f} s, {result['gigabytes']:.1f} GB", found
    rows += [{**where, "batch": batch, "method": key, "seconds": values} for key, values in result.items()]
    return name, found


def _task(**task: Any) -> Any:
    """The result of a task.

    Raises:
        RuntimeError: its process failed; the message has its last words.
    """
    done = subprocess.run(
        [sys.executable, "-m", "rap_keras.benchmark.speed.measure", json.dumps(task)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if done.returncode < 0:
        raise RuntimeError(f"killed by signal {-done.returncode}, perhaps because the memory was full")
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1][:300])
    return json.loads(done.stdout.splitlines()[-1])
