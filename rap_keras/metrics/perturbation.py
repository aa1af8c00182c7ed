"""How well a network still recognises an image whose pixels are removed in the order of their relevance."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rap_keras.metrics.localisation import finite

ORDERS = ("lerf", "morf", "random")
"""In which order pixels are removed, see `region_perturbation`."""


class Perturbed(NamedTuple):
    """The network's answer for each image after each step; column 0 is for the unchanged image.

    Attributes:
        correct: whether the target had the largest logit, bool (N, steps + 1).
        logit: the logit of the target, float64 (N, steps + 1).
    """

    correct: np.ndarray
    logit: np.ndarray


def region_perturbation(
    predict: Callable[[np.ndarray], ArrayLike],
    x: np.ndarray,
    heatmaps: np.ndarray,
    targets: np.ndarray,
    order: str = "lerf",
    pixels: int = 100,
    steps: int = 40,
    fill: ArrayLike = 0.0,
    seeds: np.ndarray | None = None,
) -> Perturbed:
    """Correctness and logit of images while more and more of their pixels are set to a constant.

    If the least relevant pixels go first, the better heatmap keeps images correct for longer. If the most relevant
    go first, it makes the logit fall faster. A random order shows what the removal alone does. Compare methods on
    the same network and the same correctly classified images.

    Source: Samek et al., Evaluating the visualization of what a deep neural network has learned, IEEE TNNLS 28,
    2017; with single pixels instead of their regions and a constant instead of their noise, as in the RAP paper.

    Args:
        predict: maps inputs (N, H, W, C), which it may change, to logits (N, classes).
        x: network inputs, (N, H, W, C); they are not changed.
        heatmaps: relevance, (N, H, W), of the class in `targets`.
        targets: one class per image, int (N,).
        order: "lerf" removes the least relevant pixels first, "morf" the most relevant ones, "random" goes by
            chance. Of equally relevant pixels the first in the image, row by row, goes first.
        pixels: how many pixels are removed per step.
        steps: number of steps.
        fill: what removed pixels are set to, a number or one per channel, in units of the network's input.
        seeds: of the random order, one integer per image, (N,); 0 to N - 1 if not given. Give the image's number
            in the data set: the result then does not depend on the batch size.

    Raises:
        ValueError: there is no such order; shapes do not fit; a target is no class; more pixels would be removed
            than there are, or less than one; or heatmaps, the fill or logits have values that are not finite.
    """
    perturbed = np.array(x, np.result_type(np.asarray(x), np.float32), order="C")  # a fill may be no integer
    if perturbed.ndim != 4:
        raise ValueError(f"x has shape {perturbed.shape}: it must be (N, H, W, C)")
    images, height, width, channels = perturbed.shape
    if pixels < 1 or steps < 1 or pixels * steps > height * width:
        raise ValueError(
            f"{steps} steps of {pixels} pixels: both must be at least 1, and their product at most the image's "
            f"{height * width} pixels"
        )
    if np.shape(fill) not in ((), (channels,)) or not np.isfinite(fill).all():
        raise ValueError(f"fill={fill!r}: must be a finite number, or one for each of the {channels} channels")
    targets = _integers(targets, images, "targets")
    first = _removal_order(heatmaps, (images, height, width), order, seeds)[:, : pixels * steps]

    flat = perturbed.reshape(images, height * width, channels)
    rows = np.arange(images)
    correct, logit = np.empty((images, steps + 1), bool), np.empty((images, steps + 1))
    for step in range(steps + 1):
        flat[rows[:, np.newaxis], first[:, max(step - 1, 0) * pixels : step * pixels]] = fill
        logits = _valid_logits(predict(perturbed.copy()), targets, step)
        correct[:, step] = logits.argmax(axis=1) == targets
        logit[:, step] = logits[rows, targets]
    return Perturbed(correct, logit)


def aopc(logit: np.ndarray) -> Any:
    """Area over the perturbation curve: the mean drop of the logit, in its units, with the unperturbed image's 0.

    Higher is better if the most relevant pixels go first, lower if the least relevant go first. Logits of
    different networks have different scales: compare methods on the same network.

    Source: Samek et al., Evaluating the visualization of what a deep neural network has learned, IEEE TNNLS 28,
    2017, which divides the sum of the drops after L steps by L + 1.

    Args:
        logit: the logit of the target, (..., steps + 1), beginning with the unperturbed image's, as
            `region_perturbation` gives it.

    Returns:
        The mean drop, float64 (...), or a float if there is one curve.
    """
    values = np.asarray(logit, np.float64)
    drop = np.mean(values[..., :1] - values, axis=-1)
    return drop if np.ndim(drop) else float(drop)


def _removal_order(
    heatmaps: np.ndarray, shape: tuple[int, int, int], order: str, seeds: np.ndarray | None
) -> np.ndarray:
    """Pixel numbers by when they are removed, (N, H * W)."""
    if order not in ORDERS:
        raise ValueError(f"order={order!r}: must be one of {', '.join(map(repr, ORDERS))}")
    values = finite(heatmaps)
    if values.shape != shape:
        raise ValueError(f"the heatmaps have shape {values.shape}, the images {shape}: they must be the same")
    images, size = shape[0], shape[1] * shape[2]
    if order == "random":
        seeds = np.arange(images) if seeds is None else _integers(seeds, images, "seeds")
        orders = [np.random.default_rng(seed).permutation(size) for seed in seeds]
        return np.array(orders, np.intp).reshape(images, size)
    values = values.reshape(images, size)
    return np.argsort(values if order == "lerf" else -values, axis=1, kind="stable")


def _integers(values: np.ndarray, images: int, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (images,) or array.dtype.kind not in "iu" or (array < 0).any():
        raise ValueError(
            f"{name} have shape {array.shape} and type {array.dtype}: they must be integers from 0, "
            f"one for each of the {images} images"
        )
    return array


def _valid_logits(predicted: ArrayLike, targets: np.ndarray, step: int) -> np.ndarray:
    logits = np.asarray(predicted, np.float64)
    if logits.ndim != 2 or len(logits) != len(targets):
        raise ValueError(f"predict returned shape {logits.shape}: it must be ({len(targets)}, classes)")
    if (targets >= logits.shape[1]).any():
        raise ValueError(f"target {targets.max()}: the network has {logits.shape[1]} classes, counted from 0")
    if not np.isfinite(logits).all():
        raise ValueError(
            f"predict returned {np.sum(~np.isfinite(logits))} logits that are not finite, at step {step}"
        )
    return logits
