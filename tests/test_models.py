from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from host import KERAS_3, WEIGHTS, keras_home
from tensorflow import keras

from rap_keras import methods, models

layers = keras.layers
# Keras 3 does not write SavedModels of Keras models.
FORMATS = [".h5", ".keras", *([] if KERAS_3 else [""])]

# Keras 2 writes .keras files only with eager execution on, as most users train.
SAVE_EAGERLY = """
import sys
import numpy as np
import tensorflow as tf
from tensorflow import keras
layers = keras.layers
keras.utils.set_random_seed(1)
x = np.load("x.npy")

def functional():
    inputs = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 3, use_bias=False)(inputs)
    y = layers.BatchNormalization()(y)
    y = layers.Flatten()(layers.ReLU()(y))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(y))
    model.compile("adam", "categorical_crossentropy")
    model.set_weights([np.random.random(value.shape) for value in model.get_weights()])
    return model

def nested():
    base = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3)], name="base")
    return keras.Sequential([keras.Input((6, 6, 3)), base, layers.Flatten(), layers.Dense(3)])

def with_lambda():
    inputs = keras.Input((6, 6, 3))
    twice = layers.Lambda(lambda x: 2 * x, name="twice")(inputs)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(twice)))

class Own(layers.Layer):
    def call(self, x):
        return 3 * x

def custom():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(Own(name="mine")(inputs))))

class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)
    def call(self, x):
        return self.dense(layers.Flatten()(x))

for build in (functional, nested, with_lambda, custom, Subclassed):
    model = build()
    np.save(build.__name__, model(x))
    for suffix in sys.argv[1].split(","):
        if (build, suffix) != (Subclassed, ".h5"):
            model.save(build.__name__ + suffix)
tf.saved_model.save(tf.Module(), "exported")
functional().save_weights(sys.argv[2])

from rap_keras.hosts.methods import create
from rap_keras.models import load_model, to_logits

loaded = to_logits(load_model("functional.h5"))
np.save("gradient", create("gradient", loaded).analyze(x))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder of models that another process saved, with their outputs there."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "x.npy", np.random.default_rng(0).random((2, 6, 6, 3), np.float32))
    root = str(Path(__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", SAVE_EAGERLY, ",".join(FORMATS), WEIGHTS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["functional", "nested"])
def test_saved_model_calculates_the_same_when_loaded(saved, name, suffix):
    model = models.load_model(saved / f"{name}{suffix}")
    outputs = model.predict_on_batch(np.load(saved / "x.npy"))
    np.testing.assert_allclose(outputs, np.load(saved / f"{name}.npy"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", FORMATS)
def test_lambda_layer_is_refused_before_its_code_is_loaded(saved, suffix, monkeypatch):
    for load in ("load_model", "model_from_json"):
        monkeypatch.setattr(keras.models, load, lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=r"with_lambda.*Lambda layer 'twice'.*allow_lambda_layers"):
        models.load_model(saved / f"with_lambda{suffix}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_custom_layer_is_named_and_then_given(saved, suffix):
    with pytest.raises(ValueError, match=r"custom.*layer 'mine' needs Own.*custom_objects={'NAME"):
        models.load_model(saved / f"custom{suffix}")

    class Own(layers.Layer):
        def call(self, x):
            return 3 * x

    model = models.load_model(saved / f"custom{suffix}", custom_objects={"Own": Own})
    outputs = model.predict_on_batch(np.load(saved / "x.npy"))
    np.testing.assert_allclose(outputs, np.load(saved / "custom.npy"), rtol=1e-5, atol=1e-6)
    assert keras.utils.get_registered_object("Own") is None  # it was known for this file alone


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("Subclassed", "subclassed or unbuilt", marks=pytest.mark.keras2),
        ("Subclassed.keras", "the model needs Subclassed.*a call of its own, build it with the functional API"),
        ("exported", r"without keras_metadata.pb.*model\.save\('my_model\.(keras|h5)'\)"),
        (WEIGHTS, "no model in this HDF5 file.*load_weights"),
        ("x.npy", "not a Keras model: give a .h5 file"),
        (".", "a folder without saved_model.pb"),
    ],
)
def test_file_without_a_usable_model(saved, name, message):
    with pytest.raises(ValueError, match=message):
        models.load_model(saved / name)


def test_eager_execution_gives_the_same_heatmap(saved):
    model = models.to_logits(models.load_model(saved / "functional.h5"))
    found = methods.create("gradient", model).analyze(np.load(saved / "x.npy"))
    np.testing.assert_allclose(found, np.load(saved / "gradient.npy"), rtol=1e-5, atol=1e-6)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.h5: no such model file"):
        models.load_model(tmp_path / "gone.h5")


def test_damaged_file(tmp_path, saved):
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes((saved / "functional.h5").read_bytes())
    with h5py.File(damaged, "a") as file:
        file.attrs["model_config"] = '{"class_name": "Functional"'
    with pytest.raises(ValueError, match=r"damaged\.h5: its configuration is damaged \(Expecting"):
        models.load_model(damaged)


def test_network_by_name():
    model = models.load_model("VGG16", weights=None)
    assert model.name == "vgg16"
    assert models.photo_size(model) == (224, 224)


def test_all_networks_bring_their_preprocessing():
    names = models.applications()
    assert {"vgg16", "resnet50", "efficientnetb0", "inceptionv3"} <= set(names)
    x = np.full((1, 1, 1, 3), 100.0, np.float32)
    for name in names:
        assert np.isfinite(models.own_preprocessing(name)(x.copy())).all()
    np.testing.assert_allclose(
        models.own_preprocessing("VGG16")(x.copy())[0, 0, 0],
        [100 - 103.939, 100 - 116.779, 100 - 123.68],
        rtol=1e-5,
    )
    assert models.own_preprocessing("some.h5") is None


def test_unknown_network():
    with pytest.raises(ValueError, match=r"unknown network 'vgg61'.*vgg16.*path of a \.h5 file"):
        models.load_model("vgg61")


def test_weights_that_cannot_be_downloaded(tmp_path, monkeypatch):
    home = keras_home(tmp_path, monkeypatch)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    home.mkdir()
    message = rf"VGG16 are not in {re.escape(str(home / 'models'))} and could not be downloaded.*put it into"
    with pytest.raises(ConnectionError, match=message):
        models.load_model("vgg16")
    assert list((home / "models").iterdir()) == []


def test_flat_output():
    inputs = keras.Input((5, 5, 3))
    maps = keras.Model(inputs, layers.Conv2D(2, 4)(inputs))
    x = np.random.default_rng(0).random((3, 5, 5, 3), np.float32)
    flat = models.flat_output(maps)
    np.testing.assert_array_equal(flat.predict_on_batch(x), maps.predict_on_batch(x).reshape(3, 2 * 2 * 2))
    assert models.flat_output(flat) is flat
    with pytest.raises(ValueError, match="2 outputs"):
        models.flat_output(keras.Model(inputs, [inputs, inputs]))


def test_the_former_name_of_to_logits_stays():
    assert models.without_softmax is models.to_logits


@pytest.mark.parametrize(("shape", "size"), [((5, 7, 3), (5, 7)), ((None, None, 3), None), ((None, 7, 3), None)])
def test_photo_size(shape, size):
    inputs = keras.Input(shape)
    assert models.photo_size(keras.Model(inputs, layers.GlobalMaxPooling2D()(inputs))) == size


@pytest.mark.parametrize("shapes", [[(5, 5, 1)], [(9,)], [(5, 5, 3), (5, 5, 3)]])
def test_photo_size_of_a_model_for_other_things(shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    flat = [layers.Flatten()(tensor) for tensor in inputs]
    model = keras.Model(inputs, layers.Concatenate()(flat * 2))
    with pytest.raises(ValueError, match="must take RGB photos"):
        models.photo_size(model)
