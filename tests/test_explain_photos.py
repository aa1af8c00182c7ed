"""What `rap_keras.explain` makes of photos of every kind: how they are fitted, preprocessed and scaled."""

from __future__ import annotations

import numpy as np
import pytest
from linear_networks import SIZE, linear, logits_of, photo, unit
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras.datasets import images
from rap_keras.shapes import TEST_SEED, generate

layers = keras.layers
pytestmark = pytest.mark.usefixtures("here")


def test_photos_of_every_kind_give_the_same():
    pixels = photo(shape=(20, 30, 3))
    Image.fromarray(pixels).save("photo.png")
    x = images.preprocess([images.fit(pixels, (SIZE, SIZE))], unit)
    wanted = rap_keras.explain(linear(), x[0]).relevance
    for given in ("photo.png", Image.fromarray(pixels), pixels, pixels[None]):
        found = rap_keras.explain(linear(), given, preprocessing=unit)
        np.testing.assert_array_equal(found.relevance, wanted)
        np.testing.assert_array_equal(found.sample.photo, images.fit(pixels, (SIZE, SIZE)))
    np.testing.assert_array_equal(rap_keras.explain(linear(), x).relevance, wanted)
    np.save("x.npy", x)
    np.testing.assert_array_equal(rap_keras.explain(linear(), "x.npy").relevance, wanted)


def test_grey_photos():
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), layers.Flatten(), layers.Dense(2)])
    grey = photo(shape=(SIZE, SIZE))
    found = rap_keras.explain(model, Image.fromarray(grey), preprocessing=unit)
    x = (grey / 255).astype(np.float32)[None, ..., None]
    np.testing.assert_allclose(found.relevance, rap_keras.explain(model, x).relevance, rtol=1e-4, atol=1e-6)


def test_images_of_pillow_are_treated_as_files_are():
    turned = Image.fromarray(photo(shape=(SIZE, 2 * SIZE, 3)))
    turned.getexif()[0x0112] = 6  # the photo lies on its side
    turned.save("turned.png", exif=turned.getexif())
    clear = Image.new("RGBA", (SIZE, SIZE), (255, 0, 0, 51))
    clear.save("clear.png")
    grey = Image.new("L", (SIZE, SIZE), 90)
    grey.save("grey.png")
    for file in ("turned.png", "grey.png"):
        of_file = rap_keras.explain(linear(), file, preprocessing="unit")
        of_image = rap_keras.explain(linear(), Image.open(file), preprocessing="unit")
        np.testing.assert_array_equal(of_image.relevance, of_file.relevance)
    upright = images.fit(np.rot90(np.asarray(turned), -1), (SIZE, SIZE))
    seen = rap_keras.explain(linear(), Image.open("turned.png"), preprocessing="unit").sample.photo
    np.testing.assert_array_equal(seen, upright)
    for given in ("clear.png", Image.open("clear.png")):
        with pytest.warns(UserWarning, match="has transparent pixels, which the network sees in white"):
            explanation = rap_keras.explain(linear(), given, preprocessing="unit")
        np.testing.assert_array_equal(explanation.sample.photo[0, 0], [255, 204, 204])
    arrays = rap_keras.explain(linear(), np.full((SIZE, SIZE), 90, np.uint8), preprocessing="unit")
    np.testing.assert_array_equal(
        arrays.relevance, rap_keras.explain(linear(), grey, preprocessing="unit").relevance
    )


def test_named_preprocessings_of_plain_networks():
    pixels = photo()
    for name, scale in (("unit", 255), ("raw", 1)):
        explanation = rap_keras.explain(linear(None), pixels, preprocessing=name)
        assert explanation.logit == pytest.approx(logits_of(pixels / scale).max(), rel=1e-4)


def test_networks_by_name_have_their_preprocessing():
    pixels = generate(1, TEST_SEED).images[0]
    Image.fromarray(pixels).save("photo.png")
    of_file = rap_keras.explain("shapes-vgg", "photo.png")
    for given in (pixels, Image.fromarray(pixels)):
        np.testing.assert_array_equal(rap_keras.explain("shapes-vgg", given).relevance, of_file.relevance)


def begun_by(*first) -> keras.Model:
    """The linear network behind some layers or functions."""
    inputs = x = keras.Input((SIZE, SIZE, 3))
    for layer in (*first, *linear().layers):
        x = layer(x)
    return keras.Model(inputs, x)


def test_photos_that_are_scaled_twice(recwarn):
    scaled, standardised = layers.Rescaling(1 / 255), layers.Normalization(mean=[1.0] * 3, variance=[4.0] * 3)
    network = begun_by(layers.RandomFlip(), scaled)
    by_operations = begun_by(lambda x: x / 127.5 - 1), begun_by(lambda x: x * (1 / 255))
    for twice in (network, begun_by(lambda x: x * 0.5, standardised), *by_operations):
        for how in ("caffe", "tf", "torch", "unit"):
            warning = (
                f"scales photos itself, by its layer .*, and preprocessing '{how}' scales them before: give 'raw'"
            )
            with pytest.warns(UserWarning, match=warning):
                rap_keras.explain(twice, photo(), "gradient", preprocessing=how)
    recwarn.clear()
    rap_keras.explain(network, photo(), "gradient", preprocessing="raw")
    rap_keras.explain(network, photo(), "gradient", preprocessing=unit)
    later = begun_by(lambda x: x * 0.5, layers.Conv2D(3, 1), layers.Rescaling(2.0))
    rap_keras.explain(later, photo(), "gradient", preprocessing="tf")
    assert not [one for one in recwarn if "scales photos itself" in str(one.message)]
