"""Networks of keras.applications with random weights, in inference mode."""

from __future__ import annotations

import numpy as np
import pytest
from conservation import excess
from tensorflow import keras

import rap_keras

NETWORKS = {"ResNet50": 64, "VGG19": 64, "InceptionV3": 96, "MobileNetV2": 64, "DenseNet121": 64}


def lively(model):
    """Statistics of BatchNormalization as after training, so that it shifts and scales each channel."""
    random = np.random.default_rng(0)

    def value(variable, weight):
        if any(name in variable.name for name in ("moving_mean", "beta")):
            return random.normal(0, 0.3, weight.shape)
        if any(name in variable.name for name in ("moving_variance", "gamma")):
            return random.uniform(0.5, 1.5, weight.shape)
        return weight

    # All at once: in graph mode every single set_weights adds to the graph and runs it.
    model.set_weights([value(v, w) for v, w in zip(model.weights, model.get_weights())])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_runs_and_conserves(name):
    size = NETWORKS[name]
    build = getattr(keras.applications, name)
    model = lively(build(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None))
    x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
    logits = model.predict_on_batch(x).max(axis=1)
    relevance = rap_keras.RAP(model).analyze(x)
    assert relevance.shape == x.shape
    assert np.isfinite(relevance).all()
    assert excess(relevance, logits, logits) <= 1
