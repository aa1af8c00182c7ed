"""The gradient, the methods based on it, and two controls, without iNNvestigate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import checks
from rap_keras.engine.calls import Call
from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.execution import compiled
from rap_keras.engine.network import Network, as_float, specs
from rap_keras.engine.reversal import gradient, reverse
from rap_keras.engine.rules.unweighted import Tensors
from rap_keras.engine.samples import Samples
from rap_keras.hosts.native.base import Analyzer, is_relu, require_relus


class Gradient(Analyzer):
    """The gradient of the selected logit. Source: Simonyan et al., arXiv 1312.6034.

    Args:
        model: a functional or Sequential model that ends in logits, see `rap_keras.to_logits`.
        postprocess: None, "abs" for absolute values or "square".
        **options: those of every `Analyzer`; neuron_selection_mode="all" takes the gradient of the sum of all
            logits.

    Raises:
        ValueError: an option has an invalid value.
        NotAnalyzeableModelException: as in `rap_keras.RAP`.
    """

    def __init__(
        self,
        model: keras.Model,
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        if postprocess is not None:
            checks.require_choice("postprocess", postprocess, ("abs", "square"))
        self._postprocess: Callable = {None: tf.identity, "abs": tf.abs, "square": tf.square}[postprocess]

    def _attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        inputs = [as_float(x) for x in tensors[: len(self.network.inputs)]]
        return [self._postprocess(g) for g in self._gradients(inputs, tensors[len(inputs) :])]

    def _gradients(self, inputs: list[tf.Tensor], index: list[tf.Tensor]) -> list[tf.Tensor]:
        return self._gradients_of(self.network, inputs, index)

    def _gradients_of(self, network: Network, inputs: list[tf.Tensor], index: list[tf.Tensor]) -> list[tf.Tensor]:
        def output(*xs: tf.Tensor) -> tf.Tensor:
            return network.values(xs)[network.outputs[0]]

        return transposed(output, inputs, lambda y: self._selected(y, index))

    def _selected(self, output: tf.Tensor, index: list[tf.Tensor]) -> tf.Tensor:
        """1 at the selected neurons, 0 elsewhere."""
        return transposed(lambda y: self._seed(y, index), [output], tf.ones_like(output))[0]


class InputTimesGradient(Gradient):
    """The gradient times the input, see `Gradient`. Source: Shrikumar et al., arXiv 1605.01713.

    Args:
        model: as for `Gradient`.
        contrast: "log_odds" or "logit" for the gradient of a score, see `rap_keras.ContrastiveRAP`.
        **options: as for `Gradient`.

    Raises:
        ValueError: an option has an invalid value.
    """

    def __init__(self, model: keras.Model, contrast: str | None = None, **options: Any) -> None:
        super().__init__(model, None, **options)
        self._set_contrast(contrast)

    def _selected(self, output: tf.Tensor, index: list[tf.Tensor]) -> tf.Tensor:
        if self._contrast is None:
            return super()._selected(output, index)
        return self._score_weights(output, index)

    def _gradients(self, inputs: list[tf.Tensor], index: list[tf.Tensor]) -> list[tf.Tensor]:
        return [x * g for x, g in zip(inputs, super()._gradients(inputs, index))]


class _Averaged(Gradient):
    """The mean gradient over several inputs made from each sample, always of the neuron selected for the sample.

    The inputs are explained one after the other, so they need no more memory than the samples themselves. They
    have the masks of the sample: noise would unmask its padding, and the reference may be masked everywhere.
    """

    _times: int
    _highest: Any = None

    def _run(self, samples: Samples) -> list[np.ndarray]:
        if self._graph is None:
            mode, self._neuron_selection_mode = self._neuron_selection_mode, self._inner_mode()
            given = specs(self._model) if self.network.masked else []
            self._graph = compiled(lambda *tensors: self._attributions(list(tensors)), [*self.specs(), *given])
            self._neuron_selection_mode = mode
        arrays = _floats(samples)
        index = [*self._index(samples), *(arrays if self.network.masked else [])]
        total: list[np.ndarray] = []
        for number in range(self._times):
            found = self._graph([*self._inputs(arrays, number), *index])
            total = [a + b for a, b in zip(total, found)] if total else found
        return self._reduced([array / self._times for array in total], arrays)

    def _gradients(self, inputs: list[tf.Tensor], index: list[tf.Tensor]) -> list[tf.Tensor]:
        if not self.network.masked:
            return super()._gradients(inputs, index)
        index, given = index[: -len(inputs)], index[-len(inputs) :]
        _, network = self.network.passed([as_float(x) for x in given])
        return self._gradients_of(network, inputs, index)

    def _inner_mode(self) -> str:
        return "all" if self._neuron_selection_mode == "all" else "index"

    def _index(self, samples: Samples) -> list[np.ndarray]:
        """What the graph takes after the inputs: the positions of the selected neurons."""
        if self._neuron_selection_mode == "all":
            return []
        if self._neuron_selection_mode == "index":
            return samples.feeds()[-1:]
        if self._highest is None:

            def output(*tensors: tf.Tensor) -> tf.Tensor:
                return self.network.values(map(as_float, tensors))[self.network.outputs[0]]

            self._highest = compiled(output, super().specs()[: len(self.network.inputs)])
        y = self._highest(list(samples.arrays.values()))
        positions = np.unravel_index(y.reshape(len(y), -1).argmax(1), y.shape[1:])
        return [np.stack([np.arange(len(y)), *positions], axis=1).astype(np.int32)]

    def _inputs(self, arrays: list[np.ndarray], number: int) -> list[np.ndarray]:
        raise NotImplementedError

    def _reduced(self, means: list[np.ndarray], arrays: list[np.ndarray]) -> list[np.ndarray]:
        return means


class IntegratedGradients(_Averaged):
    """The mean gradient on the line from a reference to the input, times their difference.

    The steps are evenly spaced; as in iNNvestigate, the reference is one of them and the input is not.

    Source: Sundararajan et al., arXiv 1703.01365.

    Args:
        model: as for `Gradient`.
        steps: number of inputs on the line.
        reference_inputs: the reference of all samples: a number, or an array that broadcasts to one sample; for a
            model with several inputs one of these, or a list of one for each.
        postprocess: as for `Gradient`.
        **options: as for `Gradient`.

    Raises:
        ValueError: `steps` is not a positive integer; `reference_inputs` do not fit the inputs or are not finite.
    """

    def __init__(
        self,
        model: keras.Model,
        steps: int = 64,
        reference_inputs: Any = 0,
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, postprocess, **options)
        self._times = checks.require_positive("steps", steps)
        self._references = _valid_references(reference_inputs, self.model)

    def _inputs(self, arrays: list[np.ndarray], number: int) -> list[np.ndarray]:
        part = number / self._times
        return [r + (x - r) * x.dtype.type(part) for x, r in self._pairs(arrays)]

    def _reduced(self, means: list[np.ndarray], arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [mean * (x - r) for mean, (x, r) in zip(means, self._pairs(arrays))]

    def _pairs(self, arrays: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(x, np.asarray(r).astype(x.dtype)) for x, r in zip(arrays, self._references)]


def _valid_references(value: Any, model: keras.Model) -> list[np.ndarray]:
    """The reference of each input, in the model's order."""
    several = isinstance(value, (list, tuple)) and len(model.inputs) > 1
    values = list(value) if several else [value] * len(model.inputs)
    if len(values) != len(model.inputs):
        raise ValueError(
            f"reference_inputs has {len(values)} references, but the model has {len(model.inputs)} inputs"
        )
    found = [np.asarray(reference) for reference in values]
    for reference, x in zip(found, model.inputs):
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


class SmoothGrad(_Averaged):
    """The mean gradient over inputs with Gaussian noise, the same noise in every call.

    iNNvestigate ignores `noise_scale`; here it has an effect. Source: Smilkov et al., arXiv 1706.03825.

    Args:
        model: as for `Gradient`.
        augment_by_n: number of inputs made from each sample.
        noise_scale: standard deviation of the noise, in units of the input.
        postprocess: as for `Gradient`.
        **options: as for `Gradient`.

    Raises:
        ValueError: `augment_by_n` is not a positive integer, or `noise_scale` is negative.
    """

    def __init__(
        self,
        model: keras.Model,
        augment_by_n: int = 64,
        noise_scale: float = 1.0,
        postprocess: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, postprocess, **options)
        self._times = checks.require_positive("augment_by_n", augment_by_n)
        self._noise_scale = checks.require_number("noise_scale", noise_scale, 0)

    def _inputs(self, arrays: list[np.ndarray], number: int) -> list[np.ndarray]:
        return _noisy(arrays, self._noise_scale, number)


def _floats(samples: Samples) -> list[np.ndarray]:
    """The samples in Keras' float type, including integers."""
    return [np.asarray(array).astype(keras.backend.floatx()) for array in samples.arrays.values()]


def _noisy(arrays: list[np.ndarray], stddev: float, seed: int) -> list[np.ndarray]:
    """Adds noise to each array, the same noise for all samples, so that batches make no difference."""
    generator = np.random.default_rng(seed)
    return [x + (generator.normal(size=x.shape[1:]) * stddev).astype(x.dtype) for x in arrays]


class GuidedBackprop(Gradient):
    """The gradient, but every ReLU stops negative values on the way back.

    Source: Springenberg et al., arXiv 1412.6806.

    Args:
        model: as for `Gradient`.
        **options: as for `Gradient`.

    Raises:
        NotAnalyzeableModelException: an activation is not a ReLU.
    """

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, None, **options)
        require_relus(self.network, type(self).__name__)

    def _gradients(self, inputs: list[tf.Tensor], index: list[tf.Tensor]) -> list[tf.Tensor]:
        # As in iNNvestigate, it begins with the selected logit, while the gradient begins with 1.
        return reverse(self.network, inputs, self._begin(index), self._back)

    def _back(self, call: Call, Xs: Tensors, Ys: Tensors, Rs: Tensors) -> Tensors:
        return gradient(call, Xs, Ys, [tf.nn.relu(R) for R in Rs] if is_relu(call) else Rs)


class Deconvnet(GuidedBackprop):
    """Like `GuidedBackprop`, but a ReLU ignores where it was active.

    Source: Zeiler and Fergus, arXiv 1311.2901. Arguments and exceptions are those of `GuidedBackprop`.
    """

    def _back(self, call: Call, Xs: Tensors, Ys: Tensors, Rs: Tensors) -> Tensors:
        if not is_relu(call):
            return gradient(call, Xs, Ys, Rs)
        Rs = [tf.nn.relu(R) for R in Rs]
        return gradient(call.without_activation(), Xs, Ys, Rs) if getattr(call.layer, "weights", None) else Rs


class Input(Analyzer):
    """The input itself, as a control.

    Args:
        model: as for `Gradient`.
        **options: as for `Gradient`.
    """

    def _attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return [as_float(x) for x in tensors[: len(self.network.inputs)]]


class Random(Analyzer):
    """The input with Gaussian noise, the same in every call, as a control.

    Args:
        model: as for `Gradient`.
        stddev: standard deviation of the noise, in units of the input.
        **options: as for `Gradient`.

    Raises:
        ValueError: `stddev` is negative.
    """

    def __init__(
        self,
        model: keras.Model,
        stddev: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self._stddev = checks.require_number("stddev", stddev, 0)

    def _run(self, samples: Samples) -> list[np.ndarray]:
        return _noisy(_floats(samples), self._stddev, 0)
