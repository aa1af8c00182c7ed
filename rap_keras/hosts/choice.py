"""Which host is used: the plugin if iNNvestigate is installed and eager execution is off, else the native one."""

from __future__ import annotations

import importlib.util


def has_innvestigate() -> bool:
    """Whether iNNvestigate is installed."""
    return importlib.util.find_spec("innvestigate") is not None


def is_plugin() -> bool:
    """Whether the plugin is the host here; iNNvestigate needs graph execution."""
    import tensorflow as tf

    return has_innvestigate() and not tf.executing_eagerly()


def begin() -> None:
    """Switches eager execution off if iNNvestigate is installed; our own programs call it before any model."""
    import tensorflow as tf

    if has_innvestigate():
        tf.compat.v1.disable_eager_execution()
