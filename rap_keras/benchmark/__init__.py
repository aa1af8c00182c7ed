"""The paper's evaluation: all methods over the same images of a data set, from the data to the tables.

`Benchmark` says what is evaluated, `run` does it: it survives interruption and writes tables and a report.
"""

from rap_keras.benchmark.evaluate import (
    DEFAULT_METRICS,
    METRICS,
    PAIR_METRICS,
    Benchmark,
    Options,
    heatmaps,
)
from rap_keras.benchmark.figures import perturbation_figure
from rap_keras.benchmark.published import IMAGENET_SEGMENTATION_MIOU
from rap_keras.benchmark.runner import run
from rap_keras.benchmark.summary import Summary, summarise

__all__ = [
    "DEFAULT_METRICS",
    "IMAGENET_SEGMENTATION_MIOU",
    "METRICS",
    "PAIR_METRICS",
    "Benchmark",
    "Options",
    "Summary",
    "heatmaps",
    "perturbation_figure",
    "run",
    "summarise",
]
