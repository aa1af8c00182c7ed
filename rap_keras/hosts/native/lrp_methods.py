"""LRP without iNNvestigate but with its numbers, wherever these are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.conservation import checking
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.equations import lrp as equations
from rap_keras.engine.equations.linear import LinearMap
from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.rules import unweighted
from rap_keras.engine.rules.rule import Rule, Tensors, titled
from rap_keras.engine.way_back import attention_plan
from rap_keras.engine.way_back.composites import AnyRule, Composite, closed_by, linear_rules, split
from rap_keras.engine.way_back.plan import plan
from rap_keras.engine.way_back.propagation import Relevance, Rules, gradient
from rap_keras.hosts.native import lrp_scale
from rap_keras.hosts.native.base import numbered
from rap_keras.hosts.native.layerwise import Layerwise
from rap_keras.hosts.native.lrp_normalization import (
    as_innvestigate,
    as_scale,
    with_absorbing_constants,
    with_layer_norm,
)


def z(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """LRP-z."""
    return equations.z(linear, x, w, b, R)


def epsilon(value: float = equations.TINY, bias: bool = True) -> Callable:
    """LRP-epsilon, with or without the bias; raises ValueError unless epsilon is above 0."""
    if requirements.require_number("epsilon", value, 0) == 0:
        raise ValueError("epsilon=0: must be above 0; LRP without an epsilon is 'lrp.z'")
    return titled(f"LRP-epsilon, {value:g}")(
        lambda linear, x, w, b, R, nonnegative: equations.epsilon(linear, x, w, b if bias else 0.0, R, value)
    )


def gamma(value: float = 0.25, bias: bool = True) -> Callable:
    """LRP-gamma, with or without the bias; raises ValueError if gamma is below 0."""
    value = requirements.require_number("gamma", value, 0)
    return titled(f"LRP-gamma, {value:g}")(
        lambda linear, x, w, b, R, nonnegative: equations.gamma(
            linear, x, w, b if bias else 0.0, R, value, nonnegative=nonnegative
        )
    )


def alpha_beta(alpha: float | None = None, beta: float | None = None, bias: bool = True) -> Callable:
    """LRP-alpha-beta, with or without the bias; one of alpha and beta = alpha - 1 is enough.

    Raises:
        ValueError: neither is given, alpha is below 1, beta below 0, or alpha - beta is not 1.
    """
    if alpha is None and beta is None:
        raise ValueError("neither alpha nor beta is given: give alpha, as in alpha=2 for LRP-alpha-2-beta-1")
    a = requirements.require_number("alpha", beta + 1 if alpha is None and beta is not None else alpha, 1)
    b = requirements.require_number("beta", a - 1 if beta is None else beta, 0)
    if not np.isclose(a - b, 1):
        raise ValueError(f"alpha={a:g}, beta={b:g}: alpha - beta must be 1, or relevance would not be conserved")
    return lambda linear, x, w, bias_values, R, nonnegative: equations.alpha_beta(
        linear, x, w, bias_values if bias else 0.0, R, a, b, nonnegative
    )


def of_positive_inputs(
    linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool
) -> tf.Tensor:
    """The rule of BatchNormalization in iNNvestigate's presets."""
    return equations.of_positive_inputs(linear, x, w, b, R)


def flat(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """LRP-flat."""
    return equations.flat(linear, x, w, R)


def w_square(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """The w^2 rule."""
    return equations.w_square(linear, x, w, R)


CANONICAL = {"batch_norm": "fold", "layer_norm": "linear", "constants": "absorb"}
"""The options of `LRP` in the methods that iNNvestigate does not have."""


class LRP(Layerwise):
    """Layer-wise relevance propagation by one rule for all weighted layers, or by a composite of rules.

    The numbers are those of iNNvestigate 2, including what it does with BatchNormalization, see
    `rap_keras.engine.equations.lrp`. It also explains what iNNvestigate does not: depthwise convolutions, nested
    models, ReLU layers. Each of the two maps of a separable convolution uses the rule.

    Args:
        model: a functional or Sequential model that ends in logits, see `rap_keras.to_logits`.
        rule: the rule of weighted layers and BatchNormalization: a function of the linear map, its input, weights
            and bias, the relevance of its output, and whether its input is never below 0. Or a composite: a list
            of pairs of a condition and such a function; the first pair whose condition holds counts. A condition
            is a layer class, the name of a layer as in `analyze_layers`, "first" for the layers that see only the
            input, "last" for those that give the output, "any", or a function of the layer that tells whether the
            condition holds. A composite may also have rules of whole layers, see `rap_keras.register_rule`.
        allow_lambda_layers: as in `rap_keras.RAP`.
        batch_norm: "innvestigate" for what iNNvestigate does with BatchNormalization; "identity" passes relevance
            through it unchanged; "fold" first makes it part of the convolution or Dense layer beside it, where
            that is exact, as in `rap_keras.RAP`: "canonisation". One that stays is a layer of one weight for each
            channel, the weight that it has at inference.
        attention: as in `rap_keras.RAP`, with the rule of Achtibat et al. 2024 at the softmax.
        layer_norm: "identity" passes relevance through LayerNormalization and GroupNormalization unchanged;
            "linear" treats them as linear maps, x less its mean, with the standard deviation as a constant factor,
            as Ali et al. 2022 do. None for "linear" with attention="attnlrp", else "identity".
        constants: behind weights, "share" lets relevance pass added constants unchanged, such as position
            embeddings, and spreads that of joined ones evenly over the inputs, such as class tokens; "absorb" lets
            them keep their part, as biases do. None for "absorb" with attention="attnlrp", else "share".
        contrast: "log_odds" or "logit" to begin with the signed contributions of the network's head to a score,
            see `rap_keras.ContrastiveRAP`; the rule then holds for the layers below the head.
        **options: those of every `Analyzer`.

    Raises:
        NotAnalyzeableModelException: there is no rule for a layer, or as in `rap_keras.RAP`.
        TypeError: `rule` is neither a function nor a list of pairs.
        ValueError: a composite has no rule for a weighted layer, or an invalid condition; or an option has an
            invalid value.
    """

    _instead: Mapping[Callable, Rule] = {}
    """What a subclass does in place of the rules of `_INSTEAD`."""

    def __init__(
        self,
        model: keras.Model,
        rule: AnyRule | Composite,
        allow_lambda_layers: bool = False,
        contrast: str | None = None,
        batch_norm: str = "innvestigate",
        attention: str = "constant",
        layer_norm: str | None = None,
        constants: str | None = None,
        **options: Any,
    ) -> None:
        self._with_rules = closed_by(rule)
        super().__init__(model, **options)
        self._set_contrast(contrast)
        requirements.require_choice("batch_norm", batch_norm, ("innvestigate", "identity", "fold"))
        requirements.require_choice("attention", attention, attention_plan.CHOICES)
        shared = attention == "attnlrp"
        layer_norm = layer_norm or ("linear" if shared else "identity")
        requirements.require_choice("layer_norm", layer_norm, ("identity", "linear"))
        constants = constants or ("absorb" if shared else "share")
        requirements.require_choice("constants", constants, ("share", "absorb"))
        self._is_absurd = False
        whole, linear = split(rule, self.network)
        planned = plan(
            self.network,
            bounded_inputs=self._bounded_inputs(),
            fold_batch_norm=batch_norm == "fold",
            allow_lambda=allow_lambda_layers,
            rules=whole,
        )
        planned = attention_plan.with_attention(planned, attention)
        planned = with_layer_norm(planned) if layer_norm == "linear" else planned
        self.plan = with_absorbing_constants(planned) if constants == "absorb" else planned
        linears = linear_rules(linear, self.network, self.plan)
        instead = {**_INSTEAD, **self._instead}
        if batch_norm == "identity":
            del instead[unweighted.normalized]
        elif batch_norm == "fold" and instead[unweighted.normalized] is as_innvestigate:
            instead[unweighted.normalized] = as_scale
        self.rules = Rules(linears, _shares, instead)

    def _bounded_inputs(self) -> list[int]:
        """The numbers of the inputs whose bounds the rules need."""
        return []

    def attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Relevance of the inputs, what it should sum to, (N,), and the largest |logit| of each sample, (N,)."""
        relevance = self.propagate(tensors)
        (output,) = (relevance.values[number] for number in self.network.outputs)
        largest = tf.reduce_max(tf.abs(tf.reshape(output, [tf.shape(output)[0], -1])), 1)
        amount = self._amount(relevance, output, tensors[len(self.network.inputs) :])
        return [*(relevance.tensors[number] for number in relevance.inputs), amount, largest]

    def _amount(self, relevance: Relevance, output: tf.Tensor, positions: list[tf.Tensor]) -> tf.Tensor:
        """What relevance should sum to, for each sample, (N,)."""
        return relevance.amount

    def _compare_sums(
        self, samples: Samples, outputs: list[np.ndarray], amounts: list[np.ndarray], which: np.ndarray, first: int
    ) -> None:
        """Warns once if relevance is of another order than the logit."""
        factors = lrp_scale.factors(outputs, *amounts)
        absurd = which[factors[which] != 1]
        if len(absurd) and not self._is_absurd:
            self._is_absurd = True
            cause = lrp_scale.cause(checking(self)(samples))
            worst = absurd[np.abs(np.log(factors[absurd])).argmax()]
            by_layer_norm = with_layer_norm(self.plan) != self.plan
            text = lrp_scale.text(self.name, numbered(absurd + first), factors[worst], cause, by_layer_norm)
            warnings.warn(text, stacklevel=5)


@titled("in proportion to x")
def _by_value(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """LRP-z of sums and means: in proportion to the addends with their signs; constants get nothing."""
    return _by_values_of(state["call"].run, Xs, Rs, state["call"].has_constants())


@titled("in proportion to x")
def _by_value_of_difference(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """LRP-z of the difference in a squared difference."""
    return _by_values_of(lambda xs: [xs[0] - xs[1]], Xs, Rs, state["call"].has_constants())


def _by_values_of(run: Callable[[Tensors], Tensors], Xs: Tensors, Rs: Tensors, has_constants: bool) -> Tensors:
    sums = run(Xs)
    if has_constants:
        sums = [Y - constant for Y, constant in zip(sums, run([tf.zeros_like(x) for x in Xs]))]
    scaled = [equations.safe_divide(R, Y) for R, Y in zip(Rs, sums)]
    return [x * back for x, back in zip(Xs, transposed(lambda *xs: run(list(xs)), Xs, scaled))]


def _shares(xs: Sequence[tf.Tensor], R: tf.Tensor) -> Tensors:
    """LRP-z of a sum: each addend gets relevance in proportion to its value."""
    each = equations.safe_divide(R, tf.add_n(list(xs)))
    return [x * each for x in xs]


# Everything else is as in RAP. An Average shares in equal parts, and Add in proportion, as in iNNvestigate.
_INSTEAD: dict[Callable, Rule] = {
    unweighted.normalized: as_innvestigate,
    unweighted.added: _by_value,
    unweighted.averaged: _by_value,
    unweighted.subtracted: _by_value,
    unweighted.squared_difference: _by_value_of_difference,
    unweighted.averaged_branches: gradient,
}
