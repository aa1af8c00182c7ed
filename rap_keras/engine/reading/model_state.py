"""What a model is made of, so that what was read or built of it is given up when the model changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.registered_rules import RULES

_USES = set(
    "_called _dropout_mask _inbound_nodes _inbound_nodes_value _outbound_nodes _outbound_nodes_value _parent_path "
    "_recurrent_dropout_mask".split()
)
"""Attributes of a layer that only tell of its use, in other models, too."""

_LIBRARIES = {"builtins", "keras", "keras_hub", "numpy", "rap_keras", "tensorflow", "weakref"}


def state(model: keras.Model) -> list[Any]:
    """What a model is made of, except the values of variables, as objects that stay the same ones."""
    found = [keras.backend.floatx(), keras.backend.image_data_format(), *RULES, *RULES.values()]
    if not tf.compat.v1.executing_eagerly_outside_functions():
        found.append(tf.compat.v1.get_default_graph())
    for part in _parts(model):
        found.append(part)
        if keras_graph.is_graph(part):
            found += [*part.inputs, *part.outputs]
            continue
        for name, value in vars(part).items():
            if name not in _USES:
                found += [name, value]
                found += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return found


def is_same(state: list[Any], other: list[Any]) -> bool:
    """Whether two states of a model have the same objects."""
    return len(state) == len(other) and all(map(lambda a, b: a is b, state, other))


def is_of_libraries(model: keras.Model) -> bool:
    """Whether no Python code of the user's runs in a model, which may depend on what `state` does not see."""
    for part in _parts(model):
        functions = () if keras_graph.is_graph(part) else filter(callable, vars(part).values())
        if type(part) in RULES or any(map(_is_own, (part, *functions))):
            return False
    return True


def _is_own(thing: Any) -> bool:
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return str(module).split(".")[0] not in _LIBRARIES


def _parts(model: keras.Model) -> Iterator[Any]:
    """The layers and operations of a model and of the models in it."""
    for layer in model._flatten_layers():
        yield layer
        for node in (keras_graph.nodes(layer) or ()) if isinstance(layer, keras.Model) else ():
            if keras_graph.is_operation(node.layer):
                yield node.layer
