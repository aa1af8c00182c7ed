"""LRP and deep Taylor decomposition without iNNvestigate, with the same numbers, its peculiarities among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Union

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.equations import lrp as equations
from rap_keras.engine.equations.linear import LinearMap
from rap_keras.engine.network import Call, Network, as_float
from rap_keras.engine.plan import PlannedCall, plan
from rap_keras.engine.reversal import gradient, reverse
from rap_keras.engine.rules import unweighted
from rap_keras.engine.rules.unweighted import Tensors
from rap_keras.engine.rules.weighted import Position
from rap_keras.hosts.native.base import Analyzer, require_relus

Rule = Callable[[LinearMap, tf.Tensor, tf.Tensor, Any, tf.Tensor, bool], tf.Tensor]
"""The rule of weighted layers: from a linear map, its input, its weights, its bias, the relevance of its
output, and whether its input is never below 0, to the relevance of its input."""

# Relevance passes these as RAP has it: activations, what moves values, and what iNNvestigate takes no notice of.
_AS_RAP = (
    *(unweighted.unchanged, unweighted.moved, unweighted.embedded, unweighted.kept_apart),
    *(unweighted.multiplied, unweighted.divided, unweighted.unchanged_or_moved),
)

Condition = Union[type, str, Callable[[Any], bool]]
Composite = Sequence[tuple[Condition, Rule]]
"""Rules by layer: the first pair whose condition holds counts."""


def _scaled(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
    return x * w


def z(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """LRP-z."""
    return equations.z(linear, x, w, b, R)


def epsilon(value: float = equations.TINY, bias: bool = True) -> Rule:
    """LRP-epsilon, with or without the bias."""
    return lambda linear, x, w, b, R, nonnegative: equations.epsilon(linear, x, w, b if bias else 0.0, R, value)


def alpha_beta(alpha: float, beta: float, bias: bool = True) -> Rule:
    """LRP-alpha-beta, with or without the bias."""
    return lambda linear, x, w, b, R, nonnegative: equations.alpha_beta(
        linear, x, w, b if bias else 0.0, R, alpha, beta, nonnegative
    )


def of_positive_inputs(
    linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool
) -> tf.Tensor:
    """What iNNvestigate's presets have for BatchNormalization."""
    return equations.of_positive_inputs(linear, x, w, b, R)


def flat(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """LRP-flat."""
    return equations.flat(linear, x, w, R)


def w_square(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """The w^2 rule."""
    return equations.w_square(linear, x, w, R)


class LRP(Analyzer):
    """Layer-wise relevance propagation by one rule for all weighted layers.

    The numbers are those of iNNvestigate 2, including what it does with BatchNormalization, see
    `rap_keras.engine.equations.lrp`. It also explains what iNNvestigate does not: depthwise convolutions, nested
    models, ReLU layers. Of a separable convolution each of its two maps goes by the rule.

    Args:
        model: functional or Sequential, up to its logits, see `rap_keras.to_logits`.
        rule: of weighted layers and BatchNormalization, a function of the linear map, its input, weights and
            bias, the relevance of its output, and whether its input is never below 0. Or a composite: a list of
            pairs of a condition and such a function, of which the first pair that holds counts. A condition is a
            layer class, the name of a layer as in `RAP.analyze_layers`, "first" or "last" for the layers that see
            the input or give the output, "any", or a function of the layer that says whether it holds.
        allow_lambda_layers: as in `rap_keras.RAP`.
        **options: those of every `Analyzer`.

    Raises:
        NotAnalyzeableModelException: there is no rule for a layer, or as in `rap_keras.RAP`.
        ValueError: a composite has no rule for a weighted layer, or a condition that is none.
    """

    def __init__(
        self,
        model: keras.Model,
        rule: Rule | Composite,
        allow_lambda_layers: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self._planned = {p.call.name: p for p in plan(self.network, allow_lambda=allow_lambda_layers)}
        self._rules = rules_by_call(rule, self.network, list(self._planned.values()))

    def _attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        inputs = [as_float(x) for x in tensors[: len(self.network.inputs)]]
        index = tensors[len(inputs) :]
        return reverse(self.network, inputs, lambda y: self._seed(y, index), self._back)

    def _back(self, call: Call, Xs: Tensors, Ys: Tensors, Rs: Tensors) -> Tensors:
        p = self._planned[call.name]
        if p.linears:
            return [self._through_linear(p, Xs[0], Rs[0])]
        if isinstance(call.layer, keras.layers.BatchNormalization):
            return [self._through_batch_norm(call, Xs[0], Rs[0])]
        if p.rule in (unweighted.added, unweighted.averaged):
            scaled = [equations.safe_divide(R, Y) for R, Y in zip(Rs, call.run(Xs))]
            return [x * back for x, back in zip(Xs, gradient(call, Xs, Ys, scaled))]
        if p.rule in _AS_RAP or p.own:
            assert p.rule is not None
            state = {"layer": call.layer, "call": call, "gates": p.gates, "reference": False}
            return p.rule(Xs, Ys, Rs, state)
        return gradient(call, Xs, Ys, Rs)

    def _through_linear(self, p: PlannedCall, x: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
        """Back through the linear maps of a layer; its activation lets relevance pass."""
        steps = []
        nonnegative = p.nonnegative
        for linear in p.linears:
            w = linear.w()
            z = linear.function(x, w)
            steps.append((linear.function, x, w, linear.bias_along(z), nonnegative))
            x, nonnegative = linear.preactivation(x, z), False
        rule = self._rules[p.call.name]
        for function, x, w, b, nonnegative in reversed(steps):
            R = rule(function, x, w, b, R, nonnegative)
        return R

    def _through_batch_norm(self, call: Call, x: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
        layer = call.layer
        mean, variance = (tf.convert_to_tensor(v) for v in (layer.moving_mean, layer.moving_variance))
        gamma = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones_like(mean)
        beta = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros_like(mean)
        w, b = equations.batch_norm_as_scale(gamma, beta, mean, variance, layer.epsilon)
        axis = keras_graph.normalized_axes(layer)[0]
        shape = [1] * x.shape.rank
        shape[axis] = -1
        return self._rules[call.name](_scaled, x, tf.reshape(w, shape), tf.reshape(b, shape), R, False)


def rules_by_call(rule: Rule | Composite, network: Network, planned: list[PlannedCall]) -> dict[str, Rule]:
    """The rule of every weighted call and BatchNormalization by the call's name.

    Raises:
        ValueError: no condition of a composite holds for a call, or one of them is no condition.
    """
    calls = [p.call for p in planned if p.linears or isinstance(p.call.layer, keras.layers.BatchNormalization)]
    if callable(rule):
        return {call.name: rule for call in calls}
    first, last = _first(network), {p.call.name for p in planned if p.position is Position.OUTPUT}
    found: dict[str, Rule] = {}
    for call in calls:
        for condition, own in rule:
            if _holds(condition, call, first, last):
                found.setdefault(call.name, own)
        if call.name not in found:
            raise ValueError(
                f"the composite has no rule for layer '{call.name}' ({type(call.layer).__name__}): end it with "
                '("any", rule)'
            )
    return found


def _holds(condition: Condition, call: Call, first: set[str], last: set[str]) -> bool:
    if isinstance(condition, type):
        return isinstance(call.layer, condition)
    if isinstance(condition, str):
        special = {"first": call.name in first, "last": call.name in last, "any": True}
        return special.get(condition, condition == call.name)
    if not callable(condition):
        raise ValueError(f"{condition!r} is no condition: give a layer class, a name or a function of the layer")
    return bool(condition(call.layer))


def _first(network: Network) -> set[str]:
    """Names of the calls that see the input itself, or what a Flatten, Permute or Reshape makes of it."""
    seen, found = set(network.inputs), set()
    for call in network.calls:
        if seen.issuperset(call.inputs):
            found.add(call.name)
            if isinstance(call.layer, (keras.layers.Flatten, keras.layers.Permute, keras.layers.Reshape)):
                seen.update(call.outputs)
    return found


class DeepTaylor(LRP):
    """Deep Taylor decomposition of the positive part of the logit, for networks of ReLUs.

    Weighted layers go by LRP alpha-1 beta-0 without biases, everything else by its gradient. So does iNNvestigate:
    its w^2 rule for layers without an activation and for BatchNormalization is never reached. Source: Montavon et
    al., Explaining Nonlinear Classification Decisions with Deep Taylor Decomposition, Pattern Recognition 2017.

    Args:
        model: as for `LRP`.
        **options: as for `LRP`.

    Raises:
        NotAnalyzeableModelException: an activation is no ReLU, or as for `LRP`.
    """

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, alpha_beta(1, 0, bias=False), **options)
        require_relus(self.network, "deep_taylor")

    def _seed(self, output: tf.Tensor, index: list[tf.Tensor]) -> tf.Tensor:
        return super()._seed(tf.nn.relu(output), index)

    def _back(self, call: Call, Xs: Tensors, Ys: Tensors, Rs: Tensors) -> Tensors:
        if not self._planned[call.name].linears:
            return gradient(call, Xs, Ys, Rs)
        return super()._back(call, Xs, Ys, Rs)
