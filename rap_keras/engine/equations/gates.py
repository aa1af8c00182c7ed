"""Relevance through recurrent cells and attention, where gates scale a signal.

Gates and attention weights count as constant factors: they decide how much of the signal passes, and get no
relevance. What remains are linear maps and sums, for which each method has rules.

Sources: Arras et al., Explaining Recurrent Neural Network Predictions in Sentiment Analysis, WASSA 2017, arXiv
1706.07206, for recurrent cells; Ali et al., XAI for Transformers, ICML 2022, arXiv 2202.07304, for attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from rap_keras.engine.equations.linear import LinearMap

Tensors = list[tf.Tensor]


class Way(NamedTuple):
    """How a method takes relevance back through linear maps and sums.

    Attributes:
        linear: gives the relevance of a linear map's input, from the map, its input, weights and bias and the
            relevance of its output.
        shares: gives the relevance of the addends of an element-wise sum, from these and the relevance of the sum.
    """

    linear: Callable[[LinearMap, tf.Tensor, tf.Tensor, Any, tf.Tensor], tf.Tensor]
    shares: Callable[[Sequence[tf.Tensor], tf.Tensor], Tensors]


Back = Callable[[Way, Tensors], tuple[tf.Tensor, Tensors]]
"""Takes the relevances of a cell's new states; returns those of its input and its old states."""

TimeStep = Callable[[tf.Tensor, Tensors], tuple[Tensors, Back]]
"""One time step: takes an input and the states; returns the new states, and the way back."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: preactivation k is of_input(x, W_k) + of_state(h, U_k) + b_k.

    Attributes:
        of_input: the linear map of the input x and a kernel.
        of_state: the linear map of the state h and a recurrent kernel.
        W: kernels, one for each preactivation.
        U: recurrent kernels, likewise.
        b: biases, likewise, in shapes that broadcast to a preactivation.
        b_state: biases that a reset gate scales together with the state's part; zeros elsewhere.
        activation: the activation of the signal.
        gate: the activation of the gates.
    """

    of_input: LinearMap
    of_state: LinearMap
    W: Tensors
    U: Tensors
    b: Tensors
    b_state: Tensors
    activation: Callable[[tf.Tensor], tf.Tensor]
    gate: Callable[[tf.Tensor], tf.Tensor]

    def preactivation(self, k: int, x: tf.Tensor, h: tf.Tensor, reset: tf.Tensor | float = 1.0) -> tf.Tensor:
        """Preactivation k for an input and a state; `reset` scales the state's part of it."""
        return self.of_input(x, self.W[k]) + self.b[k] + reset * (self.of_state(h, self.U[k]) + self.b_state[k])

    def back(
        self, way: Way, k: int, x: tf.Tensor, h: tf.Tensor, R: tf.Tensor, reset: tf.Tensor | float = 1.0
    ) -> Tensors:
        """Relevances of an input and a state from R of preactivation k; other arguments as in `preactivation`."""
        maps = [self.of_input, lambda h, U: reset * self.of_state(h, U)]
        linear, v, w = side_by_side(maps, [x, h], [self.W[k], self.U[k]])
        return apart(way.linear(linear, v, w, self.b[k] + reset * self.b_state[k], R), [x, h])


def simple(cell: Cell, x: tf.Tensor, states: Tensors) -> tuple[Tensors, Back]:
    """A step of a simple recurrent cell: h' = activation(z_0)."""
    (h,) = states

    def back(way: Way, Rs: Tensors) -> tuple[tf.Tensor, Tensors]:
        R_x, R_h = cell.back(way, 0, x, h, Rs[0])
        return R_x, [R_h]

    return [cell.activation(cell.preactivation(0, x, h))], back


def lstm(cell: Cell, x: tf.Tensor, states: Tensors) -> tuple[Tensors, Back]:
    """A step of long short-term memory: c' = f c + i activation(z_2), h' = o activation(c').

    The gates i, f and o come from preactivations 0, 1 and 3.
    """
    h, c = states
    i, f, o = (cell.gate(cell.preactivation(k, x, h)) for k in (0, 1, 3))
    kept, new = f * c, i * cell.activation(cell.preactivation(2, x, h))

    def back(way: Way, Rs: Tensors) -> tuple[tf.Tensor, Tensors]:
        R_kept, R_new = way.shares([kept, new], Rs[0] + Rs[1])
        R_x, R_h = cell.back(way, 2, x, h, R_new)
        return R_x, [R_h, R_kept]

    return [o * cell.activation(kept + new), kept + new], back


def gru(cell: Cell, x: tf.Tensor, states: Tensors, reset_after: bool) -> tuple[Tensors, Back]:
    """A step of a gated recurrent unit: h' = u h + (1 - u) activation(z_2), where u is the update gate.

    The gates u and r come from preactivations 0 and 1. The reset gate r scales the state in z_2. With
    `reset_after` it scales the state's part of z_2 instead, and must not be negative.
    """
    (h,) = states
    u, r = (cell.gate(cell.preactivation(k, x, h)) for k in (0, 1))
    seen, reset = (h, r) if reset_after else (r * h, 1.0)
    kept, new = u * h, (1 - u) * cell.activation(cell.preactivation(2, x, seen, reset))

    def back(way: Way, Rs: Tensors) -> tuple[tf.Tensor, Tensors]:
        R_kept, R_new = way.shares([kept, new], Rs[0])
        R_x, R_h = cell.back(way, 2, x, seen, R_new, reset)
        return R_x, [R_kept + R_h]

    return [kept + new], back


def stacked(
    steps: Sequence[TimeStep], counts: Sequence[int], x: tf.Tensor, states: Tensors
) -> tuple[Tensors, Back]:
    """A step of stacked cells, each of which takes the output of the one before.

    Args:
        steps: the steps of the cells.
        counts: how many states each cell has.
        x: the input of the first cell.
        states: the states of all cells, one cell after the other.
    """
    after: list[Tensors] = []
    backs: list[Back] = []
    for step, olds in zip(steps, _by_cell(states, counts)):
        news, cell_back = step(x, olds)
        after.append(news)
        backs.append(cell_back)
        x = news[0]

    def back(way: Way, Rs: Tensors) -> tuple[tf.Tensor, Tensors]:
        found: list[Tensors] = []
        R_x = tf.zeros_like(x)
        for cell_back, (first, *others) in zip(reversed(backs), reversed(_by_cell(Rs, counts))):
            R_x, olds = cell_back(way, [first + R_x, *others])
            found.insert(0, olds)
        return R_x, _joined(found)

    return _joined(after), back


def _by_cell(states: Tensors, counts: Sequence[int]) -> list[Tensors]:
    rest = iter(states)
    return [[next(rest) for _ in range(count)] for count in counts]


def _joined(parts: Sequence[Tensors]) -> Tensors:
    return [tensor for part in parts for tensor in part]


def masked(step: TimeStep, output: int, zeros: bool) -> TimeStep:
    """A step that takes an input with its mask, (N,), and keeps the states of samples that the mask leaves out.

    Its last state is the output. Where the mask leaves out a sample, this is the output before, or 0 with `zeros`.

    Args:
        step: the step without a mask.
        output: which of its states is the output.
        zeros: the output of a step that is left out is 0.
    """

    def masked_step(x_and_mask: Any, states: Tensors) -> tuple[Tensors, Back]:
        x, mask = x_and_mask
        *olds, last = states
        news, back_of_step = step(x, olds)

        def chosen(new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
            return tf.where(tf.reshape(mask, [-1] + [1] * (new.shape.rank - 1)), new, old)

        def back(way: Way, Rs: Tensors) -> tuple[tf.Tensor, Tensors]:
            none = [tf.zeros_like(R) for R in Rs]
            R_news = [chosen(*pair) for pair in zip(Rs, none)]
            R_news[output] += R_news.pop()
            R_x, R_olds = back_of_step(way, R_news)
            R_before = [chosen(*pair) for pair in zip(R_olds, Rs)]
            return chosen(R_x, tf.zeros_like(R_x)), [*R_before, none[-1] if zeros else chosen(none[-1], Rs[-1])]

        after = [chosen(*pair) for pair in zip(news, olds)]
        return [*after, chosen(news[output], tf.zeros_like(last) if zeros else last)], back

    return masked_step


def through_time(
    step: TimeStep,
    output: int,
    way: Way,
    x: tf.Tensor,
    states: Tensors,
    R_y: tf.Tensor | None,
    R_last: Tensors,
    mask: tf.Tensor | None = None,
) -> tuple[tf.Tensor, Tensors]:
    """Takes relevance back through the time steps of a cell one by one, so memory grows only with the states.

    Args:
        step: the cell's step.
        output: which of its states is the output.
        way: the method's way.
        x: inputs, (time, N, ...).
        states: initial states, (N, ...) each.
        R_y: relevances of the outputs at every step, (time, N, ...); None if only the last output has any.
        R_last: relevances of the states after the last step.
        mask: for a step of `masked`: True where a step counts, (time, N).

    Returns:
        Relevances of x, and those of the initial states.
    """
    taken = x if mask is None else (x, mask)
    after = tf.scan(lambda olds, x: step(x, olds)[0], taken, states, parallel_iterations=1)
    before = [tf.concat([s[None], a[:-1]], 0) for s, a in zip(states, after)]
    sequences = [taken, *before] if R_y is None else [taken, *before, R_y]

    def earlier(found: Tensors, at: Tensors) -> Tensors:
        Rs = list(found[:-1])
        if R_y is not None:
            Rs[output] += at[-1]
        _, back = step(at[0], list(at[1 : 1 + len(states)]))
        R_x, olds = back(way, Rs)
        return [*olds, R_x]

    found = tf.scan(earlier, sequences, [*R_last, tf.zeros_like(x[0])], parallel_iterations=1, reverse=True)
    return found[-1], [R[0] for R in found[:-1]]


def side_by_side(maps: Sequence[LinearMap], xs: Tensors, ws: Tensors) -> tuple[LinearMap, tf.Tensor, tf.Tensor]:
    """The sum of several linear maps as one map of all their inputs, with its input (N, units) and weights."""

    def linear(v: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        weights = tf.split(w, [tf.size(w) for w in ws], num=len(ws))
        shaped = [_shaped(part, own) for part, own in zip(weights, ws)]
        return tf.add_n([one(x, w) for one, x, w in zip(maps, apart(v, xs), shaped)])

    flat = [tf.reshape(x, [tf.shape(x)[0], -1]) for x in xs]
    return linear, tf.concat(flat, 1), tf.concat([tf.reshape(w, [-1]) for w in ws], 0)


def apart(v: tf.Tensor, xs: Tensors) -> Tensors:
    """The parts of v (N, units), each shaped as the x that it stands for."""
    parts = tf.split(v, [tf.size(x) // tf.shape(x)[0] for x in xs], axis=1, num=len(xs))
    return [_shaped(part, x) for part, x in zip(parts, xs)]


def _shaped(part: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.reshape(part, tf.shape(like)), like.shape)
