"""LRP by three rules for three places: z^B where the input is seen, gamma in convolutions, epsilon elsewhere."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.keras_graph import input_names
from rap_keras.engine.rules.kinds import linear_maps
from rap_keras.engine.rules.weighted import LinearRule, Step, linear_rule, z_b_of
from rap_keras.engine.way_back import input_bounds
from rap_keras.engine.way_back.input_bounds import InputRule
from rap_keras.hosts.native import lrp_methods


class EpsilonGammaBox(lrp_methods.LRP):
    """LRP-gamma in convolutions, LRP-epsilon in all other layers, and z^B in a convolution that sees the photo.

    BatchNormalization is folded. Source: the composite of this name in Anders et al., Software for Dataset-wide
    XAI: From Local Explanations to Global Insights with Zennit, CoRelAy, and ViRelAy, arXiv 2106.13200.

    Args:
        model: as for `LRP`.
        epsilon: that of LRP-epsilon.
        gamma: that of LRP-gamma.
        input_rule: the lowest and highest input value, as for `rap_keras.RAP`.
        **options: those of `LRP`.

    Raises:
        ValueError: an option has an invalid value; or, in `analyze`, a sample is outside of its bounds.
        NotAnalyzeableModelException: as for `LRP`.
    """

    def __init__(
        self,
        model: keras.Model,
        epsilon: float = 1e-6,
        gamma: float = 0.25,
        input_rule: InputRule = "auto",
        **options: Any,
    ) -> None:
        self._input_rule = input_rule
        in_dense = linear_rule(lrp_methods.epsilon(epsilon))
        in_convolutions = linear_rule(lrp_methods.gamma(gamma))

        def box(step: Step, R: tf.Tensor) -> tf.Tensor:
            if step.bounds is None or step.linear is None or not step.linear.convolution:
                return in_dense.back(step, R)
            return z_b_of(step, step.bounds, R)

        rules: lrp_methods.Composite = [
            ("bounded", LinearRule("z^B (Eq. 10)", box, place=0, others=in_convolutions)),
            (_is_convolution, in_convolutions),
            ("any", in_dense),
        ]
        super().__init__(model, rules, **{**lrp_methods.CANONICAL, **options})

    def _bounded_inputs(self) -> list[int]:
        inputs = dict(zip(input_names(self._model), self._model.inputs))
        self._input_rules = input_bounds.valid_rules(self._input_rule, inputs)
        return input_bounds.bounded(self._input_rules, self.network.inputs, self._model.inputs)

    def _bounds(self, inputs: list[tf.Tensor]) -> list[Any]:
        return input_bounds.tensors(self._input_rules, inputs)

    def samples(self, X: Any, neuron_selection: Any = None, against: Any = None) -> Samples:
        """As in `Analyzer`; also raises ValueError for values outside the bounds."""
        found = super().samples(X, neuron_selection, against)
        input_bounds.require_within(self._input_rules, found.arrays)
        return found


def _is_convolution(layer: Layer) -> bool:
    return any(linear.convolution for linear in linear_maps(layer) or ())
