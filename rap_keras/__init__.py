"""Relative Attributing Propagation (RAP) for Keras, as an iNNvestigate analyzer.

Importing this package registers it: `innvestigate.create_analyzer("rap", model)`.
"""

from __future__ import annotations

import innvestigate.analyzer

from rap_keras.analyzer import RAP

__all__ = ["RAP"]
__version__ = "0.1.0"

innvestigate.analyzer.analyzers["rap"] = RAP
# AnalyzerBase.load looks classes up here, by name.
innvestigate.analyzer.RAP = RAP
