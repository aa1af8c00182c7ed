"""iNNvestigate's analyzers, built quickly, give the same as before, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from host import create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine.checks.conservation import lively_weights

pytestmark = pytest.mark.plugin

METHODS = [
    "gradient",
    "input_t_gradient",
    "deconvnet",
    "guided_backprop",
    "lrp.z",
    "lrp.epsilon",
    "lrp.alpha_1_beta_0",
    "lrp.alpha_2_beta_1",
    "lrp.alpha_2_beta_1_IB",
    "lrp.sequential_preset_a",
    "deep_taylor",
]


def plain() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    y = layers.Conv2D(4, 3, activation="relu", padding="same")(inputs)
    y = layers.MaxPooling2D()(layers.Conv2D(5, 3, activation="relu")(y))
    y = layers.Dense(6, activation="relu")(layers.Flatten()(y))
    return lively_weights(keras.Model(inputs, layers.Dense(3)(y)))


def residual() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    y = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs)))
    z = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(y))
    y = layers.Activation("relu")(layers.Add()([y, z]))
    return lively_weights(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(y))))


def photos() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)


def analysis(name: str, model: keras.Model, quick: bool, **options) -> np.ndarray:
    mode = options.pop("mode", "max_activation")
    choice = {"neuron_selection": options.pop("neuron_selection")} if mode == "index" else {}
    analyzer = create_analyzer(name, model, neuron_selection_mode=mode, **options)
    if quick:
        assert rap_keras.build_quickly(analyzer) is analyzer
    return analyzer.analyze(photos(), **choice)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("make", [plain, residual])
def test_equal(name, make):
    model = make()
    slow, quick = (analysis(name, model, quick) for quick in (False, True))
    assert np.abs(slow).max() > 0
    np.testing.assert_array_equal(quick, slow)


@pytest.mark.parametrize("name", ["gradient", "guided_backprop", "lrp.epsilon"])
@pytest.mark.parametrize("mode", ["index", "all"])
def test_equal_in_every_mode(name, mode):
    model = plain()
    choice = {"neuron_selection": [2, 0, 1]} if mode == "index" else {}
    slow, quick = (analysis(name, model, quick, mode=mode, **choice) for quick in (False, True))
    np.testing.assert_array_equal(quick, slow)


@pytest.mark.parametrize("options", [{"reverse_clip_values": (-0.01, 0.02)}, {"reverse_check_finite": True}])
def test_equal_with_options_of_the_base_class(options):
    model = plain()
    slow, quick = (analysis("gradient", model, quick, **options) for quick in (False, True))
    np.testing.assert_array_equal(quick, slow)


def test_integrated_gradients_equal():
    model = plain()
    slow, quick = (analysis("integrated_gradients", model, quick, steps=5) for quick in (False, True))
    np.testing.assert_array_equal(quick, slow)


def test_integrated_gradients_with_batch_normalization():
    # iNNvestigate alone raises a TypeError here. The path from 0 to x adds up to the difference of the logits.
    model = residual()
    x = photos()
    found = analysis("integrated_gradients", model, quick=True, steps=400)
    logits, at_zero = model.predict_on_batch(x), model.predict_on_batch(0 * x)
    chosen = logits.argmax(1)
    difference = logits[range(3), chosen] - at_zero[range(3), chosen]
    assert found.sum((1, 2, 3)) == pytest.approx(difference, rel=0.02, abs=0.02)


def test_few_keras_layers_are_made():
    model = residual()
    analyzer = rap_keras.build_quickly(create_analyzer("gradient", model))
    analyzer.create_analyzer_model()
    kinds = [type(layer).__name__ for layer in analyzer._analyzer_model.layers]
    assert "TensorFlowOpLayer" not in kinds
    assert len(kinds) <= len(model.layers) + 3


def test_others_stay_as_they_are():
    model = plain()
    for name in ("rap", "random", "input"):
        analyzer = create_analyzer(name, model)
        assert "_reverse_model" not in vars(rap_keras.build_quickly(analyzer))


def test_a_graph_that_is_built_is_refused():
    analyzer = create_analyzer("gradient", plain())
    analyzer.analyze(photos())
    with pytest.raises(RuntimeError, match="Gradient analyzer is already built"):
        rap_keras.build_quickly(analyzer)
