"""Heatmaps for the metrics of Quantus, which ask for them while they measure.

Nothing here imports Quantus. Source: Hedström et al., Quantus: An Explainable AI Toolkit, JMLR 24, 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tensorflow import keras

from rap_keras.benchmark.evaluate import relevances
from rap_keras.hosts import methods
from rap_keras.models import to_logits
from rap_keras.patterns import Patterns
from rap_keras.patterns.stored import weights_digest

_last: tuple[Any, ...] = ()
"""The model, the patterns, the method and the weights that the last analyzer is for, and the analyzer."""


def explain_func(
    model: keras.Model,
    inputs: np.ndarray,
    targets: ArrayLike,
    *,
    method: str = "rap",
    patterns: Patterns | str | Path | None = None,
) -> np.ndarray:
    """Relevance as a metric of Quantus asks for it, for its arguments `explain_func` and `explain_func_kwargs`.

    The last analyzer is kept, as a metric asks many times. It is used again only for the same model with the same
    weights: a model whose weights a metric has changed is explained as it is then.

    Examples:
        >>> metric = quantus.RelevanceMassAccuracy(abs=True)
        >>> metric(model, x, y, None, masks, channel_first=False, explain_func=explain_func,
        ...        explain_func_kwargs={"method": "rap"})

    Args:
        model: functional or Sequential, with one input and one output. A final softmax or sigmoid is left out, see
            `rap_keras.to_logits`.
        inputs: samples as the model takes them, (N, ..., channels) or (N, features). Some metrics hand in
            (N, channels, ...) instead, which is taken too, unless the model's input fits either order.
        targets: the classes to explain, (N,).
        method: one of `rap_keras.methods.names()`.
        patterns: what "pattern.net" and "pattern.attribution" need, see `rap_keras.methods.create`.

    Returns:
        Relevance summed over channels, float64, (N, 1, ...), as Quantus keeps its inputs with the channels first;
        for inputs (N, features) that of each feature, (N, features).

    Raises:
        ValueError: there is no such method, or it needs options of its own; the inputs do not fit the model; a
            target is out of range; the final activation cannot be removed; or the patterns are of other weights.
        NotAnalyzeableModelException: the method cannot explain such a model.
    """
    x = _channels_last(np.asarray(inputs), model)
    chosen = np.asarray(targets)
    analyzer = _analyzer(model, method, patterns)
    relevance = relevances(analyzer, x, chosen).astype(np.float64)
    return relevance if relevance.ndim == 2 else relevance.sum(axis=-1)[:, np.newaxis]


def _analyzer(model: keras.Model, method: str, patterns: Patterns | str | Path | None) -> Any:
    """The last analyzer, or a new one for another model, other weights or another method."""
    global _last
    weights = weights_digest(model)
    if not _last or _last[0] is not model or _last[1] is not patterns or _last[2:4] != (method, weights):
        _last = ()  # frees the memory of the old one before the new one is made
        _last = model, patterns, method, weights, methods.create(method, to_logits(model), "index", patterns)
    return _last[-1]


def _channels_last(x: np.ndarray, model: keras.Model) -> np.ndarray:
    """The inputs in the order of axes that the model takes; as they are if they fit."""
    moved = np.moveaxis(x, 1, -1)
    return moved if _fits(moved, model) and not _fits(x, model) else x


def _fits(x: np.ndarray, model: keras.Model) -> bool:
    wanted = model.input_shape[1:]
    return x.ndim == len(wanted) + 1 and all(size in (None, axis) for size, axis in zip(wanted, x.shape[1:]))
