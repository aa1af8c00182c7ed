"""A softmax, log-softmax or sigmoid at the end of a model: found in whatever form, and removed.

Relevance starts with a logit, a class's score before it becomes a probability. After a softmax the classes are
mixed, and a probability near 0 leaves no relevance at all. So such a model is refused, and `to_logits` makes one
that can be explained. Both use the same detector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras.layers import Layer

from rap_keras.engine import keras_graph
from rap_keras.engine.checks.requirements import require_model
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading import opened_layers
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.flattening import flatten, graph_within, rewritten
from rap_keras.engine.reading.network import Network
from rap_keras.engine.reading.opened_layers import Opened
from rap_keras.engine.registered_rules import is_registered
from rap_keras.engine.rules.kinds import kind_of, linear_maps
from rap_keras.engine.rules.linear_layers import dot_map
from rap_keras.engine.rules.lookup import lookup
from rap_keras.engine.rules.trials import calculated
from rap_keras.engine.rules.unweighted import divided, multiplied

NAMES = {"softmax": "softmax", "log_softmax": "log-softmax", "sigmoid": "sigmoid"}
"""The kinds of final activation, and what messages call them."""


class FinalActivation(NamedTuple):
    """Where a network's logits become something else: the kind, one of `NAMES`, and the layer call."""

    kind: str
    call: Call


def find(network: Network) -> list[FinalActivation]:
    """The final activations of a network, the last call first; empty for one that ends in logits.

    Everything after the last weighted layer or gate is examined, on every branch: moving, averaging or adding
    probabilities does not make them logits.
    """
    reached = set(network.outputs)
    found = []
    for call in reversed(network.calls):
        if not reached.intersection(call.outputs):
            continue
        kind = final_kind(call.layer) or _written_out(call, network)
        if kind:
            found.append(FinalActivation(kind, call))
        elif _passes_on(call):
            reached.update(call.inputs)
    return found


def refuse_final_activation(network: Network) -> None:
    """Raises NotAnalyzeableModelException if the network ends in a softmax, log-softmax or sigmoid."""
    for kind, call in find(network)[:1]:
        why = "leaves no relevance where it saturates" if kind == "sigmoid" else "mixes the classes"
        raise NotAnalyzeableModelException(
            f"layer '{call.name}' ends the model in a {NAMES[kind]}, which {why}: the logit before it must be "
            "explained. Remove it with rap_keras.to_logits(model)"
        )


def to_logits(model: keras.Model) -> keras.Model:
    """The model up to the logits: a softmax, log-softmax or sigmoid at its end is removed, whatever its form.

    It may be the activation of the last layer, a layer of its own or a functional operation. It may also be inside
    a model that is the last layer, or be followed by layers that only move values (Flatten, Reshape, Permute,
    Dropout). The new model shares the weights of the given one, which keeps working. Removing a sigmoid over one
    unit leaves the logit of class 1; `rap_keras.models.two_classes` turns it into one logit per class.

    Examples:
        >>> analyzer = innvestigate.create_analyzer("rap", rap_keras.to_logits(model))

    Returns:
        The new model; the given one itself if it already ends in logits.

    Raises:
        TypeError: the model is not a Keras model.
        ValueError: the model is subclassed or not built, so its layers are unknown; or the activation cannot be
            removed, because layers after it calculate with probabilities.
    """
    require_model(model)
    model = keras_graph.as_graph(model)
    outputs = _outputs(model)
    logits = [_before(output) for output in outputs]
    _require_removed(model, outputs, logits)
    if all(tensor is None for tensor in logits):
        return model
    wanted = [old if new is None else new for old, new in zip(outputs, logits)]
    # Once more: there may be a second softmax before the removed one.
    return to_logits(keras.Model(model.inputs, wanted, name=model.name))


def final_kind(layer: Layer) -> str | None:
    """Which of `NAMES` a layer, or the activation fused into it, is; None for any other.

    Names are not enough, as an activation may be any function of the user's: functions are tried on some numbers.
    """
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if keras_graph.is_operation(layer):
        return _BY_NAME.get(keras_graph.operation_name(layer) or "")
    activation = getattr(layer, "activation", None)
    if activation is not None:
        return _function_kind(activation)
    if isinstance(layer, keras.layers.Lambda) or is_registered(layer):
        return _function_kind(layer.call)
    return None


_BY_NAME = {
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "logsoftmax": "log_softmax",
    "sigmoid": "sigmoid",
    "hard_sigmoid": "sigmoid",
}


_OF_KERAS = {"linear": None, "relu": None, "softmax": "softmax", "sigmoid": "sigmoid"}
"""What functions of Keras' own are, which need not be tried."""


def _function_kind(function: Callable) -> str | None:
    """Which of `NAMES` a function of tensors is, by its values on up to four axes of different lengths."""
    for own, kind in _OF_KERAS.items():
        if function is getattr(keras.activations, own, None):
            return kind
    random = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    for rank in (4, 2, 3):
        x = random[(0,) * (4 - rank)]
        try:
            y, low, middle, high = (calculated(function, z) for z in (x, x * 0 - 60, x * 0, x * 0 + 60))
        # The user's function may not take numbers of that shape.
        except Exception:
            continue
        if y.shape != x.shape or not np.isfinite(y).all():
            return None
        if np.allclose(low, 0, atol=1e-3) and np.allclose(middle, 0.5) and np.allclose(high, 1, atol=1e-3):
            return "sigmoid"
        if (y >= 0).all() and _adds_up_to_one(y):
            return "softmax"
        return "log_softmax" if _adds_up_to_one(np.exp(y)) else None
    return None


def _adds_up_to_one(y: np.ndarray) -> bool:
    return any(np.allclose(y.sum(axis), 1, atol=1e-4) for axis in range(y.ndim))


def _written_out(call: Call, network: Network) -> str | None:
    """A softmax as exp(z) / sum(exp(z))."""
    kind = kind_of(call)
    if kind is None or kind.rule is not divided:
        return None
    numerators = [c.layer for c in network.calls if call.inputs[0] in c.outputs]
    return "softmax" if "exp" in map(keras_graph.operation_name, numerators) else None


def _passes_on(call: Call) -> bool:
    """Whether probabilities stay probabilities, or become averages of them; weights and gates make new scores."""
    kind = kind_of(call)
    if linear_maps(call.layer) or dot_map(call) or (kind is not None and kind.rule is multiplied):
        return False
    is_known = kind is not None and not kind.mixes and not kind.own
    return is_known or not getattr(call.layer, "weights", None)


def _outputs(model: keras.Model) -> list[Any]:
    """The output tensors of a model whose layers are known."""
    outputs = getattr(model, "outputs", None)
    if not outputs or not all(hasattr(tensor, "_keras_history") for tensor in outputs):
        raise ValueError(
            f"model '{model.name}' is not a graph of layers, so its end is unknown: build it "
            f"{keras_graph.HOW_TO_BUILD}"
        )
    return list(outputs)


def _require_removed(model: keras.Model, outputs: list[Any], logits: list[Any]) -> None:
    """Raises ValueError if there is an activation that `_before` does not reach."""
    try:
        network = flatten(model)
    except NotAnalyzeableModelException as error:
        raise ValueError(str(error)) from error
    for number, removed in zip(network.outputs, logits):
        left = [] if removed is not None else find(Network(network.calls, network.inputs, (number,)))
        for kind, call in left[:1]:
            first = call.name.split("/")[0]
            layer = model.get_layer(first)
            if "/" in call.name and not isinstance(layer, keras.Model):
                raise ValueError(
                    f"the {NAMES[kind]} of layer '{call.name}' cannot be removed, because it is within layer "
                    f"'{first}': build the model without it"
                )
            part = f"model.get_layer('{first}')"
            one = part if isinstance(layer, keras.Model) else f"keras.Model(model.inputs, {part}.output)"
            raise ValueError(
                f"the {NAMES[kind]} of layer '{call.name}' cannot be removed, because layers after it calculate "
                f"with its probabilities. Explain the part that ends in it: rap_keras.to_logits({one})"
            )


_MOVING: dict[type, object] = {
    getattr(keras.layers, name): True
    for name in "Cropping1D Cropping2D Cropping3D Dropout Flatten Permute RepeatVector Reshape".split()
}
_MOVING_OPERATIONS = set(
    "cast expand_dims expanddims getitem identity reshape slice squeeze stop_gradient stopgradient stridedslice "
    "transpose".split()
)


def _before(tensor: Any) -> Any:
    """What `tensor` would be without a final activation, None if there is none that can be removed."""
    node, place = keras_graph.producer(tensor)
    layer, given = node.layer, node.args[0] if node.args else next(iter(node.kwargs.values()))
    if opened_layers.can_be_opened(node):
        graph = graph_within(node)
        logits = _without_end(graph, place) if graph else None
        return logits and tf.nest.flatten(rewritten(layer, logits)(node.inputs))[place]
    if isinstance(layer, keras.Model):
        whole = _connected(layer, given) if keras_graph.is_chain(layer) else layer
        inner = to_logits(whole)
        return None if inner is whole else tf.nest.flatten(inner(given))[place]
    if final_kind(layer):
        return keras_graph.without_activation(layer, given) if getattr(layer, "weights", None) else given
    if isinstance(layer, keras.layers.Concatenate):  # several heads side by side
        heads = [_before(head) for head in given]
        if all(head is None for head in heads):
            return None
        return keras_graph.called_again(layer, [old if new is None else new for old, new in zip(given, heads)])
    if not _only_moves(layer) or isinstance(given, (list, tuple)):
        return None
    before = _before(given)
    return None if before is None else keras_graph.called_again(layer, before, *node.args[1:], **node.kwargs)


def _without_end(graph: Opened, place: int) -> Opened | None:
    """The graph of a user's layer without the final activation of an output; None if it has none to be removed."""
    producers = {id(y): (i, n) for i, node in enumerate(graph.nodes) for n, y in enumerate(node.outputs)}
    tensor = graph.outputs[place]
    while id(tensor) in producers:
        index, place = producers[id(tensor)]
        node = graph.nodes[index]
        layer: Any = None
        if isinstance(node.layer, keras.Model) and keras_graph.nodes(node.layer):
            layer = to_logits(node.layer)
        elif opened_layers.can_be_opened(node):
            shapes = [tuple(x.shape) for x in node.inputs]
            inner = opened_layers.opened(node, shapes, [graph.second[id(x)] for x in node.inputs])
            logits = _without_end(inner, place)
            layer = logits and rewritten(node.layer, logits)
        elif final_kind(node.layer):
            layer = keras_graph.twin(node.layer, activation=keras.activations.linear)
            layer = layer if getattr(layer, "weights", None) else keras.layers.Identity(name=layer.name)
        elif _only_moves(node.layer) and len(node.inputs) == 1:
            (tensor,) = node.inputs
            continue
        if layer in (None, node.layer):
            return None
        nodes = [*graph.nodes[:index], node._replace(layer=layer), *graph.nodes[index + 1 :]]
        return graph._replace(nodes=nodes)
    return None


def _only_moves(layer: Layer) -> bool:
    if keras_graph.is_operation(layer):
        return keras_graph.operation_name(layer) in _MOVING_OPERATIONS
    if isinstance(layer, keras.layers.Activation):
        return layer.activation is keras.activations.linear
    return bool(lookup(layer, _MOVING))


def _connected(chain: keras.Sequential, tensor: Any) -> keras.Model:
    """A Sequential that was made without an input shape, as a graph of its layers."""
    inputs = x = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype)
    for layer in chain.layers:
        x = layer(x)
    return keras.Model(inputs, x, name=chain.name)
