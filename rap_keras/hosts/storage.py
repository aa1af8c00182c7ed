"""Saves analyzers to files without pickle: the weights as arrays, everything else as JSON."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rap_keras.basics import whole_file
from rap_keras.engine import keras_graph
from rap_keras.models import configuration, files
from rap_keras.models.foreign_files import brief, naming, read_npz

_WEIGHT = "weight_{}"
_STATE = {"model_json", "rules", "variant", "batch_norm", "input_rule"}


def save_npz(path: str | Path, class_name: str, state: dict[str, Any]) -> None:
    """Writes what an analyzer's `save` returned.

    Raises:
        OSError: the file cannot be written.
        ValueError: a rule in the state is not a function that can be imported from a module, or the rules are a
            composite.
    """
    rest = {**state, "keras": keras_graph.version()}
    weights = rest.pop("model_weights")
    if not isinstance(rest["rules"], Mapping):
        raise ValueError(
            "an analyzer with a composite of rules cannot be saved: give its rules by names of layers"
        )
    rest["rules"] = {name: _address(rule) for name, rule in rest["rules"].items()}
    arrays = {_WEIGHT.format(index): weight for index, weight in enumerate(weights)}
    whole_file.write_npz(path, {"class_name": class_name, "state": json.dumps(rest, default=_plain), **arrays})


def load_npz(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Reads what `save_npz` wrote: the class name and the state.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, is damaged, was written by another Keras, or its model could do
            more than calculate.
        ImportError: a rule is from a module that the program has not imported.
    """  # noqa: DOC501, as the KeyError becomes a ValueError
    arrays = read_npz(path)
    with naming(path):
        try:
            class_name, state = str(arrays.pop("class_name")), configuration.parse(str(arrays.pop("state")))
            missing = _STATE.difference(state)
            if missing or not isinstance(state["rules"], dict) or not isinstance(state["model_json"], str):
                raise KeyError(", ".join(sorted(missing)))
            state["model_weights"] = [arrays[_WEIGHT.format(index)] for index in range(len(arrays))]
        except (KeyError, ValueError) as error:
            raise ValueError(f"not an analyzer saved by RAP.save_npz ({brief(error)})") from error
        _require_same_keras(str(state.pop("keras", "2"))[:20])  # older files have no version
        configuration.require_known(configuration.parse(state["model_json"]))
    for name in ("input_rule", "reverse_clip_values", "reverse_project_bottleneck_layers"):
        if isinstance(state.get(name), list):
            state[name] = tuple(state[name])
    state["rules"] = {name: _imported(address, path) for name, address in state["rules"].items()}
    return class_name, state


def _require_same_keras(written: str) -> None:
    """Raises ValueError unless the model of a file was written by the installed Keras, 2 or 3."""
    here = keras_graph.version()
    if written.split(".")[0] == here.split(".")[0]:
        return
    way = files.CARRY_OVER
    if written.split(".")[0] == "2":  # Keras 3 reads its .h5 files
        way = "load the analyzer where it was written, and save its model with analyzer.model.save('model.h5')"
    raise ValueError(
        f"its model was written by Keras {written}, which the installed Keras {here} cannot read: {way}. Then "
        "create the analyzer from that model here"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be saved")


def _address(rule: Callable) -> str:
    address = f"{getattr(rule, '__module__', None)}:{getattr(rule, '__qualname__', None)}"
    if _at(address) is not rule:
        raise ValueError(
            f"rule {rule!r} cannot be saved: only a function of a module can be found again on loading"
        )
    return address


def _imported(address: Any, path: str | Path) -> Callable:
    """The rule at an address; no module is imported for it, since that would run code that the file names."""
    rule = _at(str(address))
    if rule is None:
        module, _, name = str(address).partition(":")
        raise ImportError(
            f"{path}: its rule {name!r:.80} is from the module {module!r:.80}. If that is a module of yours, "
            "import it first: loading a file never imports modules"
        )
    return rule


def _at(address: str) -> Callable | None:
    """The function MODULE:NAME of a module that the program has imported; None if there is none."""
    module, _, name = address.partition(":")
    found = vars(sys.modules[module]).get(name) if module in sys.modules else None
    own = inspect.isfunction(found) and (found.__module__, found.__qualname__) == (module, name)
    return found if own else None
