"""The rule of Lambda layers that the user allows: found by trials, as what they calculate is unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.engine.equations.shares import shares_of_map
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.calls import Call, numbered_apart
from rap_keras.engine.rules.rule import Rule, Tensors, titled
from rap_keras.engine.rules.unweighted import moved, unchanged

_SAMPLES, _LENGTH = 2, 5  # _LENGTH stands for unknown lengths
_LIMIT = 0.01


@titled("as a trial on numbers shows: unchanged, moved or shared")
def by_trial(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """The first that fits: unchanged, moved to where the value came from, shared in proportion to |x|.

    A rule fits if it keeps the sum of relevance, and leaves none on values that do not matter.

    Raises:
        NotAnalyzeableModelException: none of them fits.
    """
    call = numbered_apart(state["call"])
    one = len(Xs) == len(Ys) == 1 and Xs[0].shape[1:] == Ys[0].shape[1:]
    rules = [moved, shared]
    with tf.init_scope():
        if one and _stays_in_place(call, Xs[0]):
            rules = [unchanged]
        fitting = [rule for rule in rules if _conserves(rule, call, Xs, Ys)]
    if not fitting:
        name = state["call"].name
        raise NotAnalyzeableModelException(
            f"layer '{name}' is a Lambda, and relevance passes it neither unchanged, nor moved, nor shared in "
            f"proportion to |x|: its sum would not stay the same. Use layers such as Add, Subtract or Multiply "
            f"instead, or with rap the option rules={{'{name}': rule}}"
        )
    return fitting[0](Xs, Ys, Rs, {**state, "call": call})


def shared(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """In proportion to |x|, as at Add and average pooling."""
    return shares_of_map(state["call"].run, Xs, Rs)


def _numbers(tensors: Tensors, seed: int) -> list[np.ndarray]:
    random, found = np.random.default_rng(seed), []
    for tensor in tensors:
        shape = (_SAMPLES, *(length or _LENGTH for length in tensor.shape[1:]))
        found.append(random.normal(size=shape).astype(tensor.dtype.as_numpy_dtype))
    return found


def _specs(tensors: Tensors) -> list[tf.TensorSpec]:
    return [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in tensors]


def _conserves(rule: Rule, call: Call, Xs: Tensors, Ys: Tensors) -> bool:
    """Whether a rule keeps the sum of relevance; shares must not be negative either, or a - b would be a sum."""

    def back(*tensors: tf.Tensor) -> Tensors:
        xs, Rs = list(tensors[: len(Xs)]), list(tensors[len(Xs) :])
        return rule(xs, call.run(xs), Rs, {"call": call, "layer": call.layer, "reference": False})

    Rs = [np.abs(R) for R in _numbers(Ys, 1)]
    found = compiled(back, _specs([*Xs, *Ys]))([*_numbers(Xs, 0), *Rs])
    given, arrived = (sum(part.reshape(_SAMPLES, -1).sum(1) for part in parts) for parts in (found, Rs))
    negative = min(part.min() for part in found) < 0
    return bool(np.allclose(given, arrived, rtol=1e-3)) and not (rule is shared and negative)


def _stays_in_place(call: Call, X: tf.Tensor) -> bool:
    """Whether outputs change with their own inputs: no output that stays has an input that was replaced."""
    run = compiled(lambda x: call.run([x])[0], _specs([X]))
    (x,), random = _numbers([X], 0), np.random.default_rng(1)
    y = run([x])
    for _ in range(4):
        mask = random.random(x.shape) < 0.5
        others = (random.permuted(x.reshape(_SAMPLES, -1), axis=1).reshape(x.shape), x - 60, x + 60)
        same = np.all([run([np.where(mask, other, x)]) == y for other in others], axis=0)
        if (same & mask).sum() > _LIMIT * same.sum():
            return False
    return True
