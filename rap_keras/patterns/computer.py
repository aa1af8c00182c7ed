"""Patterns of a network's neurons, from one pass over data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras import batches, checks
from rap_keras.equations.numerics import transposed
from rap_keras.network import Network, flatten
from rap_keras.patterns.estimators import Sums, pattern
from rap_keras.patterns.maps import Map, maps_by_layer
from rap_keras.patterns.stored import Patterns, fingerprint


class PatternComputer:
    """Computes the patterns of a network.

    >>> patterns = PatternComputer(model).compute(photos)
    >>> analyzer = innvestigate.create_analyzer("pattern.attribution", model, patterns=patterns)

    Args:
        model: a Keras model, built with eager execution off; it is only read.
        pattern_type: "relu" estimates neurons in front of a ReLU where they are active (the two-component
            estimator of the paper) and all others everywhere; "linear" estimates every neuron everywhere.

    Raises:
        RuntimeError: eager execution is on.
        NotAnalyzeableModelException: a weighted layer is neither Dense nor a convolution.
        ValueError: there is no such pattern type.
    """

    def __init__(self, model: keras.Model, pattern_type: str = "relu") -> None:
        checks.require_graph_execution()
        checks.require_choice("pattern_type", pattern_type, ("relu", "linear"))
        self._model = model
        self._network = flatten(model)
        by_layer = maps_by_layer(self._network)
        if not by_layer:
            raise ValueError("the model has no weighted layer, and so no patterns")
        self._by_layer = by_layer if pattern_type == "relu" else _all_linear(by_layer)

    def compute(self, X: Any, batch_size: int = 16) -> Patterns:
        """The patterns, from all samples of X in one pass, with a progress bar.

        Sums are float64, of values around each neuron's mean over the first batch. No patches are cut out:
        the sums over all positions of a convolution are the gradients of its kernel.

        Args:
            X: samples as the model takes them, (N, ...), a list of arrays for models with several inputs, or a
                generator or `keras.utils.Sequence` of batches. The more the better: neurons that are never
                active have no pattern.
            batch_size: samples at a time, where X is an array.

        Raises:
            ValueError: X is empty, or not what the model takes, or has NaN or Inf.
        """
        batches.require_size(batch_size)
        maps = [m for maps in self._by_layer.values() for m in maps]
        weights = dict(zip((m.name for m in maps), keras.backend.batch_get_value(self._variables(maps))))
        shifts = [tf.compat.v1.placeholder(keras.backend.floatx(), [None]) for _ in maps]
        means, sums_of = self._functions(maps, shifts)
        totals: dict[str, Sums] = {}
        around: list[np.ndarray] = []
        for feeds in self._batches(X, batch_size):
            around = around or means(feeds)
            found = sums_of([*feeds, *around])
            for m, values in zip(maps, _fives(found)):
                _add(totals, m, values, weights[m.name].shape)
        if not totals:
            raise ValueError("no samples: patterns need data")
        rounding = float(np.finfo(keras.backend.floatx()).eps) * 8
        arrays = {m.name: pattern(weights[m.name], totals[m.name], rounding) for m in maps}
        return Patterns(
            {name: array.astype(keras.backend.floatx()) for name, array in arrays.items()},
            fingerprint(self._model),
        )

    def _variables(self, maps: list[Map]) -> list[tf.Tensor]:
        return [m.linear.w() for m in maps]

    def _batches(self, X: Any, batch_size: int) -> Iterator[list[np.ndarray]]:
        if batches.are_batches(X):
            for number, batch in enumerate(batches.inputs_of(X)):
                try:
                    yield checks.valid_inputs(batch, self._model.inputs)
                except ValueError as error:
                    raise ValueError(f"batch {number}: {error}") from error
            return
        arrays = checks.valid_inputs(X, self._model.inputs)
        for part in batches.slices(len(arrays[0]), batch_size):
            yield [array[part] for array in arrays]

    def _functions(self, maps: list[Map], shifts: list[tf.Tensor]) -> tuple[Callable, Callable]:
        """Of the network's inputs: the means of all neurons; and, with these for `shifts`, the five sums each."""
        seen: dict[str, list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]] = {m.name: [] for m in maps}
        _forward(self._network, self._by_layer, self._model.inputs, seen)
        means = [tf.add_n([_per_neuron(m, z, tf.reduce_mean) for _, z, _ in seen[m.name]]) for m in maps]
        means = [mean / len(seen[m.name]) for m, mean in zip(maps, means)]
        sums = []
        for m, shift in zip(maps, shifts):
            uses = [_sums(m, x, z, active, shift) for x, z, active in seen[m.name]]
            sums += [tf.add_n(parts) for parts in zip(*uses)]
        inputs = list(self._model.inputs)
        return keras.backend.function(inputs, means), keras.backend.function(inputs + shifts, sums)


def _forward(network: Network, by_layer: dict[int, list[Map]], inputs: Iterable[tf.Tensor], seen: dict) -> None:
    """Notes input, output without bias, and preactivation of every linear map, once for each use."""
    values = {
        number: x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, keras.backend.floatx())
        for number, x in zip(network.inputs, inputs)
    }
    for call in network.calls:
        xs = [values[number] for number in call.inputs]
        x = xs[0]
        for m in by_layer.get(id(call.layer), ()):
            z = m.linear.function(x, m.linear.w())
            preactivation = m.linear.preactivation(x, z)
            seen[m.name].append((x, z, preactivation))
            x = preactivation
        values.update(zip(call.outputs, call.run(xs)))


def _sums(m: Map, x: tf.Tensor, z: tf.Tensor, preactivation: tf.Tensor, shift: tf.Tensor) -> list[tf.Tensor]:
    """The fields of `Sums` for one batch, y being shifted."""
    shape = [1] * z.shape.rank
    shape[m.linear.channel_axis] = -1
    y = z - tf.reshape(shift, shape)
    regime = tf.ones_like(z) if m.into_relu is None else tf.cast(m.into_relu(preactivation) > 0, z.dtype)
    w = m.linear.w()

    def over_positions(g: tf.Tensor) -> tf.Tensor:
        """Sum x g, shaped as the weights: a gradient, whatever the layer."""
        return transposed(lambda w: m.linear.function(x, w), [w], g)[0]

    neurons = _per_neuron(m, tf.ones_like(z), tf.reduce_sum)
    return [
        tf.reduce_max(neurons),
        _per_neuron(m, y, tf.reduce_sum),
        _per_neuron(m, regime, tf.reduce_sum),
        over_positions(regime),
        over_positions(regime * y),
    ]


def _per_neuron(m: Map, values: tf.Tensor, reduce: Callable) -> tf.Tensor:
    """`values`, shaped as the map's output, reduced to one number for each neuron."""
    channel = m.linear.channel_axis % values.shape.rank
    inner = [axis for axis in range(1, values.shape.rank) if axis != channel]
    # A sample at a time in its own type, the samples in float64.
    return reduce(tf.cast(reduce(values, inner) if inner else values, tf.float64), 0)


def _fives(values: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    return (values[start : start + 5] for start in range(0, len(values), 5))


def _add(totals: dict[str, Sums], m: Map, values: list[np.ndarray], shape: tuple[int, ...]) -> None:
    neurons = [shape[axis] for axis in m.linear.output_axes]
    count, y, regime_count, regime_x, regime_xy = (np.asarray(value, np.float64) for value in values)
    y, regime_count = y.reshape(neurons), regime_count.reshape(neurons)
    if m.name not in totals:
        totals[m.name] = Sums(float(count), y, regime_count, regime_x, regime_xy)
        return
    total = totals[m.name]
    total.count += float(count)
    total.y += y
    total.regime_count += regime_count
    total.regime_x += regime_x
    total.regime_xy += regime_xy


def _all_linear(by_layer: dict[int, list[Map]]) -> dict[int, list[Map]]:
    return {key: [Map(m.name, m.linear, None) for m in maps] for key, maps in by_layer.items()}
