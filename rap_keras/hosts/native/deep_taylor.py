"""Deep Taylor decomposition without iNNvestigate but with its numbers, wherever these are right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.equations.linear import LinearMap, z_b
from rap_keras.engine.equations.shares import sum_shares
from rap_keras.engine.rules import unweighted
from rap_keras.engine.rules.rule import Rule, Tensors, titled
from rap_keras.engine.way_back.composites import AnyRule, Composite
from rap_keras.engine.way_back.propagation import Relevance, gradient
from rap_keras.hosts.native import lrp_scale
from rap_keras.hosts.native.lrp_methods import LRP, alpha_beta
from rap_keras.hosts.native.relu_networks import require_relus


@titled("in equal parts")
def _in_equal_parts(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Means: every value gets the same part."""
    counts = state["call"].run([tf.ones_like(x) for x in Xs])
    return gradient(Xs, Ys, [R / count for R, count in zip(Rs, counts)], state)


@titled("shared in proportion to positive addends")
def _by_positive(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Sums, as LRP alpha-1 beta-0 without biases."""
    return sum_shares([tf.nn.relu(x) for x in Xs], Rs[0])


@titled("shared in proportion to positive addends")
def _by_positive_of_difference(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    first, *others = Xs
    return _by_positive([first, *(-x for x in others)], Ys, Rs, state)


class DeepTaylor(LRP):
    """Deep Taylor decomposition of the positive part of the logit, for networks of ReLUs.

    Weighted layers use LRP alpha-1 beta-0 without biases, as in iNNvestigate, whose w^2 rule for layers without an
    activation is never reached. Sums share in proportion to their positive addends, averages in equal parts,
    and BatchNormalization takes its gradient. Source:
    Montavon et al., Explaining Nonlinear Classification Decisions with Deep Taylor Decomposition, Pattern
    Recognition 2017.

    Args:
        model: as for `LRP`.
        **options: as for `LRP`.

    Raises:
        NotAnalyzeableModelException: an activation is not a ReLU, or as for `LRP`.
    """

    _instead: Mapping[Callable, Rule] = {
        unweighted.normalized: gradient,
        unweighted.averaged: _in_equal_parts,
        unweighted.added: _by_positive,
        unweighted.subtracted: _by_positive_of_difference,
        unweighted.squared_difference: _by_positive_of_difference,
    }

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, self._rule(), **options)
        require_relus(self.network, "deep_taylor")

    def _rule(self) -> AnyRule | Composite:
        return alpha_beta(1, 0, bias=False)

    def seed(self, output: tf.Tensor, index: list[tf.Tensor]) -> tf.Tensor:
        """As in `Analyzer`, of the positive part of the output."""
        return super().seed(tf.nn.relu(output), index)

    def _why_zero(self, empty: np.ndarray, amounts: list[np.ndarray]) -> str:
        logits = amounts[0][empty]
        other = super()._why_zero(empty, amounts)
        if self._contrast is not None or logits.min() >= 0:
            return other
        reason = lrp_scale.of_negative(logits.min())
        return reason if logits.max() < 0 else f"{reason}; or {other}"

    def _amount(self, relevance: Relevance, output: tf.Tensor, positions: list[tf.Tensor]) -> tf.Tensor:
        """The logit before its negative part is left out."""
        if self._contrast is not None:
            return super()._amount(relevance, output, positions)
        seeds = tf.reshape(super().seed(output, positions), [tf.shape(output)[0], -1])
        return tf.reduce_sum(tf.cast(seeds, tf.float64), 1)


class BoundedDeepTaylor(DeepTaylor):
    """Deep Taylor decomposition whose first layer uses z^B, for inputs that have bounds, such as pixels.

    As in iNNvestigate, the first layers are those with weights that see only the input, or what a Flatten, Permute
    or Reshape makes of it. If there is none, as behind a Rescaling, it is the same as `DeepTaylor`.

    Args:
        model: as for `LRP`.
        low: lowest value that an input can have, in units of the model's input.
        high: highest value.
        **options: as for `LRP`.

    Raises:
        NotAnalyzeableModelException: as for `DeepTaylor`.
        ValueError: `low` is not below `high`; or, in `analyze`, a value is outside these bounds.
    """

    def __init__(self, model: keras.Model, low: float, high: float, **options: Any) -> None:
        self._low = requirements.require_number("low", low, -np.inf)
        self._high = requirements.require_number("high", high, -np.inf)
        if self._low >= self._high:
            raise ValueError(f"low={low!r}, high={high!r}: low must be below high")
        super().__init__(model, **options)

    def _rule(self) -> AnyRule | Composite:
        return [("first", self._z_b), ("any", alpha_beta(1, 0, bias=False))]

    def _z_b(
        self, linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool
    ) -> tf.Tensor:
        return z_b(linear, x, w, R, tf.constant(self._low, x.dtype), tf.constant(self._high, x.dtype))

    def samples(self, X: Any, neuron_selection: Any = None, against: Any = None) -> Samples:
        """As in `Analyzer`; also raises ValueError for values outside the bounds."""
        found = super().samples(X, neuron_selection, against)
        for name, array in found.arrays.items():
            # In single precision 0.1 is larger than a double-precision bound of 0.1.
            values = array.astype(np.float32)
            if values.min() < np.float32(self._low) or values.max() > np.float32(self._high):
                raise ValueError(
                    f"input '{name}' has values from {values.min():.6g} to {values.max():.6g}, outside of "
                    f"low={self._low:g} and high={self._high:g}: give the lowest and highest value that an input "
                    "can have, in units of the model's input (after preprocessing)"
                )
        return found
