"""What a user can get wrong, found before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from innvestigate import NotAnalyzeableModelException
from tensorflow import keras

from rap_keras.network import Network


def require_graph_execution() -> None:
    """Raises RuntimeError while eager execution is on."""
    if tf.executing_eagerly():
        raise RuntimeError(
            "iNNvestigate and RAP need TensorFlow's graph execution, and eager execution is on. Switch it off "
            "at the top of your program, before any model is built or loaded: "
            "tf.compat.v1.disable_eager_execution()"
        )


def require_choice(option: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError if an option's value is none of its choices."""
    if value not in choices:
        raise ValueError(f"{option}={value!r}: must be one of {', '.join(map(repr, choices))}")


def require_input_rule(value: Any) -> None:
    """Raises ValueError unless the value is "auto", None or a pair of numbers or channel lists, low <= high."""
    if value is None or (isinstance(value, str) and value == "auto"):
        return
    try:
        low, high = (np.asarray(bound, dtype=float) for bound in value)
    except (TypeError, ValueError):
        raise ValueError(
            f"input_rule={value!r}: must be 'auto', None, or (low, high), each a number or one per channel"
        ) from None
    lengths = {bound.size for bound in (low, high) if bound.ndim}
    if low.ndim > 1 or high.ndim > 1 or len(lengths) > 1:
        raise ValueError(f"input_rule={value!r}: low and high must be numbers or lists of one value per channel")
    if not np.all(low <= high) or not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ValueError(f"input_rule={value!r}: low and high must be finite, with low <= high")


def require_one_output(model: keras.Model) -> None:
    """Raises NotAnalyzeableModelException for a model with several outputs."""
    outputs = getattr(model, "output_names", None) or []
    if len(outputs) > 1:
        first = outputs[0]
        raise NotAnalyzeableModelException(
            f"the model has {len(outputs)} outputs ({', '.join(outputs)}), and RAP explains one at a time: make "
            f"a model of the one you mean, keras.Model(model.inputs, model.get_layer('{first}').output)"
        )


def refuse_half_precision(network: Network) -> None:
    """Raises NotAnalyzeableModelException if weights, or an operation's values, have less than 32 bits."""
    half = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
    for call in network.calls:
        node = getattr(call.layer, "node_def", None)
        if node is not None and node.attr["T"].type in half:
            raise NotAnalyzeableModelException(
                f"operation '{call.name}' ({node.op}) calculates in half precision, and relevance needs more "
                "digits: build the model in float32, or use a layer in place of the operation"
            )
        for weight in call.layer.weights:
            if weight.dtype.is_floating and weight.dtype.size < 4:
                raise NotAnalyzeableModelException(
                    f"the weights of layer '{call.name}' are {weight.dtype.name}, and relevance needs more digits"
                    ": build the model in float32, or with the policy mixed_float16, which keeps float32 weights"
                )


def refuse_softmax(network: Network) -> None:
    """Raises NotAnalyzeableModelException if the output is that of a softmax."""
    outputs = set(network.outputs)
    for call in reversed(network.calls):
        if not outputs.intersection(call.outputs):
            continue
        activation = getattr(call.layer, "activation", None)
        if isinstance(call.layer, keras.layers.Softmax) or activation is keras.activations.softmax:
            raise NotAnalyzeableModelException(
                f"layer '{call.name}' ends the model in a softmax, which mixes the classes: RAP explains the "
                "logit before it. Take it off with innvestigate.model_wo_softmax(model), or, where the softmax "
                "is in a nested model, rap_keras.models.without_softmax(model)"
            )
        if isinstance(call.layer, _PASSING):
            outputs.update(call.inputs)


_PASSING = (
    keras.layers.Activation,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Reshape,
)


def valid_inputs(X: Any, inputs: Sequence[tf.Tensor]) -> list[np.ndarray]:
    """X as one array per model input, checked.

    Raises:
        ValueError: another number of arrays, another shape, batches of different size or none, no numbers, or
            NaN or Inf, in which case the sample is named.
    """
    arrays = list(X) if isinstance(X, (list, tuple)) and len(inputs) > 1 else [X]
    if len(inputs) == 1 and isinstance(X, (list, tuple)) and len(X) == 1 and np.ndim(X[0]) == inputs[0].shape.rank:
        arrays = [X[0]]
    if len(arrays) != len(inputs):
        raise ValueError(f"the model has {len(inputs)} inputs, but {len(arrays)} arrays were given")
    arrays = [_valid_input(np.asarray(array), tensor) for array, tensor in zip(arrays, inputs)]
    sizes = {len(array) for array in arrays}
    if len(sizes) > 1:
        raise ValueError(f"inputs have batches of different size: {[len(array) for array in arrays]}")
    return arrays


def _valid_input(array: np.ndarray, tensor: tf.Tensor) -> np.ndarray:
    name, wanted = tensor.name.split(":")[0], tuple(tensor.shape)
    if array.ndim != len(wanted) or any(w not in (None, a) for w, a in zip(wanted[1:], array.shape[1:])):
        hint = " A single sample needs a batch axis: x[np.newaxis]." if array.ndim == len(wanted) - 1 else ""
        raise ValueError(f"input '{name}' has shape {array.shape}, the model takes {wanted}.{hint}")
    if len(array) == 0:
        raise ValueError(f"input '{name}' is an empty batch")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"input '{name}' has data type {array.dtype}, not numbers")
    # A sample at a time: array may be larger than memory.
    bad = [i for i, sample in enumerate(array) if not np.isfinite(sample).all()] if array.dtype.kind == "f" else []
    if bad:
        raise ValueError(f"input '{name}' has NaN or Inf in sample {', '.join(map(str, bad))}")
    return array


def valid_selection(selection: Any, batch: int, output: tf.Tensor) -> np.ndarray:
    """Neuron indices as int32 array (batch, rank of output), the sample's own number first.

    `selection` is one index for all samples or one for each; with outputs of several dimensions an index is
    a tuple.

    Raises:
        ValueError: not integers, not as many as samples, or out of range, in which case the sample is named.
    """
    shape = tuple(output.shape)[1:]
    indices = np.asarray(selection)
    if indices.dtype.kind not in "iu":
        raise ValueError(f"neuron_selection={selection!r}: must be integers")
    if indices.size == len(shape):
        indices = np.tile(indices.reshape(1, -1), (batch, 1))
    if indices.size % (batch * len(shape)):
        raise ValueError(
            f"neuron_selection has {indices.size} numbers: give one index"
            f"{'' if len(shape) == 1 else f' of {len(shape)} numbers'}, or one for each of the {batch} samples"
        )
    indices = indices.reshape(-1, len(shape))
    for sample, index in enumerate(indices):
        if any(i < 0 or (size is not None and i >= size) for i, size in zip(index, shape)):
            raise ValueError(
                f"neuron_selection {_plain(index)} of sample {sample} is out of range: "
                f"the output has shape {shape}"
            )
    return np.hstack([np.arange(len(indices))[:, None], indices]).astype(np.int32)


def _plain(index: np.ndarray) -> Any:
    return int(index[0]) if len(index) == 1 else tuple(map(int, index))


def require_layers(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises KeyError for a name that is none of the network's layers."""
    known = list(known)
    missing = [name for name in names if name not in known]
    if missing:
        raise KeyError(
            f"no layer {', '.join(map(repr, missing))} in the network; its layers are {', '.join(known)}"
        )
