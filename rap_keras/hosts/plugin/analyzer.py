"""RAP, contrastive RAP and the pattern methods as analyzers of iNNvestigate."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import innvestigate.backend as ibackend
import innvestigate.layers as ilayers
import numpy as np
import tensorflow as tf
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.execution import naming_shapes
from rap_keras.engine.way_back.composites import UserRules
from rap_keras.engine.way_back.input_bounds import InputRule
from rap_keras.engine.way_back.propagation import Relevance
from rap_keras.hosts import storage
from rap_keras.hosts.native import contrastive_rap, pattern_methods, rap
from rap_keras.hosts.native.layerwise import Layerwise
from rap_keras.models.foreign_files import naming
from rap_keras.models.outputs import one_output
from rap_keras.patterns import Patterns


class Reversing(Layerwise, ReverseAnalyzerBase):
    """A native analyzer that iNNvestigate's wrappers and tools accept, with the options of its base class.

    A subclass also inherits the native analyzer, and calls `_init_innvestigate` before that one's `__init__`.
    """

    _has_amount = True
    """Whether the method compares the sum of relevance with what it began with."""

    def _init_innvestigate(self, model: keras.Model, output: str | int | None, kwargs: dict[str, Any]) -> None:
        """Initializes iNNvestigate's base class.

        Raises:
            RuntimeError: eager execution is on, or was on when the model was built.
            TypeError: there is no such option.
        """
        requirements.require_graph_execution()
        requirements.require_model_of_this_mode(model)
        self._require_known_options(kwargs)
        ReverseAnalyzerBase.__init__(self, one_output(model, output), **kwargs)
        self._tensors: list[int] = []
        self._own_analyzer_model: keras.Model | None = None

    @classmethod
    def _require_known_options(cls, given: Mapping[str, Any]) -> None:
        """Raises TypeError for options that neither the method nor iNNvestigate's base classes have."""
        parameters = [inspect.signature(one.__init__).parameters for one in (cls, *ReverseAnalyzerBase.__mro__)]
        known = {name: None for own in parameters for name in own}
        unknown = [name for name in given if name not in known]
        if unknown:
            shown = [name for name in known if name[0] != "_" and name not in ("self", "model", "args", "kwargs")]
            raise TypeError(f"{cls.__name__} has no option {', '.join(unknown)}: it has {', '.join(shown)}")

    def create_analyzer_model(self) -> None:
        """Builds the graph. A wrapper of iNNvestigate then puts its own in place of it."""
        super().create_analyzer_model()
        self._own_analyzer_model = self._analyzer_model
        # iNNvestigate's wrappers allow no other outputs than relevance, so this is a model of its own.
        outputs = [*self._analyzer_model.outputs, self._amount]
        self._with_amount = keras.Model(self._analyzer_model.inputs, outputs)

    def _is_wrapped(self) -> bool:
        return self._own_analyzer_model is not None and self._analyzer_model is not self._own_analyzer_model

    def _run(self, samples: Samples) -> list[np.ndarray]:
        """Computes the heatmaps with iNNvestigate's analyzer model, which has its options for debugging."""
        requirements.require_batch_of(self._model, len(samples))
        if not self._analyzer_model_done:
            self.create_analyzer_model()
        own = not self._is_wrapped()
        with naming_shapes(list(samples.arrays.values())):
            model = self._with_amount if own else self._analyzer_model
            outputs = ibackend.to_list(model.predict_on_batch(samples.feeds()))
        amounts = [outputs.pop()] if own else []
        if self._n_debug_output > 0:
            self._handle_debug_output(outputs[-self._n_debug_output :])
            outputs = outputs[: -self._n_debug_output]
        return [*outputs, *amounts] if self._has_amount and not self._changes_relevance() else outputs

    def _prepare_model(self, model: keras.Model) -> tuple[keras.Model, list, list]:
        """Leaves the model as it is: the neuron is selected within the propagation, so no layer is added."""
        names = ["neuron_index"] * (self._neuron_selection_mode == "index")
        names += ["neuron_against"] * (self._contrast is not None)
        positions = [keras.Input((model.outputs[0].shape.rank,), dtype=np.int32, name=name) for name in names]
        return model, positions, list(positions)

    def _reverse_model(
        self,
        model: keras.Model,
        stop_analysis_at_tensors: list | None = None,
        return_all_reversed_tensors: bool = False,
    ) -> tuple[list, dict | None]:
        """Forward pass and relevance as one Keras layer, instead of iNNvestigate's reversal.

        Keras wraps every operation outside a layer in a layer of its own, which takes minutes on deep networks.
        Within one layer the graph is plain TensorFlow. The layer can be called again on other inputs, as
        iNNvestigate's wrappers (such as SmoothGrad) do.
        """
        layer = _Propagation(self.propagate, return_all_reversed_tensors)
        self._amount, *outputs = layer([*model.inputs, *(stop_analysis_at_tensors or [])])
        inputs, rest = outputs[: len(model.inputs)], outputs[len(model.inputs) :]
        if not return_all_reversed_tensors:
            return inputs, None
        return inputs, {
            number: {"nid": self._node_id(number), "tensors": [R], "final_tensor": R}
            for number, R in zip(self._tensors, rest)
        }

    def propagate(self, tensors: list[tf.Tensor], finish: Callable | None = None) -> Relevance:
        """As in the native analyzer, with the base class's options that change relevance."""
        found = super().propagate(tensors, finish or (self._finish if self._changes_relevance() else None))
        self._tensors = self._tensors or list(found.tensors)
        return found

    def _changes_relevance(self) -> bool:
        return bool(self._reverse_project_bottleneck_layers or self._reverse_clip_values or self._reverse_verbose)

    def _finish(self, number: int, R: tf.Tensor) -> tf.Tensor:
        """Applies the base class's options that change relevance on its way."""
        project, clip = self._reverse_project_bottleneck_layers, self._reverse_clip_values
        if project and number in self.network.bottlenecks():
            (R,) = ibackend.to_list(ilayers.Project(project).call(R))
        if clip:
            R = tf.clip_by_value(R, *clip)
        if self._reverse_verbose:
            print(f"relevance of tensor {number}: {R.shape} {R.name}")
        return R

    def _node_id(self, number: int) -> tuple[int, int]:
        """The call that gives relevance to a tensor, and the tensor's place among the call's inputs."""
        for nid, call in reversed(list(enumerate(self.network.calls))):
            if number in call.inputs:
                return nid, call.inputs.index(number)
        return -1, 0


class RAP(Reversing, rap.RAP):
    """Relative Attributing Propagation as an analyzer that iNNvestigate's wrappers and tools accept.

    It is the method of `rap_keras.RAP`, with the same options and exceptions. It also takes the options of
    iNNvestigate's ReverseAnalyzerBase, and has its `save` and `load`.

    Examples:
        >>> model = rap_keras.to_logits(model)
        >>> analyzer = innvestigate.create_analyzer("rap", model)

    Args:
        model: as for `rap_keras.RAP`, built with eager execution off.
        variant: as for `rap_keras.RAP`.
        batch_norm: as for `rap_keras.RAP`.
        input_rule: as for `rap_keras.RAP`.
        rules: as for `rap_keras.RAP`.
        output: as for `rap_keras.RAP`.
        attention: as for `rap_keras.RAP`.
        **kwargs: options of ReverseAnalyzerBase, including neuron_selection_mode.

    Raises:
        RuntimeError: eager execution is on, or was on when the model was built.
        TypeError: there is no such option.
    """

    def __init__(
        self,
        model: keras.Model,
        variant: str = "paper",
        batch_norm: str = "identity",
        input_rule: InputRule = "auto",
        rules: UserRules = None,
        output: str | int | None = None,
        attention: str = "constant",
        **kwargs: Any,
    ) -> None:
        self._init_innvestigate(model, output, kwargs)
        rap.RAP.__init__(
            self,
            self._model,
            variant,
            batch_norm,
            input_rule,
            rules,
            neuron_selection_mode=self._neuron_selection_mode,
            allow_lambda_layers=self._allow_lambda_layers,
            disable_model_checks=self._disable_model_checks,
            attention=attention,
        )

    def save_npz(self, fname: str | Path) -> None:
        """Saves the analyzer with its model to a file that `RAP.load_npz` reads, without pickle.

        Raises:
            ValueError: a rule of `rules` is not a function of a module, so it could not be found again.
        """
        storage.save_npz(fname, *self.save())

    @classmethod
    def load_npz(cls, fname: str | Path) -> RAP:
        """Loads the analyzer that `save_npz` saved, with every option.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file was not written by `RAP.save_npz`, or its model could do more than calculate.
            ImportError: a rule of `rules` is from a module that the program has not imported.
        """
        class_name, state = storage.load_npz(fname)
        if class_name != cls.__name__:
            raise ValueError(f"{fname} holds an analyzer of class {class_name}, not {cls.__name__}")
        with naming(fname):
            own = "reverse_verbose" in state  # else the native host wrote it
            options = cls._state_to_kwargs(state) if own else rap.options_of(state, cls._own_options())
        return cls(**options)

    def _get_state(self) -> dict[str, Any]:
        state = super()._get_state()
        own = ("batch_norm", "input_rule", "rules", "attention", *self._own_options())
        return {**state, "variant": self.variant, **{name: getattr(self, f"_{name}") for name in own}}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        rest = dict(state)  # the base classes remove their options from it, and the caller may load once more
        options = ("variant", "batch_norm", "input_rule", "rules", "attention", *cls._own_options())
        own = {name: rest.pop(name) for name in options if name in rest}
        return {**super()._state_to_kwargs(rest), **own}


class ContrastiveRAP(contrastive_rap.ContrastiveRAP, RAP):
    """Contrastive RAP as an analyzer that iNNvestigate's wrappers and tools accept.

    It is the method of `rap_keras.ContrastiveRAP`, with the same options and exceptions.

    Args:
        model: as for `RAP`.
        contrast: as for `rap_keras.ContrastiveRAP`.
        **options: those of `RAP`.
    """


class _OfPatterns(Reversing):
    """The signature of both pattern methods, which have `pattern_methods` as their second base."""

    _has_amount = False

    def __init__(
        self,
        model: keras.Model,
        patterns: Patterns | str | Path | None = None,
        pattern_type: str = "relu",
        output: str | int | None = None,
        **kwargs: Any,
    ) -> None:
        self._init_innvestigate(model, output, kwargs)
        pattern_methods.PatternMethod.__init__(
            self,
            self._model,
            patterns,
            pattern_type,
            self._neuron_selection_mode,
            disable_model_checks=self._disable_model_checks,
        )

    def create_analyzer_model(self) -> None:
        """Builds the graph.

        Raises:
            RuntimeError: there are no patterns yet.
        """
        self._required()
        super().create_analyzer_model()

    def _get_state(self) -> dict[str, Any]:
        patterns = self._patterns and (dict(self._patterns.arrays), self._patterns.network)
        return {**super()._get_state(), "patterns": patterns, "pattern_type": self._pattern_type}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        rest = dict(state)
        patterns, pattern_type = rest.pop("patterns"), rest.pop("pattern_type")
        own = {"patterns": patterns and Patterns(*patterns), "pattern_type": pattern_type}
        return {**super()._state_to_kwargs(rest), **own}


class PatternNet(_OfPatterns, pattern_methods.PatternNet):
    """PatternNet as an analyzer that iNNvestigate's wrappers and tools accept.

    It is the method of `rap_keras.PatternNet`, with the same options and exceptions. It also takes the options of
    iNNvestigate's ReverseAnalyzerBase.
    """


class PatternAttribution(_OfPatterns, pattern_methods.PatternAttribution):
    """PatternAttribution as an analyzer that iNNvestigate's wrappers and tools accept, see `PatternNet`."""


class _Propagation(keras.layers.Layer):
    """Takes a model's inputs; gives what relevance began with, their relevances, and if asked for all others."""

    def __init__(self, function: Callable[[list[tf.Tensor]], Relevance], all_tensors: bool) -> None:
        # The data type is given, since mixed precision as a global policy would turn all weights into float16.
        super().__init__(name="relevance", dtype=keras.backend.floatx(), autocast=False)
        self._function = function
        self._all_tensors = all_tensors

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, mask: Any = None) -> list[tf.Tensor]:
        # Keras gives the mask of a model's input that a model in it was called with; here it must not count yet.
        inputs = ibackend.to_list(inputs) if mask is None else [tf.identity(x) for x in ibackend.to_list(inputs)]
        relevance = self._function(inputs)
        outputs = [relevance.amount, *(relevance.tensors[number] for number in relevance.inputs)]
        return outputs + (list(relevance.tensors.values()) if self._all_tensors else [])
