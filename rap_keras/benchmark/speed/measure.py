"""Time and memory of attribution methods on one network.

`python -m rap_keras.benchmark.speed.measure TASK`, with TASK in JSON, does one measurement.

The methods are those of the host, by name. There are two references: "forward", and "bare gradient" (one
`tf.gradients` of the highest logit, which is as fast as TensorFlow can be). Within iNNvestigate, a name that ends
in " (slow build)" is an analyzer as iNNvestigate builds it, and a name that ends in " (native)" a native analyzer.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras import build_quickly, create_analyzer, models
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.flattening import predictor
from rap_keras.engine.reading.network import specs
from rap_keras.hosts import choice, methods

SLOW = " (slow build)"
NATIVE = " (native)"
CLASSES = 1000


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
    return {"seconds": seconds, "gigabytes": _peak_memory()}


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
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    return "CPU"


def _model_and_input(network: str, size: int, batch: int) -> tuple[keras.Model, np.ndarray]:
    build = models.applications()[network.lower()]
    model = build(weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None)
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
    if method.endswith(SLOW):
        if copied:
            copy = keras.models.clone_model(model)
            copy.set_weights(model.get_weights())
            model = copy
        import innvestigate

        return innvestigate.create_analyzer(method[: -len(SLOW)], model).analyze
    if copied or not choice.is_plugin():
        return methods.create(method, model).analyze
    import innvestigate

    return build_quickly(innvestigate.create_analyzer(method, model)).analyze


def _peak_memory() -> float:
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux


def main(task: dict[str, Any]) -> None:
    """Does one task and prints the result as one line of JSON."""
    choice.begin()
    tf.config.experimental.enable_tensor_float_32_execution(task.pop("tf32", True))
    kind = task.pop("kind")
    tasks: dict[str, Callable[..., Any]] = {"first": first_heatmap, "times": times, "device": device}
    print(json.dumps(tasks[kind](**task)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
