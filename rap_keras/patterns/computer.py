"""Patterns of a network's neurons, from one pass over data.

Weights, and arrays of their shape, have the inputs of a neuron along the first axes and the neurons along the last
ones. A neuron is y = w^T x + b.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.samples import are_batches, each_batch, require_batch_size, valid_samples
from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.reading.network import as_float, specs
from rap_keras.patterns.pattern_maps import Map, maps_by_layer
from rap_keras.patterns.stored import Patterns, weights_digest


class PatternComputer:
    """Computes the patterns of a network.

    Examples:
        >>> patterns = PatternComputer(model).compute(photos)
        >>> analyzer = innvestigate.create_analyzer("pattern.attribution", model, patterns=patterns)

    Args:
        model: a Keras model; it is not changed.
        pattern_type: "relu" estimates neurons in front of a ReLU where they are active (the two-component
            estimator of the paper) and all others everywhere; "linear" estimates every neuron everywhere.

    Raises:
        RuntimeError: the model was built with eager execution on and it is off now, or the other way round.
        NotAnalyzeableModelException: a weighted layer is neither Dense nor a convolution.
        ValueError: there is no such pattern type.
    """

    def __init__(self, model: keras.Model, pattern_type: str = "relu") -> None:
        requirements.require_model_of_this_mode(model)
        requirements.require_choice("pattern_type", pattern_type, ("relu", "linear"))
        self._model = model
        self._network = flatten(model)
        self._by_layer = maps_by_layer(self._network)
        if not self._by_layer:
            raise ValueError("the model has no weighted layer, and so no patterns")
        if pattern_type == "linear":
            linear = {key: [replace(m, into_relu=None) for m in maps] for key, maps in self._by_layer.items()}
            self._by_layer = linear

    def compute(self, X: Any, batch_size: int = 16) -> Patterns:
        """The patterns, from all samples of X in one pass, with a progress bar.

        Sums are float64, and values are taken relative to each neuron's mean over the first batch. No patches are
        cut out: the sums over all positions of a convolution are the gradients of its kernel.

        Args:
            X: samples as the model takes them, (N, ...), or batches of them, as for `RAP.analyze`. More samples
                are better: neurons that are never active have no pattern.
            batch_size: samples at a time, if X is an array.

        Raises:
            ValueError: X is empty, or not what the model takes, or has NaN or Inf.
        """
        require_batch_size(batch_size)
        maps = [m for maps in self._by_layer.values() for m in maps]
        values = compiled(lambda: [m.linear.w() for m in maps], [])([])
        weights = {m.name: value for m, value in zip(maps, values)}
        means, sums = self._functions(maps)
        totals: dict[str, _Sums] = {}
        shifts: list[np.ndarray] = []
        for feeds in self._batches(X, batch_size):
            shifts = shifts or means(feeds)
            found = sums([*feeds, *shifts])
            for m in maps:
                new = _Sums(*(np.asarray(value, np.float64) for value in found[m.name]))
                totals[m.name] = _Sums(*map(np.add, totals[m.name], new)) if m.name in totals else new
        if not totals:
            raise ValueError("no samples: patterns need data")
        rounding = float(np.finfo(keras.backend.floatx()).eps) * 8
        arrays = {m.name: _pattern(weights[m.name], totals[m.name], m.linear.output_axes, rounding) for m in maps}
        return Patterns(
            {name: array.astype(keras.backend.floatx()) for name, array in arrays.items()},
            weights_digest(self._model),
        )

    def _batches(self, X: Any, batch_size: int) -> Iterator[list[np.ndarray]]:
        if are_batches(X):
            found = each_batch(X, lambda batch: valid_samples(batch, self._model))
        else:
            found = valid_samples(X, self._model).batches(batch_size)
        for samples in found:
            yield samples.feeds()

    def _functions(self, maps: list[Map]) -> tuple[Callable, Callable]:
        """Two functions: from a batch to all neurons' means; from a batch and these to each map's five sums."""
        inputs = specs(self._model)

        def means(*tensors: tf.Tensor) -> list[tf.Tensor]:
            uses = self._uses(tensors)
            return [
                tf.add_n([_per_neuron(m, z, tf.reduce_mean) for _, z, _ in uses[m.name]]) / len(uses[m.name])
                for m in maps
            ]

        def sums(*tensors: tf.Tensor) -> dict[str, list[tf.Tensor]]:
            uses, shifts = self._uses(tensors[: len(inputs)]), tensors[len(inputs) :]
            return {
                m.name: [tf.add_n(parts) for parts in zip(*(_sums(m, *use, shift) for use in uses[m.name]))]
                for m, shift in zip(maps, shifts)
            }

        shifts = [tf.TensorSpec([None], keras.backend.floatx()) for _ in maps]
        return compiled(means, inputs), compiled(sums, [*inputs, *shifts])

    def _uses(self, tensors: Sequence[tf.Tensor]) -> dict[str, list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
        """Input, output without bias, and preactivation of every use of each map, by the map's name."""
        values = self._network.values(map(as_float, tensors))
        found: dict[str, list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]] = {}
        for call in self._network.calls:
            (x,) = call.cast([values[call.inputs[0]]])
            for m in self._by_layer.get(id(call.layer), ()):
                z = m.linear.function(x, m.linear.w())
                preactivation = m.linear.preactivation(x, z)
                found.setdefault(m.name, []).append((x, z, preactivation))
                x = preactivation
        return found


def _sums(m: Map, x: tf.Tensor, z: tf.Tensor, preactivation: tf.Tensor, shift: tf.Tensor) -> list[tf.Tensor]:
    """The fields of `_Sums` for one batch, with y shifted."""
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
    # Each sample is reduced in its own type, then the samples in float64.
    return reduce(tf.cast(reduce(values, inner) if inner else values, tf.float64), 0)


class _Sums(NamedTuple):
    """Sums over all samples and positions that each neuron has seen; those of x are shaped as the weights.

    The regime is where the estimator looks: everywhere ("linear"), or where the neuron is active ("relu").
    """

    seen: np.ndarray
    y: np.ndarray
    regime_count: np.ndarray
    regime_x: np.ndarray
    regime_xy: np.ndarray


def _pattern(w: np.ndarray, sums: _Sums, neuron_axes: Sequence[int], rounding: float) -> np.ndarray:
    """The direction a of a neuron's signal, scaled so that w^T a = 1; 0 for a neuron that never varies.

    a = c / (w^T c) with c = E[xy] - E[x] E[y] in the linear estimator (Eq. 4 of the paper) and
    c = E+[xy] - E+[x] E[y] in the two-component one (Eq. 8), where E+ is the mean over the positive regime.

    `sums` may be over a y shifted by any constant, since c does not depend on it. `rounding` is their relative
    rounding error: a neuron never varies if its w^T c is no larger than the rounding error of its parts.
    """
    neurons = [w.shape[axis] for axis in neuron_axes]
    active = np.maximum(sums.regime_count.reshape(neurons), 1)
    mean_y = sums.y.reshape(neurons) / max(sums.seen, 1)
    together, apart = sums.regime_xy / active, sums.regime_x / active * mean_y
    inputs = tuple(range(w.ndim - len(neurons)))
    w = w.astype(np.float64)
    covariance = together - apart
    variance = (w * covariance).sum(inputs)
    parts = (np.abs(w) * (np.abs(together) + np.abs(apart))).sum(inputs)
    varies = np.abs(variance) > rounding * parts
    return np.where(varies, covariance / np.where(varies, variance, 1), 0)
