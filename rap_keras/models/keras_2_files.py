"""Configurations that Keras 1 and 2 wrote into files, as Keras 3 takes them.

Keras 3 itself reads only some of them, and of a Sequential without an InputLayer it takes the shape of a batch for
that of one sample.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Callable

import h5py
from tensorflow import keras

from rap_keras.models.configuration import WITH_KERAS_2

# What only training and the building of layers use; the weights are in the file.
_UNUSED = ("_initializer", "_regularizer", "_constraint", "rng_type", "query_shape", "key_shape", "value_shape")
# Options that not all layers of Keras 3 have, with the values that change nothing.
_DEFAULTS = {
    "groups": 1,
    "optional": False,
    "ragged": False,
    "score_mode": "dot",  # Keras 3 takes it for the operation of that name
    "softmax_robust_masking": False,
    "sparse": False,
    "time_major": False,
}
_RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "Model": "Functional",
}
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer")


def translated(config: Any) -> Any:
    """A configuration of Keras 1 or 2, or a part of it, in a form that Keras 3 reads as the same network."""
    if isinstance(config, list):
        return [translated(value) for value in config]
    if not isinstance(config, dict):
        return config
    if isinstance(config.get("class_name"), str) and isinstance(config.get("config"), (dict, list)):
        return _object(config)
    return {key: translated(value) for key, value in config.items()}


def _object(entry: dict[str, Any]) -> Any:
    """A layer, or anything else that has a class."""
    kind, config = entry["class_name"], entry["config"]
    if kind in _OPERATIONS:
        raise ValueError(
            f"layer {str(entry.get('name'))!r:.60} is an operation of TensorFlow, and Keras 3 has none of these "
            f"in its files: {WITH_KERAS_2}"
        )
    if kind == "Sequential" and isinstance(config, list):  # before Keras 2.2.3
        config = {"name": "sequential", "layers": config}
    if not isinstance(config, dict):
        return entry
    if kind in ("Policy", "PolicyV1") and isinstance(config.get("name"), str):
        return config["name"]
    entry, config = {key: value for key, value in entry.items() if key != "build_config"}, dict(config)
    for named in (entry, config):
        if isinstance(named.get("name"), str):
            named["name"] = _spelled(named["name"])
    if keras.utils.get_registered_object(str(entry.get("registered_name") or kind)) is None:
        kind = entry["class_name"] = _RENAMED.get(kind, kind)
        items = [item for item in config.items() if item not in _DEFAULTS.items()]
        config = {key: value for key, value in items if not key.endswith(_UNUSED)}
        if kind == "GRU":
            config.setdefault("reset_after", False)  # Keras before 2.1.3 had no other
        if isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
            config["axis"] = config["axis"][0]
    if kind == "Functional" and "module" in entry:
        entry.update(module="keras.src.models.functional", registered_name="Functional")
    shape = config.pop("batch_input_shape", None)
    if kind == "InputLayer" and shape is not None:
        config["batch_shape"] = shape
    if isinstance(config.get("layers"), list) and all(isinstance(layer, dict) for layer in config["layers"]):
        config = _with_input(config) if kind == "Sequential" else _connected(config)
    return {**entry, "config": translated(config)}


def _with_input(config: dict[str, Any]) -> dict[str, Any]:
    """A Sequential that begins with an InputLayer, if the shape of its input is known."""
    first = config["layers"][0] if config["layers"] else {}
    source = _with_shape(first)
    if source is None or first.get("class_name") == "InputLayer":
        return config
    dtype = source.get("dtype")
    given = {
        "batch_input_shape": source["batch_input_shape"],
        "dtype": dtype if isinstance(dtype, str) else "float32",
        "name": f"{_name(first)}_input",
    }
    module = {"module": "keras.layers"} if "module" in first else {}
    return {**config, "layers": [{"class_name": "InputLayer", "config": given, **module}, *config["layers"]]}


def _with_shape(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration of a layer, or of the first layer in it, that has the shape of the input."""
    config = entry.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    if isinstance(config, dict) and config.get("batch_input_shape"):
        return config
    inputs = config.get("input_layers", []) if isinstance(config, dict) else []
    return _with_shape(layers[0]) if isinstance(layers, list) and layers and len(inputs) < 2 else None


def _name(entry: dict[str, Any]) -> str:
    config = entry.get("config")
    return str(entry.get("name") or (config.get("name") if isinstance(config, dict) else None) or "layers")


def _connected(config: dict[str, Any]) -> dict[str, Any]:
    """A functional model with the calls of its layers as Keras 3 writes them.

    In Keras 2 a model that is a layer has a call of its own, number 0, before those in the functional model. Keras
    3 expects it only of functional models, and only in the list of outputs.
    """
    kinds = {_name(layer): layer.get("class_name") for layer in config["layers"]}
    first: dict[str, int] = {}

    def note(name: str, number: int, place: int, options: Any = None) -> None:
        first[name] = min(number, first.get(name, number))
        _mapped(options, kinds, note)

    def call(node: Any) -> dict[str, Any]:
        options: dict[str, Any] = {}

        def tensor(name: str, number: int, place: int, given: dict[str, Any] | None = None) -> dict[str, Any]:
            options.update(given or {})
            history = [_spelled(name), number - first[name], place]
            there = {"shape": [None], "dtype": "float32", "keras_history": history}
            return {"class_name": "__keras_tensor__", "config": there}

        inputs = _mapped(node, kinds, tensor)
        inputs = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else inputs
        return {"args": [inputs], "kwargs": _mapped(dict(options), kinds, tensor)}

    def output(name: str, number: int, place: int, *_: Any) -> list:
        return [_spelled(name), number - first[name] + (kinds[name] in ("Functional", "Model")), place]

    inputs, outputs = config.get("input_layers"), config.get("output_layers")
    _mapped([[layer.get("inbound_nodes") for layer in config["layers"]], outputs], kinds, note)
    calls = [[call(node) for node in layer.get("inbound_nodes") or []] for layer in config["layers"]]
    layers = [{**layer, "inbound_nodes": nodes} for layer, nodes in zip(config["layers"], calls)]
    ends = {"input_layers": _mapped(inputs, kinds, output), "output_layers": _mapped(outputs, kinds, output)}
    # A list of one tensor would make Keras 3 return a list.
    single = {key: end[0] for key, end in ends.items() if isinstance(end, list) and len(end) == 1}
    return {**config, "layers": layers, **ends, **single}


def _spelled(name: str) -> str:
    """The name of a layer without what Keras 3 allows in none."""
    return name.replace("/", "_")


def _mapped(value: Any, names: Collection[str], function: Callable[..., Any]) -> Any:
    """A structure with `function` called on what stands for a tensor: [layer, call, place, perhaps options]."""
    if isinstance(value, dict):
        return {key: _mapped(inner, names, function) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) in (3, 4) and isinstance(value[0], str) and value[0] in names and isinstance(value[1], int):
        return function(*value)
    return [_mapped(inner, names, function) for inner in value]


def renumber(group: h5py.Group) -> None:
    """Numbers layers of the same class one by one in the weights of a `.keras` file, as Keras 3 looks for them.

    Keras 2.13 leaves numbers out: dense, dense_2, dense_4.
    """
    for name, inner in list(group.items()):
        if isinstance(inner, h5py.Group):
            renumber(inner)
            if name == "_layer_checkpoint_dependencies":
                counts: dict[str, int] = {}
                for number, kind in sorted((int(number or 0), kind) for kind, number in map(_numbered, inner)):
                    old = f"{kind}_{number}" if number else kind
                    new = f"{kind}_{counts[kind]}" if kind in counts else kind
                    counts[kind] = counts.get(kind, 0) + 1
                    if new != old:
                        inner.move(old, new)


def _numbered(name: str) -> tuple[str, str]:
    kind, _, number = name.rpartition("_")
    return (kind, number) if kind and number.isdecimal() else (name, "")
