"""Relative Attributing Propagation (RAP) for Keras, as an iNNvestigate analyzer.

Importing this package registers it: `innvestigate.create_analyzer("rap", model)`. It also brings back PatternNet
and PatternAttribution, which iNNvestigate 2 dropped.
"""

from __future__ import annotations

from rap_keras import startup

startup.begin()

import innvestigate.analyzer

from rap_keras import models
from rap_keras.analyzer import RAP
from rap_keras.final_activation import to_logits
from rap_keras.patterns import PatternAttribution, PatternNet
from rap_keras.quick_build import build_quickly
from rap_keras.rules.kinds import register_rule

__all__ = ["RAP", "build_quickly", "models", "register_rule", "to_logits"]
__version__ = "0.1.0"

for _name, _class in (("rap", RAP), ("pattern.net", PatternNet), ("pattern.attribution", PatternAttribution)):
    innvestigate.analyzer.analyzers[_name] = _class
    # AnalyzerBase.load looks classes up here, by name.
    setattr(innvestigate.analyzer, _class.__name__, _class)
