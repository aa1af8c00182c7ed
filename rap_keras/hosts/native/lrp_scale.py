"""Tells when the relevance of LRP is far from the logit that it shares out.

LRP loses what biases take, so its sum is not the logit, but it is of its order: on trained networks of
convolutions and ReLUs at most 6 times the logit. Behind BatchNormalization, where the weights are not the
layer's own and denominators nearly cancel, it has been 1e34 times the logit, and a 1e-5th of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules.unweighted import Tensors

_LARGEST_SUM, _LARGEST_SIZE, _LEAST_SIZE = 1e2, 1e5, 1e-3
"""Limits of |sum R| and sum |R| against the logit. LRP-z has a sum |R| of 800 logits on a VGG-16 that it fits."""


def factors(outputs: list[np.ndarray], amount: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """How many times the logit the relevance of each sample is, (N,), where that is absurd; else 1.

    Args:
        outputs: relevance of each input, (N, ...).
        amount: what it should be near, (N,): the logit, or the score of a contrast.
        largest: the largest |logit| of each sample, (N,), since the explained one may happen to be near 0.
    """
    flat = [R.reshape(len(R), -1).astype(np.float64) for R in outputs]
    total, size = (sum(part(R).sum(1) for R in flat) for part in (np.asarray, np.abs))
    scale = np.maximum(np.abs(amount), largest)
    with np.errstate(divide="ignore", invalid="ignore"):
        large = (np.abs(total) > _LARGEST_SUM * scale) | (size > _LARGEST_SIZE * scale)
        small = (size < _LEAST_SIZE * np.abs(amount)) & (size > 0)
        return np.where(large | small, size / np.where(small, np.abs(amount), scale), 1.0)


def text(method: str, numbers: str, factor: float, cause: str) -> str:
    """What a warning says; `cause` begins with a comma or is empty."""
    return (
        f"the relevance of sample {numbers} is absurd: by {method} the sum of |relevance| is {factor:.2g} times "
        f"the logit{cause}. Use rap, whose relevance sums to the logit"
    )


def of_negative(logit: float) -> str:
    """Why deep Taylor gives nothing for a negative logit."""
    return (
        f"the logit is negative, {logit:.4g}, and deep Taylor explains only positive logits. Use rap, or explain "
        "another class"
    )


def cause(
    through: Callable[[list[tf.Tensor], Callable], Any],
    back: Callable[[Call, Tensors, Tensors, Tensors], Tensors],
    specs: list[tf.TensorSpec],
    samples: Samples,
) -> str:
    """The kind of layer whose rule changes the sum of relevance most, as `text` takes it.

    Args:
        through: takes tensors and a rule of calls, and sends relevance back by it.
        back: the rule.
        specs: types and shapes of the tensors.
        samples: the samples that are explained.
    """

    def sums(*tensors: tf.Tensor) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def measured(call: Call, Xs: Tensors, Ys: Tensors, Rs: Tensors) -> Tensors:
            given = back(call, Xs, Ys, Rs)
            both = [tf.add_n([tf.reduce_sum(tf.cast(R, tf.float64)) for R in part]) for part in (Rs, given)]
            found.setdefault(type(call.layer).__name__, []).append(both)
            return given

        through(list(tensors), measured)
        return found

    found = compiled(sums, specs)(samples.feeds())
    changes = {
        kind: sum(np.log(abs(after / before)) for before, after in pairs if before and after)
        for kind, pairs in found.items()
    }
    return f", most by the rule of its {max(changes, key=lambda kind: abs(changes[kind]))} layers"
