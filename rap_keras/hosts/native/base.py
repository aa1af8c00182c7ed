"""What all native analyzers share: their input, the neuron they explain, and how they run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.basics.wording import counted
from rap_keras.engine import keras_graph
from rap_keras.engine.checks import regions, requirements
from rap_keras.engine.checks.input_scaling import may_be_unprepared, scaling_layer
from rap_keras.engine.checks.sample_independence import require_independent
from rap_keras.engine.checks.samples import (
    Arrays,
    Samples,
    are_batches,
    compared,
    each_batch,
    require_batch_size,
    require_one_each,
    valid_samples,
)
from rap_keras.engine.equations import contrast, seed
from rap_keras.engine.execution import BUILDING, compiled, here
from rap_keras.engine.reading import model_state
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.reading.network import Network, specs
from rap_keras.engine.way_back.beginning import Begin, at_output, behind_head
from rap_keras.engine.way_back.plan import PlannedCall
from rap_keras.models.final_activation import refuse_final_activation
from rap_keras.models.outputs import one_output


class Analyzer:
    """Explains a model's decisions; a method is a subclass that defines `attributions`.

    Args:
        model: a functional or Sequential model that ends in logits, see `rap_keras.to_logits`.
        neuron_selection_mode: "max_activation", "index" (give `neuron_selection` to `analyze`) or "all".
        output: the output to explain, by name or number, if the model has several.
        disable_model_checks: accept a model that ends in a softmax, log-softmax or sigmoid.

    Attributes:
        model: the model that is explained, with only the chosen output.
        network: its layer calls.
    """

    network: Network
    name = "this method"
    """What warnings call it; `create_analyzer` sets the name of the method."""
    _with_rules: Collection[str | type] = ()
    _contrast: str | None = None
    _reason_for_zeros = (
        "the logit is 0, or it comes only from biases, since no unit that the input reaches is active. It says "
        "nothing about the input"
    )

    def __init__(
        self,
        model: keras.Model,
        neuron_selection_mode: str = "max_activation",
        output: str | int | None = None,
        disable_model_checks: bool = False,
    ) -> None:
        requirements.require_model_of_this_mode(model)
        requirements.require_choice(
            "neuron_selection_mode", neuron_selection_mode, ("max_activation", "index", "all")
        )
        self.model = self._model = one_output(model, output)
        self._neuron_selection_mode = neuron_selection_mode
        self.network = flatten(self._model, closed=self._with_rules)
        requirements.refuse_half_precision(self.network)
        requirements.refuse_activations_of_another_shape(self.network)
        self._disable_model_checks = disable_model_checks
        if not disable_model_checks:
            refuse_final_activation(self.network)
        self._fixed = keras_graph.fixed_in_graphs(self._model, self._layers())
        self._functions: dict[Hashable, Callable] = {}
        self._at_home = here()

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        layers = len(self.network.calls)
        return f"<{type(self).__name__} of model {self._model.name!r}: {counted(layers, 'layer')}, {options}>"

    def __copy__(self) -> Analyzer:
        other = object.__new__(type(self))
        vars(other).update({**vars(self), "_functions": {}})
        return other

    def __reduce__(self) -> Any:
        # iNNvestigate's analyzers have a save_npz, too, but its files cannot be loaded.
        saved = ", or save it with save_npz and load it with load_npz" if hasattr(self, "variant") else ""
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or deep-copied, since TensorFlow's graphs belong to one "
            f"process: create it again where it is needed, from the model{saved}"
        )

    def _layers(self) -> list[Any]:
        return [call.layer for call in self.network.calls]

    def _require_same_variables(self) -> None:
        now = keras_graph.fixed_in_graphs(self._model, self._layers())
        if {id(part) for part in now} != {id(part) for part in self._fixed}:
            raise RuntimeError(
                f"the layers of model '{self._model.name}' have other variables or tables than when this analyzer "
                "was created, as after enable_lora(), quantize() or adapt(): create the analyzer again"
            )

    def _require_same_calls(self) -> None:
        """Raises RuntimeError if code of the user's in a model calculates something else than when it was read."""
        if self._functions or not keras_graph.KERAS_3 or model_state.is_of_libraries(self._model):
            return
        if not self.network.is_like(flatten(self._model, closed=self._with_rules)):
            raise RuntimeError(
                f"the code in model '{self._model.name}' does something else than when this analyzer was created: "
                "create the analyzer again"
            )

    def _options(self) -> dict[str, Any]:
        """The options that the analyzer's text shows."""
        return {"neuron_selection_mode": self._neuron_selection_mode}

    def analyze(
        self, X: Any, neuron_selection: Any = None, batch_size: int | None = None, against: Any = None
    ) -> Arrays:
        """Attribution of every input value, shaped as X; a list or dict of arrays for models with several inputs.

        Sample i of the result belongs to sample i of X. RAP's relevance sums to the selected logit (with "all" to
        the sum of all logits).

        Args:
            X: samples as the model takes them, (N, ...): an array or a tensor; for models with several inputs a
                list or tuple of these, or a dict by input name, for which the result is a dict, too; or batches
                from a generator, a `keras.utils.Sequence` or a `tf.data.Dataset`, as in `analyze_batches`.
            neuron_selection: with neuron_selection_mode="index" the output to explain: one index for all
                samples or one for each. For outputs of several dimensions an index is a tuple. For these it may
                also be a region, a boolean array in the shape of one sample's output, such as (height, width,
                classes), for all samples, or (N, height, width, classes) with one for each: the sum of the logits
                where it is True is explained. `rap_keras.region` makes a region from a class and a mask.
            batch_size: number of samples to explain at a time, with a progress bar, if all at once would not fit
                into memory. X may be a `numpy.memmap`.
            against: another output, given as in `neuron_selection`: the score z_c - z_k is explained, what speaks
                for the explained output and against this one. Only for analyzers with a contrast, such as
                "rap.contrastive".

        Warns:
            UserWarning: the heatmap of a sample is zero everywhere, or is not finite; or the samples are photos of
                uint8, and the network does not scale them.

        Raises:
            RuntimeError: the model's layers have other variables than before, as after `enable_lora`. New values
                of their variables need no new analyzer.
            MemoryError: TensorFlow has no memory for so many samples at once, or for such large ones.
            NotAnalyzeableModelException: what the model says of a sample depends on the others.
            ValueError: X has another shape than the model's input, or is too small for its layers; a sample has
                NaN or Inf, or values outside the bounds of `input_rule`; an index is out of range, missing, or
                given in another mode; a region has another shape, is False everywhere, or is given with
                `against`; `batch_size` is not a positive integer, or is given with batches.
            TypeError: X is a tensor without a value, or is sparse or ragged.
        """
        require_batch_size(batch_size)
        if are_batches(X):
            if batch_size is not None:
                raise ValueError("batch_size is for arrays: a generator, Sequence or Dataset has its own batches")
            return _concatenated(self.analyze_batches(X, neuron_selection, against))
        with self._at_home():
            samples = self.samples(X, neuron_selection, against)
            results: list[np.ndarray] = []
            starts = range(0, len(samples), batch_size or len(samples))
            for batch, start in zip(samples.batches(batch_size), starts):
                found = self._relevance_of(batch, start)
                results = results or [np.empty((len(samples), *array.shape[1:]), array.dtype) for array in found]
                for result, array in zip(results, found):
                    result[start : start + len(batch)] = array
        return samples.like_given(results)

    def analyze_batches(
        self, X: Iterable[Any], neuron_selection: Any = None, against: Any = None
    ) -> Iterator[Arrays]:
        """Yields the attributions of each batch, as `analyze` returns them; nothing is kept in memory.

        Args:
            X: batches of samples, from a generator, a `keras.utils.Sequence`, a `tf.data.Dataset` or any other
                iterable. As in Keras, a batch is an array, a list or dict of arrays for models with several
                inputs, or a tuple of these and the labels, which are ignored.
            neuron_selection: as in `analyze`, one index for all samples.
            against: likewise.

        Raises:
            ValueError: as in `analyze`; the message begins with the number of the batch.
        """

        def valid(batch: Any) -> Samples:
            with self._at_home():
                return self.samples(batch, neuron_selection, against)

        for samples in each_batch(X, valid):
            with self._at_home():
                found = self._relevance_of(samples, 0)
            yield samples.like_given(found)

    def _relevance_of(self, samples: Samples, first: int) -> list[np.ndarray]:
        """Attributions of each input; warnings name samples, counted from `first`, whose heatmap says nothing."""
        if samples.selection is not None and samples.regions is None and not self._is_wrapped():
            require_one_each(samples.selection, len(samples), "neuron_selection", _ON_WRAPPERS)
        require_independent(self._model, list(samples.arrays.values()))
        found, count = self._run(samples), len(self._model.inputs)
        outputs, amounts = found[:count], found[count:]
        finite = np.all([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in outputs], axis=0)
        if not finite.all():
            numbers = numbered(np.flatnonzero(~finite) + first)
            warnings.warn(
                f"the heatmap of sample {numbers} is not finite, so it says nothing: the network or the method "
                "divides by 0, or a value is beyond float32. Look at the model's own output and weights",
                stacklevel=4,
            )
        empty = ~np.any([array.reshape(len(array), -1).any(axis=1) for array in outputs], axis=0)
        if empty.any():
            numbers = numbered(np.flatnonzero(empty) + first)
            warnings.warn(
                f"the heatmap of sample {numbers} is zero everywhere: {self._why_zero(empty, amounts)}",
                stacklevel=4,
            )
        if amounts and (finite & ~empty).any():
            self._compare_sums(samples, outputs, amounts, np.flatnonzero(finite & ~empty), first)
        return outputs

    def _why_zero(self, empty: np.ndarray, amounts: list[np.ndarray]) -> str:
        """Why the relevance of the samples in `empty` is zero."""
        return self._reason_for_zeros

    def _compare_sums(
        self, samples: Samples, outputs: list[np.ndarray], amounts: list[np.ndarray], which: np.ndarray, first: int
    ) -> None:
        """Warns if the relevance of the samples `which` is not what `amounts` say; `first` is as above."""
        raise NotImplementedError

    def _is_wrapped(self) -> bool:
        """Whether the analyzer is within a wrapper, which makes several samples of each."""
        return False

    def _run(self, samples: Samples) -> list[np.ndarray]:
        return self._heatmaps()(samples.feeds())

    def _heatmaps(self) -> Callable:
        """The function from `Samples.feeds` to the attributions."""
        return self._once("heatmaps", lambda *tensors: self.attributions(list(tensors)), self.specs())

    def _once(self, key: Hashable, function: Callable, of: list[tf.TensorSpec]) -> Callable:
        """A function of tensors as one of arrays, compiled in the first call, whichever thread that is in."""
        found = self._functions.get(key)
        if found is None:
            with BUILDING:
                if key not in self._functions:
                    self._functions[key] = compiled(function, of)
                found = self._functions[key]
        return found

    def attributions(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The attributions of the model's inputs, given these and the other tensors of `specs`.

        Methods that share out a logit add what `_compare_sums` needs: the amount that they begin with, (N,), ...
        """
        raise NotImplementedError

    @property
    def _mode_of_graph(self) -> str:
        """How the graph selects neurons."""
        return self._neuron_selection_mode

    def specs(self) -> list[tf.TensorSpec]:
        """Types and shapes of `Samples.feeds`.

        These are the model's inputs; with "index" the positions of the neurons; and with a contrast the positions
        of the neurons to compare with.
        """
        position = tf.TensorSpec([None, len(self._model.outputs[0].shape)], tf.int32)
        positions = (self._mode_of_graph == "index") + (self._contrast is not None)
        return specs(self._model) + [position] * positions

    def _begin(self, positions: list[tf.Tensor], planned: Collection[PlannedCall] = ()) -> Begin:
        """What relevance begins with.

        Args:
            positions: the tensors that follow the model's inputs in `specs`.
            planned: the calls; those with weights or gates decide where a head begins.
        """
        if self._contrast is None:
            return at_output(lambda output: self.seed(output, positions))
        weighted = [p.call.name for p in planned if p.kind.linears]
        gated = [p.call.name for p in planned if p.kind.mixes and not p.kind.linears]
        return behind_head(lambda output: self._score_weights(output, positions), weighted, gated)

    def _score_weights(self, output: tf.Tensor, positions: list[tf.Tensor]) -> tf.Tensor:
        """The weights of the logits in the score that is explained."""
        ones, mode = tf.ones_like(output), self._neuron_selection_mode
        if mode == "all":
            return ones
        chosen = seed.at_index(ones, positions[0]) if mode == "index" else seed.highest(output)
        if output.shape[1:].num_elements() == 1:
            return chosen if mode == "index" else contrast.decided(output)
        axis = regions.class_axis(output.shape.rank)
        # A map of one channel has no other classes: its logit is the log-odds itself.
        alone = self._contrast == "logit" or output.shape[axis] == 1
        of_all = chosen if alone else contrast.log_odds(output, chosen, axis)
        other = positions[-1]
        given = tf.reshape(other[:, -1] >= 0, [-1] + [1] * (output.shape.rank - 1))
        return tf.where(given, chosen - seed.at_index(ones, tf.maximum(other, 0)), of_all)

    def seed(self, output: tf.Tensor, index: list[tf.Tensor]) -> tf.Tensor:
        """The network's output at the selected neurons, 0 elsewhere, in its shape (N, ...).

        Args:
            output: the network's output.
            index: the positions that follow the inputs among the tensors of `attributions`.
        """
        if self._mode_of_graph == "index":
            return seed.at_index(output, index[0])
        return seed.max_activation(output) if self._mode_of_graph == "max_activation" else output

    def samples(self, X: Any, neuron_selection: Any = None, against: Any = None) -> Samples:
        """Checks X and the neurons to explain and to compare with, and returns them as samples.

        Raises:
            ValueError: as in `analyze`.
            TypeError: as in `analyze`.
        """
        self._require_same_variables()
        self._require_same_calls()
        by_index = self._neuron_selection_mode == "index"
        if by_index and neuron_selection is None:
            raise ValueError("neuron_selection_mode='index' needs neuron_selection, the output to explain")
        if not by_index and neuron_selection is not None:
            raise ValueError(
                f"neuron_selection is for neuron_selection_mode='index', not '{self._neuron_selection_mode}'"
            )
        if against is not None and self._contrast is None:
            raise ValueError(
                "against is for analyzers with a contrast: create 'rap.contrastive', or an LRP method or "
                "input_t_gradient with contrast='logit'"
            )
        if against is not None and self._neuron_selection_mode == "all":
            raise ValueError("against is for one class: create the analyzer with neuron_selection_mode='index'")
        samples = valid_samples(X, self._model, neuron_selection)
        for array, tensor in zip(samples.arrays.values(), self._model.inputs):
            if may_be_unprepared(array, tensor) and scaling_layer(self.network) is None:
                warnings.warn(
                    "the samples are uint8, like photos before preprocessing, and the network does not scale "
                    "them: preprocess them as in its training. If it was trained on values from 0 to 255, give "
                    "X.astype('float32')",
                    stacklevel=3,
                )
        if self._contrast is None:
            return samples
        if self._contrast == "log_odds" and samples.regions is not None:
            regions.require_one_class(samples.regions)
        return compared(samples, self._model, against)

    def _set_contrast(self, value: str | None) -> None:
        """Lets relevance begin with the score "log_odds" or "logit", or with None at the output.

        Raises:
            ValueError: there is no such contrast, or nothing to compare with.
        """
        if value is not None:
            requirements.require_choice("contrast", value, ("log_odds", "logit"))
        if value == "log_odds" and self._neuron_selection_mode == "all":
            raise ValueError(
                "contrast='log_odds' compares one class with all others, but neuron_selection_mode='all' leaves "
                "no others: use contrast='logit', or another mode"
            )
        self._contrast = value


_ON_WRAPPERS = ". Wrappers of iNNvestigate, such as SmoothGrad, need an unused analyzer"


def numbered(samples: np.ndarray) -> str:
    """Numbers of samples as text, at most ten of them."""
    more = f" and {len(samples) - 10} more" if len(samples) > 10 else ""
    return ", ".join(map(str, samples[:10])) + more


def _concatenated(parts: Iterable[Arrays]) -> Arrays:
    batches = list(parts)
    if not batches:
        raise ValueError("the generator, Sequence or Dataset gave no batch")
    if isinstance(batches[0], dict):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}  # type: ignore
    if isinstance(batches[0], list):
        return [np.concatenate(arrays) for arrays in zip(*batches)]
    return np.concatenate(batches)  # type: ignore[arg-type]
