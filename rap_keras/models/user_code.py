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
    """Imports an installed module, or a file in the current folder, given without its .py.

    Raises:
        ValueError: there is no such module, or it fails.
    """
    try:
        with _current_folder_last():
            return importlib.import_module(name)
    # The user's code runs here: whatever it raises is reported as its failure.
    except (Exception, SystemExit) as error:
        hint = " (give the module's name, without .py)" if name.endswith(".py") else ""
        raise ValueError(f"{type(error).__name__}: {error}{hint}") from error


def find_function(address: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION names.

    Raises:
        ValueError: there is no such module or function, or the module fails.
    """
    module, _, name = address.partition(":")
    try:
        function = getattr(import_module(module), name)
    except AttributeError as error:
        raise ValueError(f"AttributeError: {error}") from error
    if not callable(function):
        raise ValueError(f"{name} is not a function")
    return function


def make_known(name: str) -> None:
    """Imports a module and registers its layers, losses and functions with Keras, by their names.

    Args:
        name: as `import_module` takes it.

    Raises:
        ValueError: there is no such module, or it fails.
    """
    module = import_module(name)
    found = (thing for key, thing in vars(module).items() if not key.startswith("_"))
    keras.utils.get_custom_objects().update({it.__name__: it for it in found if _is_custom(it, module)})


def _is_custom(thing: Any, module: ModuleType) -> bool:
    origin = _package(getattr(thing, "__module__", None) or "")
    if inspect.isfunction(thing):
        return origin == _package(module.__name__)
    return inspect.isclass(thing) and issubclass(thing, _BASES) and origin not in ("keras", "tensorflow")


def _package(module: str) -> str:
    return module.partition(".")[0]


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
