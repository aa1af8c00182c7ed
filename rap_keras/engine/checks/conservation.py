"""Checks that relevance is conserved from layer to layer, and from the output to the input.

Sums of relevance stay the same except for rounding. In deep networks rounding matters: in float32 the sum of
|relevance| can be 1,000 times the logit. "Conserved" therefore means, for every sample,

    |sum R - what arrived| <= max(1e-3 |logit|, 1e-5 sum |R|)

The excess is the left side divided by the right side. Above 1, relevance is not conserved.

Sums do not show whether relevance is in the right place: a mirrored heatmap is conserved, too.
`rap_keras.influence` checks that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Union

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.checks.explained import Explained
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.reading.network import Network

Arrays = Union[np.ndarray, list[np.ndarray]]


class LayerCheck(NamedTuple):
    """What one layer call did with relevance.

    Attributes:
        name: the call's name, as in `RAP.analyze_layers`.
        kind: the layer's class.
        rule: what it does with relevance, in a few words.
        arriving: sum of relevance over all its outputs, float64, (N,).
        given_back: sum over all its inputs, float64, (N,).
        excess: the largest excess of any sample, as defined at the top of this module.
        finite: whether everything that it gave back is finite.
        in_head: whether it belongs to the head of contrastive RAP, where biases keep their part.
    """

    name: str
    kind: str
    rule: str
    arriving: np.ndarray
    given_back: np.ndarray
    excess: float
    finite: bool
    in_head: bool = False


class Check(NamedTuple):
    """What became of relevance in a network: at every layer call, and from the output to the input.

    Attributes:
        layers: all layer calls in forward order.
        seed: sum of relevance where it begins, float64, (N,): the selected logit, or for contrastive RAP the sum
            at the feature map in front of the head.
        heatmap: sum of relevance at the input, float64, (N,).
        excess: the largest excess of any sample from `seed` to `heatmap`, as defined at the top of this module.
        finite: whether `heatmap` and `score` are finite.
        score: what is explained, float64, (N,): the selected logit, or the score of contrastive RAP. The score
            minus `seed` is what the head's biases add, and the effect of its curvature if the head is not
            piecewise linear.
    """

    layers: list[LayerCheck]
    seed: np.ndarray
    heatmap: np.ndarray
    excess: float
    finite: bool
    score: np.ndarray

    @property
    def of_biases(self) -> np.ndarray:
        """What the head's biases add to the score, float64, (N,); 0 where relevance begins at the output."""
        return self.score - self.seed

    def not_conserved(self) -> list[str]:
        """Names of the layers that do not conserve relevance, including those with non-finite values."""
        return [layer.name for layer in self.layers if not layer.excess <= 1]

    def not_finite(self) -> list[str]:
        """Names of the layers that gave back NaN or Inf."""
        return [layer.name for layer in self.layers if not layer.finite]

    def passed(self) -> bool:
        """Whether relevance is finite and conserved, at every layer and from the output to the input."""
        return self.finite and self.excess <= 1 and not self.not_conserved() and not self.not_finite()

    def losing(self) -> str:
        """The layers that do not conserve relevance as text, or the one that is furthest from it."""
        chosen = [layer for layer in self.layers if not layer.excess <= 1]
        chosen = chosen or [max(self.layers, key=lambda layer: layer.excess)]
        names = [f"'{layer.name}' ({layer.kind})" for layer in chosen]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{'layer' if len(names) == 1 else 'layers'} {', '.join(names[:3])}{more}"


def check(analyzer: Explained, x: Arrays, neuron_selection: Any = None) -> Check:
    """Finds the rule of every layer call, and whether it conserves relevance on the batch `x`.

    Only sums leave the graph, so large networks and batches need no more memory than in `RAP.analyze`.

    Args:
        analyzer: the analyzer to check.
        x: as in `RAP.analyze`.
        neuron_selection: as in `RAP.analyze`.

    Raises:
        ValueError: as in `RAP.analyze`.
    """
    return checking(analyzer)(analyzer.samples(x, neuron_selection))


def checking(analyzer: Explained) -> Callable[[Samples], Check]:
    """A function that checks samples of the analyzer as `check` does; its graph is built once."""
    network = analyzer.network
    head: set[str] = set()

    def sums(*tensors: tf.Tensor) -> dict[str, Any]:
        count = tf.shape(tensors[0])[0]
        relevance = analyzer.propagate(list(tensors))
        head.update(relevance.head)
        return {
            "calls": {name: [_sums_in_graph(R, count) for R in back] for name, back in relevance.calls.items()},
            "inputs": [_sums_in_graph(relevance.tensors[number], count) for number in network.inputs],
            "outputs": [_sums_in_graph(relevance.tensors[number], count) for number in network.outputs],
        }

    run = compiled(sums, analyzer.specs())
    return lambda samples: _check_of(analyzer, run(samples.feeds()), head)


def _check_of(analyzer: Explained, found: dict[str, Any], head: set[str]) -> Check:
    """The check from the sums of every call, and of the inputs and outputs."""
    network = analyzer.network
    score, heatmap = sum(found["outputs"])[0], sum(found["inputs"])
    seed = _sum_in_front(network, found["calls"], head) if head else score
    by_layer = _by_layer(network, found["calls"], score)
    layers = []
    for p in analyzer.plan:
        name, in_head = p.call.name, p.call.name in head
        arriving, sums_here = by_layer[name]
        layers.append(
            LayerCheck(
                name=name,
                kind=type(p.call.layer).__name__,
                rule="signed contribution to the score; biases keep their part"
                if in_head
                else analyzer.rules.title(p),
                arriving=arriving,
                given_back=sums_here[0],
                excess=0.0 if in_head else _excess(sums_here, arriving, score),
                finite=bool(np.isfinite(sums_here).all()),
                in_head=in_head,
            )
        )
    finite = bool(np.isfinite(heatmap).all() and np.isfinite(score).all())
    return Check(layers, seed, heatmap[0], _excess(heatmap, seed, score), finite, score)


def _sum_in_front(network: Network, sums: Mapping[str, Iterable[np.ndarray]], head: set[str]) -> np.ndarray:
    """The sum of relevance at the tensors that the head takes."""
    within = {number for call in network.calls if call.name in head for number in call.outputs}
    return sum(
        part[0]
        for call in network.calls
        if call.name in head
        for number, part in zip(call.inputs, sums[call.name])
        if number not in within
    )


def excess(R: Arrays, arriving: np.ndarray, scale: np.ndarray) -> float:
    """The largest excess of any sample, as defined at the top of this module; Inf where R is not finite.

    Args:
        R: relevance, (N, ...), or a list of such arrays, which are summed.
        arriving: what its sum should be, (N,).
        scale: the logit, (N,).
    """
    return _excess(_sums(R), arriving, scale)


def excess_by_layer(analyzer: Explained, layers: Mapping[str, Arrays], seed: np.ndarray) -> dict[str, float]:
    """The excess of each layer of `RAP.analyze_layers`: what it gives back against what arrives at its outputs.

    `layers` must hold all layers. `seed` (N,) is the sum of relevance at the output.
    """
    sums = {
        name: [_sums(R) for R in (value if isinstance(value, list) else [value])] for name, value in layers.items()
    }
    found = _by_layer(analyzer.network, sums, seed)
    return {name: _excess(layer.sums, layer.arriving, seed) for name, layer in found.items()}


class _Layer(NamedTuple):
    arriving: np.ndarray
    sums: np.ndarray


def _by_layer(network: Network, sums: Mapping[str, Iterable[np.ndarray]], seed: np.ndarray) -> dict[str, _Layer]:
    """What arrives at each call and the sums of what it gives back.

    What arrives is the sum of what the following calls gave back, so an error shows at the call that makes it.
    """
    arriving = dict.fromkeys(network.outputs, seed)
    found = {}
    for call in reversed(network.calls):
        parts = list(sums[call.name])
        here = sum((arriving[number] for number in call.outputs if number in arriving), np.zeros_like(seed))
        found[call.name] = _Layer(here, sum(parts, np.zeros((2, len(seed)))))
        for number, part in zip(call.inputs, parts):
            arriving[number] = arriving.get(number, 0) + part[0]
    return found


def excesses(R: Arrays, arriving: np.ndarray) -> np.ndarray:
    """The excess of each sample, (N,), for relevance R (N, ...) that should sum to `arriving` (N,)."""
    return _excesses(_sums(R), arriving, arriving)


def _excess(sums: np.ndarray, arriving: np.ndarray, scale: np.ndarray) -> float:
    return float(np.max(_excesses(sums, arriving, scale)))


def _excesses(sums: np.ndarray, arriving: np.ndarray, scale: np.ndarray) -> np.ndarray:
    total, size = sums
    off = np.abs(total - arriving)
    allowed = np.maximum(1e-3 * np.abs(scale), 1e-5 * size)
    with np.errstate(divide="ignore", invalid="ignore"):
        violation = np.where(off == 0, 0, off / allowed)
    return np.where(np.isnan(violation), np.inf, violation)


def _sums(R: Arrays) -> np.ndarray:
    """Sums over R and over |R| for each sample, float64, (2, N)."""
    parts = [part.reshape(len(part), -1).astype(np.float64) for part in (R if isinstance(R, list) else [R])]
    return sum(np.stack([part.sum(1), np.abs(part).sum(1)]) for part in parts)


def _sums_in_graph(R: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Sums of R and of |R| for each of `count` samples, whose time steps may be part of the batch axis."""
    flat = tf.reshape(tf.cast(R, tf.float64), [count, -1])
    return tf.stack([tf.reduce_sum(flat, 1), tf.reduce_sum(tf.abs(flat), 1)])


def lively_weights(model: keras.Model) -> keras.Model:
    """Gives a model random weights that work like trained ones, in place, and returns it.

    Keras initializes normalization so that it does nothing (in ConvNeXt with a LayerScale of 1e-6, so that its
    blocks vanish), and kernels so that nothing of the photo reaches the output of MobileNet or EfficientNet. Here
    offsets (beta, moving mean, bias) are N(0, 0.3), scales (gamma, moving variance) uniform from 0.5 to 1.5, and
    kernels N(0, 2 / fan-in) as proposed by He et al. Every call gives the same weights.
    """
    random = np.random.default_rng(0)
    depthwise = {
        id(keras_graph.depthwise_kernel(call.layer))
        for call in flatten(model).calls
        if "Depthwise" in type(call.layer).__name__ or "Separable" in type(call.layer).__name__
    }

    def value(variable: Any, weight: np.ndarray) -> np.ndarray:
        kind = variable.name.split("/")[-1].split(":")[0]
        if kind in ("moving_mean", "beta", "bias"):
            return random.normal(0, 0.3, weight.shape)
        if kind in ("moving_variance", "gamma"):
            return random.uniform(0.5, 1.5, weight.shape)
        if kind.endswith("kernel"):
            fan_in = np.prod(weight.shape[: -2 if id(variable) in depthwise else -1])
            return random.normal(0, np.sqrt(2 / fan_in), weight.shape)
        return weight

    # All at once, since in graph mode each set_weights adds to the graph and runs it.
    keras_graph.set_weights(model, [value(v, w) for v, w in zip(model.weights, model.get_weights())])
    return model
