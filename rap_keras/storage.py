"""Analyzers in files, without pickle: the weights as arrays, everything else as JSON."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_WEIGHT = "weight_{}"


def save_npz(path: str | Path, class_name: str, state: dict[str, Any]) -> None:
    """Writes what an analyzer's `save` returned.

    Raises:
        ValueError: a rule in the state is not a function that can be imported from a module.
    """
    rest = dict(state)
    weights = rest.pop("model_weights")
    rest["rules"] = {name: _address(rule) for name, rule in rest["rules"].items()}
    arrays = {_WEIGHT.format(index): weight for index, weight in enumerate(weights)}
    with open(path, "wb") as file:  # np.savez would add .npz to a path without it
        np.savez(file, class_name=class_name, state=json.dumps(rest, default=_plain), **arrays)


def load_npz(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Reads what `save_npz` wrote: the class name and the state.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            class_name, state = str(file["class_name"]), json.loads(str(file["state"]))
            count = sum(name.startswith(_WEIGHT.format("")) for name in file.files)
            state["model_weights"] = [file[_WEIGHT.format(index)] for index in range(count)]
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no analyzer saved by RAP.save_npz: {error}") from error
    for name in ("input_rule", "reverse_clip_values", "reverse_project_bottleneck_layers"):
        if isinstance(state[name], list):
            state[name] = tuple(state[name])
    state["rules"] = {name: _at(address) for name, address in state["rules"].items()}
    return class_name, state


def _plain(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be saved")


def _address(rule: Callable) -> str:
    address = f"{getattr(rule, '__module__', None)}:{getattr(rule, '__qualname__', None)}"
    try:
        found = _at(address)
    except (ImportError, AttributeError):
        found = None
    if found is not rule:
        raise ValueError(
            f"rule {rule!r} cannot be saved: only a function of a module can be found again on loading"
        )
    return address


def _at(address: str) -> Any:
    module, name = address.split(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
