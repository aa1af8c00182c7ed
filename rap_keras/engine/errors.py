"""The exception for models that cannot be explained."""

from __future__ import annotations


class _Refusal(Exception):  # noqa: N818
    """Placeholder for iNNvestigate's exception, which the plugin makes the base class instead."""


class NotAnalyzeableModelException(_Refusal):
    """A method cannot explain a model; the message says why, and what to do.

    If iNNvestigate is installed, this is also an `innvestigate.NotAnalyzeableModelException`.
    """
