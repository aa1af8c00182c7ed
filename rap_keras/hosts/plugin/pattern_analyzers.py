"""PatternNet and PatternAttribution as iNNvestigate analyzers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.reading.flattening import flatten
from rap_keras.hosts.native.base import Analyzer
from rap_keras.hosts.plugin.quick_build import build_quickly
from rap_keras.models.final_activation import refuse_final_activation
from rap_keras.models.outputs import one_output
from rap_keras.patterns import way_back
from rap_keras.patterns.computer import PatternComputer
from rap_keras.patterns.pattern_maps import Map, maps_by_layer
from rap_keras.patterns.stored import Patterns


class _PatternAnalyzer(ReverseAnalyzerBase):
    """The gradient with other weights in Dense layers and convolutions, beginning with the logit."""

    def __init__(
        self,
        model: keras.Model,
        patterns: Patterns | str | Path | None = None,
        pattern_type: str = "relu",
        output: str | int | None = None,
        **kwargs: Any,
    ) -> None:
        requirements.require_graph_execution()
        requirements.require_model_of_this_mode(model)
        model = one_output(model, output)
        super().__init__(model, **kwargs)
        requirements.require_choice("pattern_type", pattern_type, ("relu", "linear"))
        network = flatten(model)
        refuse_final_activation(network)
        self._maps = maps_by_layer(network)
        self._pattern_type = pattern_type
        self._patterns = Patterns.load(patterns) if isinstance(patterns, (str, Path)) else patterns
        if self._patterns is not None:
            self._patterns.require_made_for(self._model)
            self._patterns.require_fit(self._maps)
        build_quickly(self)

    __copy__, __reduce__ = Analyzer.__copy__, Analyzer.__reduce__

    def fit(self, X: Any, batch_size: int = 16) -> None:
        """Computes the patterns from data, as `PatternComputer.compute` does; replaces the option `patterns`.

        Raises:
            RuntimeError: `analyze` has been called before.
            ValueError: X is not what the model takes.
        """
        if self._analyzer_model_done:
            raise RuntimeError("the analyzer already uses other patterns: create a new one and fit that")
        self._patterns = PatternComputer(self._model, self._pattern_type).compute(X, batch_size)

    def create_analyzer_model(self) -> None:
        """Builds the graph.

        Raises:
            RuntimeError: there are no patterns yet.
        """
        if self._patterns is None:
            raise RuntimeError(
                f"{type(self).__name__} needs patterns: call fit(X), or create it with patterns=, computed by "
                "rap_keras.patterns.PatternComputer or `rap-keras fit-patterns`"
            )
        super().create_analyzer_model()

    def _reverse_mapping(self, layer: keras.layers.Layer) -> Any:
        if layer not in self._special_helper_layers:
            if id(layer) in self._maps:
                return self._through_patterns
            if isinstance(layer, keras.layers.BatchNormalization):
                return self._through_normalization
        return super()._reverse_mapping(layer)

    def _through_patterns(self, Xs: list, Ys: list, Rs: list, state: dict[str, Any]) -> list[tf.Tensor]:
        """The vector-Jacobian product of a weighted layer with the method's weights instead of its own."""
        assert self._patterns is not None
        arrays, layer = self._patterns.arrays, state["layer"]

        def weights(m: Map) -> tf.Tensor:
            w = m.linear.w()
            # A variable: constants would make the graph too large to be sent to TensorFlow.
            return self._weights(tf.cast(tf.convert_to_tensor(keras.backend.variable(arrays[m.name])), w.dtype), w)

        activation = getattr(layer, "activation", None)
        return [way_back.through_maps(self._maps[id(layer)], weights, activation, Xs[0], Rs[0])]

    def _through_normalization(self, Xs: list, Ys: list, Rs: list, state: dict[str, Any]) -> list[tf.Tensor]:
        raise NotImplementedError

    def _weights(self, pattern: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _get_state(self) -> dict[str, Any]:
        patterns = self._patterns and (dict(self._patterns.arrays), self._patterns.network)
        return {**super()._get_state(), "patterns": patterns, "pattern_type": self._pattern_type}

    @classmethod
    def _state_to_kwargs(cls, state: dict[str, Any]) -> dict[str, Any]:
        rest = dict(state)
        patterns, pattern_type = rest.pop("patterns"), rest.pop("pattern_type")
        own = {"patterns": patterns and Patterns(*patterns), "pattern_type": pattern_type}
        return {**super()._state_to_kwargs(rest), **own}


class PatternNet(_PatternAnalyzer):
    """The signal in the input that a decision rests on: patterns instead of weights on the way back.

    Shown as it is, it looks like the input's detected part. Source: Kindermans et al., arXiv 1705.05598.

    Args:
        model: a Keras model that ends in logits, see `rap_keras.to_logits`.
        patterns: patterns of this model from `PatternComputer`, or the file that they were saved to. Without them,
            call `fit`.
        pattern_type: the type that `fit` computes, see `PatternComputer`.
        output: the output to explain, by name or number, if the model has several.
        **kwargs: options of iNNvestigate's ReverseAnalyzerBase, including neuron_selection_mode.

    Raises:
        RuntimeError: eager execution is on.
        ValueError: the patterns are of another network.
        NotAnalyzeableModelException: the model has several outputs and none is chosen, ends in a softmax,
            log-softmax or sigmoid, or has a weighted layer that is neither Dense nor a convolution.
    """

    def _weights(self, pattern: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return pattern

    def _through_normalization(self, Xs: list, Ys: list, Rs: list, state: dict[str, Any]) -> list[tf.Tensor]:
        return [way_back.over_scale(lambda x: state["layer"].call(x, training=False), Xs[0], Rs[0])]


class PatternAttribution(_PatternAnalyzer):
    """How much each input's signal adds to a decision: weights times patterns on the way back.

    Arguments and exceptions are those of `PatternNet`. Source: Kindermans et al., arXiv 1705.05598.
    """

    def _weights(self, pattern: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return pattern * w

    def _through_normalization(self, Xs: list, Ys: list, Rs: list, state: dict[str, Any]) -> list[tf.Tensor]:
        """Passes relevance unchanged: a neuron has one input here, so pattern times weight is 1."""
        return list(Rs)
