"""Keras models: loaded by name or from a file, cut back to their logits and to the output to explain.

`load_model` opens a model, `to_logits` removes a final softmax or sigmoid. Code in a file is never run.
"""

from rap_keras.models.final_activation import to_logits
from rap_keras.models.loading import (
    EMBEDDED,
    applications,
    is_network_name,
    load_model,
    own_preprocessing,
    photo_size,
    preprocessor_of,
)
from rap_keras.models.outputs import flat_output, is_regression, one_output, two_classes

__all__ = [
    "EMBEDDED",
    "applications",
    "flat_output",
    "is_network_name",
    "is_regression",
    "load_model",
    "one_output",
    "own_preprocessing",
    "photo_size",
    "preprocessor_of",
    "to_logits",
    "two_classes",
    "without_softmax",
]

without_softmax = to_logits
"""The former name of `to_logits`."""
