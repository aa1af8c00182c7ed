"""The native host: analyzers that need only TensorFlow and Keras."""

from rap_keras.hosts.native.creation import (
    BY_GRADIENT,
    NAMES,
    WITHOUT_DEFAULTS,
    create_analyzer,
    register_method,
)

__all__ = ["BY_GRADIENT", "NAMES", "WITHOUT_DEFAULTS", "create_analyzer", "register_method"]
