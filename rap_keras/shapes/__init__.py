"""Images of shapes with exact ground truth, and small networks trained on them.

`generate` and `sample` make the images, `load_network` loads a network, `train` trains one from scratch.
"""

from rap_keras.models.shapes_networks import (
    NETWORKS,
    build_network,
    load_network,
    patterns_path,
    preprocess,
    weights_path,
)
from rap_keras.shapes.generator import CLASSES, Sample, Samples, generate, sample
from rap_keras.shapes.training import TEST_SEED, TRAINING_SEED, VALIDATION_SEED, accuracy, train

__all__ = [
    "CLASSES",
    "NETWORKS",
    "TEST_SEED",
    "TRAINING_SEED",
    "VALIDATION_SEED",
    "Sample",
    "Samples",
    "accuracy",
    "build_network",
    "generate",
    "load_network",
    "patterns_path",
    "preprocess",
    "sample",
    "train",
    "weights_path",
]
