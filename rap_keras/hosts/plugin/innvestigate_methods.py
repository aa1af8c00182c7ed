"""Creates analyzers of iNNvestigate that are ready to use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import innvestigate.analyzer as ianalyzer
import innvestigate.backend.checks as ichecks
import numpy as np
from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
from tensorflow import keras

from rap_keras.engine.checks.requirements import (
    require_batch_of,
    require_graph_execution,
    require_model_of_this_mode,
)
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules.kinds import is_augmentation, refuse_misplacing
from rap_keras.hosts import native
from rap_keras.hosts.native import integrated_gradients
from rap_keras.hosts.plugin.quick_build import build_quickly, refuse_masks
from rap_keras.hosts.titles import RAP_METHODS
from rap_keras.models.final_activation import refuse_final_activation
from rap_keras.models.outputs import flat_output, one_output
from rap_keras.patterns import Patterns


def create(
    name: str,
    model: keras.Model,
    neuron_selection_mode: str,
    output: str | int | None,
    patterns: Patterns | str | Path | None = None,
    steps: int | None = None,
) -> Any:
    """Like `rap_keras.methods.create`, for a key of `innvestigate.analyzer.analyzers`.

    Where iNNvestigate's LRP or deep Taylor is wrong, the analyzer is the native one.

    Raises:
        ValueError: as for `rap_keras.methods.create`.
        NotAnalyzeableModelException: as for `rap_keras.methods.create`.
    """
    require_graph_execution()
    require_model_of_this_mode(model)
    cls = IntegratedGradients if name == "integrated_gradients" else ianalyzer.analyzers[name]
    model = one_output(model, output)
    network = flatten(model)
    refuse_final_activation(network)
    require_batch_of(model, None)
    if name in RAP_METHODS:
        return _built(cls(model, neuron_selection_mode=neuron_selection_mode))
    if network.masked:  # iNNvestigate's rules run layers without their masks
        if name not in native.NAMES:
            refuse_masks(network, name)
        given = {"patterns": patterns} if name.startswith("pattern.") else {"steps": steps} if steps else {}
        return native.create_analyzer(
            name, flat_output(model), neuron_selection_mode=neuron_selection_mode, **given
        )
    if name.startswith("pattern."):
        return _built(cls(flat_output(model), patterns=patterns, neuron_selection_mode=neuron_selection_mode))
    _refuse_nested(name, cls, model)
    is_lrp = issubclass(cls, ianalyzer.LRP)
    misjudged = _misjudged(model, is_lrp) if is_lrp or issubclass(cls, ianalyzer.DeepTaylor) else None
    if misjudged and name in native.NAMES:
        return native.create_analyzer(name, flat_output(model), neuron_selection_mode=neuron_selection_mode)
    if misjudged:
        raise NotAnalyzeableModelException(
            f"iNNvestigate's {name} does not keep the sum of relevance at layer '{misjudged.name}' "
            f"({type(misjudged.layer).__name__}): use lrp.z or lrp.alpha_1_beta_0"
        )
    options: dict[str, Any] = {"neuron_selection_mode": neuron_selection_mode}
    options.update({} if steps is None else {"steps": steps})
    analyzer = _theirs(name, cls, _copy(model, _for_lrp if is_lrp else _copied), options)
    if name == "integrated_gradients":
        analyzer.native = integrated_gradients.IntegratedGradients(flat_output(model), **options)
    try:
        return _built(build_quickly(analyzer))
    # Here iNNvestigate finds layers that it cannot reverse; it raises no particular type.
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise NotAnalyzeableModelException(f"iNNvestigate cannot build {name} for this model: {error}") from error


def _refuse_nested(name: str, cls: type, model: keras.Model) -> None:
    """Raises ValueError for a rule that must see the layers of a nested model, as the gradient need not."""
    if not issubclass(cls, ReverseAnalyzerBase) or issubclass(cls, ianalyzer.Gradient):
        return
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise ValueError(
                f"{name} cannot look into {layer.name!r}, a model that is a layer of {model.name!r}: it would "
                "silently take the gradient there. Use rap, or build the model without nesting"
            )


def _theirs(name: str, cls: type, copy: keras.Model, options: dict[str, Any]) -> Any:
    """An analyzer of iNNvestigate's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # iNNvestigate also raises what it warns of, see below
            return cls(flat_output(copy), **options)
    except NotImplementedError as error:
        odd = {type(layer).__name__ for layer in copy.layers if not ichecks.is_convnet_layer(layer)}
        raise NotAnalyzeableModelException(
            f"iNNvestigate's {name} does not support this model; layers that it does not know: "
            f"{', '.join(sorted(odd)) or 'none'}"
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"iNNvestigate cannot create {name} ({error}): use another method") from error


class IntegratedGradients(ianalyzer.IntegratedGradients):
    """iNNvestigate's own, which warns where its relevance is not complete, as `native` does."""

    native: integrated_gradients.IntegratedGradients

    def analyze(self, X: Any, neuron_selection: Any = None) -> Any:
        """Relevance of X, as in iNNvestigate."""
        chosen = {} if neuron_selection is None else {"neuron_selection": neuron_selection}
        found = super().analyze(X, **chosen)
        self.native.warn_if_incomplete(X, found, neuron_selection)
        return found

    def differences(self, X: Any, neuron_selection: Any = None) -> np.ndarray:
        """What relevance of each sample should sum to, see `native`."""
        return self.native.differences(X, neuron_selection)


def _misjudged(model: keras.Model, is_lrp: bool) -> Call | None:
    """The first call at which iNNvestigate's relevance propagation is wrong: it takes the gradient there.

    Raises:
        NotAnalyzeableModelException: an activation moves or mixes values.
    """
    kinds = _BY_GRADIENT if is_lrp else (*_BY_GRADIENT, keras.layers.Add)
    found = []
    for call in flatten(model).calls:
        refuse_misplacing(call)
        if isinstance(call.layer, kinds) or len(set(call.inputs)) < len(call.inputs):
            found.append(call)
    return found[0] if found else None


# Both sides of a difference would get all relevance, with one sign turned, and a factor times the other factor.
_BY_GRADIENT = tuple(getattr(keras.layers, name) for name in "Subtract Multiply Dot ELU LeakyReLU PReLU".split())


def _built(analyzer: ianalyzer.AnalyzerBase) -> ianalyzer.AnalyzerBase:
    """Builds the analyzer's graph now, so that the first sample need not wait for it."""
    if hasattr(analyzer, "create_analyzer_model"):
        analyzer.create_analyzer_model()
    return analyzer


def _copy(model: keras.Model, copied: Callable) -> keras.Model:
    # Keras would give the inputs that iNNvestigate adds the same names as those of a model from a file.
    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=f"{name}_copy")
        for name, tensor in zip(model.input_names, model.inputs)
    ]
    copy = keras.models.clone_model(model, input_tensors=inputs, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def _copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    if is_augmentation(layer):
        # iNNvestigate does not know such a layer, and with eager execution off Keras leaves it switched on.
        return keras.layers.Activation("linear", name=layer.name)
    return type(layer).from_config(layer.get_config())


def _for_lrp(layer: keras.layers.Layer) -> keras.layers.Layer:
    if not isinstance(layer, keras.layers.ReLU):
        return _copied(layer)
    return keras.layers.Activation(_copied(layer).call, name=layer.name)
