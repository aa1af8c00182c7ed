"""The paper's evaluation: all methods over the same images of a data set, from the data to the tables.

`Benchmark` says what is evaluated, `run` does it: it survives interruption and writes tables and a report.
"""

from rap_keras.benchmark.engine import run
from rap_keras.benchmark.evaluate import METRICS, Benchmark, Options
from rap_keras.benchmark.manifest import describe
from rap_keras.benchmark.summary import Summary, summarise

__all__ = ["METRICS", "Benchmark", "Options", "Summary", "describe", "run", "summarise"]
