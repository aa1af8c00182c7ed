"""PatternNet and PatternAttribution without iNNvestigate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks import requirements
from rap_keras.engine.checks.samples import Samples
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.rules.rule import Rule, Tensors, titled
from rap_keras.engine.way_back.propagation import Relevance, Rules, bare, gradient
from rap_keras.hosts.native.layerwise import Layerwise
from rap_keras.patterns import way_back
from rap_keras.patterns.computer import PatternComputer
from rap_keras.patterns.pattern_maps import Map, maps_by_layer
from rap_keras.patterns.stored import Patterns


class PatternMethod(Layerwise):
    """The gradient with other weights in Dense layers and convolutions, beginning with the logit."""

    def __init__(
        self,
        model: keras.Model,
        patterns: Patterns | str | Path | None = None,
        pattern_type: str = "relu",
        neuron_selection_mode: str = "max_activation",
        output: str | int | None = None,
        disable_model_checks: bool = False,
    ) -> None:
        super().__init__(model, neuron_selection_mode, output, disable_model_checks)
        requirements.require_choice("pattern_type", pattern_type, ("relu", "linear"))
        self._maps = maps_by_layer(self.network)
        self.plan, self.rules = bare(self.network, self._rule), Rules()
        self._pattern_type = pattern_type
        self._patterns = Patterns.load(patterns) if isinstance(patterns, (str, Path)) else patterns
        if self._patterns is not None:
            self._patterns.require_made_for(self.model)
            self._patterns.require_fit(self._maps)

    def fit(self, X: Any, batch_size: int = 16) -> None:
        """Computes the patterns from data, as `PatternComputer.compute` does; replaces the option `patterns`.

        Raises:
            RuntimeError: `analyze` has been called before.
            ValueError: X is not what the model takes.
        """
        if self._functions or getattr(self, "_analyzer_model_done", False):
            raise RuntimeError("the analyzer already uses other patterns: create a new one and fit that")
        self._patterns = PatternComputer(self.model, self._pattern_type).compute(X, batch_size)

    def _required(self) -> Patterns:
        if self._patterns is None:
            raise RuntimeError(
                f"{type(self).__name__} needs patterns: call fit(X), or create it with patterns=, computed by "
                "rap_keras.patterns.PatternComputer or `rap-keras fit-patterns`"
            )
        return self._patterns

    def _run(self, samples: Samples) -> list[np.ndarray]:
        self._required()
        return super()._run(samples)

    def propagate(self, tensors: list[tf.Tensor], finish: Callable | None = None) -> Relevance:
        """What the patterns send back within the network."""
        with tf.init_scope():  # constants within the graph would make it too large to be sent to TensorFlow
            make = tf.constant if tf.executing_eagerly() else keras.backend.variable
            self._variables = {name: make(array) for name, array in self._required().arrays.items()}
        return super().propagate(tensors, finish)

    def _rule(self, call: Call) -> Rule:
        if isinstance(call.layer, keras.layers.BatchNormalization):
            return self._through_normalization
        return self._through_maps if id(call.layer) in self._maps else gradient

    @titled("gradient with patterns")
    def _through_maps(self, Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
        layer = state["layer"]

        def weights(m: Map) -> tf.Tensor:
            w = m.linear.w()
            return self._weights(tf.cast(tf.convert_to_tensor(self._variables[m.name]), w.dtype), w)

        activation = getattr(layer, "activation", None)
        return [way_back.through_maps(self._maps[id(layer)], weights, activation, Xs[0], Rs[0])]

    def _through_normalization(self, Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
        raise NotImplementedError

    def _weights(self, pattern: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError


class PatternNet(PatternMethod):
    """The signal in the input that a decision rests on: patterns instead of weights on the way back.

    Shown as it is, it looks like the input's detected part. Source: Kindermans et al., arXiv 1705.05598.

    Args:
        model: a Keras model that ends in logits, see `rap_keras.to_logits`.
        patterns: patterns of this model from `PatternComputer`, or the file that they were saved to. Without them,
            call `fit`.
        pattern_type: the type that `fit` computes, see `PatternComputer`.
        neuron_selection_mode: as in `rap_keras.RAP`.
        output: the output to explain, by name or number, if the model has several.
        disable_model_checks: as in `rap_keras.RAP`.

    Raises:
        ValueError: the patterns are of another network.
        NotAnalyzeableModelException: the model has several outputs and none is chosen, ends in a softmax,
            log-softmax or sigmoid, or has a weighted layer that is neither Dense nor a convolution.
    """

    def _weights(self, pattern: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return pattern

    @titled("divided by its scale")
    def _through_normalization(self, Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
        return [way_back.over_scale(lambda x: state["call"].run([x])[0], Xs[0], Rs[0])]


class PatternAttribution(PatternMethod):
    """How much each input's signal adds to a decision: weights times patterns on the way back.

    Arguments and exceptions are those of `PatternNet`. Source: Kindermans et al., arXiv 1705.05598.
    """

    def _weights(self, pattern: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return pattern * w

    @titled("unchanged")
    def _through_normalization(self, Xs: Tensors, Ys: Tensors, Rs: Tensors, state: dict[str, Any]) -> Tensors:
        """Passes relevance unchanged: a neuron has one input here, so pattern times weight is 1."""
        return Rs
