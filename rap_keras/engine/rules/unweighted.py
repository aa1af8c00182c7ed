"""Rules of layers that do not use equations 5 to 10: relevance is passed on, moved, or shared in proportion.

Each rule is a reverse mapping as in iNNvestigate: from the input tensors `Xs`, the output tensors `Ys` and the
relevances `Rs` of the outputs it computes the relevances of the inputs, in the order of `Xs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.engine import keras_graph
from rap_keras.engine.equations.numerics import as_rank, sample_sum, sum_to_shape, transposed
from rap_keras.engine.equations.shares import mean_shares, sum_shares
from rap_keras.engine.rules.rule import Tensors, titled


@titled("unchanged")
def unchanged(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Relevance passes unchanged: activations, layers that do nothing at inference."""
    return Rs


@titled("unchanged")
def normalized(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """BatchNormalization: relevance passes unchanged, as in the authors' program."""
    return Rs


@titled("unchanged")
def with_constant(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """One tensor and constants: unchanged, and summed along the axes along which the tensor was broadcast."""
    return [sum_to_shape(R, x) for x, R in zip(Xs, Rs)]


@titled("moved to where the value came from")
def moved(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Relevance follows its value back to where it came from; what was cut off or padded gets none.

    This is the transpose of the layer: for reshaping, padding, cropping, concatenation, and for the repetition of
    values, whose relevances are summed. For max pooling it is the gradient, which follows each window's winner.
    """
    run = state["call"].run
    return transposed(lambda *xs: run(list(xs)), Xs, Rs)


@titled("shared in proportion to {x}")
def averaged(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Average pooling: in proportion to |x| over each window, or to x itself in the authors' program."""
    run = state["call"].run
    return [mean_shares(lambda x: run([x])[0], Xs[0], Rs[0], signed=state["reference"])]


@titled("shared in proportion to {x}")
def added(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Add: in proportion to |x| of each branch, or to x itself in the authors' program."""
    return sum_shares(Xs, Rs[0], signed=state["reference"])


@titled("shared in proportion to {x}")
def averaged_branches(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Average: as Add."""
    return added(Xs, Ys, Rs, state)


@titled("moved to where the value came from")
def padded(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Zero padding: relevance follows its value, and relevance on the padding goes to the pixels beside it.

    Padding gets relevance where a max pooling finds nothing but zeros, any of which may win. Cutting it off would
    lose relevance, so it goes to the mirror image of its position.
    """
    (x,) = Xs
    padding = _paddings(state["call"], x.shape.rank)
    known = padding is not None and x.shape[1:].is_fully_defined()
    if not known or any(max(p) > s for p, s in zip(padding[1:], x.shape[1:])):
        return moved_evenly(Xs, Ys, Rs, state)  # there is no mirror image
    return transposed(lambda fresh: tf.pad(fresh, padding, mode="SYMMETRIC"), Xs, Rs[0])


def _paddings(call: Any, rank: int) -> Any:
    """How many zeros a padding adds along each axis, (rank, 2); None if it is unknown, or adds something else."""
    layer, name = call.layer, keras_graph.operation_name(call.layer)
    if name is None:
        spatial = slice(2, None) if getattr(layer, "data_format", None) == "channels_first" else slice(1, -1)
        padding = np.zeros((rank, 2), int)
        padding[spatial] = np.reshape(layer.padding, (-1, 2))
        return padding
    given = [*(keras_graph.constants(layer) or {}).values(), getattr(layer, "pad_width", None), *call.args[1:]]
    arrays = [np.reshape(value, (rank, 2)) for value in given if np.size(value) == 2 * rank]
    zeros = (
        name in ("pad", "padv2") and getattr(layer, "mode", "constant") == "constant" and not call.has_constants()
    )
    return arrays[0] if zeros and arrays else None


@titled("moved to where the value came from")
def moved_evenly(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Like `moved`, but relevance on padding or on a constant is spread evenly over all inputs."""
    back = moved(Xs, Ys, Rs, state)
    lost = _total(Rs) - _total(back)
    each = lost / _total([tf.ones_like(x) for x in Xs])
    return [part + tf.cast(as_rank(each, part), part.dtype) for part in back]


@titled("shared in proportion to {x}")
def subtracted(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Subtract: a - b is treated as the sum of a and -b."""
    first, *others = Xs  # there are no others if one side is a constant
    return sum_shares([first, *(-x for x in others)], Rs[0], signed=state["reference"])


@titled("shared in proportion to {x}")
def squared_difference(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Squared difference: the square passes relevance on, and the difference shares it as `subtracted` does."""
    return subtracted(Xs, Ys, Rs, state)


@titled("all to the factor that is not broadcast, else evenly")
def multiplied(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Product: all relevance goes to the gated factor, none to the gate, which counts as a constant factor.

    A gate is a factor known to be bounded (for example behind a sigmoid) if others are not, or else a factor that
    is broadcast to the others. If no factor is a gate, they share evenly.
    """
    gates = state["gates"]
    if all(gates) or not any(gates):
        gates = [x.shape[1:] != Ys[0].shape[1:] for x in Xs]
    if all(gates):
        gates = [False] * len(Xs)
    share = Rs[0] / gates.count(False)
    return [tf.zeros_like(x) if gate else sum_to_shape(share, x) for x, gate in zip(Xs, gates)]


@titled("all to the numerator")
def divided(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Quotient: all relevance goes to the numerator; the denominator counts as a constant factor."""
    numerator, denominator = Xs
    return [sum_to_shape(Rs[0], numerator), tf.zeros_like(denominator)]


@titled("summed over each token's vector")
def embedded(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """Embedding: the relevance of a token is the sum over its vector."""
    return [tf.reduce_sum(Rs[0], axis=-1)]


@titled("unchanged")
def kept_apart(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """IdentityN, which is several identities in one: each input gets the relevance of its own output."""
    constants = state["layer"].constants
    return [R for index, R in enumerate(Rs) if index not in constants]


def _total(parts: Tensors) -> tf.Tensor:
    """Sum of all parts for each sample, (N,)."""
    return tf.add_n([tf.reshape(sample_sum(part), [-1]) for part in parts])
