"""Whether what a network says about a sample depends on the other samples of the batch.

`batch_axis` refuses what is seen to work along the first axis. An operation that moves values freely, such as
`x[::-1]` or a reshape, and a layer of the user's own do not tell: here they are tried, on the user's own samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

import numpy as np
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.flattening import flatten, predictor
from rap_keras.engine.rules.kinds import key_of

_independent: WeakSet[keras.Model] = WeakSet()
_tried_with_one: WeakSet[keras.Model] = WeakSet()

# Rounding depends on the size of the batch, and with TensorFloat-32 reaches a thousandth of the largest logit.
_TOLERANCE = 1e-2


def require_independent(model: keras.Model, arrays: Sequence[np.ndarray]) -> None:
    """Refuses a network that gives samples other outputs in a batch than in the halves of the batch.

    Once a batch of different samples has passed, the model is not tried again.

    Args:
        model: the model, with one output.
        arrays: one for each input, (N, ...).

    Raises:
        NotAnalyzeableModelException: a sample's output depends on the others, or there is not one for each sample.
    """
    count = len(arrays[0])
    if model in _independent or (count == 1 and model in _tried_with_one):
        return
    free = [call.name for call in flatten(model).calls if _is_free(call)]
    if free:
        predict = predictor(model)
        whole = predict(list(arrays))
        parts = [slice(0, count // 2), slice(count // 2, count)] if count > 1 else []
        halves = [predict([array[part] for array in arrays]) for part in parts]
        fault = ""
        if len(whole) != count:
            fault = f"the model gives {len(whole)} outputs for {count} samples"
        elif halves and not _are_equal(whole, halves):
            fault = "what the model says of a sample changes with the other samples of the batch, or by chance"
        if fault:
            raise NotAnalyzeableModelException(
                f"{fault}, and relevance is that of one sample: let layer {_named(free)} work along other axes "
                "than the first, which is that of the samples"
            )
        if count == 1:
            _tried_with_one.add(model)
            return
        if np.array_equal(whole[: count // 2], whole[-(count // 2) :]):
            return  # what is the same for all samples says nothing
    _independent.add(model)


def _is_free(call: Call) -> bool:
    """Whether a call could mix samples, as far as is known of it."""
    if keras_graph.is_operation(call.layer):
        return key_of(call) in (None, "moved", "chosen", "padded", "product")
    return isinstance(call.layer, keras.layers.Lambda) or not keras_graph.is_of_keras(call.layer)


def _are_equal(whole: np.ndarray, halves: Sequence[np.ndarray]) -> bool:
    if any(half.ndim != whole.ndim for half in halves) or sum(map(len, halves)) != len(whole):
        return False
    size = np.abs(whole[np.isfinite(whole)]).max(initial=0)
    return bool(np.allclose(np.concatenate(halves), whole, rtol=0, atol=_TOLERANCE * size, equal_nan=True))


def _named(names: Sequence[str]) -> str:
    return f"'{names[0]}'" if len(names) == 1 else f"one of {', '.join(map(repr, names[:8]))}"
