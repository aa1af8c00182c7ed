"""Builds the graph of iNNvestigate's own analyzers in seconds instead of minutes.

iNNvestigate reverses a model on Keras tensors. After every operation Keras then searches the whole graph for
operations to wrap in layers, which on ResNet50 takes minutes for the plain gradient. Inside a Keras layer nothing
is wrapped, so here the same function of iNNvestigate, with the same rules, runs within one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow import keras

if TYPE_CHECKING:
    from innvestigate.analyzer.base import AnalyzerBase
    from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase

from rap_keras.engine.checks.requirements import require_graph_execution
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading import masks
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.reading.network import Network


def build_quickly(analyzer: AnalyzerBase) -> AnalyzerBase:
    """Makes an analyzer of iNNvestigate build its graph quickly, and returns it; its results stay the same.

    Call it before the first `analyze`. Analyzers that do not reverse the model (such as `random`) stay as they
    are, and so do those that keep or check every tensor on the way (reverse_keep_tensors, reverse_check_finite,
    reverse_check_min_max_values).

    Examples:
        >>> analyzer = rap_keras.build_quickly(innvestigate.create_analyzer("lrp.z", model))

    Args:
        analyzer: an analyzer from `innvestigate.create_analyzer`; for a wrapper (Integrated Gradients, SmoothGrad)
            the analyzer within it is changed.

    Raises:
        RuntimeError: its graph has been built already, or eager execution is on.
        ImportError: iNNvestigate is not installed.
        NotAnalyzeableModelException: the model has masks, and the analyzer has rules for its layers.
    """
    from innvestigate.analyzer.gradient_based import Gradient
    from innvestigate.analyzer.reverse_base import ReverseAnalyzerBase
    from innvestigate.analyzer.wrapper import WrapperBase

    require_graph_execution()
    inner = analyzer
    while isinstance(inner, WrapperBase):
        inner = inner._subanalyzer
    # Others, such as RAP, reverse the model in their own way.
    if getattr(type(inner), "_reverse_model", None) is not ReverseAnalyzerBase._reverse_model:
        return analyzer
    if inner._analyzer_model_done:
        raise RuntimeError(f"the graph of this {type(inner).__name__} analyzer is already built: create a new one")
    slowly, network = inner._reverse_model, flatten(inner._model)
    if network.masked and not isinstance(inner, Gradient):
        refuse_masks(network, type(inner).__name__)

    def reverse_model(
        model: keras.Model, stop_analysis_at_tensors: Any = None, return_all_reversed_tensors: bool = False
    ) -> tuple[list[tf.Tensor], None]:
        if return_all_reversed_tensors:
            return slowly(model, stop_analysis_at_tensors, return_all_reversed_tensors)
        stops = {id(tensor) for tensor in stop_analysis_at_tensors or []}
        stopped = [index for index, tensor in enumerate(model.inputs) if id(tensor) in stops]
        network = flatten(model)
        layer = _Reversal(lambda tensors: _reverse(inner, network, tensors, stopped))
        return tf.nest.flatten(layer(model.inputs)), None

    inner._reverse_model = reverse_model
    return analyzer


def refuse_masks(network: Network, method: str) -> None:
    """Raises NotAnalyzeableModelException for a method of iNNvestigate and a network with masks."""
    source = next(part for call in network.calls for part in (*call.before, call) if masks.may_begin(part))
    raise NotAnalyzeableModelException(
        f"layer '{source.name}' ({type(source.layer).__name__}) makes or takes a mask (as Masking and "
        f"mask_zero=True do), and iNNvestigate's {method} runs layers without their masks: use rap, or "
        "rap_keras.create_analyzer with gradient or an lrp method"
    )


def _reverse(
    analyzer: ReverseAnalyzerBase, network: Network, tensors: list[tf.Tensor], stopped: list[int]
) -> list[tf.Tensor]:
    """The analyzer's result for a model's input tensors, by iNNvestigate's own reversal."""
    import innvestigate.backend.graph as igraph

    values = network.values(tensors)
    trace = [
        (call.layer, [values[number] for number in call.inputs], [values[number] for number in call.outputs])
        for call in network.calls
    ]
    layers = list(dict.fromkeys(call.layer for call in network.calls))
    found, _ = igraph.reverse_model(
        SimpleNamespace(inputs=tensors),
        reverse_mappings=analyzer._reverse_mapping,
        default_reverse_mapping=analyzer._default_reverse_mapping,
        head_mapping=analyzer._head_mapping,
        stop_mapping_at_tensors=[tensors[index] for index in stopped],
        verbose=analyzer._reverse_verbose,
        clip_all_reversed_tensors=analyzer._reverse_clip_values,
        project_bottleneck_tensors=analyzer._reverse_project_bottleneck_layers,
        execution_trace=(layers, trace, [values[number] for number in network.outputs]),
    )
    return found


class _Reversal(keras.layers.Layer):
    """A function of tensors as a layer, which can be called again on other inputs, as wrappers do."""

    def __init__(self, function: Callable[[list[tf.Tensor]], list[tf.Tensor]]) -> None:
        super().__init__(name="reversal", autocast=False)
        self._function = function

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, mask: Any = None) -> list[tf.Tensor]:
        tensors = tf.nest.flatten(inputs)
        return self._function(tensors if mask is None else list(map(tf.identity, tensors)))
