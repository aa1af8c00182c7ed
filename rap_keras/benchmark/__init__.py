"""The paper's evaluation: all methods over the same images of a data set, from the data to the tables.

`Benchmark` describes what is evaluated. `run` evaluates it, can be interrupted and continued, and writes tables
and a report.
"""

from rap_keras.benchmark.evaluate import Benchmark, Options, heatmaps
from rap_keras.benchmark.figures import bar_chart, perturbation_figure
from rap_keras.benchmark.heatmap_kinds import title
from rap_keras.benchmark.published import IMAGENET_SEGMENTATION_MIOU
from rap_keras.benchmark.runner import run
from rap_keras.benchmark.summary import Summary, summarise
from rap_keras.benchmark.tables import plain
from rap_keras.metrics.records import DEFAULT_METRICS, METRICS, PAIR_METRICS

__all__ = [
    "DEFAULT_METRICS",
    "IMAGENET_SEGMENTATION_MIOU",
    "METRICS",
    "PAIR_METRICS",
    "Benchmark",
    "Options",
    "Summary",
    "bar_chart",
    "heatmaps",
    "perturbation_figure",
    "plain",
    "run",
    "summarise",
    "title",
]
