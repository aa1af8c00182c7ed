"""Relative Attributing Propagation (RAP) for Keras, as an iNNvestigate analyzer.

Importing this package registers it: `innvestigate.create_analyzer("rap", model)`. It also brings back PatternNet
and PatternAttribution, which iNNvestigate 2 dropped.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from rap_keras import startup

startup.begin()

import innvestigate.analyzer

from rap_keras.analyzer import RAP
from rap_keras.models.final_activation import to_logits
from rap_keras.patterns import PatternAttribution, PatternNet
from rap_keras.quick_build import build_quickly
from rap_keras.rules.kinds import register_rule

__all__ = ["RAP", "build_quickly", "register_rule", "to_logits", "without_softmax"]
__version__ = "0.1.0"

without_softmax = to_logits
"""The former name of `to_logits`."""

for _name, _class in (("rap", RAP), ("pattern.net", PatternNet), ("pattern.attribution", PatternAttribution)):
    innvestigate.analyzer.analyzers[_name] = _class
    # AnalyzerBase.load looks classes up here, by name.
    setattr(innvestigate.analyzer, _class.__name__, _class)

# The modules with a page in the documentation. Some import matplotlib or pandas, so each waits for its first use.
_MODULES = (
    *("benchmark", "conservation", "datasets", "images", "influence", "methods"),
    *("metrics", "models", "patterns", "shapes", "visualization"),
)


def __getattr__(name: str) -> ModuleType:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    dunders = [name for name in globals() if name.startswith("__") and name.endswith("__")]
    return sorted({*dunders, *__all__, *_MODULES})
