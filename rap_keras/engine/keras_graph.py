"""What Keras 2 and Keras 3 have under different names: the graph of layers, and properties of layers.

In all modules a "layer" is what a node of the graph calls: a Keras layer, or a functional operation
(`tf.nn.relu(x)`, `keras.ops.relu(x)`, `x + y`), which Keras 2 makes a layer of its own.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow import keras

KERAS_3 = hasattr(keras, "ops")
"""Whether TensorFlow's Keras is Keras 3, which has names of its own for nearly everything here."""

HOW_TO_BUILD = "with the functional API, or as a Sequential that begins with keras.Input(shape)" + (
    ", or call it on a symbolic tensor: x = keras.Input(shape), keras.Model(x, model(x))" if KERAS_3 else ""
)
"""How a model that is not a graph of layers becomes one."""

CAST = 'keras.ops.cast(x, "float32")' if KERAS_3 else "tf.cast(x, tf.float32)"
"""What makes real numbers of integers in a model, for messages."""


class Node(NamedTuple):
    """One use of a layer in a model.

    `inputs` are the symbolic tensors among the arguments, in their order.
    """

    layer: Any
    args: tuple
    kwargs: dict[str, Any]
    inputs: list[Any]
    outputs: list[Any]


def version() -> str:
    """The version of TensorFlow's Keras."""
    return str(importlib.import_module(keras.Model.__module__.split(".")[0]).__version__)


def downloads() -> Path:
    """The folder in which Keras keeps the files that it downloads for its networks."""
    home = os.environ.get("KERAS_HOME") if KERAS_3 else None
    return (Path(home) if home else Path.home() / ".keras") / "models"


def require_tensorflow() -> None:
    """Raises RuntimeError if Keras 3 runs on JAX or PyTorch, whose tensors TensorFlow does not know."""
    if KERAS_3 and keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()} here, but RAP needs TensorFlow: set the environment "
            "variable KERAS_BACKEND=tensorflow before Keras is imported, and load or build the model there"
        )


def nodes(model: keras.Model) -> list[Node] | None:
    """The nodes of a model in forward order, without those of its inputs; None if it is not a graph of layers."""
    by_depth = getattr(_graph(model), "_nodes_by_depth", None)
    if not by_depth:
        return None
    return [
        _node(node) for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input
    ]


def is_graph(layer: Any) -> bool:
    """Whether a layer is a model whose nodes are known."""
    return isinstance(layer, keras.Model) and bool(getattr(_graph(layer), "_nodes_by_depth", None))


def is_chain(layer: Any) -> bool:
    """Whether a layer is a Sequential made without an input shape, which has no graph even if a model calls it."""
    return isinstance(layer, keras.Sequential) and not getattr(_graph(layer), "_nodes_by_depth", None)


def producer(tensor: Any) -> tuple[Node, int]:
    """The node that a symbolic tensor comes from, and the tensor's place among the node's outputs."""
    layer, index, place = tensor._keras_history
    return _node(layer._inbound_nodes[index]), place


def nodes_before(tensors: Iterable[Any]) -> list[Node]:
    """The nodes on which symbolic tensors of Keras 3 depend, in forward order."""
    found: dict[int, Any] = {}
    waiting = [_origin(tensor) for tensor in tensors]
    while waiting:
        node = waiting[-1]
        before = [] if node is None or id(node) in found else map(_origin, node.input_tensors)
        missing = [other for other in before if other is not None and id(other) not in found]
        waiting.extend(reversed(missing))
        if not missing:
            waiting.pop()
            found.update({} if node is None else {id(node): node})
    return [_node(node) for node in found.values()]


def _origin(tensor: Any) -> Any:
    """Keras 3's own node that a symbolic tensor comes from; None for an input."""
    operation, index, _ = getattr(tensor, "_keras_history", (None, 0, 0))
    return None if operation is None else operation._inbound_nodes[index]


def _graph(model: Any) -> Any:
    """The object that holds the nodes: Keras 3 keeps those of a Sequential in a functional model inside it."""
    return getattr(model, "_functional", None) if KERAS_3 and isinstance(model, keras.Sequential) else model


def _node(node: Any) -> Node:
    if KERAS_3:
        arguments = node.arguments
        return Node(node.operation, arguments.args, arguments.kwargs, list(arguments.keras_tensors), node.outputs)
    return Node(
        node.layer, tuple(node.call_args), node.call_kwargs, list(node.keras_inputs), tf.nest.flatten(node.outputs)
    )


def input_names(model: keras.Model) -> list[str]:
    """Names of a model's inputs, as Keras takes them in a dict, in the order of `model.inputs`."""
    structure = getattr(_graph(model), "_inputs_struct" if KERAS_3 else "_nested_inputs", None)
    if isinstance(structure, dict) and len(structure) == len(model.inputs):
        # Keras keeps the inputs in the order of the sorted names.
        numbers = {id(tensor): name for name, tensor in structure.items()}
        return [numbers[id(tensor)] for tensor in model.inputs]
    return [tensor.name for tensor in model.inputs] if KERAS_3 else list(model.input_names)


def output_names(model: keras.Model) -> list[str]:
    """Unique names of a model's outputs: a second output of the same layer is `name_1`, as in Keras 2."""
    found: list[str] = []
    for name in getattr(_graph(model), "output_names", None) or []:
        unique, use = name, 0
        while unique in found:
            use += 1
            unique = f"{name}_{use}"
        found.append(unique)
    return found


def is_operation(layer: Any) -> bool:
    """Whether a layer is a functional operation, such as `tf.nn.relu(x)`."""
    if KERAS_3:
        return not isinstance(layer, keras.layers.Layer)
    return type(layer).__name__ in ("TensorFlowOpLayer", "TFOpLambda", "SlicingOpLambda")


def is_of_keras(layer: Any) -> bool:
    """Whether the type of a layer comes with Keras."""
    return type(layer).__module__.split(".")[0] == keras.Model.__module__.split(".")[0]


def operation_name(layer: Any) -> str | None:
    """The operation in lower case, without its module; None for other layers.

    With eager execution off Keras 2 has an operation of the graph, such as "AddV2"; otherwise it has a Python
    function, such as "math.add". Keras 3 has a class for each, such as "Add".
    """
    kind = type(layer).__name__
    if not is_operation(layer):
        return None
    if KERAS_3:
        if kind == "OfTensorFlow":
            return str(layer.symbol).split(".")[-1].lower()
        return kind.lower() if type(layer).__module__.split(".")[0] == "keras" else None
    if kind == "TensorFlowOpLayer":
        return str(layer.node_def.op).lower()
    return str(layer.symbol).split(".")[-1].lower() if kind == "TFOpLambda" else "getitem"


def operation_text(layer: Any) -> str:
    """The operation as its own library spells it, "Mul" or "math.square"; empty for other layers."""
    if not is_operation(layer):
        return ""
    definition = getattr(layer, "node_def", None)
    return str(definition.op if definition is not None else getattr(layer, "symbol", ""))


def constants(layer: Any) -> dict[int, Any] | None:
    """The constants within an operation by their place; None where they are among the arguments."""
    return None if KERAS_3 else getattr(layer, "constants", None)


def calculates_in_half_precision(layer: Any) -> bool:
    """Whether a functional operation gives half-precision values, whatever values it is given.

    In a graph of Keras 2 each operation has its own data type; in Keras 3 only a cast has one.
    """
    if not is_operation(layer):
        return False
    if KERAS_3:
        return getattr(layer, "dtype", None) in ("float16", "bfloat16")
    definition = getattr(layer, "node_def", None)
    half = (tf.float16.as_datatype_enum, tf.bfloat16.as_datatype_enum)
    return definition is not None and definition.attr["T"].type in half


def dtype(tensor_or_variable: Any) -> tf.DType:
    """The data type of a tensor, a symbolic tensor or a variable; Keras 3 has text for it."""
    return tf.as_dtype(tensor_or_variable.dtype)


def weights_dtype(layer: Any) -> tf.DType | None:
    """The data type of a layer's weights, to which it casts floating-point inputs; None if it casts nothing."""
    casts = getattr(layer, "autocast" if KERAS_3 else "_autocast", False)
    own = layer.variable_dtype if casts else None
    return tf.as_dtype(own) if own else None


def in_full_precision(layer: Any) -> Any:
    """The layer, calculating in the data type of its weights: in float16 relevance would be lost.

    With Keras 3 so do the layers in it. With Keras 2 these stay as they are.
    """
    if is_operation(layer):
        return layer
    if KERAS_3:
        is_full = not any(_is_mixed(part) for part in layer._flatten_layers())
        return layer if is_full else private_copy(layer)[0]
    if not _is_mixed(layer):
        return layer
    other = twin(layer)
    other._set_dtype_policy(layer.variable_dtype)
    return other


def _is_mixed(layer: Any) -> bool:
    return layer.compute_dtype not in (None, layer.variable_dtype)


def private_copy(layer: Any) -> tuple[Any, dict[int, Any]]:
    """A copy of a layer of Keras 3 that may be called and changed, and calculates in the data type of the weights.

    The layers in it are copied, too, whether they are attributes or in lists and dicts. A copy shares the
    variables, but has no nodes, and no attribute that is set in it is set in the layer.

    Returns:
        The copy, and the copied layers by the ids of their copies.
    """
    copies: dict[int, Any] = {}
    layers: dict[int, Any] = {}

    def copied(thing: Any) -> Any:
        if id(thing) in copies:
            return copies[id(thing)]
        if isinstance(thing, MethodType) and isinstance(thing.__self__, keras.layers.Layer):
            return MethodType(thing.__func__, copied(thing.__self__))
        if isinstance(thing, dict):
            return {name: copied(value) for name, value in thing.items()}
        if isinstance(thing, (list, tuple)) and not hasattr(thing, "_fields"):
            return [*map(copied, thing)] if isinstance(thing, list) else (*map(copied, thing),)
        if not isinstance(thing, keras.layers.Layer):
            return thing
        copy_of = copies[id(thing)] = object.__new__(type(thing))
        layers[id(copy_of)] = thing
        # A graph of layers has its nodes, which are only read.
        of_graph = getattr(_graph(thing), "_nodes_by_depth", None)
        attributes = vars(thing) if of_graph else {name: copied(value) for name, value in vars(thing).items()}
        vars(copy_of).update({**attributes, "_inbound_nodes": [], "_outbound_nodes": []})
        if _is_mixed(thing):
            vars(copy_of)["_dtype_policy"] = keras.DTypePolicy(thing.variable_dtype)
        return copy_of

    return copied(layer), layers


def twin(layer: Any, **attributes: Any) -> Any:
    """A layer that shares everything with the given one except some attributes; only its `call` may be used."""
    if KERAS_3:  # copy.copy would save the layer and load it
        result = object.__new__(type(layer))
        result.__dict__.update(layer.__dict__)
    else:
        result = copy.copy(layer)
    for name, value in attributes.items():
        if isinstance(getattr(type(layer), name, None), property):
            result.__dict__[f"_{name}"] = value  # EinsumDense and Dense of Keras 3 have such kernels
        else:
            object.__setattr__(result, name, value)
    return result


def sample_shape(layer: Any) -> tuple[int, ...] | None:
    """The shape of one sample of a layer's first output where it was first used; None if it is not known."""
    nodes = getattr(layer, "_inbound_nodes", None)
    shape = tuple(tf.nest.flatten(nodes[0].outputs)[0].shape)[1:] if nodes else (None,)
    return None if None in shape else tuple(map(int, shape))


def with_own_statistics(layer: Any) -> Any:
    """The layer; a Normalization reads mean and variance from its variables, of which Keras keeps numbers."""
    if not isinstance(layer, keras.layers.Normalization) or layer.input_mean is not None:
        return layer
    result = twin(layer)
    result.finalize_state()
    return result


def fixed_in_graphs(model: keras.Model, layers: Iterable[Any]) -> list[Any]:
    """What a graph of a model cannot read anew: which variables there are, and the tables of adapted layers."""
    tables = ("bin_boundaries", "lookup_table", "idf_weights_const")
    return [*model.weights, *(vars(layer)[name] for layer in layers for name in tables if name in vars(layer))]


def depthwise_kernel(layer: Any) -> Any:
    """The kernel of a depthwise convolution."""
    return layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel


def normalized_axes(layer: Any) -> list[int]:
    """The axes of a BatchNormalization, as they were given to it."""
    return [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)


def called_again(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """The output of a layer without weights for other symbolic tensors; the layer itself gets no new node."""
    if KERAS_3:
        return twin(layer, _inbound_nodes=[], _outbound_nodes=[])(*args, **kwargs)
    return type(layer).from_config(layer.get_config())(*args, **kwargs)


def called_with(model: keras.Model, inputs: list[Any]) -> Any:
    """The output of a model for symbolic tensors in the order of its inputs; in Keras 3 it gets no new node."""
    structure = getattr(_graph(model), "_inputs_struct" if KERAS_3 else "_nested_inputs", None)
    named = dict(zip(input_names(model), inputs))
    given = named if isinstance(structure, dict) else inputs if len(inputs) > 1 else inputs[0]
    return called_again(model, given) if KERAS_3 else model(given)


def without_activation(layer: Any, given: Any) -> Any:
    """The output of a layer for the symbolic tensor `given` without its activation, from the same variables."""
    linear = keras.activations.linear
    if KERAS_3:
        return twin(layer, activation=linear, _inbound_nodes=[], _outbound_nodes=[])(given)
    # A twin has a configuration whatever function the layer's activation is.
    other = type(layer).from_config(twin(layer, activation=linear).get_config())
    # Calling the layer itself would give it another node, and changing its activation would change the user's
    # model. The other layer gets the layer's variables when it asks for new ones.
    with tf.variable_creator_scope(lambda _, **wanted: getattr(layer, wanted["name"])):
        return other(given)


def as_graph(model: keras.Model) -> keras.Model:
    """A model whose layers are known: the given one, or a functional one around a subclassed model.

    A subclassed model of Keras 3 knows the shape of its input once it was called or built.
    """
    if not KERAS_3 or not isinstance(model, keras.Model) or getattr(model, "outputs", None):
        return model
    shape = None if is_chain(model) else (model.get_build_config() or {}).get("input_shape")
    try:
        inputs = shape and _inputs(shape)
        return keras.Model(inputs, called_again(model, inputs), name=model.name) if shape else model
    except Exception:  # the user's code may not take symbolic tensors, or more than this
        return model


def _inputs(shape: Any) -> Any:
    """Symbolic inputs for one shape with its batch axis, or for a list or dict of shapes."""
    if isinstance(shape, dict):
        return {name: _inputs(one) for name, one in shape.items()}
    if isinstance(shape[0], (list, tuple)):
        return [_inputs(one) for one in shape]
    return keras.Input(tuple(shape[1:]))


def set_weights(model: keras.Model, weights: list[np.ndarray]) -> None:
    """Sets all weights of a model, and updates what Normalization layers of Keras 3 derive from theirs."""
    model.set_weights(weights)
    for layer in model._flatten_layers() if KERAS_3 else ():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
