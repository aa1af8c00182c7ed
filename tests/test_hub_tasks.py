"""Tasks, as of keras_hub, which bring a preprocessor of their own: `rap_keras.explain` uses it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from host import KERAS_3
from linear_networks import KERNEL, SIZE, linear, photo
from PIL import Image
from tensorflow import keras

import rap_keras

layers = keras.layers
pytestmark = pytest.mark.usefixtures("here")


class Preprocessor:
    """What a task of keras_hub has: photos of any size, cut to the network's and scaled."""

    image_converter = "its own"

    def __call__(self, photos):
        photos = np.asarray(photos, np.float32)
        assert photos.ndim == 4
        return photos[:, :SIZE, :SIZE] / 255 - 0.25


class TextPreprocessor:
    """Words become their lengths."""

    def tokenizer(self, texts):
        return [[len(word) for word in text.split()] for text in texts]

    def __call__(self, texts):
        return {"tokens": np.array(self.tokenizer(texts), np.float32)}


def task() -> keras.Model:
    model = linear(end=None)
    model.preprocessor = Preprocessor()
    return model


def logit_of_task(pixels: np.ndarray) -> float:
    return (Preprocessor()(pixels[np.newaxis]).reshape(1, -1) @ KERNEL)[0, 1]


@pytest.mark.parametrize("kind", ["uint8", "float32", "batch", "list", "path", "image", "given"])
def test_the_preprocessor_of_a_task_is_used(here, kind, recwarn):
    pixels, options = photo(shape=(12, 9, 3)), {}
    Image.fromarray(pixels).save(here / "photo.png")
    given = {
        "uint8": pixels, "float32": pixels.astype("float32"), "batch": pixels[np.newaxis], "list": pixels.tolist(),
        "path": here / "photo.png", "image": Image.fromarray(pixels), "given": pixels,
    }[kind]  # fmt: skip
    model = task()
    if kind == "given":
        options = {"preprocessing": model.preprocessor}
    found = rap_keras.explain(model, given, target=1, **options)
    assert found.logit == pytest.approx(logit_of_task(pixels), rel=1e-4)
    assert found.sum == pytest.approx(found.logit, rel=1e-3, abs=1e-3)
    assert repr(found).endswith(", prepared by the model's own preprocessor>")
    assert "prepared by the model's own preprocessor" in found.figure().texts[0].get_text().replace("\n", " ")
    assert not [warning for warning in recwarn if "preprocess" in str(warning.message)]


def test_what_is_prepared_already_stays_as_it_is(here):
    x = Preprocessor()(photo()[np.newaxis])
    for given in (x, x[0]):
        found = rap_keras.explain(task(), given, target=1)
        assert found.logit == pytest.approx(logit_of_task(photo()), rel=1e-4)
        assert "prepared" not in repr(found)
    np.save(here / "x.npy", photo().astype("float32"))
    advice = "has values like a photo's, .* give the photo as an image file, or as an array in memory"
    with pytest.raises(ValueError, match=rf"x\.npy {advice}"):
        rap_keras.explain(task(), here / "x.npy")
    found = rap_keras.explain(task(), np.load(here / "x.npy"), target=1)
    assert found.logit == pytest.approx(logit_of_task(photo()), rel=1e-4)


def test_a_preprocessor_that_is_not_used_is_told_of():
    with pytest.warns(UserWarning, match="the model has a preprocessor of its own, which is not used, since"):
        found = rap_keras.explain(task(), photo(), target=1, preprocessing="unit")
    assert found.logit == pytest.approx((photo().reshape(-1) / 255) @ KERNEL[:, 1], rel=1e-4)


def test_a_region_beside_a_preprocessor(here):
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Conv2D(2, 1, use_bias=False)])
    model.set_weights([KERNEL[:3, :2].reshape(1, 1, 3, 2)])
    model.preprocessor = Preprocessor()
    region = np.zeros((SIZE, SIZE), bool)
    region[2, 3] = True
    with pytest.raises(ValueError, match="region is laid over the network's input") as refused:
        rap_keras.explain(model, photo(), region=region)
    (made,) = re.findall(r"give the sample as (.*), and region in its shape", str(refused.value))
    sample = eval(made, {"numpy": np, "model": model, "photo": photo()})
    found = rap_keras.explain(model, sample, target=1, region=region)
    assert found.logit == pytest.approx((photo()[2, 3] / 255 - 0.25) @ KERNEL[:3, 1], rel=1e-4)


@pytest.mark.parametrize("text", ["a good film", ["a good film"], np.array(["a good film"])])
def test_text_for_a_task(text):
    x = keras.Input((3,), name="tokens")
    model = keras.Model(x, layers.Dense(1, use_bias=False)(x))
    model.set_weights([np.ones((3, 1))])
    model.preprocessor = TextPreprocessor()
    found = rap_keras.explain(model, text)
    (one,) = found if isinstance(text, list) else (found,)
    assert one.sum == pytest.approx(9)
    assert one.words == [("a", 1), ("good", 4), ("film", 4)]


@pytest.mark.skipif(not KERAS_3, reason="keras_hub is for Keras 3")
def test_a_task_of_keras_hub(here):
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[3], stackwise_num_filters=[64], stackwise_num_blocks=[1],
        stackwise_num_strides=[1], block_type="basic_block", image_shape=(16, 16, 3),
    )  # fmt: skip
    converter = hub.layers.ResNetImageConverter(image_size=(16, 16), scale=1 / 255.0)
    own = hub.models.ResNetImageClassifierPreprocessor(image_converter=converter)
    model = hub.models.ResNetImageClassifier(backbone=backbone, num_classes=3, preprocessor=own, activation=None)
    pixels = photo(shape=(20, 30, 3))
    right = float(model.predict(pixels[np.newaxis], verbose=0)[0, 1])
    assert rap_keras.explain(model, pixels, target=1).logit == pytest.approx(right, rel=1e-4)
    Image.fromarray(pixels).save(here / "photo.png")
    model.save(here / "task.keras")
    from_file = rap_keras.explain(here / "task.keras", here / "photo.png", target=1)
    assert from_file.logit == pytest.approx(right, rel=1e-4)
