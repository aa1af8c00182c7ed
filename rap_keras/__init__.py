"""Relative Attributing Propagation (RAP) for Keras: by itself, and as a plugin of iNNvestigate.

Where iNNvestigate is installed, importing this package registers RAP with it:
`innvestigate.create_analyzer("rap", model)`. It also brings back PatternNet and PatternAttribution, which
iNNvestigate 2 dropped.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from rap_keras.hosts import choice, startup

if TYPE_CHECKING:
    from rap_keras.engine.checks.regions import region
    from rap_keras.engine.errors import NotAnalyzeableModelException
    from rap_keras.engine.registered_rules import register_rule
    from rap_keras.explanation.answers import Explanation, Explanations
    from rap_keras.explanation.explaining import explain
    from rap_keras.hosts.native.base import Analyzer
    from rap_keras.hosts.native.contrastive_rap import ContrastiveRAP
    from rap_keras.hosts.native.creation import create_analyzer, register_method
    from rap_keras.hosts.native.pattern_methods import PatternAttribution, PatternNet
    from rap_keras.hosts.native.rap import RAP
    from rap_keras.hosts.plugin.quick_build import build_quickly
    from rap_keras.models import to_logits, without_softmax
    from rap_keras.visualization import show

__all__ = [
    "RAP",
    "Analyzer",
    "ContrastiveRAP",
    "Explanation",
    "Explanations",
    "NotAnalyzeableModelException",
    "PatternAttribution",
    "PatternNet",
    "build_quickly",
    "create_analyzer",
    "explain",
    "region",
    "register_method",
    "register_rule",
    "show",
    "to_logits",
    "without_softmax",
]
__version__ = "0.1.0"

# Everything waits for its first use, so that the command can print its help without TensorFlow.
_NAMES = {
    "Analyzer": "hosts.native.base",
    "ContrastiveRAP": "hosts.native.contrastive_rap",
    "Explanation": "explanation.answers",
    "Explanations": "explanation.answers",
    "NotAnalyzeableModelException": "engine.errors",
    "PatternAttribution": "hosts.native.pattern_methods",
    "PatternNet": "hosts.native.pattern_methods",
    "RAP": "hosts.native.rap",
    "create_analyzer": "hosts.native.creation",
    "explain": "explanation.explaining",
    "build_quickly": "hosts.plugin.quick_build",
    "region": "engine.checks.regions",
    "register_method": "hosts.native.creation",
    "register_rule": "engine.registered_rules",
    "show": "visualization",
    "to_logits": "models.final_activation",
    "without_softmax": "models",
}
# The modules with a page in the documentation, by their short names.
_MODULES = {
    "benchmark": "benchmark",
    "conservation": "engine.checks.conservation",
    "datasets": "datasets",
    "images": "datasets.images",
    "influence": "engine.checks.influence",
    "methods": "hosts.methods",
    "metrics": "metrics",
    "models": "models",
    "patterns": "patterns",
    "shapes": "shapes",
    "visualization": "visualization",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    dunders = [name for name in globals() if name.startswith("__") and name.endswith("__")]
    return sorted({*dunders, *__all__, *_MODULES})


def _register_with_innvestigate() -> None:
    if not choice.has_innvestigate():
        return
    from rap_keras.hosts import plugin

    try:
        plugin.register()
    except ImportError as error:
        warnings.warn(
            f"iNNvestigate is installed, and cannot be imported ({error}): RAP is not registered with it",
            stacklevel=3,
        )


if startup.is_command():
    startup.begin()
else:
    _register_with_innvestigate()
