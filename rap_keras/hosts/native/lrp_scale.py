"""Tells when the relevance of LRP is far from the logit that it shares out.

LRP loses what biases take, so its sum is not the logit, but it is of its order: on trained networks of
convolutions and ReLUs at most 6 times the logit. Behind BatchNormalization, where the weights are not the
layer's own and denominators nearly cancel, it has been 1e34 times the logit, and a 1e-5th of it. Behind
LayerNormalization it has been 1e22 times the logit of a Vision Transformer: relevance that passes it unchanged is
divided by an input that may be near 0 where the output is not.
"""

from __future__ import annotations

import numpy as np

from rap_keras.engine.checks.conservation import Check

_LARGEST_SUM, _LARGEST_SIZE, _LEAST_SIZE = 10, 1e5, 1e-3
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


def text(method: str, numbers: str, factor: float, cause: str, by_layer_norm: bool = False) -> str:
    """What a warning says.

    Args:
        method: the method's name.
        numbers: those of the samples, as text.
        factor: how many times the logit the relevance is.
        cause: begins with a comma or is empty.
        by_layer_norm: relevance passes a layer unchanged that subtracts a mean.
    """
    others = "lrp.attn or lrp.gamma, which know that LayerNormalization subtracts a mean, or " * by_layer_norm
    return (
        f"the relevance of sample {numbers} is absurd: by {method} the sum of |relevance| is {factor:.2g} times "
        f"the logit{cause}. Use {others}rap, whose relevance sums to the logit"
    )


def of_negative(logit: float) -> str:
    """Why deep Taylor gives nothing for a negative logit."""
    return (
        f"the logit is negative, {logit:.4g}, and deep Taylor explains only positive logits. Use rap, or explain "
        "another class"
    )


def cause(found: Check) -> str:
    """The kind of layer whose rule changes the sum of relevance most, as `text` takes it."""
    changes: dict[str, float] = {}
    for layer in found.layers:
        before, after = layer.arriving.sum(), layer.given_back.sum()
        if before and after:
            changes[layer.kind] = changes.get(layer.kind, 0) + float(np.log(abs(after / before)))
    return f", most by the rule of its {max(changes, key=lambda kind: abs(changes[kind]))} layers"
