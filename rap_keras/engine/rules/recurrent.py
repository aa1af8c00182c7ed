"""Recurrent layers of Keras as cells, and the rule that takes relevance back through their time steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.equations import gates
from rap_keras.engine.equations.gates import Cell, TimeStep
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules import trials
from rap_keras.engine.rules.linear_layers import convolution_of
from rap_keras.engine.rules.lookup import lookup
from rap_keras.engine.rules.rule import Tensors, titled
from rap_keras.engine.rules.weighted import way


def is_known(layer: Any) -> bool:
    """Whether all cells of a recurrent layer have equations here."""
    return all(_kind(cell) for cell in _cells(layer))


def require_followed(call: Call) -> None:
    """Refuses recurrent layers that relevance cannot follow.

    Raises:
        NotAnalyzeableModelException: the layer is used in a way that relevance cannot follow.
    """
    layer = call.layer
    states = sum(_counts(layer))
    reason = None
    if getattr(layer, "time_major", False):
        reason = "has its time axis before the batch axis: build it with time_major=False"
    elif len(call.inputs) != 1 + (states if _is_begun(call) else 0):
        reason = (
            "is called with constant states, which relevance does not follow: call it with the sequences alone, "
            "or with an initial_state that depends on the model's input"
        )
    elif any(_kind(cell) == "gru" and cell.reset_after and _goes_below_0(cell) for cell in _cells(layer)):
        reason = (
            "has a reset gate that may be negative: build it with reset_after=False, or with a "
            "recurrent_activation such as 'sigmoid'"
        )
    if reason:
        raise NotAnalyzeableModelException(f"layer '{call.name}' ({type(layer).__name__}) {reason}")


@titled("gates are constant factors, {linear} at every time step")
def recurrent(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Back through the time steps: gates are constant factors, see `rap_keras.engine.equations.gates`."""
    call: Call = state["call"]
    layer, counts = call.layer, _counts(call.layer)
    x, mask = _time_first(Xs[0]), _mask(call)
    if layer.go_backwards:
        x, mask = x[::-1], None if mask is None else mask[::-1]
    step, shapes = _step(layer, x[0])
    states = Xs[1:] or [tf.zeros(shape, x.dtype) for shape in shapes]
    output = sum(counts[:-1])
    R_last = Rs[1:] or [tf.zeros_like(state) for state in states]
    R_y = _time_first(Rs[0]) if layer.return_sequences else None
    if mask is not None:
        step = gates.masked(step, output, bool(getattr(layer, "zero_output_for_mask", False)))
        emitted, output = tf.zeros_like(states[output]), len(states)
        states, R_last = [*states, emitted], [*R_last, tf.zeros_like(emitted)]
    if R_y is None:
        R_last[output] += Rs[0]
    R_x, R_states = gates.through_time(step, output, way(state), x, list(states), R_y, list(R_last), mask)
    return [_time_first(R_x[::-1] if layer.go_backwards else R_x), *R_states][: len(Xs)]


def _mask(call: Call) -> tf.Tensor | None:
    """The mask of a recurrent layer, (time, N); None without one.

    Raises:
        NotAnalyzeableModelException: it is not one for each step.
    """
    given = call.arguments().get("mask")
    mask = given[0] if isinstance(given, (list, tuple)) else given
    if mask is None:
        return None
    if mask.shape.rank == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.shape.rank != 2:
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ({type(call.layer).__name__}) has a mask of shape {tuple(mask.shape)}, which "
            "relevance does not follow: mask whole time steps, (samples, steps), or build the model without the "
            "layer that makes the mask, such as Masking or an Embedding with mask_zero=True"
        )
    return tf.transpose(tf.cast(mask, tf.bool))


def _time_first(x: tf.Tensor) -> tf.Tensor:
    """Swaps the first two axes, batch and time."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def _cells(layer: Any) -> list[Any]:
    return list(layer.cell.cells) if isinstance(layer.cell, keras.layers.StackedRNNCells) else [layer.cell]


def _kind(cell: Any) -> str | None:
    """The name of a cell's equations; None for a cell of another kind."""
    if type(cell).__name__.startswith("ConvLSTM") and type(cell).__module__.startswith("keras."):
        return "lstm"
    kinds = {keras.layers.LSTMCell: "lstm", keras.layers.GRUCell: "gru", keras.layers.SimpleRNNCell: "simple"}
    return lookup(cell, kinds)


def _counts(layer: Any) -> list[int]:
    """How many states each cell has."""
    return [2 if _kind(cell) == "lstm" else 1 for cell in _cells(layer)]


def _is_begun(call: Call) -> bool:
    """Whether initial states are given. Keras 2 passes them in one list, behind the sequences."""
    arguments = call.arguments()
    return isinstance(call.args[0], list) or arguments.get("initial_state") is not None


def _goes_below_0(cell: Any) -> bool:
    activation = cell.recurrent_activation
    return activation is None or not trials.tried(activation).facts.nonnegative


def _step(layer: Any, x: tf.Tensor) -> tuple[TimeStep, list[tf.Tensor]]:
    """The time step of a layer, and the shapes of its states; x is the input of one step."""
    steps: list[TimeStep] = []
    shapes: list[tf.Tensor] = []
    for keras_cell in _cells(layer):
        kind = _kind(keras_cell)
        cell = _cell(keras_cell, {"lstm": 4, "gru": 3, "simple": 1}[kind or ""])
        if kind == "gru":
            steps.append(partial(gates.gru, cell, reset_after=keras_cell.reset_after))
        else:
            steps.append(partial({"lstm": gates.lstm, "simple": gates.simple}[kind or ""], cell))
        z = cell.of_input(x, cell.W[0])
        shapes += [tf.shape(z)] * (2 if kind == "lstm" else 1)
        x = tf.zeros_like(z)
    if len(steps) == 1:
        return steps[0], shapes
    return partial(gates.stacked, steps, _counts(layer)), shapes


def _cell(cell: Any, count: int) -> Cell:
    """A cell of Keras with `count` preactivations."""
    of_input, of_state = _maps(cell)

    def parts(weights: Any) -> Tensors:
        return tf.split(tf.convert_to_tensor(weights), count, axis=-1)

    W, U = parts(cell.kernel), parts(cell.recurrent_kernel)
    none = [tf.zeros([], W[0].dtype)] * count
    b = b_state = none
    if cell.use_bias and getattr(cell, "reset_after", False):
        b, b_state = parts(cell.bias[0]), parts(cell.bias[1])
    elif cell.use_bias:
        b = [_along_channels(part, cell) for part in parts(cell.bias)]
    gate = getattr(cell, "recurrent_activation", tf.identity)
    return Cell(of_input, of_state, W, U, b, b_state, cell.activation, gate)


def _maps(cell: Any) -> tuple[Callable, Callable]:
    if not hasattr(cell, "strides"):
        return tf.matmul, tf.matmul
    rank, data_format = cell.rank, cell.data_format
    of_input = convolution_of(rank, data_format, cell.padding, cell.strides, cell.dilation_rate)
    return of_input, convolution_of(rank, data_format, "same", (1,) * rank, (1,) * rank)


def _along_channels(bias: tf.Tensor, cell: Any) -> tf.Tensor:
    first = getattr(cell, "data_format", None) == "channels_first"
    return tf.reshape(bias, [-1] + [1] * cell.rank) if first else bias
