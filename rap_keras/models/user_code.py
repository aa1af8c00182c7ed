"""The user's own code, named on the command line as MODULE or MODULE:FUNCTION."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Callable

from tensorflow import keras

_BASES = (
    keras.layers.Layer,
    keras.losses.Loss,
    keras.metrics.Metric,
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
)


def import_module(name: str) -> ModuleType:
    """Imports an installed module, or a file in the current folder, without its .py; ValueError if that fails."""
    try:
        with _current_folder_last():
            return importlib.import_module(name)
    # The user's code runs here: whatever it raises is reported as its failure.
    except (Exception, SystemExit) as error:
        hint = " (give the module's name, without .py)" if name.endswith(".py") else ""
        raise ValueError(f"{type(error).__name__}: {error}{hint}") from error


def find_function(address: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION names; raises ValueError if there is none, or the module fails."""
    module, _, name = address.partition(":")
    try:
        function = getattr(import_module(module), name)
    except AttributeError as error:
        raise ValueError(f"AttributeError: {error}") from error
    if not callable(function):
        raise ValueError(f"{name} is not a function")
    return function


def make_known(name: str) -> None:
    """Imports a module and registers its layers, losses and functions with Keras, by their names."""
    module = import_module(name)
    found = (thing for key, thing in vars(module).items() if not key.startswith("_"))
    keras.utils.get_custom_objects().update({it.__name__: it for it in found if _is_custom(it, module)})


def _is_custom(thing: Any, module: ModuleType) -> bool:
    package = (getattr(thing, "__module__", None) or "").partition(".")[0]
    if inspect.isfunction(thing):
        return package == module.__name__.partition(".")[0]
    return inspect.isclass(thing) and issubclass(thing, _BASES) and package not in ("keras", "tensorflow")


@contextmanager
def _current_folder_last() -> Iterator[None]:
    """Lets modules come from the current folder, unless an installed module has the same name."""
    before, here = list(sys.path), os.getcwd()
    sys.path[:] = [*(path for path in before if path not in ("", here)), here]
    try:
        yield
    finally:
        # The folder stays, at the end, as do paths that the module added: functions may import later.
        sys.path[:] = before + [path for path in sys.path if path not in before]
