"""Models from `.h5`, `.keras` and SavedModel files, whose code is never run."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import tensorflow as tf
from tensorflow import keras

from rap_keras.basics.whole_file import require_file
from rap_keras.engine import keras_graph
from rap_keras.models import configuration, keras_2_files
from rap_keras.models.foreign_files import brief, check_hdf5, check_zip, naming
from rap_keras.models.outputs import remember_loss

_KERAS = keras_graph.version()
_HERE = f"Keras {_KERAS} of TensorFlow {tf.__version__}"
CARRY_OVER = (
    "build the model here with the code that made it; save the weights there with numpy.savez('w.npz', "
    "*model.get_weights()), load them here with model.set_weights(list(numpy.load('w.npz').values())), and call "
    "model.save('model.h5')"
)
_SUBCLASSED = (
    "it is not a graph of layers but a subclassed or unbuilt model: build it with the functional API or as a "
    "Sequential that begins with keras.Input(shape)"
)


def load(path: Path, custom_objects: Mapping[str, Any]) -> keras.Model:
    """The model, not compiled, in an HDF5 or `.keras` file, whatever its name, or in the folder of a SavedModel.

    Raises:
        ValueError: it holds no model, one that this Keras cannot read, or one that could do more than calculate.
    """
    require_file(path)
    with keras.utils.custom_object_scope(custom_objects) if custom_objects else nullcontext():
        if path.is_dir():
            return _saved_model(path)
        # By the content, whatever the name. A file may be both: then, as in Keras, the end of its name decides.
        is_archive = zipfile.is_zipfile(path)
        if h5py.is_hdf5(path) and not (is_archive and str(path).endswith(".keras")):
            return _hdf5(path)
        if is_archive:
            return _archive(path)
        damaged = path.suffix in (".h5", ".hdf5", ".keras") and path.stat().st_size
        raise ValueError(
            f"{path}: not a Keras model{', or a damaged one' if damaged else ''}: give a .h5 file, a .keras file "
            "or a SavedModel"
        )


def _hdf5(path: Path) -> keras.Model:
    with naming(path), h5py.File(path, "r") as file:
        check_hdf5(file, path.stat().st_size)
        found = {key: file.attrs.get(key) for key in ("model_config", "keras_version", "training_config")}
        if found["model_config"] is None:
            raise ValueError(
                "no model in this HDF5 file; if it holds weights only, build the model, load them with "
                "model.load_weights and save it with model.save"
            )
        version = _readable(found["keras_version"])
        training = configuration.parse(_text(found["training_config"] or "{}"))
        configuration.require_no_code(training)
        written = configuration.parse(_text(found["model_config"]))
        config = _understood(written, version)
        if keras_graph.KERAS_3:
            configuration.require_one_axis(config)
    with _loading(path, version), TemporaryDirectory() as folder:
        named = path
        if config != written or path.suffix not in (".h5", ".hdf5"):  # Keras decides by the name
            named = Path(shutil.copyfile(path, Path(folder, "model.h5")))
            with h5py.File(named, "r+") as file:
                file.attrs["model_config"] = json.dumps(config)
        return remember_loss(keras.models.load_model(str(named), compile=False), training.get("loss"))


def _understood(config: dict[str, Any], version: str) -> dict[str, Any]:
    """The configuration of a file as the installed Keras reads it, if all of it is known to only calculate."""
    config = configuration.with_names_of_here(config)
    configuration.require_known(config)
    if keras_graph.KERAS_3 and _numbers(version)[:1] != [3]:
        configuration.require_same_activations(config)
        config = keras_2_files.translated(config)
        configuration.require_known(config)
    return config


def _archive(path: Path) -> keras.Model:
    with naming(path), zipfile.ZipFile(path) as archive:
        size = path.stat().st_size
        check_zip(archive, size)
        missing = {"metadata.json", "config.json", "model.weights.h5"}.difference(archive.namelist())
        if missing:
            # Keras reads weights from model.weights.npz too, where they are pickled.
            raise ValueError(f"no {' and '.join(sorted(missing))} in this archive, so Keras did not write it")
        version = _readable(configuration.parse(archive.read("metadata.json")).get("keras_version"))
        written = configuration.parse(archive.read("config.json"))
        configuration.require_no_code(written)
        # Keras ignores this part, since the model is not compiled.
        calculated = {key: value for key, value in written.items() if key != "compile_config"}
        config = _understood(calculated, version)
        with archive.open("model.weights.h5") as weights, h5py.File(weights, "r") as file:
            check_hdf5(file, size)
    with _loading(path, version), TemporaryDirectory() as folder:
        as_it_is = config == calculated and path.suffix == ".keras"
        read = path if as_it_is else _archive_of(path, Path(folder, "model.keras"), config)
        return remember_loss(_rebuilt(read), (written.get("compile_config") or {}).get("loss"))


def _archive_of(path: Path, copy: Path, config: dict[str, Any]) -> Path:
    """Writes a copy of a `.keras` file with another configuration, and returns its path."""
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(copy, "w") as archive:
        for name in dict.fromkeys(given.namelist()):
            content = json.dumps(config).encode() if name == "config.json" else given.read(name)
            if name == "model.weights.h5":
                weights = io.BytesIO(content)
                with h5py.File(weights, "r+") as file:
                    keras_2_files.renumber(file)
                content = weights.getvalue()
            archive.writestr(name, content)
    return copy


def _rebuilt(path: Path) -> keras.Model:
    """The model of a `.keras` file, built anew from its configuration and weights."""
    if tf.executing_eagerly():
        return _graph_of_layers(keras.models.load_model(str(path), compile=False, safe_mode=True))
    # Without eager execution Keras 2 makes operations that assign the weights but never runs them: the model would
    # silently keep random weights.
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        loaded = _graph_of_layers(keras.models.load_model(str(path), compile=False, safe_mode=True))
        initializers = {variable.initializer for variable in tf.compat.v1.global_variables()}
        assignments = [o for o in graph.get_operations() if o.type == "AssignVariableOp" and o not in initializers]
        if len(assignments) < len(loaded.weights):
            raise ValueError("not all of its weights were found: save it as .h5")
        session.run(assignments)
        config, weights = loaded.get_config(), loaded.get_weights()
    model = type(loaded).from_config(config)
    model.set_weights(weights)
    return model


def _saved_model(path: Path) -> keras.Model:
    """The model of a SavedModel, built from the configuration in it and its checkpoint."""
    # `saved_model.pb` is not read: its graphs could do anything, and the model that Keras 2 makes of them without
    # eager execution cannot predict if it was compiled before it was saved.
    if not (path / "saved_model.pb").is_file():
        raise ValueError(f"{path}: a folder without saved_model.pb, so not a SavedModel")
    if not (path / "keras_metadata.pb").is_file():
        raise ValueError(
            f"{path}: a SavedModel without keras_metadata.pb, so its layers are unknown: save the Keras model "
            f"with model.save('my_model.{'keras' if keras_graph.KERAS_3 else 'h5'}'), not with "
            "tf.saved_model.save or model.export"
        )
    if keras_graph.KERAS_3:
        raise ValueError(
            f"{path}: a SavedModel, which the installed {_HERE} cannot read: load it with Keras 2 (TensorFlow "
            "2.15 or earlier) and save it with model.save('model.h5'); if Keras 3 made it, save the model there "
            "with model.save('model.keras')"
        )
    with naming(path):
        metadata = _metadata(path / "keras_metadata.pb")
        version = _readable(metadata.get("keras_version"))
        config = {key: metadata.get(key) for key in ("class_name", "config")}
        configuration.require_no_code(metadata)
        if not isinstance(config["config"], dict) or "layers" not in config["config"]:
            raise ValueError(_SUBCLASSED)
        # What such a class calculates is known from its layers; only its training needs the class.
        name = str(config["class_name"])
        if metadata.get("is_graph_network") and keras.utils.get_registered_object(name) is None:
            config["class_name"] = name if name == "Sequential" else "Functional"
        configuration.require_known(config)
    with _loading(path, version):
        model = _graph_of_layers(keras.models.model_from_json(json.dumps(config)))
        model.load_weights(str(path / "variables" / "variables")).assert_existing_objects_matched()
        return remember_loss(model, (metadata.get("training_config") or {}).get("loss"))


def _metadata(file: Path) -> dict[str, Any]:
    """Keras' description of the whole model, as it was saved."""
    from keras.protobuf.saved_metadata_pb2 import SavedMetadata  # not in all versions of Keras 2

    nodes = SavedMetadata.FromString(file.read_bytes()).nodes
    for node in nodes:
        configuration.require_no_code(configuration.parse(node.metadata))
    root = [node.metadata for node in nodes if node.node_id == 0]
    if not root:
        raise ValueError("its keras_metadata.pb describes no model")
    return configuration.parse(root[-1])


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if not isinstance(value, str):
        raise ValueError(f"damaged: it has {type(value).__name__} where text must be")
    return value


def _graph_of_layers(model: Any) -> keras.Model:
    if not isinstance(model, keras.Model) or keras_graph.nodes(model) is None or not model.built:
        raise ValueError(_SUBCLASSED)
    return model


def _readable(version: Any) -> str:
    """The version of Keras that wrote a file; raises ValueError if the installed Keras cannot read its files."""
    version = _text(version or "")
    if _numbers(version)[:1] > _numbers(_KERAS)[:1]:
        raise ValueError(f"written by Keras {version[:20]}, which the installed {_HERE} cannot read: {CARRY_OVER}")
    return version


@contextmanager
def _loading(path: Path, version: str) -> Iterator[None]:
    """Turns whatever Keras raises into a ValueError with the file's name and the Keras that wrote it."""
    try:
        yield
    except Exception as error:  # Keras raises no particular type
        written = f" (written by Keras {version[:20]}, read by {_HERE})" if version else ""
        other = version and (_numbers(version) > _numbers(_KERAS) or _numbers(version)[:1] != _numbers(_KERAS)[:1])
        advice = f". The versions differ: {CARRY_OVER}" if other else ""
        message = f"{path} could not be loaded{written}: {brief(error, 150 if other else 300)}{advice}"
        raise ValueError(message) from None  # Keras' own error may contain the whole configuration


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2] if part.isdecimal()]
