"""The native host: analyzers that need TensorFlow and Keras alone."""

from rap_keras.hosts.native.creation import CONTRASTIVE, NAMES, WITHOUT_DEFAULTS, create_analyzer

__all__ = ["CONTRASTIVE", "NAMES", "WITHOUT_DEFAULTS", "create_analyzer"]
