"""Model files as Keras 1 and 2 would have written them, and whether what is read calculates the same."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
from hostile_files import entry, write_keras
from tensorflow import keras

from rap_keras import models


def as_keras_2(value, old_names=False):
    """A configuration that Keras 3 wrote as Keras 2 would have written it."""
    if isinstance(value, list):
        return [as_keras_2(one, old_names) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: as_keras_2(one, old_names) for key, one in value.items() if key != "build_config"}
    kind, config = found.get("class_name"), found.get("config")
    if not isinstance(config, dict):
        return found
    if kind == "DTypePolicy":
        policy = entry("Policy", {"name": config["name"]}, module="keras.mixed_precision", registered_name=None)
        return config["name"] if config["name"] == "float32" else policy
    if kind == "InputLayer":
        config["batch_input_shape"] = config.pop("batch_shape")
    if "Conv" in str(kind):
        config.update(groups=1, kernel_initializer="glorot_uniform", kernel_constraint=None)
    if kind in ("LSTM", "GRU", "SimpleRNN"):
        config["time_major"] = False
    if kind == "MultiHeadAttention":
        config["query_shape"] = config["key_shape"] = config["value_shape"] = [None, 3, 4]
    if kind == "BatchNormalization":
        config["axis"] = [config["axis"]]
        found["class_name"] = "BatchNormalizationV1" if old_names else kind
    if kind == "Functional":
        found["class_name"] = "Model" if old_names else kind
        if "module" in found:
            found["module"] = "keras.src.engine.functional"
        inner = [layer["name"] for layer in config["layers"] if "layers" in layer["config"]]
        for layer in config["layers"]:
            layer["inbound_nodes"] = [keras_2_call(node, inner) for node in layer["inbound_nodes"]]
        for key in ("input_layers", "output_layers"):
            one = not isinstance(config[key][0], list)
            config[key] = [
                [n, i + (n in inner and i == 0), p] for n, i, p in ([config[key]] if one else config[key])
            ]
    return found


def keras_2_call(node: dict, inner: list[str]) -> list:
    def reference(tensor, *options):
        name, number, place = tensor["config"]["keras_history"]
        return [name, number + (name in inner), place, *options]

    given = node["args"][0]
    options = {k: reference(v) if isinstance(v, dict) else v for k, v in node["kwargs"].items() if v is not None}
    options.update({"value": reference(node["args"][1])} if len(node["args"]) > 1 else {})
    return [reference(tensor, options) for tensor in (given if isinstance(given, list) else [given])]


def without_input(config: dict, as_list: bool = False) -> dict:
    """A Sequential as before Keras 2.2.3 or TensorFlow 2.2: the first layer has the shape of the input."""
    first, *others = config["config"]["layers"]
    if "layers" not in others[0]["config"]:
        others[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
    return entry("Sequential", others if as_list else {"name": "net", "layers": others})


def functional(shape, build, **options):
    inputs = keras.Input(shape, **options)
    return keras.Model(inputs, build(inputs))


def requires_same(file: Path, model: keras.Model) -> None:
    loaded = models.load_model(file)
    assert loaded.input_shape == model.input_shape
    shape = (5, *model.input_shape[1:])
    values = np.random.default_rng(0).integers(0, 9, shape).astype(np.float32)
    np.testing.assert_allclose(
        loaded.predict_on_batch(values), model.predict_on_batch(values), rtol=1e-4, atol=1e-5
    )


def written_by_keras_2(path: Path, model: keras.Model, change=lambda config: config, version="2.2.4-tf") -> Path:
    """The HDF5 file of a model, as Keras 2 would have written it."""
    model.save(path)
    with h5py.File(path, "a") as file:
        config = as_keras_2(json.loads(file.attrs["model_config"]), old_names=version.startswith("2.2"))
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(change(config)), version
    return path


def archive_of_keras_2(path: Path, model: keras.Model, version: str = "2.14.0") -> Path:
    """The `.keras` file of a model, as Keras 2.13 to 2.15 would have written it."""

    def rename(group):
        for name, inner in list(group.items()):
            if isinstance(inner, h5py.Group):
                rename(inner)
                kind, _, number = name.rpartition("_")
                if version.startswith("2.13") and number.isdecimal() and group.name.endswith("dependencies"):
                    group.move(name, f"{kind}_of_{2 * int(number)}")
            if name == "layers":
                group.move(name, "_layer_checkpoint_dependencies")
                rename(group["_layer_checkpoint_dependencies"])
        for name in [name for name in group if "_of_" in name]:
            group.move(name, name.replace("_of_", "_"))

    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config, weights = json.loads(archive.read("config.json")), io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        rename(file)
    write_keras(path, as_keras_2(config), version, model__weights__h5=weights.getvalue())
    return path
