"""The batches of a benchmark, evaluated by Ray workers on many machines.

These are plain actors. Ray Data was tried (Ray 2.60), but it does not say which batch failed, so that no batch can
be set aside by name. It restarts a worker that dies while loading for ever, so that the run hangs and never fails.
And it calls a worker from another thread than the one that built it, while Keras has a graph for each thread.

A worker has one batch at a time, and none before its network and analyzers are built. So it is known which batch
killed a worker, a worker that cannot be placed delays no batch, and each batch has one result.
"""

from __future__ import annotations

import os
import pickle
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, NamedTuple

import pandas as pd

from rap_keras.basics.progress import tell
from rap_keras.benchmark.evaluate import Benchmark
from rap_keras.benchmark.parts import in_one_line
from rap_keras.benchmark.runner import Attempts, Results

_PATIENCE = 60.0  # seconds without a worker before the user is told what the run waits for


def results(
    factory: Callable[[], Benchmark],
    batches: Attempts,
    workers: int | None = None,
    gpus_per_worker: float = 0,
    threads: int | None = None,
    address: str | None = None,
) -> Results:
    """Numbers and rows of batches, in the order in which they are done.

    A worker that dies, alone or with its machine, is replaced. That counts as a failure of its batch.

    Args:
        factory: makes the benchmark in a worker; it is pickled, and must work on every machine.
        batches: what is to be evaluated.
        workers: at most; each uses one core. Default: as many as there is room for when the run begins.
        gpus_per_worker: 0 for workers without a GPU; with a fraction, workers share one.
        threads: TensorFlow's threads in each worker. Default: as many as in this process, since the last digits of
            a convolution depend on it.
        address: of the cluster, "auto" for that of this machine. Default: RAY_ADDRESS, or this machine only.

    Yields:
        The number of a batch and its rows.

    Raises:
        ImportError: Ray is not installed.
        ValueError: `workers` or `threads` is below 1, or this machine has too few GPUs.
        ConnectionError: there is no cluster at `address`.
        RuntimeError: no worker can be started, or every batch failed.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    if not batches.left:
        return
    with _cluster(address, workers) as (ray, is_local):
        places = _places(ray.cluster_resources(), gpus_per_worker)
        if places == 0 and is_local:
            raise ValueError(
                f"a worker needs {gpus_per_worker:g} GPUs, which this machine does not have: give fewer per worker"
            )
        size = min(workers or max(places, 1), batches.left)
        pool = _Pool(ray, factory, threads or _default_threads(), gpus_per_worker, size)
        try:
            yield from _evaluate(pool, batches)
        finally:
            pool.close()


def leave_gpus_to_workers() -> None:
    """Keeps TensorFlow in this process from taking the GPUs' memory. Call it before a model is loaded."""
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


class _Worker:
    """An actor: a benchmark that is built once and evaluates batches."""

    def start(self, factory: bytes, threads: int, has_gpu: bool) -> None:
        """Builds the benchmark."""
        # Workers that share a GPU must not take all its memory.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        import tensorflow as tf

        from rap_keras.hosts import choice

        choice.begin()
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        if not has_gpu:
            tf.config.set_visible_devices([], "GPU")
        self._benchmark: Benchmark = pickle.loads(factory)()

    def evaluate(self, number: int) -> pd.DataFrame:
        return self._benchmark.evaluate(number)


class _Call(NamedTuple):
    """What a worker is busy with; `number` is that of a batch, None while the worker starts."""

    worker: Any
    number: int | None


class _Pool:
    """The workers, and the call that each of them is busy with."""

    def __init__(self, ray: Any, factory: Callable[[], Benchmark], threads: int, gpus: float, size: int) -> None:
        self.ray = ray
        self.size = size
        self.calls: dict[Any, _Call] = {}  # by the reference to the result to come
        self.idle: list[Any] = []
        self._needs = f"a core and {gpus:g} GPUs" if gpus else "a core"
        self._settings = pickle.dumps(factory), threads, gpus > 0
        self._make = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")(_Worker)
        for _ in range(size):
            self.start_worker()

    def start_worker(self) -> None:
        worker = self._make.remote()
        self.calls[worker.start.remote(*self._settings)] = _Call(worker, None)

    def hand_out(self, waiting: deque[int]) -> None:
        """Gives batches to workers that have none."""
        while self.idle and waiting:
            worker, number = self.idle.pop(), waiting.popleft()
            self.calls[worker.evaluate.remote(number)] = _Call(worker, number)

    def wait(self) -> tuple[_Call, Any]:
        """The next call that is done, and its result or the exception."""
        done, _ = self.ray.wait(list(self.calls), num_returns=1, timeout=_PATIENCE)
        if not done:
            if not self.idle and all(call.number is None for call in self.calls.values()):
                tell(f"no worker is ready yet: each needs {self._needs}, which must be free on some machine")
            done, _ = self.ray.wait(list(self.calls), num_returns=1)
        call = self.calls.pop(done[0])
        try:
            return call, self.ray.get(done[0])
        except self.ray.exceptions.RayError as error:
            return call, error

    def close(self) -> None:
        for worker in [call.worker for call in self.calls.values()] + self.idle:
            self.ray.kill(worker)


def _evaluate(pool: _Pool, batches: Attempts) -> Results:
    failed_starts = 0  # one after the other
    while batches.left:
        pool.hand_out(batches.waiting)
        call, result = pool.wait()
        if not isinstance(result, Exception):
            failed_starts = 0
            pool.idle.append(call.worker)
            pool.hand_out(batches.waiting)  # before the rows are written
            if call.number is not None:
                yield from batches.succeeded(call.number, result)
        elif call.number is not None and isinstance(result, pool.ray.exceptions.RayTaskError):
            pool.idle.append(call.worker)  # it is alive
            yield from batches.failed(call.number, _reason(result))
        else:
            pool.ray.kill(call.worker)  # an unreachable worker may still be alive and hold its slot
            if call.number is not None:
                pool.start_worker()
                yield from batches.failed(call.number, "its worker died (killed, crashed or out of memory)")
                continue
            failed_starts += 1
            if failed_starts < batches.tries * pool.size:
                pool.start_worker()
            elif not pool.calls:
                raise RuntimeError(f"no worker can be started: {_reason(result)}") from result


@contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[tuple[Any, bool]]:
    """Ray, connected, and whether it is this machine only."""
    # Ray reads these when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise ImportError('Ray is not installed: pip install "ray>=2.10,<3"') from error
    if ray.is_initialized():  # by the caller, who will also shut it down
        yield ray, False
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    is_local = address == "local"
    options = {"num_cpus": workers, "include_dashboard": False} if is_local else {}
    _try_address(address)
    ray.init(address, logging_level="ERROR", log_to_driver=False, **options)
    try:
        yield ray, is_local
    finally:
        ray.shutdown()


def _try_address(address: str) -> None:
    """Finds out whether a cluster answers at host:port, since Ray itself would keep trying for minutes."""
    host, _, port = address.rpartition(":")
    if "://" in address or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"no cluster of Ray answers at {address} ({error}): start one with `ray start --head --port {port}`"
        ) from error


def _default_threads() -> int:
    """As many threads as TensorFlow uses by default."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _places(resources: dict[str, float], gpus: float) -> int:
    """How many workers there is room for."""
    cores = int(resources.get("CPU", 0))
    return min(cores, int(resources.get("GPU", 0) / gpus)) if gpus else cores


def _reason(error: Exception) -> str:
    """The exception that was raised in a worker, in one line."""
    return in_one_line(getattr(error, "cause", None) or error)
