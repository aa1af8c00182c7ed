"""Networks of keras.applications with random weights, in inference mode: some families.

All of them, including the large ones, are in docs/applications.md, which docs/make_applications.py makes.
"""

from __future__ import annotations

import numpy as np
import pytest

from rap_keras import RAP, models
from rap_keras.engine.checks.conservation import check, lively_weights

# Name and side of the photos: the smallest that the network takes.
NETWORKS = {
    "ResNet50": 32,
    "VGG19": 32,
    "InceptionV3": 75,
    "MobileNetV2": 32,
    "DenseNet121": 32,
    "ConvNeXtTiny": 32,
    "EfficientNetB0": 32,
    "MobileNetV3Small": 32,
    "RegNetY002": 32,
}


def small(name: str, size: int):
    build = models.applications()[name.lower()]
    shape = (size, size, 3)
    model = build(weights=None, input_shape=shape, classes=10, classifier_activation=None)
    noise = np.random.default_rng(1).integers(0, 256, (2, *shape)).astype(np.float32)
    return lively_weights(model), models.own_preprocessing(name)(noise)


ONLY_IN_KERAS_2 = ("RegNetY002",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.keras2) if name in ONLY_IN_KERAS_2 else name for name in NETWORKS],
)
def test_runs_and_conserves(name):
    model, x = small(name, NETWORKS[name])
    analyzer = RAP(model)
    found = check(analyzer, x)
    assert found.not_finite() == []
    assert found.not_conserved() == []
    assert found.excess <= 1
    logits = model.predict_on_batch(x)
    assert np.abs(logits[0] - logits[1]).max() > 1e-3  # else relevance could not reach the photo
    np.testing.assert_allclose(found.seed, logits.max(axis=1), rtol=1e-3)


@pytest.mark.slow
def test_runs_and_conserves_with_batch_norm_folded():
    model, x = small("MobileNetV3Small", 32)
    found = check(RAP(model, batch_norm="fold"), x)
    assert found.not_finite() == found.not_conserved() == []
    assert found.excess <= 1
    assert "folded into its neighbour" in {layer.rule for layer in found.layers}
