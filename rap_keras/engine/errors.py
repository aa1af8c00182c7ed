"""The exception for models that cannot be explained."""

from __future__ import annotations


class _Refusal(Exception):  # noqa: N818
    """Holds the place of iNNvestigate's class, which the plugin makes the base in its stead."""


class NotAnalyzeableModelException(_Refusal):
    """A model cannot be explained by a method; the message says why, and what to do.

    Where iNNvestigate is, it is also an `innvestigate.NotAnalyzeableModelException`.
    """
