"""Native analyzers by name."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from tensorflow import keras

from rap_keras.hosts.native.analyzer import Analyzer
from rap_keras.hosts.native.rap import RAP

_ANALYZERS: dict[str, type[Analyzer]] = {"rap": RAP}

NAMES = tuple(_ANALYZERS)
"""The names of all native methods."""


def create_analyzer(name: str, model: keras.Model, **options: Any) -> Analyzer:
    """An analyzer of a method, as `innvestigate.create_analyzer` makes it, without iNNvestigate.

    Examples:
        >>> analyzer = rap_keras.create_analyzer("rap", rap_keras.to_logits(model))
        >>> relevance = analyzer.analyze(x)

    Args:
        name: a method, one of `rap_keras.methods.names()` in the native host.
        model: functional or Sequential, up to its logits, see `rap_keras.to_logits`.
        **options: of the method; `neuron_selection_mode` and `output` for all of them.

    Raises:
        ValueError: there is no such method.
        TypeError: the method has no such option.
        NotAnalyzeableModelException: the method cannot explain such a model.
    """
    if name not in _ANALYZERS:
        close = difflib.get_close_matches(str(name).lower(), NAMES, n=3)
        raise ValueError(
            f"unknown method {name!r}"
            + (f", did you mean {' or '.join(close)}?" if close else "")
            + f" There are: {', '.join(NAMES)}"
        )
    cls = _ANALYZERS[name]
    known = [option for option in inspect.signature(cls).parameters if option != "model"]
    unknown = [option for option in options if option not in known]
    if unknown:
        raise TypeError(f"{name} has no option {', '.join(unknown)}: it has {', '.join(known)}")
    return cls(model, **options)
