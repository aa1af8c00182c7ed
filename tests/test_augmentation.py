"""Augmentation layers count as what they do at inference, in heatmaps and in every prediction."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.benchmark import Benchmark, Options
from rap_keras.engine.checks.conservation import check
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts import methods

LAYERS = {
    "RandomBrightness": lambda: layers.RandomBrightness(0.5),
    "RandomContrast": lambda: layers.RandomContrast(0.5),
    "RandomFlip": lambda: layers.RandomFlip("horizontal"),
    "RandomHeight": lambda: layers.RandomHeight(0.3),
    "RandomRotation": lambda: layers.RandomRotation(0.5),
    "RandomTranslation": lambda: layers.RandomTranslation(0.5, 0.5),
    "RandomWidth": lambda: layers.RandomWidth(0.3),
    "RandomZoom": lambda: layers.RandomZoom(0.5),
}
_OF_KERAS_3 = {
    "AugMix": lambda: layers.AugMix(),
    "CutMix": lambda: layers.CutMix(),
    "Equalization": lambda: layers.Equalization(),
    "MixUp": lambda: layers.MixUp(),
    "RandAugment": lambda: layers.RandAugment(),
    "RandomColorDegeneration": lambda: layers.RandomColorDegeneration(0.5),
    "RandomColorJitter": lambda: layers.RandomColorJitter(brightness_factor=0.5),
    "RandomElasticTransform": lambda: layers.RandomElasticTransform(),
    "RandomErasing": lambda: layers.RandomErasing(),
    "RandomGaussianBlur": lambda: layers.RandomGaussianBlur(),
    "RandomGrayscale": lambda: layers.RandomGrayscale(),
    "RandomHue": lambda: layers.RandomHue(0.5),
    "RandomInvert": lambda: layers.RandomInvert(),
    "RandomPerspective": lambda: layers.RandomPerspective(),
    "RandomPosterization": lambda: layers.RandomPosterization(3),
    "RandomSaturation": lambda: layers.RandomSaturation(0.5),
    "RandomSharpness": lambda: layers.RandomSharpness(0.5),
    "RandomShear": lambda: layers.RandomShear(0.2, 0.2),
    "Solarization": lambda: layers.Solarization(),
}
WRAPPED = [(name, wrap) for name in LAYERS for wrap in ("none", "nested", "nested without an input")]
# Which of these exist depends on the version of Keras 3.
LAYERS.update({name: make for name, make in _OF_KERAS_3.items() if hasattr(layers, name)})


def networks(front, size=16, seen=16):
    """A network with `front` before it, and the same network without it."""
    conv, last = layers.Conv2D(8, 5, activation="relu", name="conv"), layers.Dense(3)

    def end(x):
        return last(layers.GlobalAveragePooling2D()(conv(layers.Rescaling(1 / 255)(x))))

    inputs, plain = keras.Input((size, size, 3)), keras.Input((seen, seen, 3))
    return keras.Model(inputs, end(front(inputs))), keras.Model(plain, end(plain))


def photos(size=16):
    return np.random.default_rng(0).integers(0, 256, (4, size, size, 3)).astype(np.float32)


def nested(*fronts):
    return keras.Sequential([keras.Input((16, 16, 3)), *fronts])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "wrap"), [*WRAPPED, *((name, "none") for name in LAYERS if name in _OF_KERAS_3)])
def test_they_do_nothing_and_bounds_pass_them(name, wrap):
    layer = LAYERS[name]()
    if wrap != "none":
        layer = nested(layer) if wrap == "nested" else keras.Sequential([layer])
    model, plain = networks(layer)
    x = photos()
    analyzer = RAP(model)
    np.testing.assert_allclose(analyzer.analyze(x), RAP(plain).analyze(x), rtol=1e-5, atol=1e-7)
    (conv,) = [layer for layer in check(analyzer, x).layers if layer.name == "conv"]
    assert conv.rule == "z^B (Eq. 10)"
    np.testing.assert_allclose(predictor(model)(x), plain.predict_on_batch(x), rtol=1e-5)
    if tf.executing_eagerly():
        np.testing.assert_allclose(model.predict_on_batch(x), plain.predict_on_batch(x), rtol=1e-5)


def test_all_augmentation_layers_of_keras_are_tried():
    of_keras = {name for name in dir(layers) if name.startswith("Random")}
    assert of_keras == {"RandomCrop", *(name for name in LAYERS if name.startswith("Random"))}


@pytest.mark.keras2  # Keras 3 leaves the image unchanged, whatever shape it reports
def test_random_crop_is_the_centre_crop():
    model, plain = networks(layers.RandomCrop(8, 8), size=16, seen=8)
    x = photos()
    # Keras resizes the largest central cut with the crop's aspect; 16 x 16 to 8 x 8 is the mean of the middle.
    shrunk = predictor(keras.Model(model.inputs, model.layers[1].output))(x)
    expected = RAP(plain).analyze(shrunk)
    found = RAP(model).analyze(x)
    np.testing.assert_allclose(found.sum((1, 2, 3)), expected.sum((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(found.sum((1, 2, 3)), plain.predict_on_batch(shrunk).max(1), rtol=1e-4)
    wide = networks(layers.RandomCrop(16, 8), size=16, seen=8)[0]
    relevance = RAP(wide).analyze(x)
    assert (relevance[:, :, :4] == 0).all()
    assert (relevance[:, :, 12:] == 0).all()
    assert (relevance[:, :, 4:12] != 0).any()


@pytest.mark.parametrize("shape", [(8, 8), (16, 8), (20, 20)])
def test_random_crop_is_what_keras_makes_of_it_at_inference(shape):
    model, _ = networks(layers.RandomCrop(*shape))
    x = photos()
    logits = predictor(model)(x)
    if tf.executing_eagerly():
        np.testing.assert_allclose(logits, model.predict_on_batch(x), rtol=1e-5)
    np.testing.assert_allclose(RAP(model).analyze(x).sum((1, 2, 3)), logits.max(1), rtol=1e-4)


@pytest.mark.slow
def test_every_prediction_is_at_inference():
    """With eager execution off, Keras 2 leaves the layers active in `predict`."""
    model, plain = networks(nested(LAYERS["RandomTranslation"](), LAYERS["RandomRotation"]()))
    x = photos()
    as_keras_predicts = [model.predict_on_batch(x) for _ in range(2)]
    assert np.allclose(*as_keras_predicts) == tf.executing_eagerly()
    expected = plain.predict_on_batch(x)
    options = Options(metrics=("mask",))
    np.testing.assert_allclose(
        Benchmark(model, {}, None, "tf", (16, 16), options=options).predict(x), expected, rtol=1e-5
    )
    for name in ("gradient", "input_t_gradient"):
        found, wanted = (methods.create(name, network).analyze(x) for network in (model, plain))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8)
    flat, plain = networks(LAYERS["RandomTranslation"]())
    found, wanted = (methods.create("lrp.alpha_1_beta_0", strip(n)).analyze(x) for n in (flat, plain))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


def strip(model):
    """The model without Rescaling, which iNNvestigate's LRP does not know."""

    def copied(layer):
        same = layers.Activation("linear") if isinstance(layer, layers.Rescaling) else None
        return same or type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights()[-4:])
    return copy
