"""The exception for models that cannot be explained."""

from __future__ import annotations


class _Refusal(Exception):  # noqa: N818
    """Placeholder for iNNvestigate's exception, which the plugin makes the base class instead."""


class NotAnalyzeableModelException(_Refusal):
    """A method cannot explain a model; the message says why, and what to do.

    If iNNvestigate is installed, this is also an `innvestigate.NotAnalyzeableModelException`.
    """


QUANTIZED = (
    "layer '{}' is quantized ({}), and relevance needs more digits: explain the model as it was before quantize()"
)
"""What is said of a layer that Keras 3 quantized, by its name and mode."""
