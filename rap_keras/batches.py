"""Samples in batches: arrays cut to size, and batches that come from a generator or a Sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from tensorflow import keras

from rap_keras.progress import progress_bar


def are_batches(X: Any) -> bool:
    """Whether X brings batches one after the other: an iterator (a generator, say) or a Keras Sequence."""
    return isinstance(X, (Iterator, keras.utils.Sequence))


def require_size(batch_size: Any) -> None:
    """Raises ValueError unless `batch_size` is a positive integer or None."""
    if batch_size is None:
        return
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: must be a positive integer")


def slices(samples: int, batch_size: int) -> Iterator[slice]:
    """Of each batch in turn, with a progress bar if there are several."""
    starts = range(0, samples, batch_size)
    with progress_bar(shown=len(starts) > 1, total=samples, unit=" samples") as bar:
        for start in starts:
            stop = min(start + batch_size, samples)
            yield slice(start, stop)
            bar.update(stop - start)


def inputs_of(batches: Iterable[Any]) -> Iterator[Any]:
    """The model's inputs of each batch, with a progress bar; labels and weights beside them are left out.

    As Keras has it, a tuple is (inputs,), (inputs, labels) or (inputs, labels, sample weights), and a list the
    inputs of a model that has several. A Sequence is gone through once.
    """
    if isinstance(batches, keras.utils.Sequence):
        sequence = batches
        batches = (sequence[index] for index in range(len(sequence)))  # some of Keras' own iterate without end
        total = len(sequence)
    else:
        total = None
    for batch in progress_bar(batches, total=total, unit=" batches"):
        yield batch[0] if isinstance(batch, tuple) else batch


def each_valid(batches: Iterable[Any], valid: Callable[[Any], Any]) -> Iterator[Any]:
    """What `valid` makes of the model's inputs of each batch; a ValueError of it also names the batch."""
    for number, batch in enumerate(inputs_of(batches)):
        try:
            checked = valid(batch)
        except ValueError as error:
            raise ValueError(f"batch {number}: {error}") from error
        yield checked
