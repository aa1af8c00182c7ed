"""Patterns of a network: saving and loading them, and refusing those of another network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensorflow import keras

from rap_keras.basics import whole_file
from rap_keras.models.foreign_files import read_npz
from rap_keras.patterns.pattern_maps import Map

_FORMAT = "rap_keras patterns 1"


@dataclass(frozen=True)
class Patterns:
    """The patterns of a network.

    Attributes:
        arrays: the pattern of every linear map by its name, shaped as the map's weights.
        network: a digest of all weights of the network.
    """

    arrays: Mapping[str, np.ndarray]
    network: str

    def save(self, file: str | Path) -> None:
        """Writes them to an .npz file, without pickle.

        Raises:
            OSError: the file cannot be written.
        """
        whole_file.write_npz(
            file, {"__format__": _FORMAT, "__network__": self.network, **self.arrays}, compressed=True
        )

    @staticmethod
    def load(file: str | Path) -> Patterns:
        """Loads patterns from a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is something else.
        """
        try:
            arrays = read_npz(file)
            if str(arrays.pop("__format__", "")) != _FORMAT:
                raise ValueError("another format")
            network = str(arrays.pop("__network__"))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{file} holds no patterns saved by rap_keras ({error})") from error
        return Patterns({name: array.astype(np.float32) for name, array in arrays.items()}, network)

    def require_made_for(self, model: keras.Model) -> None:
        """Raises ValueError if the model is not the one that they were computed for."""
        if self.network != weights_digest(model):
            raise ValueError(
                "these patterns are of another network, or of this one before its weights changed: compute them "
                "again, with rap_keras.patterns.PatternComputer or `rap-keras fit-patterns`"
            )

    def require_fit(self, maps: Mapping[int, Sequence[Map]]) -> None:
        """Raises ValueError unless there is a finite pattern for every linear map, shaped as its weights."""
        for m in (m for group in maps.values() for m in group):
            found = self.arrays.get(m.name)
            shape = tuple(m.linear.w().shape)
            if found is None or found.shape != shape:
                raise ValueError(
                    f"the pattern of '{m.name}' has shape {None if found is None else found.shape}, but its "
                    f"weights have {shape}"
                )
            if not np.isfinite(found).all():
                raise ValueError(f"the pattern of '{m.name}' has values that are not finite")


def weights_digest(model: keras.Model) -> str:
    """A digest of all weights, which no other network has."""
    return digest_of(model.get_weights())


def digest_of(arrays: Iterable[np.ndarray]) -> str:
    """A digest of arrays, of their shapes and their data types."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
