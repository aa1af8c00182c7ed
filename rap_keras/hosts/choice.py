"""Which host is used: iNNvestigate's plugin where it is installed and eager execution is off, else our own."""

from __future__ import annotations

import importlib.util


def has_innvestigate() -> bool:
    """Whether iNNvestigate is installed."""
    return importlib.util.find_spec("innvestigate") is not None


def is_plugin() -> bool:
    """Whether methods are iNNvestigate's here, which are for graph execution alone."""
    import tensorflow as tf

    return has_innvestigate() and not tf.executing_eagerly()


def begin() -> None:
    """Switches eager execution off where iNNvestigate is installed; for programs of our own, before any model."""
    import tensorflow as tf

    if has_innvestigate():
        tf.compat.v1.disable_eager_execution()
