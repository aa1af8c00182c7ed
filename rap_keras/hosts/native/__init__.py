"""The native host: analyzers that need only TensorFlow and Keras."""

from rap_keras.hosts.native.creation import (
    BEYOND_INNVESTIGATE,
    BY_GRADIENT,
    NAMES,
    WITHOUT_DEFAULTS,
    create_analyzer,
    register_method,
)

__all__ = ["BEYOND_INNVESTIGATE", "BY_GRADIENT", "NAMES", "WITHOUT_DEFAULTS", "create_analyzer", "register_method"]
