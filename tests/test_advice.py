"""Every way out that a message names is followed here, on what raised the message, and works.

The ways out of the commands are in `test_advice_commands.py`, some others next to the tests of their subject.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from host import (
    KERAS_3,
    PLUGIN,
    WEIGHTS,
    NotAnalyzeableModelException,
    create_analyzer,
    cumulated_product,
    keras_home,
    save_as_keras_2,
)
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras import RAP, datasets, models
from rap_keras.datasets import images
from rap_keras.hosts import methods
from rap_keras.hosts.native import lrp_methods
from rap_keras.patterns import PatternComputer, Patterns
from rap_keras.visualization import overlay, to_rgb

layers = keras.layers


def network(front=lambda x: x, end=None):
    inputs = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 3, activation="relu")(front(inputs))
    return keras.Model(inputs, layers.Dense(3, activation=end)(layers.Flatten()(y)))


def x_of(count=2):
    return np.random.default_rng(0).random((count, 6, 6, 3), np.float32)


def explains(model, x=None, **options) -> bool:
    """Whether RAP takes the model, and its heatmaps add up to the logits."""
    x = x_of() if x is None else x
    found = RAP(model, **options).analyze(x)
    total = found.reshape(len(found), -1).sum(1)
    return total == pytest.approx(model.predict_on_batch(x).max(-1), rel=1e-3)


# Models


class Subclassed(keras.Model):
    def __init__(self, part):
        super().__init__()
        self.part = part

    def call(self, x):
        return self.part(x)


@pytest.mark.parametrize("build", [RAP, rap_keras.to_logits])
def test_a_model_that_is_no_graph_of_layers_is_built_as_one(build):
    unbuilt = [layers.Flatten(), layers.Dense(3)]
    for model in (Subclassed(network()), keras.Sequential(unbuilt)):
        with pytest.raises(
            (ValueError, NotAnalyzeableModelException),
            match=r"functional API, or as a Sequential that begins with keras\.Input\(shape\)",
        ):
            build(model)
    inputs = keras.Input((6, 6, 3))
    build(keras.Model(inputs, Subclassed(network()).part(inputs)))
    build(keras.Sequential([keras.Input((6, 6, 3)), *unbuilt]))
    if KERAS_3:
        build(keras.Model(inputs, Subclassed(network())(inputs)))


class Wrapper:
    """A network in the form that scikit-learn takes."""

    def __init__(self, model):
        self.model_ = model


def things_that_are_no_model() -> dict:
    """What is given in place of a model, what the message says, and the way to the model."""
    model, history = network(), keras.callbacks.History()
    history.set_model(model)
    return {
        "name": ("model.h5", r"rap_keras\.models\.load_model\('model\.h5'\)", None),
        "wrapper": (Wrapper(model), "its attribute model_", lambda thing: thing.model_),
        "history": (history, "its attribute model$", lambda thing: thing.model),
        "method": (model.predict, "its attribute __self__", lambda thing: thing.__self__),
        "nothing": (None, "NoneType.*give a Keras model", None),
        "class": (Subclassed, "class Subclassed.*an object of a class", None),
        "list": ([model, model], "one of these models at a time", lambda thing: thing[0]),
        "layer": (
            layers.Flatten(),
            r"keras\.Sequential\(\[keras\.Input\(shape\), layer\]\)",
            lambda thing: keras.Sequential([keras.Input((6, 6, 3)), thing]),
        ),
        "tensor": (
            model.output,
            r"keras\.Model\(inputs, tensor\)",
            lambda thing: keras.Model(model.inputs, thing),
        ),
        "function": (tf.function(lambda x: x), "its layers are unknown: give the Keras model", None),
        "module": (tf.Module(), "its layers are unknown: give the Keras model", None),
    }


@pytest.mark.parametrize("name", things_that_are_no_model())
def test_what_is_no_model(name):
    thing, message, way = things_that_are_no_model()[name]
    for door in (lambda given: rap_keras.create_analyzer("rap", given), rap_keras.to_logits, RAP):
        with pytest.raises(TypeError, match=message):
            door(thing)
    if name != "name":
        with pytest.raises(TypeError, match=message):
            rap_keras.explain(thing, x_of(1))
    if way:
        assert rap_keras.create_analyzer("rap", way(thing)).analyze(x_of()).shape == (2, 6, 6, 3)


def test_a_model_of_another_keras_is_carried_over_in_a_file(tmp_path):
    tf_keras = pytest.importorskip("tf_keras")
    other = tf_keras.Sequential([tf_keras.Input((6, 6, 3)), tf_keras.layers.Flatten(), tf_keras.layers.Dense(3)])
    with pytest.raises(TypeError, match=r"of another Keras \(tf_keras\).*model\.save\('model\.h5'\), and load it"):
        rap_keras.explain(other, x_of(1))
    other.save(tmp_path / "model.h5")
    loaded = models.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(loaded.predict_on_batch(x_of()), other.predict_on_batch(x_of()), rtol=1e-5)
    assert explains(loaded)


def test_half_precision():
    inputs = keras.Input((6, 6, 3), dtype="float16")

    def halved(front, **options):
        return keras.Model(inputs, layers.Dense(3, name="last", **options)(layers.Flatten()(front(inputs))))

    operation = halved(lambda x: x * 2, dtype="mixed_float16")
    if tf.executing_eagerly():  # there an operation is not part of a graph, and calculates in float32
        total = RAP(operation).analyze(x_of()).sum((1, 2, 3))
        assert total == pytest.approx(operation.predict_on_batch(x_of()).max(-1), rel=1e-2)
    else:
        with pytest.raises(
            NotAnalyzeableModelException, match="in float32, or use a layer instead of the operation"
        ):
            RAP(operation)
    with pytest.raises(NotAnalyzeableModelException, match="in float32, or with the policy mixed_float16"):
        RAP(halved(lambda x: x, dtype="float16"))
    assert explains(halved(layers.Rescaling(2.0, dtype="mixed_float16"), dtype="float32"))
    assert RAP(halved(lambda x: x, dtype="mixed_float16")).analyze(x_of()).shape == (2, 6, 6, 3)
    plain = keras.Input((6, 6, 3))
    assert explains(keras.Model(plain, layers.Dense(3)(layers.Flatten()(plain * 2))))


def test_weights_without_a_model(tmp_path):
    trained = network()
    trained.save_weights(tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=r"build the model, load them with model\.load_weights and save it"):
        models.load_model(tmp_path / WEIGHTS)
    model = network()
    model.load_weights(tmp_path / WEIGHTS)
    model.save(tmp_path / "model.h5")
    loaded = models.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(loaded.predict_on_batch(x_of()), trained.predict_on_batch(x_of()), rtol=1e-6)


def test_a_long_name_does_not_cut_the_way_out_off(tmp_path):
    network(layers.Lambda(lambda x: 2 * x, name="twice" * 30)).save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"Lambda layer 'twicetwice.* create the analyzer with .*") as error:
        models.load_model(tmp_path / "model.h5")
    assert str(error.value).endswith("allow_lambda_layers=True" if KERAS_3 else "and saved as .h5")
    (advised,) = re.findall(r"tf\.keras\.models\.load_model(?:\(path, (safe_mode)=False\))? and", str(error.value))
    trusted = keras.models.load_model(tmp_path / "model.h5", **({advised: False} if advised else {}))
    assert explains(trusted, allow_lambda_layers=True)


def test_an_operation_that_has_no_rule_is_replaced_by_a_layer(tmp_path):
    for name in ("operation.h5", "operation.keras")[: 1 + KERAS_3]:
        network(cumulated_product).save(tmp_path / name)
        with pytest.raises(ValueError, match=r"the operation 'Cumprod'.*use a Keras layer instead"):
            models.load_model(tmp_path / name)
    network(lambda x: layers.Multiply()([x, x])).save(tmp_path / "layer.h5")
    assert explains(models.load_model(tmp_path / "layer.h5"))


@pytest.mark.slow
def test_weights_that_cannot_be_downloaded_are_put_into_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    folder = keras_home(tmp_path, monkeypatch) / "models"
    folder.mkdir(parents=True)
    with pytest.raises(ConnectionError) as error:
        models.load_model("mobilenet")
    assert f"put it into {folder}" in str(error.value)
    (name,) = re.findall(r"https://\S+/(\w+\.h5)", str(error.value))
    trained = keras.applications.MobileNet(weights=None)
    save_as_keras_2(trained, folder / name)
    loaded = models.load_model("mobilenet")
    for found, expected in zip(loaded.get_weights(), trained.get_weights()):
        np.testing.assert_array_equal(found, expected)


# Samples


def test_samples_need_a_batch_axis_and_datasets_batches():
    model, x = network(), x_of()
    analyzer = RAP(model)
    expected = analyzer.analyze(x)
    with pytest.raises(ValueError, match=r"needs a batch axis, x\[np\.newaxis\]; .*needs \.batch\(32\)"):
        analyzer.analyze(x[0])
    dataset = tf.data.Dataset.from_tensor_slices(x)
    with pytest.raises(ValueError, match=r"needs \.batch\(32\)"):
        analyzer.analyze(dataset)
    np.testing.assert_allclose(analyzer.analyze(x[0][np.newaxis]), expected[:1], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(analyzer.analyze(dataset.batch(32)), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_an_input_of_integers_takes_whole_numbers(dtype):
    inputs = keras.Input((6, 6, 3), dtype=dtype, name="photo")
    model = keras.Model(inputs, network()(layers.Rescaling(1 / 255)(inputs)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3)).astype(np.float32)
    scaled = pixels.copy()
    scaled[1] /= 255
    with pytest.raises(ValueError, match=rf"'photo' takes {dtype}, .* sample 1 has 0\.\d+: .*unscaled pixels"):
        RAP(model).analyze(scaled)
    if dtype == "uint8":
        with pytest.raises(ValueError, match="whole numbers from 0 to 255, but sample 0 has"):
            RAP(model).analyze(pixels.astype(int) - 1)
    assert explains(model, pixels)


def test_values_outside_of_the_bounds():
    model, x = network(), 300 * x_of()
    with pytest.raises(ValueError, match="Give the lowest and highest value that an input can have"):
        RAP(model, input_rule=(0, 255)).analyze(x)
    assert explains(model, x, input_rule=(0, 300))


# Methods


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("lrp", {"rule": "Z" if PLUGIN else lrp_methods.z}),
        ("lrp.alpha_beta", {"alpha": 1, "beta": 0}),
        ("deep_taylor.bounded", {"low": 0, "high": 1}),
    ],
)
def test_methods_without_defaults_are_created_with_their_parameters(name, parameters):
    model = network()
    model.set_weights([*model.get_weights()[:-1], np.full(3, 5.0)])  # deep Taylor explains no negative logit
    with pytest.raises(ValueError, match=rf"rap_keras\.create_analyzer\('{name}', model, "):
        methods.create(name, model)
    found = create_analyzer(name, model, **parameters).analyze(x_of())
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0


def test_a_nested_model_is_explained_by_rap_or_built_without_nesting():
    inputs = keras.Input((6, 6, 3))
    nested = keras.Model(inputs, network()(inputs))
    assert explains(nested)
    flat = network()
    flat.set_weights(nested.get_weights())
    found = methods.create("lrp.alpha_1_beta_0", flat).analyze(x_of())
    assert np.abs(found).max() > 0
    if PLUGIN:
        with pytest.raises(ValueError, match="Use rap, or build the model without nesting"):
            methods.create("lrp.alpha_1_beta_0", nested)
    else:
        looked_into = methods.create("lrp.alpha_1_beta_0", nested).analyze(x_of())
        np.testing.assert_allclose(looked_into, found, rtol=1e-4, atol=1e-6)


def test_an_analyzer_with_patterns_of_something_else(tmp_path):
    model, other = network(), network()
    with pytest.raises(ValueError, match=r"rap_keras\.patterns\.PatternComputer or .*give them as patterns="):
        methods.create("pattern.net", model)
    patterns = PatternComputer(model).compute(x_of(50))
    patterns.save(tmp_path / "patterns.npz")
    for given in (patterns, tmp_path / "patterns.npz", Patterns.load(tmp_path / "patterns.npz")):
        assert methods.create("pattern.net", model, patterns=given).analyze(x_of()).shape == (2, 6, 6, 3)
    with pytest.raises(ValueError, match=r"compute them again, with rap_keras\.patterns\.PatternComputer"):
        methods.create("pattern.net", other, patterns=patterns)
    methods.create("pattern.net", other, patterns=PatternComputer(other).compute(x_of(50)))
    fitted = create_analyzer("pattern.net", model)
    fitted.fit(x_of(50))
    fitted.analyze(x_of())
    with pytest.raises(RuntimeError, match="create a new one and fit that"):
        fitted.fit(x_of(40))
    create_analyzer("pattern.net", model).fit(x_of(40))


@pytest.mark.plugin
def test_a_graph_that_is_built_already():
    model = network()
    analyzer = create_analyzer("gradient", model)
    expected = analyzer.analyze(x_of())
    with pytest.raises(RuntimeError, match="is already built: create a new one"):
        rap_keras.build_quickly(analyzer)
    quick = rap_keras.build_quickly(create_analyzer("gradient", model))
    np.testing.assert_array_equal(quick.analyze(x_of()), expected)


# Photos and pictures


def test_photos_that_cannot_be_read_are_saved_in_another_way(tmp_path, monkeypatch):
    values = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits per channel"):
        images.load_photo(tmp_path / "deep.tif")
    for kind in (np.uint8, np.uint16):
        Image.fromarray((values * (np.iinfo(kind).max / 11)).astype(kind)).save(tmp_path / "shallow.tif")
        np.testing.assert_allclose(images.load_photo(tmp_path / "shallow.tif")[..., 0], values / 11 * 255, atol=1)
    photo = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.tga")
    with pytest.raises(ValueError, match=r"not in one of the formats BMP, .*: save it as PNG"):
        images.load_photo(tmp_path / "photo.tga")
    Image.open(tmp_path / "photo.tga").save(tmp_path / "photo.png")
    np.testing.assert_array_equal(images.load_photo(tmp_path / "photo.png"), photo)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 26)
    with pytest.raises(ValueError, match=r"too large .*: save it with fewer pixels"):
        images.load_photo(tmp_path / "photo.png")
    Image.fromarray(photo[:5]).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(images.load_photo(tmp_path / "photo.png"), photo[:5])


def test_photos_and_heatmaps_that_a_picture_cannot_take():
    photo, R = np.full((4, 4, 3), 51, np.uint8), np.ones((4, 4))
    expected = overlay(R, photo)
    with pytest.raises(ValueError, match="as it was before the network's preprocessing, or divide it by 255"):
        overlay(R, photo.astype(np.float32))
    np.testing.assert_array_equal(overlay(R, photo.astype(np.float32) / 255), expected)
    with pytest.raises(ValueError, match="resize the photo to the heatmap's size"):
        overlay(R, np.full((8, 8, 3), 51, np.uint8))
    np.testing.assert_array_equal(overlay(R, images.fit(np.full((8, 8, 3), 51, np.uint8), (4, 4))), expected)
    R[1, 2] = np.inf
    with pytest.raises(ValueError, match=r"replace them, for instance with numpy\.nan_to_num"):
        to_rgb(R)
    assert to_rgb(np.nan_to_num(R)).shape == (4, 4, 3)


# Data sets


def test_two_images_with_the_same_mask(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    pixels = Image.new("RGB", (4, 4))
    for name in ("images/a.png", "images/a.jpg", "masks/a.png"):
        (pixels.convert("L") if "masks" in name else pixels).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"would have the same mask: rename one of them"):
        datasets.open_dataset("folder", tmp_path)
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "b.jpg")
    assert datasets.open_dataset("folder", tmp_path).names == ("a", "b")
