"""The rule of layers with weights: a linear rule, such as an equation of the paper, at each linear map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from rap_keras.engine.equations import linear as equations
from rap_keras.engine.equations.gates import Way
from rap_keras.engine.equations.linear import ContributionSums, LinearMap
from rap_keras.engine.equations.shares import shares_of_map
from rap_keras.engine.rules.linear_layers import Linear
from rap_keras.engine.rules.rule import Tensors, title_of, titled

Bounds = tuple[tf.Tensor, tf.Tensor]
"""The lowest and the highest value of a tensor, in shapes that broadcast to it."""


class Step(NamedTuple):
    """One linear map of the forward pass, with everything that a linear rule may need.

    Attributes:
        rule: the linear rule of the map.
        function: the map of an input and weights.
        x: its input, (N, ...).
        w: its weights.
        b: its bias, in a shape that broadcasts to the output; 0 where there is none.
        nonnegative: no x is below 0.
        linear: what else is known of the map; None for a map within a layer with gates.
        sums: Z+ and Z- if the rule has `halves`.
        bounds: those of x, for the first map of a layer that sees an input with bounds.
        product: it is a product of two tensors, of which w is one.
    """

    rule: LinearRule
    function: LinearMap
    x: tf.Tensor
    w: tf.Tensor
    b: Any
    nonnegative: bool = False
    linear: Linear | None = None
    sums: ContributionSums | None = None
    bounds: Bounds | None = None
    product: bool = False


@dataclass(frozen=True)
class LinearRule:
    """What relevance does at a linear map.

    Attributes:
        title: what `rap-keras check` prints.
        back: takes the map and the relevance of its output; returns the relevance of its input.
        halves: the map is calculated as Z+ - Z-, so that nothing that `back` needs is calculated twice.
        place: in a layer of several maps, the only map that has this rule: 0 for the first, -1 for the last; None
            for all of them.
        others: the rule of the other maps.
        averages: the rule of averages with attention weights; None if these are maps like any other.
    """

    title: str
    back: Callable[[Step, tf.Tensor], tf.Tensor]
    halves: bool = False
    place: int | None = None
    others: LinearRule | None = None
    averages: LinearRule | None = None

    def of_map(self, index: int, count: int) -> LinearRule:
        """The rule of one of a layer's `count` maps."""
        return self if self.place is None or index == self.place % count else self.others or self


def linear_rule(function: LinearRule | Callable) -> LinearRule:
    """A linear rule from a function of the map, its input, weights, bias, R, and whether no input is below 0."""
    if isinstance(function, LinearRule):
        return function
    return LinearRule(title_of(function), lambda s, R: function(s.function, s.x, s.w, s.b, R, s.nonnegative))


def forward(
    linears: Sequence[Linear], rule: LinearRule, x: tf.Tensor, nonnegative: bool, bounds: Bounds | None
) -> tuple[tf.Tensor, list[Step]]:
    """The preactivation of a layer that is a chain of linear maps, and the steps that `weighted` takes back."""
    steps = []
    for index, linear in enumerate(linears):
        here, w, sums = rule.of_map(index, len(linears)), linear.w(), None
        if here.halves:
            sums = equations.contribution_sums(linear.function, x, w, nonnegative)
            z = sums.positive - sums.negative
        else:
            z = linear.function(x, w)
        b = linear.bias_along(z)
        if linear.constant is not None:
            b += linear.constant(x)
        steps.append(Step(here, linear.function, x, w, b, nonnegative, linear, sums, None if index else bounds))
        x, nonnegative = linear.preactivation(x, z), False
    return x, steps


@titled("{linear}")
def weighted(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Back through the linear maps of a layer; its activation lets relevance pass."""
    (R,) = Rs
    for step in reversed(state["steps"]):
        R = step.rule.back(step, R)
    return [R]


def way(state: dict[str, Any], product: bool = False, average: bool = False) -> Way:
    """The way through a layer with gates: its linear rule at linear maps, and the method's shares at sums.

    `product` says that the maps are products of two tensors, `average` that one of these are attention weights.
    """
    rule: LinearRule = state["linear"]
    rule = (average and rule.averages) or rule

    def linear(function: LinearMap, x: tf.Tensor, w: tf.Tensor, b: Any, R: tf.Tensor) -> tf.Tensor:
        return rule.back(Step(rule, function, x, w, b, product=product), R)

    return Way(linear, state["shares"])


def z_b_of(step: Step, bounds: Bounds, R: tf.Tensor) -> tf.Tensor:
    """Eq. 10 at a map whose input has bounds."""
    axis = step.linear.channel_axis if step.linear is not None and step.linear.adds_up else None
    return equations.z_b(step.function, step.x, step.w, R, *bounds, axis)


def rules_of_rap(reference: bool = False) -> list[tuple[str, LinearRule]]:
    """RAP as a composite of rules; `reference` follows the authors' program where it differs from the paper."""

    def attribution(step: Step, R: tf.Tensor) -> tf.Tensor:
        signed = reference and step.linear is not None and step.linear.convolution
        return equations.relative_attribution(
            step.function, step.x, step.w, R, step.sums, step.nonnegative, signed
        )

    def influence(step: Step, R: tf.Tensor) -> tf.Tensor:
        return equations.absolute_influence(step.function, step.x, step.w, R)

    def z_b(step: Step, R: tf.Tensor) -> tf.Tensor:
        return attribution(step, R) if step.bounds is None else z_b_of(step, step.bounds, R)

    def shared(step: Step, R: tf.Tensor) -> tf.Tensor:
        return shares_of_map(lambda xs: [step.function(xs[0], step.w)], [step.x], [R])[0]

    averages = None if reference else LinearRule("shared in proportion to |x|", shared)
    inner = LinearRule("relative attribution (Eq. 7-9)", attribution, halves=True, averages=averages)
    return [
        ("last", LinearRule("absolute influence (Eq. 5, 6)", influence, place=-1, others=inner)),
        ("bounded", LinearRule("z^B (Eq. 10)", z_b, place=0, others=inner)),
        ("any", inner),
    ]
