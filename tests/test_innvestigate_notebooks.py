"""The calls of iNNvestigate's example notebooks, with `rap_keras.create_analyzer` in place of its own."""

from __future__ import annotations

import numpy as np
import pytest
from host import PLUGIN
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import create_analyzer

DIGITS = (-1, 1)
PHOTOS = (-128, 128)


def calls(low: int, high: int) -> dict[str, dict]:
    """The methods that the notebooks on digits and on photos share, with their options."""
    return {
        "input": {},
        "random": {},
        "gradient": {"postprocess": "abs"},
        "smoothgrad": {"noise_scale": (high - low) * 0.1, "postprocess": "square"},
        "deconvnet": {},
        "guided_backprop": {},
        "deep_taylor.bounded": {"low": low, "high": high},
        "input_t_gradient": {},
        "integrated_gradients": {"reference_inputs": low},
        "lrp.z": {},
        "lrp.epsilon": {"epsilon": 1},
    }


PRESETS = {"lrp.sequential_preset_a_flat": {"epsilon": 1}, "lrp.sequential_preset_b_flat": {"epsilon": 1}}


def digits() -> keras.Model:
    """The network that the notebooks on MNIST train."""
    return keras.Sequential(
        [
            *(keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu")),
            *(layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()),
            *(layers.Dense(512, activation="relu"), layers.Dense(10, activation="softmax")),
        ]
    )


def reviews() -> keras.Model:
    """The network of the notebook on sentiments, on embedded words."""
    x = keras.Input((1, 40, 60))
    y = layers.MaxPooling2D((1, 39), strides=1)(layers.Conv2D(100, (1, 2))(x))
    return keras.Model(x, layers.Softmax()(layers.Dense(2)(layers.Flatten()(y))))


def photos() -> keras.Model:
    """The network of the notebooks on ImageNet, smaller."""
    return keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=10)


pytestmark = pytest.mark.slow

CASES = [
    *[(digits, name, options) for name, options in calls(*DIGITS).items()],
    *[(photos, name, options) for name, options in {**calls(*PHOTOS), **PRESETS}.items()],
    *[(reviews, name, {}) for name in ("gradient", "lrp.z", "lrp.alpha_2_beta_1")],
]


@pytest.mark.parametrize(("build", "name", "options"), CASES)
def test_call(build, name, options):
    """Two samples are explained, and each output of the network, as in the notebook on neuron selection."""
    if PLUGIN and build is photos and name == "integrated_gradients":
        # In float32, rounding changes which value a max pooling takes in one of the 64 steps.
        keras.backend.set_floatx("float64")
    network = build()
    model = rap_keras.to_logits(network)
    low, high = PHOTOS if build is photos else DIGITS
    x = np.random.default_rng(0).uniform(low, high, (2, *network.input_shape[1:])).astype(keras.backend.floatx())
    probabilities = network.predict_on_batch(x)
    assert (model.predict_on_batch(x).argmax(1) == probabilities.argmax(1)).all()
    found = create_analyzer(name, model, **options).analyze(x)
    assert found.shape == x.shape
    assert np.isfinite(found).all()
    assert found.any()
    if PLUGIN and name not in ("random", "smoothgrad"):
        import innvestigate

        theirs = rap_keras.build_quickly(innvestigate.create_analyzer(name, model, **options)).analyze(x)
        assert np.linalg.norm(found - theirs) < 1e-5 * np.linalg.norm(theirs)
    if build is digits:
        by_index = create_analyzer(name, model, neuron_selection_mode="index", **options)
        chosen = by_index.analyze(x, probabilities.argmax(1))
        np.testing.assert_allclose(chosen, found, rtol=1e-4, atol=1e-6 * np.abs(found).max())
        assert np.isfinite(by_index.analyze(x, 3)).all()
