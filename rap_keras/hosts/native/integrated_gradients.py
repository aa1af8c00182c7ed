"""Integrated Gradients, and whether they are complete."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.samples import Samples
from rap_keras.hosts.native.base import numbered
from rap_keras.hosts.native.gradients import Averaged, total

_TOLERANCE = 0.05
"""How far a sum may be from the difference that it stands for, as a part of it."""
_ROUNDING = 1e-5
"""The part of the sum of absolute relevance that float32 may round away."""
_MOST_STEPS = 2**16
SAMPLE = "sample"
"""The reference of an input that stays as it is."""


class IntegratedGradients(Averaged):
    """The mean gradient on the line from a reference to the input, times their difference.

    Relevance sums to the selected logit minus that of the reference, if there are enough steps. The steps are
    evenly spaced; as in iNNvestigate, the reference is one of them and the input is not. The line of a token
    begins at the vector of zeros and ends at the one that an embedding looks up; it gets the sum over the vector.

    Source: Sundararajan et al., arXiv 1703.01365.

    Args:
        model: as for `Gradient`.
        steps: number of inputs on the line.
        reference_inputs: the reference of all samples: a number, or an array that broadcasts to one sample; for
            tokens the number of a token, whose vector is the reference. None for zeros, and for tokens the vector
            of zeros. "sample" for an input that stays as it is, such as a mask, and gets no relevance. For a model
            with several inputs one of these, or a list of one for each.
        postprocess: as for `Gradient`.
        **options: as for `Gradient`.

    Warns:
        UserWarning: in `analyze`, the relevance of a sample does not sum to the difference of the logits, by more
            than 5 % of it; with the number of steps that would be enough.

    Raises:
        ValueError: `steps` is not a positive integer; `reference_inputs` do not fit the inputs or are not finite.
    """

    def __init__(
        self,
        model: keras.Model,
        steps: int = 64,
        reference_inputs: Any = None,
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, postprocess, **options)
        self._of_vector = total
        self._times = requirements.require_positive("steps", steps)
        self._is_complete = postprocess is None
        self._references = dict(zip(self.network.inputs, _valid_references(reference_inputs, self.model)))
        for number, origins in zip(self._real.numbers, self._real.origins):
            if number not in self.network.inputs:
                _require_tokens([self._references[origin] for origin in origins])

    def differences(self, X: Any, neuron_selection: Any = None) -> np.ndarray:
        """The selected logit of each sample minus that of the reference, (N,): what its relevance should sum to.

        Args:
            X: as in `analyze`, but not batches.
            neuron_selection: as in `analyze`.

        Raises:
            ValueError: as in `analyze`.
            TypeError: as in `analyze`.
        """
        with self._at_home():
            return self._differences(self.samples(X, neuron_selection))

    def warn_if_incomplete(self, X: Any, relevance: Any, neuron_selection: Any = None) -> None:
        """Warns as `analyze` does, of relevance of X that was calculated elsewhere in as many steps."""
        arrays = relevance if isinstance(relevance, list) else [relevance]
        with self._at_home():
            self._warn_if_incomplete(self.samples(X, neuron_selection), arrays, 0)

    def _relevance_of(self, samples: Samples, first: int) -> list[np.ndarray]:
        found = super()._relevance_of(samples, first)
        if self._is_complete:
            self._warn_if_incomplete(samples, found, first)
        return found

    def _warn_if_incomplete(self, samples: Samples, relevance: list[np.ndarray], first: int) -> None:
        flat = [array.reshape(len(array), -1).astype(np.float64) for array in relevance]
        sums, sizes = sum(array.sum(axis=1) for array in flat), sum(np.abs(array).sum(axis=1) for array in flat)
        differences = self._differences(samples)
        gaps, allowed = np.abs(sums - differences), _TOLERANCE * np.abs(differences)
        incomplete = np.flatnonzero(gaps > allowed + _ROUNDING * sizes)
        if not incomplete.size:
            return
        worst = max(incomplete, key=lambda sample: gaps[sample])
        warnings.warn(
            f"the Integrated Gradients of sample {numbered(incomplete + first)} are not complete with "
            f"{self._times} steps: for sample {worst + first} they sum to {sums[worst]:.4g}, but its logit and "
            f"that of the reference differ by {differences[worst]:.4g}. "
            + _way_out(self._times, gaps[incomplete], allowed[incomplete]),
            stacklevel=5,
        )

    def _differences(self, samples: Samples) -> np.ndarray:
        def score(*tensors: tf.Tensor) -> tf.Tensor:
            inputs, given, positions = self._split(tensors)
            y = self.network.values(inputs, given)[self.network.outputs[0]]
            return tf.reduce_sum(y * self._at_output(y, positions), axis=list(range(1, y.shape.rank)))

        given, index = list(samples.arrays.values()), self._index(samples)
        pairs, scores = self._made_from(given), self._once("scores", score, self.specs())
        at_sample = scores([*given, *(x for x, _ in pairs), *index])
        return at_sample - scores([*given, *(np.broadcast_to(r, x.shape) for x, r in pairs), *index])

    def _inputs(self, made: list[Any], number: int) -> list[np.ndarray]:
        part = number / self._times
        return [r + (x - r) * x.dtype.type(part) for x, r in made]

    def _reduced(self, means: list[np.ndarray], made: list[Any]) -> list[np.ndarray]:
        return [mean * (x - r) for mean, (x, r) in zip(means, made)]

    def _made_from(self, given: list[np.ndarray]) -> list[Any]:
        """Each real input with its reference."""
        references = self._references.values()
        count = len(given[0]) if any(isinstance(reference, str) for reference in references) else 1
        tokens = [
            array if isinstance(reference, str) else _filled(reference, (count, *array.shape[1:]), array.dtype)
            for array, reference in zip(given, references)
        ]
        rows = dict(zip(self._real.numbers, self._real_arrays(tokens)))
        pairs = []
        for number, origins, x in zip(self._real.numbers, self._real.origins, self._real_arrays(given)):
            is_zero = self._references[min(origins)] is None
            pairs.append((x, np.zeros((), x.dtype) if is_zero else rows[number].astype(x.dtype)))
        return pairs


def _filled(reference: np.ndarray | None, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.broadcast_to(0 if reference is None else reference, shape).astype(dtype)


def _way_out(steps: int, gaps: np.ndarray, allowed: np.ndarray) -> str:
    """What closes the gaps, as far as they shrink like 1 / steps, as they do where the gradient has few jumps."""
    with np.errstate(divide="ignore"):
        wanted = 2 ** np.ceil(np.log2(steps * np.max(gaps / allowed)))
    if wanted > _MOST_STEPS:
        return f"More than {_MOST_STEPS:,} steps would be needed to close this gap, or the logits are nearly equal"
    return f"About {wanted:.0f} steps would close this gap: give steps={wanted:.0f}, in the command --steps"


def _valid_references(value: Any, model: keras.Model) -> list[np.ndarray | str | None]:
    """The reference of each input, in the model's order; None for zeros, `SAMPLE` for the sample itself."""
    several = isinstance(value, (list, tuple)) and len(model.inputs) > 1
    values = list(value) if several else [value] * len(model.inputs)
    if len(values) != len(model.inputs):
        raise ValueError(
            f"reference_inputs has {len(values)} references, but the model has {len(model.inputs)} inputs"
        )
    found = [one if one is None or isinstance(one, str) else np.asarray(one) for one in values]
    for reference, x in zip(found, model.inputs):
        if isinstance(reference, str) and reference != SAMPLE:
            raise ValueError(f"reference_inputs has the word {reference!r}: the only one is {SAMPLE!r}")
        if reference is None or isinstance(reference, str):
            continue
        sample = (1, *x.shape[1:])
        ends = zip(reference.shape[::-1], sample[::-1])
        fits = reference.ndim <= len(sample) and all(r == 1 or s in (None, r) for r, s in ends)
        if not fits:
            raise ValueError(
                f"reference_inputs of shape {reference.shape} does not fit a sample of shape {sample[1:]}: give "
                "one reference for all samples, a number or an array of this shape"
            )
        if not np.isfinite(reference.astype(np.float64)).all():
            raise ValueError("reference_inputs has NaN or Inf: give finite numbers")
    return found


def _require_tokens(references: list[np.ndarray | str | None]) -> None:
    """Raises ValueError for references of an embedding's inputs that are no tokens, or of only some of them."""
    given = [reference for reference in references if reference is not None]
    numbers = [reference for reference in given if not isinstance(reference, str)]
    if any((reference != np.round(reference)).any() for reference in numbers):
        raise ValueError(
            "reference_inputs has a fraction for an input of tokens: give the number of a token, or None for the "
            "vector of zeros; for several inputs a list of one for each"
        )
    if given and len(given) < len(references):
        raise ValueError(
            "an embedding looks up tokens of several inputs, and reference_inputs has tokens only for some of "
            "them: give one for each, or None for all"
        )
