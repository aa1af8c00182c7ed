"""Checks that relevance lies on inputs that have an influence, which its sum does not show.

A mirrored or shifted heatmap sums to the logit like the right one. So this check replaces inputs by other values.
Where no replacement changes what is explained, inputs have no influence and should have no relevance.

The heatmap is tried region by region. That finds relevance on parts of the input that the network never looks at.
It cannot find relevance on the wrong one of two parts that both have an influence. So every rule that is not this
package's own is also tried alone: some of its layer's inputs are replaced, and relevance arrives only at the
outputs that did not change. The rule must give none of it to the replaced inputs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Union

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks.explained import Explained
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.network import Network, as_float
from rap_keras.engine.way_back.beginning import at_output
from rap_keras.engine.way_back.plan import PlannedCall
from rap_keras.engine.way_back.propagation import Rules, propagate

Arrays = Union[np.ndarray, list[np.ndarray]]
_Run = Callable[[list[np.ndarray]], list[np.ndarray]]
_Back = Callable[[list[np.ndarray], list[np.ndarray]], list[np.ndarray]]

LIMIT = 0.01
"""The largest share of |relevance| that may lie on inputs without influence."""

_PARTS = {1: 64, 2: 6, 3: 3}  # parts along each axis, by the number of axes
_ROUNDING = 1e-6  # relative, in float32


class Influence(NamedTuple):
    """How much relevance lies on inputs without influence, in shares of |relevance| from 0 to 1.

    Attributes:
        heatmap: share on regions of the input whose replacement does not change the selected logit, (N,); NaN
            where all relevance is 0 or some of it is not finite.
        layers: by name, for each layer whose rule is not this package's own: the largest share, over all samples
            and attempts, that the rule gives to inputs on which the explained outputs do not depend. NaN where
            the rule could not be tried, for example because every output depends on every input.
    """

    heatmap: np.ndarray
    layers: dict[str, float]

    def misplacing(self) -> list[str]:
        """Names of the layers whose rule gives more than `LIMIT` to inputs without influence."""
        return [name for name, share in self.layers.items() if share > LIMIT]

    def not_tried(self) -> list[str]:
        """Names of the layers whose rule could not be tried."""
        return [name for name, share in self.layers.items() if np.isnan(share)]

    def passed(self) -> bool:
        """Whether no more than `LIMIT` lies on inputs without influence, in every heatmap and at every layer."""
        return not (self.heatmap > LIMIT).any() and not self.misplacing()


def check(analyzer: Explained, x: Arrays, neuron_selection: Any = None) -> Influence:
    """Measures how much relevance lies on inputs without influence, in the heatmaps of `x` and by users' rules.

    The network runs at least once for every region of the input: a grid of 6 x 6 for images, at most 64 parts of a
    series or a vector.

    Args:
        analyzer: the analyzer to check.
        x: as in `RAP.analyze`.
        neuron_selection: as in `RAP.analyze`.

    Raises:
        ValueError: as in `RAP.analyze`.
    """
    feeds, network = analyzer.samples(x, neuron_selection).feeds(), analyzer.network
    own = [p for p in analyzer.plan if p.kind.own]
    inputs = len(network.inputs)

    def all_of(*tensors: tf.Tensor) -> dict[str, Any]:
        relevance, values = analyzer.propagate(list(tensors)), _values(network, tensors[:inputs])
        return {
            "inputs": [relevance.tensors[number] for number in network.inputs],
            "outputs": [relevance.tensors[number] for number in network.outputs],
            "Xs": [[values[number] for number in _inputs(p)] for p in own],
            "Rs": [[relevance.tensors[number] for number in p.call.outputs] for p in own],
        }

    def outputs_of(*tensors: tf.Tensor) -> list[tf.Tensor]:
        values = _values(network, tensors)
        return [values[number] for number in network.outputs]

    found = compiled(all_of, analyzer.specs())(feeds)
    run = compiled(outputs_of, analyzer.specs()[:inputs])
    heatmap = _heatmap_share(run, feeds[:inputs], found["inputs"], [R != 0 for R in found["outputs"]])
    layers = {
        p.call.name: _rule_share(*_functions(p, Xs, Rs, analyzer.rules), Xs, Rs)
        for p, Xs, Rs in zip(own, found["Xs"], found["Rs"])
    }
    return Influence(heatmap, layers)


def _inputs(p: PlannedCall) -> tuple[int, ...]:
    """The tensors that a call takes, each once."""
    return tuple(dict.fromkeys(p.call.inputs))


def _values(network: Network, tensors: Sequence[tf.Tensor]) -> dict[int, tf.Tensor]:
    return network.values([as_float(tensor) for tensor in tensors])


def _functions(p: PlannedCall, Xs: list[np.ndarray], Rs: list[np.ndarray], rules: Rules) -> tuple[_Run, _Back]:
    """Two functions of a call alone: one gives its outputs, the other takes relevance back by its rule.

    Args:
        p: the call.
        Xs: arrays with the types and shapes of its inputs.
        Rs: likewise for its outputs.
        rules: the method's rules.
    """
    network = Network((p.call,), _inputs(p), p.call.outputs)

    def forward(*tensors: tf.Tensor) -> list[tf.Tensor]:
        values = network.values(tensors)
        return [values[number] for number in network.outputs]

    def back(*tensors: tf.Tensor) -> list[tf.Tensor]:
        arriving = iter(tensors[len(Xs) :])
        found = propagate(network, [p], rules, tensors[: len(Xs)], at_output(lambda _: next(arriving)))
        return [found.tensors[number] for number in network.inputs]

    x_specs, r_specs = ([tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in arrays] for arrays in (Xs, Rs))
    backward = compiled(back, [*x_specs, *r_specs])
    return compiled(forward, x_specs), lambda xs, rs: backward([*xs, *rs])


def _heatmap_share(
    run: _Run, Xs: list[np.ndarray], Rs: list[np.ndarray], selected: list[np.ndarray]
) -> np.ndarray:
    """Share of |R| on regions of the inputs whose replacement changes none of the `selected` outputs, (N,)."""
    before, others = run(Xs), _replacements(Xs)
    misplaced = np.zeros(len(Xs[0]))
    for masks in _regions([X.shape[1:] for X in Xs]):
        unchanged = _any(_tried(Xs, others, masks))
        for other in others:
            if not unchanged.any():
                break
            after = run(_replaced(Xs, other, masks))
            unchanged &= ~_any([~_same(b, a) & chosen for b, a, chosen in zip(before, after, selected)])
        misplaced += unchanged * _size(Rs, masks)
    return _over(misplaced, _size(Rs))


def _rule_share(run: _Run, back: _Back, Xs: list[np.ndarray], Rs: list[np.ndarray]) -> float:
    """The largest share that goes to replaced inputs when relevance arrives only at unchanged outputs."""
    before, others = run(Xs), _replacements(Xs)
    worst = np.nan
    for masks in _parts([X.shape[1:] for X in Xs]):
        tried = _tried(Xs, others, masks)
        after = [run(_replaced(Xs, other, masks)) for other in others]
        unchanged = [np.all([_same(b, a) for a in ways], axis=0) for b, ways in zip(before, zip(*after))]
        given = back(Xs, [np.where(same, R, 0).astype(R.dtype) for same, R in zip(unchanged, Rs)])
        shares = np.where(_any(tried), _over(_size(given, tried), _size(given)), np.nan)
        worst = np.fmax(worst, np.fmax.reduce(shares))
    return float(worst)


def _regions(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[np.ndarray]]:
    """Regions of each input in turn, all channels included: for every input a mask shaped as one sample."""
    first = keras.backend.image_data_format() == "channels_first"
    for index, shape in enumerate(shapes):
        channel = 0 if first else len(shape) - 1
        axes = [axis for axis in range(len(shape)) if axis != channel or len(shape) == 1]
        parts = _PARTS.get(len(axes), 2)
        cuts = [np.array_split(np.arange(shape[axis]), min(parts, shape[axis])) for axis in axes]
        for region in itertools.product(*cuts):
            masks = [np.zeros(other, bool) for other in shapes]
            where: list[Any] = [np.arange(length) for length in shape]
            for axis, positions in zip(axes, region):
                where[axis] = positions
            masks[index][np.ix_(*where)] = True
            yield masks


def _parts(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[np.ndarray]]:
    """Parts of a layer's inputs: a random half of the values, each input alone, and either half of each axis."""
    random = np.random.default_rng(0)
    yield [random.random(shape) < 0.5 for shape in shapes]
    if len(shapes) > 1:
        for index in range(len(shapes)):
            yield [np.full(shape, index == other) for other, shape in enumerate(shapes)]
    for axis in range(max(map(len, shapes))):
        for half in (0, 1):
            yield [_half(shape, axis, half) for shape in shapes]


def _half(shape: tuple[int, ...], axis: int, half: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    if axis < len(shape):
        positions = np.array_split(np.arange(shape[axis]), 2)[half]
        mask[(slice(None),) * axis + (positions,)] = True
    return mask


def _replacements(Xs: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Three replacements for all inputs: each sample shuffled, far below all its values, and far above them.

    Whole numbers may be tokens, and larger tokens may not exist. So they stay between 0 and the largest one.
    """
    random = np.random.default_rng(0)
    ways: list[list[np.ndarray]] = [[], [], []]
    for X in Xs:
        flat = X.reshape(len(X), -1).astype(float)
        low, high = np.minimum(flat.min(1), 0), flat.max(1)
        if (flat != np.round(flat)).any():
            high = 2 * np.abs(flat).max(1) + 1
            low = -high
        shuffled = random.permuted(flat, axis=1)
        for way, values in zip(ways, (shuffled, low[:, None], high[:, None])):
            way.append(np.broadcast_to(values, flat.shape).reshape(X.shape).astype(X.dtype))
    return ways


def _replaced(Xs: list[np.ndarray], other: list[np.ndarray], masks: list[np.ndarray]) -> list[np.ndarray]:
    return [np.where(mask, values, X) for X, values, mask in zip(Xs, other, masks)]


def _tried(Xs: list[np.ndarray], others: list[list[np.ndarray]], masks: list[np.ndarray]) -> list[np.ndarray]:
    """The values of a part that some replacement changes: a mask for each input, shaped like it."""
    return [
        mask & np.any([way[index] != X for way in others], axis=0)
        for index, (X, mask) in enumerate(zip(Xs, masks))
    ]


def _any(masks: list[np.ndarray]) -> np.ndarray:
    """Whether anything is set for each sample, (N,)."""
    return np.any([mask.reshape(len(mask), -1).any(1) for mask in masks], axis=0)


def _same(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Which values are the same except for rounding; NaN equals nothing."""
    with np.errstate(invalid="ignore"):
        return np.abs(after.astype(float) - before) <= _ROUNDING * np.abs(before.astype(float))


def _size(Rs: list[np.ndarray], masks: list[np.ndarray] | None = None) -> np.ndarray:
    """Sum of |R| over all inputs, or over the masked values, (N,)."""
    parts = [np.abs(R, dtype=float) * (1 if masks is None else masks[i]) for i, R in enumerate(Rs)]
    return sum((part.reshape(len(part), -1).sum(1) for part in parts), np.zeros(len(Rs[0])))


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The share part / whole; NaN where the whole is 0 or not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.isfinite(whole), part / whole, np.nan)
