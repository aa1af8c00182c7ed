"""The samples that an analyzer explains: checked once, then split into batches.

A model's inputs are given as Keras takes them: an array or a tensor, a list or tuple of these, or a dict by input
name; or batches of these from a generator, a `keras.utils.Sequence` or a `tf.data.Dataset`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Union

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.basics.progress import progress_bar
from rap_keras.engine import keras_graph
from rap_keras.engine.checks import least_size, regions
from rap_keras.engine.checks.no_numbers import as_array, not_numbers

Arrays = Union[np.ndarray, list[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Samples:
    """Samples that fit a model, and the output neuron to explain for each.

    Attributes:
        arrays: by input name in the model's order, (N, ...) each.
        selection: indices of output neurons, (M, axes of the output without the batch); None where the analyzer
            chooses the neuron. M is N, or a multiple of it for wrappers that make several samples from one, such
            as SmoothGrad: the first M / N rows belong to the first sample. Or regions, boolean, (N, shape of the
            output); all neurons of a region are explained together.
        by_name: whether the samples were given by input name; their relevance is then returned by name, too.
        against: indices of the neurons to compare with, shaped as `selection`, -1 where there is none; None for an
            analyzer without a contrast.
    """

    arrays: dict[str, np.ndarray]
    selection: np.ndarray | None = None
    by_name: bool = False
    against: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def regions(self) -> np.ndarray | None:
        """The selection if it consists of regions, else None."""
        return self.selection if self.selection is not None and regions.is_region(self.selection) else None

    def part(self, start: int, stop: int) -> Samples:
        """The samples from number `start` up to but excluding `stop`, each with its own neurons."""

        def rows(indices: np.ndarray | None) -> np.ndarray | None:
            each = 0 if indices is None else len(indices) // len(self)
            return None if indices is None else indices[start * each : stop * each]

        arrays = {name: array[start:stop] for name, array in self.arrays.items()}
        return Samples(arrays, rows(self.selection), self.by_name, rows(self.against))

    def batches(self, size: int | None) -> Iterator[Samples]:
        """Yields `size` samples at a time, all for None, with a progress bar if there are several batches."""
        count = len(self)
        starts = range(0, count, size or count)
        with progress_bar(shown=len(starts) > 1, total=count, unit=" samples") as bar:
            for start in starts:
                batch = self.part(start, min(start + (size or count), count))
                yield batch
                bar.update(len(batch))

    def feeds(self) -> list[np.ndarray]:
        """What the graph is fed with: the arrays, then the selection and the neurons to compare with.

        The graph takes full positions, which begin with the number of the sample.
        """
        chosen = [_positions(given) for given in (self.selection, self.against) if given is not None]
        return [*self.arrays.values(), *chosen]

    def like_given(self, arrays: list[np.ndarray]) -> Arrays:
        """Returns one array per input in the form of the given samples: a dict by name, a list, or an array."""
        if self.by_name:
            return dict(zip(self.arrays, arrays))
        return arrays[0] if len(arrays) == 1 else arrays


def valid_samples(X: Any, model: keras.Model, selection: Any = None) -> Samples:
    """Checks X and returns it as samples of the model.

    Args:
        X: the model's inputs, as Keras takes them; not batches.
        model: the model that takes them.
        selection: the output neuron to explain: one index for all samples or one for each. For outputs of several
            dimensions an index is a tuple; or give a region, boolean, (shape of the output) or (N, shape of the
            output).

    Raises:
        ValueError: inputs are missing, too many, of another shape, or too small for the layers; batches are empty
            or differ in size; values are not numbers, are NaN or Inf, or do not fit the input's data type (the
            message names the sample); an index is out of range or not an integer, or the number of indices is not
            that of the samples; a region has another shape, or is False everywhere.
        TypeError: an input is not an array, or a tensor without a value, or sparse or ragged.
    """
    names, tensors = keras_graph.input_names(model), model.inputs
    by_name = isinstance(X, Mapping)
    given = _by_name(X, names) if by_name else _in_order(X, tensors)
    arrays = {name: _valid_array(as_array(one), name, tensor) for name, tensor, one in zip(names, tensors, given)}
    sizes = [len(array) for array in arrays.values()]
    if len(set(sizes)) > 1:
        raise ValueError(f"inputs have batches of different size: {sizes}")
    least_size.require_large_enough(model, list(arrays.values()))
    if selection is None:
        return Samples(arrays, None, by_name)
    if regions.is_region(selection):
        return Samples(arrays, regions.valid_region(selection, sizes[0], model), by_name)
    return Samples(arrays, _valid_selection(selection, sizes[0], model.outputs[0]), by_name)


def compared(samples: Samples, model: keras.Model, against: Any) -> Samples:
    """The samples with the neuron that each is compared with.

    Args:
        samples: samples of the model.
        model: the model that takes them.
        against: an index, as `selection` in `valid_samples`; None for no such neuron.

    Raises:
        ValueError: as in `valid_samples` for a selection; or the selection is a region; or the model has a single
            output; or a neuron is compared with itself.
    """
    rows = len(samples if samples.selection is None else samples.selection)
    if against is None:
        indices = np.full((rows, len(model.outputs[0].shape) - 1), -1)
        return replace(samples, against=indices)
    if samples.regions is not None:
        raise ValueError(
            "against is for one neuron, but neuron_selection is a region: leave against out, and every place is "
            "compared with its other classes, contrast='log_odds'"
        )
    indices = _valid_selection(against, len(samples), model.outputs[0], "against")
    require_one_each(indices, len(samples), "against")
    if model.outputs[0].shape[1:] == (1,):
        raise ValueError(
            "against: the model has one output, so there is no other class to compare it with. "
            "rap_keras.models.two_classes(model) adds class 0"
        )
    if samples.selection is not None:
        indices = np.repeat(indices, rows // len(indices), axis=0)
        same = np.flatnonzero((indices == samples.selection).all(axis=1))
        if same.size:
            raise ValueError(
                f"against {_plain(indices[same[0]])} of sample {same[0] * len(samples) // rows} is the output "
                "that is explained: give another one"
            )
    return replace(samples, against=indices)


def require_one_each(indices: np.ndarray, count: int, name: str, way_out: str = "") -> None:
    """Raises ValueError unless there are as many indices as samples."""
    if len(indices) != count:
        raise ValueError(
            f"{name} has {len(indices)} indices for {count} samples: give one index, or one for each sample"
            f"{way_out}"
        )


def are_batches(X: Any) -> bool:
    """Whether X yields batches one by one: an iterator (such as a generator), a Sequence or a Dataset."""
    return isinstance(X, (Iterator, keras.utils.Sequence, tf.data.Dataset))


def require_batch_size(batch_size: Any) -> None:
    """Raises ValueError unless `batch_size` is a positive integer or None."""
    if batch_size is None:
        return
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: must be a positive integer")


def each_batch(batches: Iterable[Any], valid: Callable[[Any], Samples]) -> Iterator[Samples]:
    """Yields the samples of each batch, with a progress bar; labels and sample weights are ignored.

    As in Keras, a tuple is (inputs,), (inputs, labels) or (inputs, labels, sample weights), and a list holds the
    inputs of a model that has several. A Sequence is read once.

    Raises:
        ValueError: `valid` refuses a batch; the message begins with the batch's number.
    """
    total = None
    if isinstance(batches, keras.utils.Sequence):
        sequence, total = batches, len(batches)
        batches = (sequence[index] for index in range(total))  # some of Keras' own never end
    elif isinstance(batches, tf.data.Dataset):
        batches = _batches_of_dataset(batches)
    for number, batch in enumerate(progress_bar(batches, total=total, unit=" batches")):
        try:
            samples = valid(batch[0] if isinstance(batch, tuple) else batch)
        except ValueError as error:
            raise ValueError(f"batch {number}: {error}") from error
        yield samples


def _batches_of_dataset(dataset: tf.data.Dataset) -> Iterator[Any]:
    """Yields the elements of a Dataset as numpy arrays, with eager execution on or off."""
    if tf.executing_eagerly():
        yield from dataset.as_numpy_iterator()
        return
    graph = getattr(dataset._variant_tensor, "graph", None)
    if not isinstance(graph, tf.Graph):
        raise ValueError(
            "this tf.data.Dataset was made before eager execution was switched off: make it after "
            "tf.compat.v1.disable_eager_execution(), or give the arrays that it was made from"
        )
    with graph.as_default():
        iterator = tf.compat.v1.data.make_initializable_iterator(dataset)
        element = iterator.get_next()
    # Not as the default session, which Keras would take for its own while a batch is processed.
    session = tf.compat.v1.Session(graph=graph)
    try:
        session.run(iterator.initializer)
        while True:
            try:
                batch = session.run(element)
            except tf.errors.OutOfRangeError:
                return
            yield batch
    finally:
        session.close()


def _by_name(X: Mapping[str, Any], names: list[str]) -> list[Any]:
    missing = [name for name in names if name not in X]
    if missing:
        raise ValueError(
            f"inputs {', '.join(map(repr, missing))} are missing: the model takes {', '.join(map(repr, names))}, "
            f"and {', '.join(map(repr, X)) or 'nothing'} was given"
        )
    others = [name for name in X if name not in names]
    if others:
        warnings.warn(f"the model has no inputs {', '.join(map(repr, others))}: they are ignored", stacklevel=4)
    return [X[name] for name in names]


def _in_order(X: Any, tensors: list[tf.Tensor]) -> list[Any]:
    """One value per input; for a model with one input a list is the array itself."""
    if not isinstance(X, (list, tuple)):
        given = [X]
    elif len(tensors) > 1:
        given = list(X)
    else:
        given = [X[0]] if len(X) == 1 and np.ndim(as_array(X[0])) == len(tensors[0].shape) else [X]
    if len(given) != len(tensors):
        raise ValueError(f"the model has {len(tensors)} inputs, but {len(given)} arrays were given")
    return given


def _valid_array(array: np.ndarray, name: str, tensor: tf.Tensor) -> np.ndarray:
    wanted, dtype = tuple(tensor.shape), keras_graph.dtype(tensor)
    if array.ndim != len(wanted) or any(w not in (None, a) for w, a in zip(wanted[1:], array.shape[1:])):
        hint = (
            " A single sample needs a batch axis, x[np.newaxis]; a tf.data.Dataset needs .batch(32)."
            if array.ndim == len(wanted) - 1
            else ""
        )
        raise ValueError(f"input '{name}' has shape {array.shape}, the model takes {wanted}.{hint}")
    if len(array) == 0:
        raise ValueError(f"input '{name}' is an empty batch")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"input '{name}' has no real numbers, but {not_numbers(array)}")
    # One sample at a time, since the array may be larger than memory.
    bad = [i for i, sample in enumerate(array) if not np.isfinite(sample).all()] if array.dtype.kind == "f" else []
    if bad:
        raise ValueError(f"input '{name}' has NaN or Inf in sample {', '.join(map(str, bad))}")
    if dtype.is_floating and array.dtype.kind != "b":
        limits: Any = np.finfo(array.dtype) if array.dtype.kind == "f" else np.iinfo(array.dtype)
        if limits.max > dtype.max:
            _require_in_range(array, name, dtype)
    if dtype.is_integer and array.dtype != dtype.as_numpy_dtype:
        _require_whole_numbers(array, name, dtype)
    return array


def _require_in_range(array: np.ndarray, name: str, dtype: tf.DType) -> None:
    """Raises ValueError for values that become infinite in the model's data type."""
    for number, sample in enumerate(array):
        largest = np.abs(sample.astype(float)).max(initial=0)
        if largest > dtype.max:
            raise ValueError(
                f"input '{name}' takes {dtype.name}, and sample {number} has a value of {largest:g}, which is "
                "infinite there: scale the values as in the network's training"
            )


def _require_whole_numbers(array: np.ndarray, name: str, dtype: tf.DType) -> None:
    """Raises ValueError for values that Keras would truncate to fit an input of integers."""
    for number, sample in enumerate(array):
        with np.errstate(invalid="ignore"):
            changed = sample[sample.astype(dtype.as_numpy_dtype) != sample]
        if changed.size:
            raise ValueError(
                f"input '{name}' takes {dtype.name}, whole numbers from {dtype.min} to {dtype.max}, but sample "
                f"{number} has {changed.flat[0]:g}: give the values as the model takes them, such as unscaled "
                "pixels"
            )


def _valid_selection(selection: Any, batch: int, output: tf.Tensor, name: str = "neuron_selection") -> np.ndarray:
    """Neuron indices as an array of integers, (M, axes of the output without the batch)."""
    shape = tuple(output.shape)[1:]
    indices = np.asarray(selection)
    if indices.dtype.kind not in "iu":
        raise ValueError(f"{name}={selection!r}: must be integers{_OR_REGION * (len(shape) > 1)}")
    if indices.shape in (shape, (batch, *shape)) and indices.ndim > 2 and indices.size > batch * len(shape):
        raise ValueError(
            f"{name} has integers in the shape of the output, {indices.shape}: must be an index{_OR_REGION}"
        )
    if indices.size == len(shape):
        indices = np.tile(indices.reshape(1, -1), (batch, 1))
    if indices.size == 0 or indices.size % (batch * len(shape)):
        raise ValueError(
            f"{name} has {indices.size} numbers: give one index"
            f"{'' if len(shape) == 1 else f' of {len(shape)} numbers'}, or one for each of the {batch} samples"
        )
    indices = indices.reshape(-1, len(shape))
    for sample, index in enumerate(indices):
        if any(i < 0 or (size is not None and i >= size) for i, size in zip(index, shape)):
            one_unit = " That unit is class 1; rap_keras.models.two_classes(model) adds class 0." * (shape == (1,))
            raise ValueError(
                f"{name} {_plain(index)} of sample {sample} is out of range: "
                f"the output has shape {shape}.{one_unit}"
            )
    return indices


_OR_REGION = ", or booleans in the shape of the output for a region, such as mask > 0"


def _positions(selection: np.ndarray) -> np.ndarray:
    """The positions of the selected neurons, sample first: one for each row of indices, or for each True value."""
    if regions.is_region(selection):
        return np.argwhere(selection).astype(np.int32)
    return np.hstack([np.arange(len(selection))[:, None], selection]).astype(np.int32)


def _plain(index: np.ndarray) -> Any:
    return int(index[0]) if len(index) == 1 else tuple(map(int, index))
