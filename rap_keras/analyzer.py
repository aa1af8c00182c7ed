"""RAP as an iNNvestigate analyzer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import innvestigate.backend as ibackend
import innvestigate.layers as ilayers
import numpy as np
import tensorflow as tf
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
from tensorflow import keras

from rap_keras import checks, input_bounds, storage
from rap_keras.equations import seed
from rap_keras.foreign_files import naming
from rap_keras.input_bounds import InputRule
from rap_keras.models.final_activation import refuse_final_activation
from rap_keras.models.outputs import one_output
from rap_keras.network import as_float, flatten
from rap_keras.plan import plan
from rap_keras.propagation import Relevance, propagate
from rap_keras.rules.unweighted import Rule
from rap_keras.rules.weighted import Position
from rap_keras.samples import (
    Arrays,
    Samples,
    are_batches,
    each_batch,
    input_names,
    require_batch_size,
    valid_samples,
)


class RAP(ReverseAnalyzerBase):
    """Relative Attributing Propagation: which pixels are relevant to a decision, and which irrelevant.

    Relevance starts as the selected logit and goes back layer by layer; its sum stays the logit. Positive
    relevance marks what the decision rests on, negative what matters least to it. Source: Nam et al.,
    Relative Attributing Propagation, AAAI 2020, arXiv 1904.00605.

    Examples:
        >>> model = rap_keras.to_logits(model)
        >>> analyzer = innvestigate.create_analyzer("rap", model)
        >>> relevance = analyzer.analyze(x)   # shaped as x; its sum over channels is the heatmap

    Args:
        model: functional or Sequential Keras model that ends in logits (see `rap_keras.to_logits`), built with
            eager execution off. It is only read: no layer of it is called or changed.
        variant: "paper" for the equations of the paper, "reference" for the authors' program: in convolutions
            negative relevance follows the negative contributions, and Add and average pooling share out by
            signed instead of absolute values. The two correlate at 0.98 or more on VGG-16; with residual
            connections "paper" is better by far.
        batch_norm: "identity" passes relevance through BatchNormalization unchanged, as the authors' program
            does; "fold" first makes it part of the convolution or Dense layer before it, where that is exact.
        input_rule: the lowest and highest input, which the rule of the first layer (z^B, Eq. 10) needs.
            "auto": minimum and maximum of each sample; of a series (N, time, channels) those of each channel; for
            vectors (N, features) no z^B, as features share no scale. (low, high): numbers or one value per
            channel, in units of the model's input; `analyze` refuses samples outside of them. None: no z^B, the
            first layer goes by the rule of the inner ones. For several inputs one of these each, by name or as a
            list.
        rules: rules for single layers by name (as in `analyze_layers`), in place of those of their kind; see
            `rap_keras.register_rule` for what a rule is.
        output: of a model with several outputs the one to explain, its name in `model.output_names` or its number.
        neuron_selection_mode: "max_activation", "index" (give `neuron_selection` to `analyze`) or "all".
        allow_lambda_layers: pass relevance through Lambda layers: unchanged where they keep the shape, else as
            their gradient moves it. Nothing is known of what they calculate: `rap_keras.influence.check` tells
            whether relevance lies where the input has an influence.
        **kwargs: further options of iNNvestigate's ReverseAnalyzerBase.

    Warns:
        UserWarning: given bounds end at a layer whose rule is the user's own, or no layer goes by them.

    Raises:
        RuntimeError: eager execution is on, or was on when the model was built.
        NotAnalyzeableModelException: the model ends in a softmax, log-softmax or sigmoid, has several outputs of
            which none is chosen, Lambda layers without permission, weights of half precision, or layers without a
            rule.
        ValueError: an option has no such value.
        KeyError: `rules` names a layer that is not in the network.
    """

    def __init__(
        self,
        model: keras.Model,
        variant: str = "paper",
        batch_norm: str = "identity",
        input_rule: InputRule = "auto",
        rules: Mapping[str, Rule] | None = None,
        output: str | int | None = None,
        **kwargs: Any,
    ) -> None:
        checks.require_graph_execution()
        checks.require_built_for_graphs(model)
        model = one_output(model, output)
        super().__init__(model, **kwargs)
        checks.require_choice("variant", variant, ("paper", "reference"))
        checks.require_choice("batch_norm", batch_norm, ("identity", "fold"))
        self._variant = variant
        self._batch_norm = batch_norm
        self._input_rule = input_rule
        self._rules = dict(rules or {})
        self._network = flatten(model)
        self._input_rules = input_bounds.valid_rules(input_rule, dict(zip(input_names(model), model.inputs)))
        checks.refuse_half_precision(self._network)
        if not self._disable_model_checks:
            refuse_final_activation(self._network)
        self._plan = plan(
            self._network,
            bounded_inputs=[
                number
                for number, rule, x in zip(self._network.inputs, self._input_rules, model.inputs)
                if input_bounds.has_bounds(rule, x)
            ],
            fold_batch_norm=batch_norm == "fold",
            allow_lambda=self._allow_lambda_layers,
            rules=self._rules,
        )
        self._warn_of_unused_bounds()
        self._relevance: Relevance | None = None
        self._layer_functions: dict[tuple[str, ...], Callable] = {}

    def _warn_of_unused_bounds(self) -> None:
        """Warns if bounds were given and no layer goes by them; a layer of the user's has been named already."""
        given = any(isinstance(rule, input_bounds.Fixed) for rule in self._input_rules)
        if given and not any(p.own or p.position is Position.INPUT for p in self._plan):
            warnings.warn(
                "the bounds of input_rule are not used: the last weighted layer sees the input itself, or bounds "
                "cannot be followed through a layer in front of the first one. There is no z^B in this network",
                stacklevel=3,
            )

    def analyze(self, X: Any, neuron_selection: Any = None, batch_size: int | None = None) -> Arrays:
        """Relevance of every input value, shaped as X; a list or dict of arrays for models with several inputs.

        Sample i of the result belongs to sample i of X, and sums to its selected logit ("all": to the sum of
        its logits).

        Args:
            X: samples as the model takes them, (N, ...): an array or a tensor, for models with several inputs a
                list or tuple of them, or a dict by input name, which gives a dict; or a generator, a
                `keras.utils.Sequence` or a `tf.data.Dataset` of batches, as `analyze_batches` takes them.
            neuron_selection: with neuron_selection_mode="index" the output to explain: one index for all
                samples or one for each. For outputs of several dimensions an index is a tuple.
            batch_size: this many samples at a time, with a progress bar, where all at once would not fit into
                memory. X may be a `numpy.memmap`.

        Warns:
            UserWarning: the heatmap of a sample is zero everywhere.

        Raises:
            ValueError: X has another shape than the model's input, NaN or Inf in a sample, or values outside of
                the bounds of `input_rule`; an index is out of range, missing, or given in another mode;
                `batch_size` is no positive integer, or given with batches.
            TypeError: X is a tensor without a value.
        """
        require_batch_size(batch_size)
        if are_batches(X):
            if batch_size is not None:
                raise ValueError("batch_size is for arrays: a generator, Sequence or Dataset has its own batches")
            return _concatenated(self.analyze_batches(X, neuron_selection))
        samples = self.samples(X, neuron_selection)
        results: list[np.ndarray] = []
        for batch, start in zip(samples.batches(batch_size), range(0, len(samples), batch_size or len(samples))):
            found = self._relevance_of(batch, start)
            results = results or [np.empty((len(samples), *array.shape[1:]), array.dtype) for array in found]
            for result, array in zip(results, found):
                result[start : start + len(batch)] = array
        return samples.like_given(results)

    def analyze_batches(self, X: Iterable[Any], neuron_selection: Any = None) -> Iterator[Arrays]:
        """Relevance of one batch after the other, as `analyze` gives it; nothing is kept in memory.

        Args:
            X: batches of samples, from a generator, a `keras.utils.Sequence`, a `tf.data.Dataset` or any other
                iterable. As in Keras a batch is an array, a list or dict of arrays for models with several inputs,
                or a tuple of these and the labels, which are left out.
            neuron_selection: as in `analyze`, one index for all samples.

        Raises:
            ValueError: as in `analyze`; the message begins with the number of the batch.
        """
        for samples in each_batch(X, lambda batch: self.samples(batch, neuron_selection)):
            yield samples.like_given(self._relevance_of(samples, 0))

    def _relevance_of(self, samples: Samples, first: int) -> list[np.ndarray]:
        """Relevance at each input; a warning names samples without any, counted from `first`."""
        if not self._analyzer_model_done:
            self.create_analyzer_model()
        outputs = ibackend.to_list(self._analyzer_model.predict_on_batch(samples.feeds()))
        if self._n_debug_output > 0:
            self._handle_debug_output(outputs[-self._n_debug_output :])
            outputs = outputs[: -self._n_debug_output]
        empty = ~np.any([array.reshape(len(array), -1).any(axis=1) for array in outputs], axis=0)
        if empty.any():
            numbers = ", ".join(str(first + index) for index in np.flatnonzero(empty))
            warnings.warn(
                f"the heatmap of sample {numbers} is zero everywhere: the logit is 0, or it comes from biases "
                "alone, as no unit that the input reaches is active. It says nothing about the input",
                stacklevel=3,
            )
        return outputs

    def analyze_layers(
        self, X: Any, layers: Iterable[str] | None = None, neuron_selection: Any = None
    ) -> dict[str, np.ndarray | list[np.ndarray]]:
        """Relevance at the input of each named layer, by name in forward order, e.g. for the paper's Fig. 4.

        It is what the layer gives back, batch first and shaped as the layer's input; a list of arrays for
        layers with several inputs. Where several layers use the same tensor, as at the fork of a residual
        block, each has its own part, and the parts add up to what the layer before receives.

        Args:
            X: as in `analyze`, but no batches.
            layers: names of layers, all by default. A layer in a nested model is "model/layer", the second use
                of a layer "layer#2".
            neuron_selection: as in `analyze`.

        Raises:
            KeyError: a name is none of the network's layers; the message lists them.
            ValueError: as in `analyze`.
        """
        known = [call.name for call in self._network.calls]
        names = known if layers is None else list(layers)
        checks.require_layers(names, known)
        feeds = self.samples(X, neuron_selection).feeds()
        if not self._analyzer_model_done:
            self.create_analyzer_model()
        key = tuple(name for name in known if name in names)
        if key not in self._layer_functions:
            assert self._relevance is not None
            fetches = [self._relevance.calls[name] for name in key]
            self._layer_functions[key] = keras.backend.function(self._analyzer_model.inputs, fetches)
        values = self._layer_functions[key](feeds)
        return {name: ibackend.unpack_singleton(list(value)) for name, value in zip(key, values)}

    def samples(self, X: Any, neuron_selection: Any = None) -> Samples:
        """X and the neurons to explain as what the analyzer takes, checked.

        Raises:
            ValueError: as in `analyze`.
            TypeError: as in `analyze`.
        """
        by_index = self._neuron_selection_mode == "index"
        if by_index and neuron_selection is None:
            raise ValueError("neuron_selection_mode='index' needs neuron_selection, the output to explain")
        if not by_index and neuron_selection is not None:
            raise ValueError(
                f"neuron_selection is for neuron_selection_mode='index', not '{self._neuron_selection_mode}'"
            )
        samples = valid_samples(X, self._model, neuron_selection)
        input_bounds.require_within(self._input_rules, samples.arrays)
        return samples

    def _prepare_model(self, model: keras.Model) -> tuple[keras.Model, list, list]:
        """The model as it is: the neuron is selected within the propagation, so no layer is added."""
        if self._neuron_selection_mode != "index":
            return model, [], []
        index = keras.Input(shape=(model.outputs[0].shape.rank,), dtype=np.int32, name="neuron_index")
        return model, [index], [index]

    def _reverse_model(
        self,
        model: keras.Model,
        stop_analysis_at_tensors: list | None = None,
        return_all_reversed_tensors: bool = False,
    ) -> tuple[list, dict | None]:
        """Forward pass and relevance as one Keras layer, in place of iNNvestigate's reversal.

        Keras wraps every operation outside of a layer into one of its own, which takes minutes on deep
        networks. Within one layer the graph is plain TensorFlow, and it can be called anew on other inputs, as
        iNNvestigate's wrappers (SmoothGrad and the like) do.
        """
        layer = _Propagation(self._propagate, return_all_reversed_tensors)
        outputs = layer([*model.inputs, *(stop_analysis_at_tensors or [])])
        inputs, rest = outputs[: len(model.inputs)], outputs[len(model.inputs) :]
        if not return_all_reversed_tensors:
            return inputs, None
        numbers = list(self._relevance.tensors) if self._relevance else []
        return inputs, {
            number: {"nid": self._node_id(number), "tensors": [R], "final_tensor": R}
            for number, R in zip(numbers, rest)
        }

    def _propagate(self, tensors: list[tf.Tensor]) -> Relevance:
        inputs = [as_float(x) for x in tensors[: len(self._network.inputs)]]
        relevance = propagate(
            self._network,
            self._plan,
            inputs,
            seed=lambda output: self._seed(output, tensors[len(inputs) :]),
            bounds=input_bounds.tensors(self._input_rules, inputs),
            reference=self._variant == "reference",
            finish=self._finish if self._changes_relevance() else None,
        )
        # The first call is that of `create_analyzer_model`; wrappers may call again, on inputs of their own.
        self._relevance = self._relevance or relevance
        return relevance

    def _seed(self, output: tf.Tensor, index: list[tf.Tensor]) -> tf.Tensor:
        if self._neuron_selection_mode == "index":
            return seed.at_index(output, index[0])
        return seed.max_activation(output) if self._neuron_selection_mode == "max_activation" else output

    def _changes_relevance(self) -> bool:
        return bool(self._reverse_project_bottleneck_layers or self._reverse_clip_values or self._reverse_verbose)

    def _finish(self, number: int, R: tf.Tensor) -> tf.Tensor:
        """The base class's options that change relevance on its way."""
        project, clip = self._reverse_project_bottleneck_layers, self._reverse_clip_values
        if project and number in self._network.bottlenecks():
            (R,) = ibackend.to_list(ilayers.Project(project).call(R))
        if clip:
            R = tf.clip_by_value(R, *clip)
        if self._reverse_verbose:
            print(f"relevance of tensor {number}: {R.shape} {R.name}")
        return R

    def _node_id(self, number: int) -> tuple[int, int]:
        """The call that gives relevance to a tensor, and the tensor's place among the call's inputs."""
        for nid, call in reversed(list(enumerate(self._network.calls))):
            if number in call.inputs:
                return nid, call.inputs.index(number)
        return -1, 0

    def save_npz(self, fname: str | Path) -> None:
        """Saves the analyzer with its model to a file that `RAP.load_npz` reads, without pickle.

        Raises:
            ValueError: a rule of `rules` is not a function of a module, which alone could be found again.
        """
        storage.save_npz(fname, *self.save())

    @staticmethod
    def load_npz(fname: str | Path) -> RAP:
        """The analyzer that `save_npz` saved, with every option.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not one of `RAP.save_npz`, or its model could do more than calculate.
            ImportError: a rule of `rules` is from a module that the program has not imported.
        """
        class_name, state = storage.load_npz(fname)
        if class_name != RAP.__name__:
            raise ValueError(f"{fname} holds an analyzer of class {class_name}, not RAP")
        with naming(fname):
            options = RAP._state_to_kwargs(state)
        return RAP(**options)

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        own = ("variant", "batch_norm", "input_rule", "rules")
        return {**state, **{name: getattr(self, f"_{name}") for name in own}}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        rest = dict(state)  # the base classes take their own out of it, and the caller may load once more
        own = {name: rest.pop(name) for name in ("variant", "batch_norm", "input_rule", "rules")}
        return {**super()._state_to_kwargs(rest), **own}


class _Propagation(keras.layers.Layer):
    """From a model's inputs to their relevances, and to those of all tensors behind them if asked for."""

    def __init__(self, function: Callable[[list[tf.Tensor]], Relevance], all_tensors: bool) -> None:
        # The data type is given, for mixed precision as a global policy would make float16 of all weights.
        super().__init__(name="relevance", dtype=keras.backend.floatx(), autocast=False)
        self._function = function
        self._all_tensors = all_tensors

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any) -> list[tf.Tensor]:
        inputs = ibackend.to_list(inputs)
        relevance = self._function(inputs)
        outputs = [relevance.tensors[number] for number in relevance.inputs]
        return outputs + (list(relevance.tensors.values()) if self._all_tensors else [])


def _concatenated(parts: Iterable[Arrays]) -> Arrays:
    batches = list(parts)
    if not batches:
        raise ValueError("the generator, Sequence or Dataset gave no batch")
    if isinstance(batches[0], dict):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}  # type: ignore
    lists = [ibackend.to_list(batch) for batch in batches]
    return ibackend.unpack_singleton([np.concatenate(arrays) for arrays in zip(*lists)])
