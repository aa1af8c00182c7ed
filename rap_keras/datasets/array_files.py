"""Samples of any kind from NumPy files: .npy and .npz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from rap_keras.basics.whole_file import require_file
from rap_keras.basics.wording import counted

Shape = Sequence[Union[int, None]]


def is_array_file(path: Path) -> bool:
    """Whether a path has the extension of an array file."""
    return path.suffix.lower() in (".npy", ".npz")


def load(path: Path, inputs: Mapping[str, Shape]) -> tuple[dict[str, np.ndarray], bool]:
    """The samples in a .npy or .npz file, as `as_batches` gives them; raises ValueError if it holds none."""
    return as_batches(_arrays(path), inputs, str(path))


def as_batches(
    arrays: dict[str, np.ndarray], inputs: Mapping[str, Shape], where: str
) -> tuple[dict[str, np.ndarray], bool]:
    """The samples in arrays, for each input of a model, and whether they are a batch rather than a single sample.

    An array with the input's shape is one sample; with one more axis in front it is a batch of samples. A last
    axis of length 1 may be missing from either; it is added.

    Args:
        arrays: by the names of the inputs; an array without a name has the name "".
        inputs: the shape of one sample by input name, None for a free length.
        where: the source of the arrays, for errors.

    Returns:
        The samples by input name, in the order of `inputs`, real numbers, (N, ...).

    Raises:
        ValueError: they are not finite real numbers; an array has another shape; they have other names than the
            inputs, or different numbers of samples.
    """
    found: dict[str, np.ndarray] = {}
    batches: dict[str, bool] = {}
    for name, array in _by_input(where, arrays, inputs).items():
        here = f"{where}: {name}" if len(inputs) > 1 else where
        _require_numbers(array, here)
        found[name], batches[name] = _as_batch(array, inputs[name], here)
    counts = {name: len(array) for name, array in found.items()}
    if len(set(counts.values())) > 1 or len(set(batches.values())) > 1:
        held = ", ".join(
            f"{name} has {f'a batch of {counts[name]}' if batches[name] else 'one sample'}" for name in found
        )
        raise ValueError(
            f"{where}: {held}: give each input equally many samples, or each one sample without a batch axis"
        )
    return found, any(batches.values())


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a file by their names; that of a .npy file has the name ""."""
    require_file(path)
    with open(path, "rb") as file:
        try:
            if path.suffix.lower() == ".npy":
                return {"": np.lib.format.read_array(file, allow_pickle=False)}
            with np.load(file, allow_pickle=False) as archive:
                return {name: np.asarray(archive[name]) for name in archive.files}
        # Damaged files raise zlib.error, BadZipFile, SyntaxError and others, and MemoryError if the header claims
        # more numbers than there are.
        except Exception as error:
            if "Object arrays" in str(error):
                raise ValueError(
                    f"{path}: an array of Python objects: save numbers, numpy.save('x.npy', x.astype('float32'))"
                ) from None
            wanted = "numpy.save('x.npy', x)" if path.suffix.lower() == ".npy" else "numpy.savez('x.npz', x=x)"
            message = f"{path}: not a NumPy file, or a damaged one: save the array with {wanted}"
            raise ValueError(message) from error


def _by_input(where: str, arrays: dict[str, np.ndarray], inputs: Mapping[str, Shape]) -> dict[str, Any]:
    """Which array is for which input; raises ValueError if that is not clear."""
    if len(inputs) == 1 and len(arrays) == 1:
        return {next(iter(inputs)): next(iter(arrays.values()))}
    if set(arrays) == set(inputs):
        return {name: arrays[name] for name in inputs}
    has = "an array without a name" if "" in arrays else ", ".join(map(repr, arrays)) or "no array"
    if len(inputs) == 1:
        raise ValueError(f"{where}: it has {has}, but the model takes one array: numpy.savez('x.npz', x=x)")
    takes = ", ".join(f"{name!r} {_text(shape)}" for name, shape in inputs.items())
    pairs = ", ".join(f"{name!r}: {'abcdefghijklmnopqrstuvwxyz'[i % 26]}" for i, name in enumerate(inputs))
    raise ValueError(
        f"{where}: it has {has}, but the model takes {takes}: give each input an array by its name, "
        f"numpy.savez('x.npz', **{{{pairs}}})"
    )


def _require_numbers(array: np.ndarray, where: str) -> None:
    """Raises ValueError for an array of anything other than finite real numbers."""
    if array.dtype.kind not in "biuf":
        from rap_keras.engine.checks.no_numbers import not_numbers  # imports TensorFlow

        raise ValueError(f"{where}: an array without real numbers, but {not_numbers(array)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"{where}: {count} of {counted(array.size, 'value')} {'is' if count == 1 else 'are'} NaN or infinite: "
            "replace them, for instance with numpy.nan_to_num"
        )


def _as_batch(array: np.ndarray, shape: Shape, where: str) -> tuple[np.ndarray, bool]:
    """The array with a batch axis and all channels, and whether it had a batch axis; raises ValueError."""
    one_channel = len(shape) > 0 and shape[-1] == 1
    forms = [(shape, False), (shape, True)]  # the full shape takes precedence over one that lacks an axis
    if one_channel:
        forms += [(shape[:-1], False), (shape[:-1], True)]
    for wanted, is_batch in forms:
        if _fits(array.shape[1:] if is_batch else array.shape, wanted, array.ndim - is_batch):
            if len(wanted) < len(shape):
                array = array[..., np.newaxis]
            array = array if is_batch else array[np.newaxis]
            if array.size == 0:
                raise ValueError(f"{where}: shape {array.shape} has no values: save at least one sample")
            return array, is_batch
    without = f", or without the last axis, {_text(shape[:-1])}" if one_channel else ""
    raise ValueError(
        f"{where}: shape {array.shape}, but the model takes {_text(shape)} for one sample, or "
        f"{_text(['N', *shape])} for N of them{without}: {_way_out(array.shape, shape)}"
    )


def _way_out(given: tuple[int, ...], wanted: Shape) -> str:
    """How an array of another shape becomes a sample of the wanted one."""
    sample = given[-len(wanted) :]
    if 1 < len(wanted) == len(sample) and _fits((*sample[1:], sample[0]), wanted, len(wanted)):
        return f"put its channels last, with numpy.moveaxis(x, {-len(wanted)}, -1)"
    if len(wanted) == len(sample) == 3 and sample[-1] == wanted[-1]:
        return f"resize it to height and width {_text(wanted[:2])}, or give the file of a photo, which is resized"
    return "bring it into such a shape; where only the order of its axes differs, with numpy.transpose"


def _fits(given: tuple[int, ...], wanted: Shape, axes: int) -> bool:
    return axes == len(wanted) and all(w in (None, length) for w, length in zip(wanted, given))


def _text(shape: Sequence[Any]) -> str:
    """A shape, with "any" for free lengths."""
    lengths = ["any" if length is None else str(length) for length in shape]
    return f"({', '.join(lengths)}{',' * (len(lengths) == 1)})"
