"""Models from `.h5`, `.keras` and SavedModel files, whose code is never run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.execution import BUILDING
from rap_keras.models import configuration
from rap_keras.models.foreign_files import brief, check_hdf5, check_zip, naming

_SUBCLASSED = (
    "it is not a graph of layers but a subclassed or unbuilt model: build it with the functional API or as a "
    "Sequential that begins with keras.Input(shape)"
)


class _OfKeras2:
    """Stands in for a layer class that files of Keras 2 give an argument `groups`, which Keras 3 refuses."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def from_config(self, config: dict[str, Any]) -> Any:
        taken = {key: value for key, value in config.items() if (key, value) != ("groups", 1)}
        # Keras 2 also stores initializers and other options of a plain convolution, which it does not use.
        return self._kind.from_config({key: taken[key] for key in taken if not _unused(self._kind, key)})


def _unused(kind: Any, key: str) -> bool:
    return key.startswith("kernel_") and key != "kernel_size" and "Separable" in kind.__name__


_KINDS = (
    "Conv1DTranspose Conv2DTranspose Conv3DTranspose DepthwiseConv1D DepthwiseConv2D SeparableConv1D "
    "SeparableConv2D"
).split()
_OF_KERAS_2 = {name: _OfKeras2(getattr(keras.layers, name)) for name in _KINDS} if keras_graph.KERAS_3 else {}


@contextmanager
def _kinds_of_keras_2() -> Iterator[None]:
    """Registers the stand-ins beside the user's objects: in Keras 3 a nested scope would hide the outer one."""
    with BUILDING:  # another thread must not unregister them meanwhile
        known = keras.utils.get_custom_objects()
        added = {name: kind for name, kind in _OF_KERAS_2.items() if name not in known}
        known.update(added)
        try:
            yield
        finally:
            for name in added:
                known.pop(name, None)


def load(path: Path, custom_objects: Mapping[str, Any]) -> keras.Model:
    """The model in a file. It is not compiled.

    Args:
        path: of a `.h5` file, a `.keras` file, or the folder of a SavedModel.
        custom_objects: classes and functions that are not part of Keras, by their names in the file.

    Raises:
        ValueError: the file holds no model, or one that the installed Keras cannot read, or one that could do more
            than calculate.
    """
    with keras.utils.custom_object_scope(custom_objects) if custom_objects else nullcontext():
        if path.is_dir():
            return _saved_model(path)
        # Keras, too, decides by the end of the name. A file may be an archive and HDF5 at once.
        if str(path).endswith(".keras") and zipfile.is_zipfile(path):
            return _archive(path)
        if h5py.is_hdf5(path):
            return _hdf5(path, custom_objects)
        damaged = path.suffix in (".h5", ".hdf5", ".keras") and path.stat().st_size
        raise ValueError(
            f"{path}: not a Keras model{', or a damaged one' if damaged else ''}: give a .h5 file, a .keras file "
            "or a SavedModel"
        )


def _hdf5(path: Path, custom_objects: Mapping[str, Any]) -> keras.Model:
    with naming(path), h5py.File(path, "r") as file:
        check_hdf5(file, path.stat().st_size)
        found = {key: file.attrs.get(key) for key in ("model_config", "keras_version", "training_config")}
        if found["model_config"] is None:
            raise ValueError(
                "no model in this HDF5 file; if it holds weights only, build the model, load them with "
                "model.load_weights and save it with model.save"
            )
        version = _text(found["keras_version"] or "")
        _require_readable(version)
        if found["training_config"] is not None:
            configuration.require_no_code(configuration.parse(_text(found["training_config"])))
        config = configuration.parse(_text(found["model_config"]))
        configuration.require_known(config)
        if keras_graph.KERAS_3 and version.startswith("2"):
            configuration.require_same_activations(config)
    try:
        with _kinds_of_keras_2():
            return keras.models.load_model(str(path), compile=False)
    except Exception as error:  # Keras raises no particular type
        raise _not_loaded(path, version, error) from None


def _archive(path: Path) -> keras.Model:
    with naming(path), zipfile.ZipFile(path) as archive:
        size = path.stat().st_size
        check_zip(archive, size)
        missing = {"metadata.json", "config.json", "model.weights.h5"}.difference(archive.namelist())
        if missing:
            # Keras reads weights from model.weights.npz too, where they are pickled.
            raise ValueError(f"no {' and '.join(sorted(missing))} in this archive, so Keras did not write it")
        version = _text(configuration.parse(archive.read("metadata.json")).get("keras_version", ""))
        _require_readable(version, only_by_its_own=True)
        config = configuration.parse(archive.read("config.json"))
        configuration.require_no_code(config)
        # Keras ignores this part, since the model is not compiled.
        configuration.require_known({key: value for key, value in config.items() if key != "compile_config"})
        with archive.open("model.weights.h5") as weights, h5py.File(weights, "r") as file:
            check_hdf5(file, size)
    try:
        return _rebuilt(path)
    except Exception as error:  # Keras raises no particular type
        raise _not_loaded(path, version, error) from None


def _rebuilt(path: Path) -> keras.Model:
    """The model of a `.keras` file, built anew from its configuration and weights.

    Without eager execution Keras 2 makes operations that assign the weights but never runs them: the model would
    silently keep random weights.

    Raises:
        ValueError: not all weights were found.
    """
    if tf.executing_eagerly():
        loaded = keras.models.load_model(str(path), compile=False, safe_mode=True)
        _require_graph_of_layers(loaded)
        return loaded
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        loaded = keras.models.load_model(str(path), compile=False, safe_mode=True)
        _require_graph_of_layers(loaded)
        initializers = {variable.initializer for variable in tf.compat.v1.global_variables()}
        assignments = [
            operation
            for operation in graph.get_operations()
            if operation.type == "AssignVariableOp" and operation not in initializers
        ]
        if len(assignments) < len(loaded.weights):
            raise ValueError("not all of its weights were found: save it as .h5")
        session.run(assignments)
        config, weights = loaded.get_config(), loaded.get_weights()
    model = type(loaded).from_config(config)
    model.set_weights(weights)
    return model


def _saved_model(path: Path) -> keras.Model:
    """The model of a SavedModel, built from the configuration in it and its checkpoint.

    `saved_model.pb` is not read: its graphs could do anything, and the model that Keras 2 makes of them without
    eager execution cannot predict if it was compiled before it was saved.

    Raises:
        ValueError: it is no SavedModel of Keras 2, it cannot be loaded, or it could do more than calculate.
    """  # noqa: DOC501, as `_not_loaded` makes a ValueError
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
        version = _text(metadata.get("keras_version") or "")
        _require_readable(version, only_by_its_own=True)
        config = {key: metadata.get(key) for key in ("class_name", "config")}
        configuration.require_no_code(metadata)
        if not isinstance(config["config"], dict) or "layers" not in config["config"]:
            raise ValueError(_SUBCLASSED)
        # What such a class calculates is known from its layers; only its training needs the class.
        name = str(config["class_name"])
        if metadata.get("is_graph_network") and keras.utils.get_registered_object(name) is None:
            config["class_name"] = name if name == "Sequential" else "Functional"
        configuration.require_known(config)
    try:
        model = keras.models.model_from_json(json.dumps(config))
        _require_graph_of_layers(model)
        model.load_weights(str(path / "variables" / "variables")).assert_existing_objects_matched()
        return model
    except Exception as error:  # Keras raises no particular type
        raise _not_loaded(path, version, error) from None


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


def _require_graph_of_layers(model: Any) -> None:
    if not isinstance(model, keras.Model) or keras_graph.nodes(model) is None or not model.built:
        raise ValueError(_SUBCLASSED)


def _require_readable(version: str, only_by_its_own: bool = False) -> None:
    """Refuses a file of a Keras whose configurations the installed Keras cannot read.

    Keras 3 reads the HDF5 files of Keras 2 but none of its other files.

    Raises:
        ValueError: it cannot read them.
    """
    written, here = _numbers(version)[:1], _numbers(_KERAS)[:1]
    if written and written > here:
        raise ValueError(f"written by Keras {version[:20]}, which the installed {_HERE} cannot read: {CARRY_OVER}")
    if written and written < here and only_by_its_own:
        raise ValueError(
            f"written by Keras {version[:20]}, which the installed {_HERE} cannot read: load it where it was "
            "written, with keras.models.load_model, and save it with model.save('model.h5'), for use here"
        )


_KERAS = keras_graph.version()
_HERE = f"Keras {_KERAS} of TensorFlow {tf.__version__}"
CARRY_OVER = (
    "build the model here with the code that made it; save the weights there with numpy.savez('w.npz', "
    "*model.get_weights()), load them here with model.set_weights(list(numpy.load('w.npz').values())), and call "
    "model.save('model.h5')"
)


def _not_loaded(path: Path, version: str, error: Exception) -> ValueError:
    """The error that Keras raised, with the file's name and the Keras that wrote it.

    Keras' own error is left out of the traceback, since it may contain the whole configuration.
    """
    written = f" (written by Keras {version[:20]}, read by {_HERE})" if version else ""
    other = version and (_numbers(version) > _numbers(_KERAS) or _numbers(version)[:1] != _numbers(_KERAS)[:1])
    advice = f". The versions differ: {CARRY_OVER}" if other else ""
    return ValueError(f"{path} could not be loaded{written}: {brief(error, 150 if other else 300)}{advice}")


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:2] if part.isdecimal()]
