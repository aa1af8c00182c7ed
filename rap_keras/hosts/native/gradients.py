"""The gradient, the methods based on it, and two controls, without iNNvestigate.

For a token, which has no gradient, they end at the vector that an embedding looks up for it, see
`engine.real_inputs`. The token gets one number: of products with the vector their sum, so that the total stays the
same, and of a gradient its length. The sum of a gradient's components depends on the axes of the vectors, which
training leaves to chance; their length does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.equations.numerics import transposed
from rap_keras.engine.reading.network import as_float, specs
from rap_keras.engine.rules.rule import Rule, Tensors, titled
from rap_keras.engine.way_back.beginning import at_output
from rap_keras.engine.way_back.propagation import Relevance, Rules, bare, gradient, propagate
from rap_keras.engine.way_back.real_inputs import real_inputs, require_gradients
from rap_keras.hosts.native.base import Analyzer
from rap_keras.hosts.native.layerwise import Layerwise
from rap_keras.hosts.native.relu_networks import is_relu, require_relus


class Gradient(Layerwise):
    """The gradient of the selected logit. Source: Simonyan et al., arXiv 1312.6034.

    A token gets the length of the gradient at its vector, of which it is the 2-norm; with `postprocess` the sum of
    the absolute values, or of the squares.

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
            requirements.require_choice("postprocess", postprocess, ("abs", "square"))
        self._postprocess: Callable = {None: tf.identity, "abs": tf.abs, "square": tf.square}[postprocess]
        self._of_vector = _length if postprocess is None else total
        self._real = real_inputs(self.network)
        self.plan, self.rules = bare(self.network), Rules()

    def attributions(self, tensors: Tensors) -> Tensors:
        """The gradient at the real inputs, brought to the network's inputs."""
        inputs, _, _ = self._split(tensors)
        return self._real.at_inputs(inputs, self._at_real_inputs(tensors), self._of_vector)

    def propagate(self, tensors: Tensors, finish: Callable | None = None) -> Relevance:
        """The gradient within the network; it ends where the network's real numbers begin."""
        inputs, given, positions = self._split(tensors)
        return propagate(
            self.network,
            self.plan,
            self.rules,
            inputs,
            at_output(lambda output: self._at_output(output, positions)),
            finish=finish,
            given=given,
            ends=self._real.numbers,
        )

    def _at_real_inputs(self, tensors: Tensors) -> Tensors:
        inputs, _, _ = self._split(tensors)
        require_gradients(self.network, self._real, inputs, keras_graph.input_names(self._model))
        relevance = self.propagate(tensors)
        return [self._postprocess(relevance.tensors[number]) for number in self._real.numbers]

    def _split(self, tensors: Sequence[tf.Tensor]) -> tuple[Tensors, dict[int, tf.Tensor], Tensors]:
        """The tensors of `specs`: the model's inputs, values of other tensors by number, and positions."""
        count = len(self.network.inputs)
        return [as_float(x) for x in tensors[:count]], {}, list(tensors[count:])

    def _at_output(self, output: tf.Tensor, positions: Tensors) -> tf.Tensor:
        """What begins at the output: 1 at the selected neurons, 0 elsewhere."""
        return transposed(lambda y: self.seed(y, positions), [output], tf.ones_like(output))[0]


class InputTimesGradient(Gradient):
    """The gradient times the input, see `Gradient`. Source: Shrikumar et al., arXiv 1605.01713.

    A token gets the sum over its vector.

    Args:
        model: as for `Gradient`.
        contrast: "log_odds" or "logit" for the gradient of a score, see `rap_keras.ContrastiveRAP`.
        **options: as for `Gradient`.

    Raises:
        ValueError: an option has an invalid value.
    """

    def __init__(self, model: keras.Model, contrast: str | None = None, **options: Any) -> None:
        super().__init__(model, None, **options)
        self._of_vector = total
        self._set_contrast(contrast)

    def _at_output(self, output: tf.Tensor, positions: Tensors) -> tf.Tensor:
        if self._contrast is None:
            return super()._at_output(output, positions)
        return self._score_weights(output, positions)

    def propagate(self, tensors: Tensors, finish: Callable | None = None) -> Relevance:
        """The gradient within the network times what it is the gradient of."""
        found = super().propagate(tensors, finish)
        values = found.values
        return replace(
            found,
            tensors={number: R * as_float(values[number]) for number, R in found.tensors.items()},
            calls={
                call.name: [as_float(R) * as_float(values[n]) for n, R in zip(call.inputs, found.calls[call.name])]
                for call in self.network.calls
            },
        )


class Averaged(Gradient):
    """The mean gradient over several inputs made from each sample, always of the neuron selected for the sample.

    The inputs are explained one after the other, so they need no more memory than the samples themselves. The
    graph takes the samples, and after them the real inputs that are made from them. Masks are those of the
    samples: noise would unmask the padding, and the reference may be masked everywhere.
    """

    _times: int

    def _run(self, samples: Samples) -> list[np.ndarray]:
        gradients = self._heatmaps()
        given, index = list(samples.arrays.values()), self._index(samples)
        made = self._made_from(given)
        sums: list[np.ndarray] = []
        for number in range(self._times):
            found = gradients([*given, *self._inputs(made, number), *index])
            sums = [a + b for a, b in zip(sums, found)] if sums else found
        return self._brought_back(given, self._reduced([array / self._times for array in sums], made))

    def specs(self) -> list[tf.TensorSpec]:
        """Types and shapes of what the graph takes: the model's inputs, the real inputs, and positions."""
        own, count = super().specs(), len(self.network.inputs)
        return [*own[:count], *self._specs_of_real(), *own[count:]]

    def _specs_of_real(self) -> list[tf.TensorSpec]:
        return [tf.TensorSpec(None, keras.backend.floatx())] * len(self._real.numbers)

    def _split(self, tensors: Sequence[tf.Tensor]) -> tuple[Tensors, dict[int, tf.Tensor], Tensors]:
        inputs = [as_float(x) for x in tensors[: len(self.network.inputs)]]
        given, end = {}, len(inputs) + len(self._real.numbers)
        for number, x, like in zip(self._real.numbers, tensors[len(inputs) : end], self._real.tensors(inputs)):
            given[number] = tf.cast(x, like.dtype)
            given[number].set_shape(like.shape)
        return inputs, given, list(tensors[end:])

    def attributions(self, tensors: Tensors) -> Tensors:
        """The gradient at the real inputs."""
        return self._at_real_inputs(tensors)

    @property
    def _mode_of_graph(self) -> str:
        return "all" if self._neuron_selection_mode == "all" else "index"

    def _made_from(self, given: list[np.ndarray]) -> list[Any]:
        """What `_inputs` needs of the samples: the values of the real inputs."""
        return self._real_arrays(given)

    def _real_arrays(self, given: list[np.ndarray]) -> list[np.ndarray]:
        """The values of the real inputs, for arrays that the model takes."""
        if not self._real.lookups:
            return [np.asarray(array).astype(keras.backend.floatx()) for array in given]

        def real(*tensors: tf.Tensor) -> Tensors:
            return self._real.tensors([as_float(x) for x in tensors])

        return self._once("real inputs", real, specs(self._model))(given)

    def _brought_back(self, given: list[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
        """What was found at the real inputs, at the model's inputs."""
        if not self._real.lookups:
            return found

        def back(*tensors: tf.Tensor) -> Tensors:
            inputs, at_real, _ = self._split(tensors)
            return self._real.at_inputs(inputs, list(at_real.values()), self._of_vector)

        return self._once("back", back, [*specs(self._model), *self._specs_of_real()])([*given, *found])

    def _index(self, samples: Samples) -> list[np.ndarray]:
        """What the graph takes after the inputs: the positions of the selected neurons."""
        if self._neuron_selection_mode == "all":
            return []
        if self._neuron_selection_mode == "index":
            return samples.feeds()[-1:]

        def output(*tensors: tf.Tensor) -> tf.Tensor:
            return self.network.values(map(as_float, tensors))[self.network.outputs[0]]

        y = self._once("logits", output, specs(self._model))(list(samples.arrays.values()))
        positions = np.unravel_index(y.reshape(len(y), -1).argmax(1), y.shape[1:])
        return [np.stack([np.arange(len(y)), *positions], axis=1).astype(np.int32)]

    def _inputs(self, made: list[Any], number: int) -> list[np.ndarray]:
        raise NotImplementedError

    def _reduced(self, means: list[np.ndarray], made: list[Any]) -> list[np.ndarray]:
        return means


class SmoothGrad(Averaged):
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
        self._times = requirements.require_positive("augment_by_n", augment_by_n)
        self._noise_scale = requirements.require_number("noise_scale", noise_scale, 0)

    def _inputs(self, made: list[Any], number: int) -> list[np.ndarray]:
        return _noisy(made, self._noise_scale, number)


def total(vectors: tf.Tensor) -> tf.Tensor:
    """What a token gets of the products at its vector, (..., size) to (...): their sum."""
    return tf.reduce_sum(vectors, axis=-1)


def _length(vectors: tf.Tensor) -> tf.Tensor:
    return tf.norm(vectors, axis=-1)


def _floats(samples: Samples) -> list[np.ndarray]:
    """The samples in Keras' float type, including integers."""
    return [np.asarray(array).astype(keras.backend.floatx()) for array in samples.arrays.values()]


def _noisy(arrays: list[np.ndarray], stddev: float, seed: int) -> list[np.ndarray]:
    """Adds noise to each array, the same noise for all samples, so that batches make no difference."""
    generator = np.random.default_rng(seed)
    return [x + (generator.normal(size=x.shape[1:]) * stddev).astype(x.dtype) for x in arrays]


@titled("gradient, positive parts only")
def guided(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """A ReLU, or a layer that ends in one, in Guided Backprop."""
    return gradient(Xs, Ys, [tf.nn.relu(R) for R in Rs], state)


@titled("positive parts only, wherever it was active")
def deconvolved(Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
    """A ReLU, or a layer that ends in one, in deconvnet."""
    Rs, call = [tf.nn.relu(R) for R in Rs], state["call"]
    if not getattr(call.layer, "weights", None):
        return Rs
    return gradient(Xs, Ys, Rs, {**state, "call": call.without_activation(), "recorded": None})


class GuidedBackprop(Gradient):
    """The gradient, but every ReLU stops negative values on the way back.

    It keeps its sign, so a token gets the sum over its vector.

    Source: Springenberg et al., arXiv 1412.6806.

    Args:
        model: as for `Gradient`.
        **options: as for `Gradient`.

    Raises:
        NotAnalyzeableModelException: an activation is not a ReLU.
    """

    def __init__(self, model: keras.Model, **options: Any) -> None:
        super().__init__(model, None, **options)
        self._of_vector = total
        require_relus(self.network, type(self).__name__)
        self.plan = bare(self.network, lambda call: self._relu if is_relu(call) else gradient)

    def _at_output(self, output: tf.Tensor, positions: Tensors) -> tf.Tensor:
        # As in iNNvestigate, it begins with the selected logit, while the gradient begins with 1.
        return self.seed(output, positions)

    _relu: Rule = staticmethod(guided)


class Deconvnet(GuidedBackprop):
    """Like `GuidedBackprop`, but a ReLU ignores where it was active.

    Source: Zeiler and Fergus, arXiv 1311.2901. Arguments and exceptions are those of `GuidedBackprop`.
    """

    _relu = staticmethod(deconvolved)


class Input(Analyzer):
    """The input itself, as a control.

    Args:
        model: as for `Gradient`.
        **options: as for `Gradient`.
    """

    def attributions(self, tensors: Tensors) -> Tensors:
        """The input."""
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
        self._stddev = requirements.require_number("stddev", stddev, 0)

    def _run(self, samples: Samples) -> list[np.ndarray]:
        return _noisy(_floats(samples), self._stddev, 0)
