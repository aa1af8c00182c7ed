"""Simulates how long a benchmark takes on 1 to 1,000 workers, from measured times of its parts.

`python docs/simulate_cluster.py --image-seconds 10`. Every random number comes from one fixed seed.
"""

from __future__ import annotations

import argparse
import heapq

import numpy as np

_WORKERS = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)


def hours(workers: int, batches: int, options: argparse.Namespace) -> tuple[float, float, int]:
    """Hours until the last result is written, the share of them spent collecting, and the batches done again.

    A worker starts, then has one batch at a time; one process takes the results one by one and then hands out the
    next batch. Workers are lost at exponential intervals: the batch is done again, and another worker starts.
    """
    rng = np.random.default_rng(0)
    network = options.model_megabytes / options.storage_megabytes
    seconds = options.batch * options.image_seconds
    loaded = collected = busy = 0.0
    waiting = left = batches
    again = 0
    idle: list[float] = []  # when these workers will be lost
    events: list[tuple[float, str, float]] = [(0.0, "start", 0.0)] * min(workers, batches)
    while left:
        time, what, end = heapq.heappop(events)
        if what == "start":
            loaded = max(loaded, time) + network  # models are read one after the other, at the storage's full rate
            ready = loaded + options.start_seconds
            heapq.heappush(events, (ready, "ready", ready + rng.exponential(3600 * options.lifetime_hours)))
            continue
        if what == "lost":
            again += 1
            waiting += 1
            heapq.heappush(events, (time, "start", 0.0))
        else:
            idle.append(end)
        if what == "result":
            collected = max(collected, time) + options.collect_seconds
            busy += options.collect_seconds
            time = collected
            left -= 1
        while idle and waiting:
            end = idle.pop()
            waiting -= 1
            done = time + seconds * rng.lognormal(-(options.spread**2) / 2, options.spread)
            heapq.heappush(events, (done, "result", end) if done < end else (max(end, time), "lost", 0.0))
    return collected / 3600, busy / collected, again


def _main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--images", type=int, default=15_725, help="images in all data sets")
    parser.add_argument("--networks", type=int, default=2, help="networks, one after the other")
    parser.add_argument("--batch", type=int, default=8, help="images per batch")
    parser.add_argument("--image-seconds", type=float, required=True, help="per image and worker, all methods")
    parser.add_argument("--start-seconds", type=float, default=30.0, help="to load model and analyzers")
    parser.add_argument("--model-megabytes", type=float, default=553.0, help="VGG-16: 138 million float32")
    parser.add_argument(
        "--storage-megabytes", type=float, default=1000.0, help="that the storage reads per second"
    )
    parser.add_argument("--collect-seconds", type=float, default=0.022, help="per batch, in one process")
    parser.add_argument("--lifetime-hours", type=float, default=24.0, help="mean lifetime of a worker")
    parser.add_argument("--spread", type=float, default=0.2, help="sigma of a batch's time, lognormal")
    options = parser.parse_args()
    batches = -(-options.images // options.batch)
    print("| workers | hours | efficiency | collecting | batches done again |\n|---|---|---|---|---|")
    alone = None
    for workers in _WORKERS:
        time, share, again = hours(workers, batches, options)
        alone = alone or time
        print(
            f"| {workers:,} | {options.networks * time:,.2f} | {alone / time / workers:.0%} | {share:.1%} | "
            f"{options.networks * again} |"
        )


if __name__ == "__main__":
    _main()
