"""Harmless model files of every kind are read, and the ways out that messages name work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from host import KERAS_3, NotAnalyzeableModelException
from hostile_files import entry, network, of_keras_3_format, write_h5, write_keras
from keras import __version__ as keras_version
from model_files import functional, requires_same
from tensorflow import keras

from rap_keras import RAP, models

layers = keras.layers

# Keras 2 writes .keras files only with eager execution on, as most users train.
SAVE = """
import numpy as np
import tensorflow as tf
from tensorflow import keras
layers = keras.layers
keras.utils.set_random_seed(1)

if hasattr(keras, "ops"):
    relu, leaky_relu, concatenate = keras.ops.relu, keras.activations.leaky_relu, keras.ops.concatenate
    constant = keras.initializers.Constant(0.5)
    SUFFIXES = (".h5", ".keras")
else:
    relu, leaky_relu, concatenate = tf.nn.relu, tf.nn.leaky_relu, tf.concat
    constant = tf.constant_initializer(0.5)
    SUFFIXES = (".h5", ".keras", "")

@keras.utils.register_keras_serializable("test_model_files")
def halved(x):
    return x / 2

def tripled(x):
    return 3 * x

class Trained(keras.Model):
    def train_step(self, data):
        return {}

def operations():
    inputs = keras.Input((8,))
    x = relu(layers.Dense(8, activation=leaky_relu, kernel_regularizer="l2")(inputs) - 0.1)
    return keras.Model(inputs, layers.Dense(3)(concatenate([x[:, :4], x * 2], axis=-1)))

def wrapped():
    inputs = keras.Input((5, 8))
    x = layers.TimeDistributed(layers.Dense(4, activation="relu"))(inputs)
    x = layers.Bidirectional(layers.LSTM(3, kernel_constraint="unit_norm"))(x)
    return keras.Model(inputs, layers.Dense(3, activation=layers.LeakyReLU(), bias_initializer=constant)(x))

def functions():
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(3, activation=tripled)(layers.Dense(4, activation=halved)(inputs)))

def trained():
    inputs = keras.Input((8,))
    model = Trained(inputs, layers.Dense(3)(layers.Dense(4, activation="relu")(inputs)))
    model.compile("sgd", "mse")
    return model

def mixed():
    inputs = keras.Input((8,))
    inner = keras.Sequential([layers.Dense(4), layers.BatchNormalization()])
    inner.compile("sgd", "mse", metrics=["acc"])
    policy = keras.mixed_precision.Policy("mixed_float16")
    x = layers.Dense(4, dtype=policy)(inner(layers.Dropout(0.5)(inputs)))
    return keras.Model(inputs, layers.Dense(3, dtype="float32")(x))

def with_lambda():
    inputs = keras.Input((8,))
    return keras.Model(inputs, layers.Dense(3)(layers.Lambda(lambda x: 2 * x)(inputs)))

trained_by_a_lambda = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
trained_by_a_lambda.compile("sgd", lambda y, found: y - found)
trained_by_a_lambda.save("lambda_loss.keras")
keras.models.load_model("lambda_loss.keras", compile=False).save("without_loss.keras")  # what its refusal advises

for build in (operations, wrapped, functions, trained, mixed, with_lambda):
    model = build()
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    np.savez(build.__name__, x=x, y=model(x))
    for suffix in SUFFIXES:
        model.save(build.__name__ + suffix)
# What the refusal of with_lambda advises.
if "" in SUFFIXES:
    keras.models.load_model("with_lambda.keras", safe_mode=False).save("trusted-keras.h5")
    keras.models.load_model("with_lambda").save("trusted-saved.h5")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    (folder / "save.py").write_text(SAVE)  # Keras looks for the source of a lambda function
    result = subprocess.run([sys.executable, "save.py"], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def tripled(x):
    return 3 * x


class Trained(keras.Model):
    def train_step(self, data):
        return {}


@keras.utils.register_keras_serializable("test_model_files")
def halved(x):
    return x / 2


OWN = {"tripled": tripled, "Trained": Trained}


# Keras 2.14 itself cannot read functions.h5, into which it writes functions in two ways; Keras 3 cannot read
# operations from .h5 files, and does not write SavedModels of Keras models.
UNREADABLE = "operations.h5" if KERAS_3 else "functions.h5"
SUFFIXES = (".h5", ".keras") if KERAS_3 else (".h5", ".keras", "")
FILES = {
    name: [name + suffix for suffix in SUFFIXES if name + suffix != UNREADABLE]
    for name in ("operations", "wrapped", "functions", "trained", "mixed")
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_honest_files_calculate_as_they_were_saved(saved, name, file):
    model = models.load_model(saved / file, custom_objects=OWN)
    with np.load(saved / f"{name}.npz") as numbers:
        tolerance = 1e-2 if name == "mixed" else 1e-5
        np.testing.assert_allclose(
            model.predict_on_batch(numbers["x"]), numbers["y"], rtol=tolerance, atol=tolerance
        )
    assert type(model).__name__ == ("Trained" if name == "trained" else "Functional")


@pytest.mark.slow
@pytest.mark.parametrize("file", ["trained.h5", "trained.keras"])
def test_what_keras_was_told_around_the_call_is_known(saved, file):
    with keras.utils.custom_object_scope(OWN):
        assert type(models.load_model(saved / file)).__name__ == "Trained"


@pytest.mark.parametrize(
    ("file", "cause"),
    [
        ("trained.h5", "layer 'trained' needs Trained"),
        ("trained.keras", "layer 'trained' needs Trained"),
        ("functions.h5", "needs tripled"),
        ("functions.keras", "needs tripled"),
        # In a SavedModel a function is a name like any other.
        pytest.param("functions", "could not be loaded .*tripled", marks=pytest.mark.keras2),
    ],
)
def test_without_what_it_needs_a_file_is_refused(saved, file, cause):
    with pytest.raises(ValueError, match=cause):
        models.load_model(saved / file)


@pytest.mark.keras2
def test_a_saved_model_is_read_without_the_class_that_trained_it(saved):
    assert type(models.load_model(saved / "trained")).__name__ == "Functional"


@pytest.mark.parametrize(
    ("refused", "trusted"),
    [
        ("with_lambda.h5", "with_lambda.h5"),
        ("with_lambda.keras", "trusted-keras.h5"),
        ("with_lambda", "trusted-saved.h5"),
    ]
    if not KERAS_3
    else [("with_lambda.h5", "with_lambda.h5"), ("with_lambda.keras", "with_lambda.keras")],
)
def test_what_a_refused_lambda_layer_is_advised_to_do(saved, refused, trusted):
    advice = r"load_model\(path, safe_mode=False\)" if KERAS_3 else r"safe_mode=False, and saved as \.h5"
    with pytest.raises(ValueError, match=advice):
        models.load_model(saved / refused)
    model = keras.models.load_model(saved / trusted, **({"safe_mode": False} if KERAS_3 else {}))
    with np.load(saved / "with_lambda.npz") as numbers:
        relevance = RAP(model, allow_lambda_layers=True).analyze(numbers["x"])
        np.testing.assert_allclose(relevance.sum(axis=1), numbers["y"].max(axis=1), rtol=1e-3)


def test_what_a_refused_lambda_of_the_training_is_advised_to_do(saved):
    with pytest.raises(ValueError, match="load the model with compile=False and save it again"):
        models.load_model(saved / "lambda_loss.keras")
    assert models.load_model(saved / "without_loss.keras").output_shape == (None, 3)


def keras_3_network() -> dict:
    """Writes a network as Keras 3 does."""
    first = entry("InputLayer", {"batch_shape": [None, 4], "dtype": "float32", "name": "input"})
    policy = entry("DTypePolicy", {"name": "float32"}, module="keras", registered_name=None)
    dense = entry("Dense", {"name": "dense", "units": 2, "dtype": policy})
    return of_keras_3_format(entry("Sequential", {"name": "net", "layers": [first, dense]}))


@pytest.mark.keras2
def test_a_file_of_keras_3_and_how_to_carry_it_over(tmp_path):
    write_keras(tmp_path / "net.keras", keras_3_network(), version="3.4.1")
    write_h5(tmp_path / "net.h5", keras_3_network(), version="3.4.1")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])  # as it was there
    np.savez(tmp_path / "w.npz", *[np.random.default_rng(0).random(w.shape) for w in model.get_weights()])
    for name in ("net.keras", "net.h5"):
        with pytest.raises(ValueError, match=r"by Keras 3\.4\.1, which the installed Keras 2\.\d+") as caught:
            models.load_model(tmp_path / name)
        message = str(caught.value)
        assert f"{name}: written" in message
        assert len(message) - len(str(tmp_path)) < 450
        assert "model.set_weights(list(numpy.load('w.npz').values()))" in message
        assert caught.value.__suppress_context__
    model.set_weights(list(np.load(tmp_path / "w.npz").values()))
    model.save(tmp_path / "model.h5")
    loaded = models.load_model(tmp_path / "model.h5")
    kernel = np.load(tmp_path / "w.npz")["arr_0"]
    np.testing.assert_array_equal(loaded.get_weights()[0], kernel.astype(np.float32))


@pytest.mark.keras2
def test_a_file_of_a_newer_keras_2_that_cannot_be_read(tmp_path):
    layer = entry("Dense", {"name": "dense", "units": 2, "of_a_later_version": list(range(10_000))})
    write_h5(tmp_path / "net.h5", network(layer), version="2.99.0")
    with pytest.raises(ValueError, match=r"net\.h5 could not be loaded") as caught:
        models.load_model(tmp_path / "net.h5")
    message = str(caught.value)
    assert f"(written by Keras 2.99.0, read by Keras {keras_version}" in message
    assert "The versions differ: build the model here" in message
    assert len(message) - len(str(tmp_path)) < 620
    write_h5(tmp_path / "net.h5", network(layer), version="2.1.0")
    with pytest.raises(ValueError, match=r"net\.h5 could not be loaded") as caught:
        models.load_model(tmp_path / "net.h5")
    assert "is older" not in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 450


@pytest.mark.keras2
def test_a_newer_keras_2_that_writes_what_keras_here_understands(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    model.save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        file.attrs["keras_version"] = "2.99.0"
    x = np.ones((1, 4))
    loaded = models.load_model(tmp_path / "net.h5")
    np.testing.assert_allclose(loaded.predict_on_batch(x), model.predict_on_batch(x), rtol=1e-6)


def test_layers_that_share_their_name_with_an_operation(tmp_path):
    x = keras.Input((4,))
    y = layers.Dense(3)(x)
    model = keras.Model(x, layers.Dense(2)(layers.Add()([y, layers.ReLU()(y)])))
    model.save(tmp_path / "net.h5")
    values = np.ones((1, 4))
    loaded = models.load_model(tmp_path / "net.h5")
    np.testing.assert_allclose(loaded.predict_on_batch(values), model.predict_on_batch(values), rtol=1e-6)


@pytest.mark.parametrize("ending", [".keras", ".hdf5", ".h5", ".model", ""])
def test_files_are_read_by_their_content_whatever_their_name(tmp_path, ending):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.save(tmp_path / "model.h5")
    path = tmp_path / f"hdf5{ending}"
    shutil.copy(tmp_path / "model.h5", path)
    requires_same(path, model)
    if KERAS_3:  # Keras 2 writes such files only with eager execution on
        model.save(tmp_path / "model.keras")
        path = tmp_path / f"archive{ending}"
        shutil.copy(tmp_path / "model.keras", path)
        requires_same(path, model)


@pytest.mark.skipif(not KERAS_3, reason="a fault of Keras 3")
@pytest.mark.parametrize("layer", [layers.Softmax, layers.UnitNormalization, layers.LayerNormalization])
def test_several_axes_are_lost_in_hdf5_and_kept_in_keras_files(layer, tmp_path):
    model = functional((3, 4, 5), layer(axis=(1, 2)))
    model.save(tmp_path / "model.h5")
    with pytest.raises(ValueError, match=r"along the axes \[1, 2\].*save the model as \.keras"):
        models.load_model(tmp_path / "model.h5")
    model.save(tmp_path / "model.keras")
    requires_same(tmp_path / "model.keras", model)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 has no quantized layers")
@pytest.mark.parametrize("mode", ["int8", "float8"])
@pytest.mark.parametrize("ending", [".h5", ".keras"])
def test_a_quantized_file_is_refused_for_the_reason_of_the_object(mode, ending, tmp_path):
    model = keras.Sequential([keras.Input((8,)), layers.Dense(2, name="first")])
    model.quantize(mode)
    with pytest.raises(NotAnalyzeableModelException) as of_object:
        RAP(model)
    model.save(tmp_path / f"model{ending}")
    with pytest.raises(ValueError, match="before quantize") as of_file:
        models.load_model(tmp_path / f"model{ending}")
    assert str(of_file.value).endswith(str(of_object.value))


def test_a_lambda_of_another_python_is_replaced_by_a_layer(tmp_path):
    def network():
        first = [keras.Input((4,)), layers.Rescaling(1 / 127.5, offset=-1, name="scaled")]
        return keras.Sequential([*first, layers.Dense(3), layers.Dense(2)])

    trained, path = network(), tmp_path / "old.h5"
    trained.save(path)
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        (scaled,) = [layer for layer in config["config"]["layers"] if layer["config"]["name"] == "scaled"]
        code = {"name": "scaled", "function": ["4wEAAAA=", None, None], "function_type": "lambda", "arguments": {}}
        scaled.update(class_name="Lambda", config=code)
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(
        ValueError, match=r"'scaled' is Python code.*such as Rescaling, and load_weights of a \.h5"
    ):
        models.load_model(path)
    model = network()
    model.load_weights(path)
    np.testing.assert_array_equal(
        model.predict_on_batch(np.ones((2, 4))), trained.predict_on_batch(np.ones((2, 4)))
    )


class Scale(layers.Layer):
    def call(self, x):
        return 2 * x


@pytest.mark.parametrize("package", ["Custom", "own"])
@pytest.mark.parametrize("ending", [".h5", ".keras"] if KERAS_3 else [".h5"])
def test_registered_classes_are_known_by_the_name_that_is_shown_and_by_their_own(package, ending, tmp_path):
    known = dict(keras.utils.get_custom_objects())
    path = tmp_path / f"model{ending}"
    try:
        keras.utils.register_keras_serializable(package)(Scale)
        model = keras.Sequential([keras.Input((4,)), Scale(), layers.Dense(2)])
        model.save(path)
    finally:
        keras.utils.get_custom_objects().clear()
        keras.utils.get_custom_objects().update(known)
    with pytest.raises(ValueError, match=f"needs {package}>Scale, which"):
        models.load_model(path)
    for name in (f"{package}>Scale", "Scale"):
        loaded = models.load_model(path, custom_objects={name: Scale})
        np.testing.assert_allclose(
            loaded.predict_on_batch(np.ones((1, 4))), model.predict_on_batch(np.ones((1, 4)))
        )
