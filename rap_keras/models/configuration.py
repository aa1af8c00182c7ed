"""What the configuration of a stored model may contain: nothing that runs code or touches other files.

Keras makes an object of every dictionary in a configuration that has a "class_name": it looks up a class or
function by its name, or imports the module that the dictionary names, and calls it. So every such dictionary is
checked before Keras gets the configuration.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.errors import QUANTIZED
from rap_keras.engine.keras_graph import KERAS_3, version
from rap_keras.engine.rules.layer_records import is_known

_FUNCTIONS = "activations constraints initializers losses metrics regularizers".split()
_CLASSES = (
    "constraints dtype_policies initializers layers layers.experimental layers.experimental.preprocessing losses "
    "metrics mixed_precision models optimizers optimizers.experimental optimizers.legacy optimizers.schedules "
    "regularizers"
).split()
_NOT_EXPORTED = {"Functional", "PolicyV1", "BatchNormalizationV1", "BatchNormalizationV2"}
_OF_APPLICATIONS = {"CustomScaleLayer", "LayerScale", "StochasticDepth"}
# Some networks of keras.applications use initializers of TensorFlow, which have the same names as those of Keras.
_INITIALIZERS = ("tensorflow.python.ops.init_ops", "tensorflow.python.ops.init_ops_v2")
# Numbers, bytes and shapes: Keras looks up no class for these.
_DATA = set("__bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ __tuple__ TensorShape".split())
_CODE = {"Lambda", "__lambda__"}
_TRUSTED = (
    "load it with tf.keras.models.load_model(path, safe_mode=False) and create the analyzer with "
    "allow_lambda_layers=True"
    if KERAS_3
    else "load it with tf.keras.models.load_model and create the analyzer with allow_lambda_layers=True; a file "
    "other than .h5 must first be loaded with eager execution on and safe_mode=False, and saved as .h5"
)
WITH_KERAS_2 = (
    'explain the model with Keras 2, installed by pip install "rap-keras[innvestigate]" on Python 3.9 to 3.11'
)


class Entry(NamedTuple):
    """A dictionary in a configuration, and the name of the layer that it is or is a part of."""

    content: dict[str, Any]
    layer: str

    @property
    def config(self) -> dict[str, Any]:
        """The options of what it describes; none if there are none."""
        inner = self.content.get("config")
        return inner if isinstance(inner, dict) else {}

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"layer {self.layer!r:.60}" if self.layer else "the model"


def parse(text: str | bytes) -> dict[str, Any]:
    """A configuration as Keras reads it; raises ValueError if it is not JSON, or not a dictionary."""
    try:
        config = json.loads(text)
    except RecursionError:
        raise ValueError("its configuration is nested too deeply") from None
    except ValueError as error:  # not JSON, or not text
        raise ValueError(f"its configuration is damaged ({error})") from error
    if not isinstance(config, dict):
        raise ValueError("its configuration is not a dictionary")
    return config


def require_no_code(config: Any) -> None:
    """Raises ValueError if there is a Lambda layer or a function as code anywhere in a model's configuration."""
    found = [entry for entry in _entries(config) if _is_code(entry.content)]
    if found:
        what = "Lambda layer"
        instead = "with Keras layers in its place, such as Rescaling, and load_weights of a .h5 file"
        if found[0].content.get("class_name") == "__lambda__":
            what = "lambda function of"
            instead = (
                "without it; if only the training needs it, load the model with compile=False and save it again"
            )
        names = ", ".join(dict.fromkeys(repr(entry.layer) for entry in found))
        raise ValueError(
            f"{what} {names:.60} is Python code, which loading would run and which has no relevance rule. "
            f"Build the model here {instead}. If you trust it, and the same Python and Keras wrote it, {_TRUSTED}"
        )


def require_known(config: Any) -> None:
    """Refuses a configuration unless everything that Keras would make of it is known to only calculate.

    Keras' own classes, operations that have a relevance rule, and what the user registered with Keras are allowed.

    Raises:
        ValueError: there is anything else.
    """
    require_no_code(config)
    for entry in _entries(config):
        refusal = _refusal(entry, is_whole=entry.content is config)
        if refusal:
            raise ValueError(refusal)


def _refusal(entry: Entry, is_whole: bool) -> str:
    """Why a part of a configuration, or the whole of it, is refused; "" if it only calculates."""
    content, name = entry.content, entry.content.get("class_name")
    if isinstance(content.get("vocabulary"), str):
        return f"{entry.place} would read its vocabulary from another file, {content['vocabulary']!r:.100}"
    if str(name).endswith("DTypePolicy") and "mode" in entry.config:
        return QUANTIZED.format(entry.layer[:60], str(entry.config["mode"])[:20])
    if "class_name" not in content or (isinstance(name, str) and name in _DATA):
        return ""
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"):
        is_graph = name == "TensorFlowOpLayer"
        operation = _graph_operation(entry.config.get("node_def")) if is_graph else entry.config.get("function")
        if isinstance(operation, str) and is_known(operation) and _of_keras(content.get("module")):
            return ""
        return (
            f"{entry.place} is the operation {operation!r:.60}, which has no relevance rule and could read and "
            "write files: use a Keras layer instead"
        )
    if isinstance(name, str):
        operation = f"{entry.place} is the operation {name!r:.60}, which"
        if KERAS_3 and is_known(name) and _may_be_operation(entry):
            return (
                f"{operation} Keras 3 does not read from an HDF5 file: save the model as .keras, with "
                "model.save('model.keras')"
            )
        if _is_unknown_operation(entry, name):
            return f"{operation} has no relevance rule: use a Keras layer instead"
        if _is_known(content, name):
            return ""
    hint = (
        ". If it is a model with a call of its own, build it with the functional API instead" if is_whole else ""
    )
    return (
        f"{entry.place} needs {_shown(content)}, which is not part of Keras {version()} and not registered with "
        "it. If you trust its author, name the module that defines it with --custom-objects MODULE, or in Python "
        "use load_model(path, custom_objects={'NAME': CLASS}), or for an analyzer's file "
        f"`with keras.utils.custom_object_scope({{'NAME': CLASS}}):`{hint}"
    )


def require_same_activations(config: Any) -> None:
    """Raises ValueError if Keras 3 calculates an activation of a model that Keras 2 wrote differently."""
    for entry in _entries(config):
        if "hard_sigmoid" in entry.content.values():
            raise ValueError(
                f"{entry.place} has the activation hard_sigmoid. It is 0.2 x + 0.5 in Keras 2, which wrote the "
                f"file, and x / 6 + 0.5 in Keras 3: {WITH_KERAS_2}"
            )


def require_one_axis(config: Any) -> None:
    """Raises ValueError for a layer along several axes, of which Keras 3 would read only the last from HDF5."""
    for entry in _entries(config):
        axes = entry.config.get("axis")
        if isinstance(axes, list) and len(axes) > 1:
            raise ValueError(
                f"{entry.place} is along the axes {axes!r:.30}, which Keras 3 does not read from an HDF5 file: "
                "save the model as .keras, with model.save('model.keras')"
            )


def with_names_of_here(config: Any) -> Any:
    """A configuration by the names of this program.

    A class or function "package>Name" is "Name" where only that is registered; `tf_keras` is Keras under another
    name.
    """
    if isinstance(config, list):
        return [with_names_of_here(value) for value in config]
    if not isinstance(config, dict):
        return config
    found = {key: with_names_of_here(value) for key, value in config.items()}
    for key in ("class_name", "registered_name"):
        name = found.get(key)
        if isinstance(name, str) and ">" in name and not _is_registered(name):
            plain = name.split(">")[-1]
            found[key] = plain if _is_registered(plain) else name
    if str(found.get("module")).startswith("tf_keras."):
        found["module"] = found["module"][len("tf_") :]
    return found


def _entries(config: Any) -> Iterator[Entry]:
    """All dictionaries in a configuration, outer ones first."""
    waiting = [(config, "")]
    while waiting:
        value, layer = waiting.pop()
        if isinstance(value, dict):
            name = Entry(value, "").config.get("name")
            layer = name if name and isinstance(name, str) else layer
            yield Entry(value, layer)
        if isinstance(value, (dict, list)):
            inner = list(value.values() if isinstance(value, dict) else value)
            waiting += [(one, layer) for one in reversed(inner)]


def _is_code(content: dict[str, Any]) -> bool:
    names = [content.get(key) for key in ("class_name", "registered_name")]
    marshalled = any(str(key).endswith("function_type") and value == "lambda" for key, value in content.items())
    return marshalled or any(isinstance(name, str) and name.split(">")[-1] in _CODE for name in names)


def _may_be_operation(entry: Entry) -> bool:
    """Whether it can be an operation of Keras 3 in an HDF5 file; a layer of that name would have "trainable"."""
    return not entry.content.get("module") and "trainable" not in entry.config


_OF_MASKS = {"NotEqual", "Any"}
"""What Keras 3 writes to a file for the masks of Embedding and Masking."""


def _is_unknown_operation(entry: Entry, name: str) -> bool:
    """Whether it is one of the operations of Keras 3 (`keras.ops`) that have no rule."""
    if not KERAS_3 or is_known(name) or name in _OF_MASKS:
        return False
    operations = {operation.replace("_", "") for operation in dir(keras.ops)}
    of_operations = str(entry.content.get("module")).startswith("keras.src.ops.")
    in_hdf5 = "inbound_nodes" in entry.content and _may_be_operation(entry)
    return of_operations or (in_hdf5 and name.lower() in operations and not _is_known(entry.content, name))


def _graph_operation(node_def: Any) -> str | None:
    """The type of an operation, from a NodeDef as JSON or, as Keras before 2.4 wrote it, as a binary message."""
    if isinstance(node_def, dict):
        return node_def.get("op")
    try:
        return tf.compat.v1.NodeDef.FromString(str(node_def).encode("utf-8")).op
    # A broken message raises protobuf's own errors, whose classes differ between its versions.
    except Exception:
        return None


def _is_known(content: dict[str, Any], name: str) -> bool:
    key, module = content.get("registered_name", name), content.get("module")
    if name == "function":
        name = content.get("config")  # type: ignore[assignment]
        if not isinstance(name, str):
            return False
        return _is_registered(name) or (
            name in _names(_FUNCTIONS, inspect.isfunction) and (module == "builtins" or _of_keras(module))
        )
    if isinstance(key, str) and _is_registered(key):
        return True
    if key not in (None, name):
        return False
    if KERAS_3 and isinstance(module, str) and module.startswith("keras.src.ops."):
        return is_known(name) or name in _OF_MASKS
    if isinstance(module, str) and ".applications." in module and name in _OF_APPLICATIONS:
        return _of_keras(module)
    is_class = name in _NOT_EXPORTED or name in _names(_CLASSES, inspect.isclass)
    return is_class and (_of_keras(module) or module in _INITIALIZERS)


def _is_registered(name: str) -> bool:
    return keras.utils.get_registered_object(name) is not None


def _of_keras(module: Any) -> bool:
    return module is None or (isinstance(module, str) and module.split(".")[0] == "keras")


def _names(modules: list[str], is_kind: Callable[[Any], bool]) -> set[str]:
    """The names of all classes or functions in these modules of Keras."""
    found: set[str] = set()
    for path in modules:
        place: Any = keras
        for name in path.split("."):  # some are newer than iNNvestigate's oldest TensorFlow
            place = getattr(place, name, None)
        found.update(name for name, member in (vars(place).items() if place else ()) if is_kind(member))
    return found - {"deserialize", "get", "serialize"}


def _shown(content: dict[str, Any]) -> str:
    """A class or function by the name under which it is looked up, with its module if it has no other."""
    name = content.get("config") if content.get("class_name") == "function" else content.get("class_name")
    if ">" in str(content.get("registered_name")):
        return str(content["registered_name"])[:80]
    shown = name if isinstance(name, str) else "something"
    module = content.get("module")
    return f"{module}.{shown}"[:80] if isinstance(module, str) and module != "builtins" else shown[:80]
