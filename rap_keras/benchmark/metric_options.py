"""What a benchmark calculates: the metrics and their settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rap_keras import metrics

METRICS = ("outside-inside", "mask", *metrics.ORDERS, "discrimination")
"""What `Options.metrics` may name.

Outside-inside ratio and mass inside, segmentation, the orders of region perturbation; for data sets of pairs also
discrimination, whether the heatmaps tell two classes apart.
"""
DEFAULT_METRICS = ("outside-inside", "mask", "lerf")
"""The metrics of the paper."""
PAIR_METRICS = ("discrimination", "outside-inside", "mask")
"""The metrics for data sets of pairs, see `Dataset.pairs`."""


@dataclass(frozen=True)
class Options:
    """What is calculated, apart from network, data and methods.

    Attributes:
        metrics: of `METRICS`; by default those of the paper.
        foreground: "predicted" for objects of the predicted class, "all" for every object.
        batch_size: images at a time. It is one of the options since the last digits of a heatmap may depend on it.
        pixels: how many are set to `fill` at each step of region perturbation.
        steps: of region perturbation.
        fill: what pixels are set to, in units of the network's input.

    Raises:
        ValueError: an unknown metric or foreground, a number below 1, or a fill that is not finite.
    """

    metrics: tuple[str, ...] = DEFAULT_METRICS
    foreground: str = "predicted"
    batch_size: int = 8
    pixels: int = 100
    steps: int = 40
    fill: float = 0.0

    def __post_init__(self) -> None:
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise ValueError(f"unknown metrics {', '.join(unknown) or '(none)'}: there are {', '.join(METRICS)}")
        if self.foreground not in ("predicted", "all"):
            raise ValueError(f"foreground={self.foreground!r}: must be 'predicted' or 'all'")
        for name in ("batch_size", "pixels", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if not abs(self.fill) <= np.finfo(np.float32).max:
            raise ValueError(f"fill={self.fill}: must be a finite number of float32")

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders of region perturbation that are asked for."""
        return tuple(order for order in metrics.ORDERS if order in self.metrics)
