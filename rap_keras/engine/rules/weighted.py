"""The rule of weighted layers, which depends on the layer's position in the network."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import tensorflow as tf

from rap_keras.engine.equations import linear as equations
from rap_keras.engine.equations.gates import Way
from rap_keras.engine.equations.linear import ContributionSums
from rap_keras.engine.equations.shares import sum_shares
from rap_keras.engine.rules.linear_layers import Linear

Bounds = tuple[tf.Tensor, tf.Tensor]


class Position(Enum):
    """The position of a weighted layer in the network; its value names the layer's equation."""

    OUTPUT = "absolute influence (Eq. 5, 6)"
    INNER = "relative attribution, uniform shift (Eq. 7-9)"
    INPUT = "z^B (Eq. 10)"


class Step(NamedTuple):
    """One linear map of the forward pass, with everything that the way back needs."""

    linear: Linear
    position: Position
    x: tf.Tensor
    w: tf.Tensor
    nonnegative: bool
    sums: ContributionSums | None


def forward(
    linears: Sequence[Linear], position: Position, x: tf.Tensor, nonnegative: bool
) -> tuple[tf.Tensor, list[Step]]:
    """Preactivation of a layer that is a chain of linear maps, and what `backward` needs.

    An inner map is calculated as Z+ - Z-: its rule needs the two halves, so nothing is calculated twice.
    """
    steps = []
    for index, linear in enumerate(linears):
        here = _position_in_chain(position, index, len(linears))
        w, sums = linear.w(), None
        if here is Position.INNER:
            sums = equations.contribution_sums(linear.function, x, w, nonnegative)
            z = sums.positive - sums.negative
        else:
            z = linear.function(x, w)
        steps.append(Step(linear, here, x, w, nonnegative, sums))
        x, nonnegative = linear.preactivation(x, z), False
    return x, steps


def backward(steps: Sequence[Step], R: tf.Tensor, bounds: Bounds | None, reference: bool) -> tf.Tensor:
    """Relevance at the input of the layer whose forward pass made `steps`.

    `bounds` are the lowest and the highest input of a layer at Position.INPUT; `reference` follows the
    authors' program where it differs from the paper.
    """
    for linear, position, x, w, nonnegative, sums in reversed(steps):
        if position is Position.OUTPUT:
            R = equations.absolute_influence(linear.function, x, w, R)
        elif position is Position.INPUT and bounds is not None:
            R = equations.z_b(linear.function, x, w, R, *bounds, linear.channel_axis if linear.adds_up else None)
        else:
            signed = reference and linear.convolution
            R = equations.relative_attribution(linear.function, x, w, R, sums, nonnegative, signed)
    return R


def way(reference: bool) -> Way:
    """RAP's way through layers with gates: relative attribution (Eq. 7-9), and shares in proportion to |x|.

    `reference` follows the authors' program, where shares are in proportion to x.
    """
    return Way(
        linear=lambda linear, x, w, b, R: equations.relative_attribution(linear, x, w, R),
        shares=lambda xs, R: sum_shares(xs, R, signed=reference),
    )


def _position_in_chain(position: Position, index: int, length: int) -> Position:
    """In a chain only the last map can be the output's, and only the first map can see the image."""
    if position is Position.OUTPUT and index < length - 1:
        return Position.INNER
    if position is Position.INPUT and index > 0:
        return Position.INNER
    return position
