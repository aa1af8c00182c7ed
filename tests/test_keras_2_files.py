"""Files of Keras 1 and 2 on Keras 3 calculate what they did, or are refused."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest
from host import KERAS_3
from hostile_files import entry, network, write_h5, write_keras
from model_files import archive_of_keras_2, functional, requires_same, without_input, written_by_keras_2
from tensorflow import keras

from rap_keras import models
from rap_keras.engine.checks.conservation import lively_weights

layers = keras.layers

of_keras_2 = pytest.mark.skipif(not KERAS_3, reason="Keras 2 reads its own files")


def nested(x):
    head = keras.Sequential([keras.Input((8,)), layers.Dense(4, "relu"), layers.BatchNormalization()])
    twice = functional((4,), layers.Dense(4, "tanh"))
    return layers.Dense(2)(layers.Add()([twice(twice(head(x))), layers.Dense(4)(x)]))


def attention(x):
    return layers.Dense(2)(layers.Flatten()(layers.MultiHeadAttention(2, 3)(x, x)))


CONVOLUTIONS = [
    layers.DepthwiseConv2D(2),
    layers.SeparableConv2D(3, 2),
    layers.Conv2DTranspose(2, 2),
    layers.Flatten(),
]
NETWORKS_OF_KERAS_2 = {
    "convolutions": lambda: keras.Sequential([keras.Input((6, 6, 2)), *CONVOLUTIONS, layers.Dense(2)]),
    "one after the other": lambda: functional(
        (6,), lambda x: layers.Dense(6, name="of_three")(layers.Dense(6)(layers.Dense(6)(x)))
    ),
    "recurrent": lambda: functional(
        (4, 3), lambda x: layers.GRU(2)(layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x))
    ),
    "tokens": lambda: functional((4,), lambda x: layers.SimpleRNN(2)(layers.Embedding(9, 3)(x)), dtype="int32"),
    "attention": lambda: functional((3, 4), attention),
    "nested": lambda: functional((8,), nested),
    "mixed": lambda: functional((8,), lambda x: layers.Dense(2)(layers.Dense(4, dtype="mixed_bfloat16")(x))),
    "ends in a model": lambda: functional(
        (8,), lambda x: keras.Sequential([keras.Input((4,)), layers.Dense(2)])(layers.Dense(4)(x))
    ),
}


@of_keras_2
def test_a_file_of_keras_2_on_keras_3(tmp_path):
    config = network(entry("Dense", {"name": "dense", "units": 2}))
    write_h5(tmp_path / "net.h5", config)
    kernel, bias = np.random.default_rng(0).random((4, 2)), np.array([1.0, 2.0])
    with h5py.File(tmp_path / "net.h5", "a") as file:
        weights = file["model_weights"]
        weights.attrs["layer_names"] = np.array(["dense"], "S5")
        group = weights.create_group("dense")
        group.attrs["weight_names"] = np.array(["dense/kernel:0", "dense/bias:0"], "S14")
        group["dense/kernel:0"], group["dense/bias:0"] = kernel, bias
    x = np.ones((1, 4))
    model = models.load_model(tmp_path / "net.h5")
    np.testing.assert_allclose(model.predict_on_batch(x), x @ kernel + bias, rtol=1e-6)


def test_an_old_sequential_model_is_a_list_of_layers(tmp_path):
    model = keras.Sequential([keras.Input((4,), name="input"), layers.Dense(2, name="dense")])
    model.save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        first, second = config["config"]["layers"]
        second["config"]["batch_input_shape"] = first["config"]["batch_shape" if KERAS_3 else "batch_input_shape"]
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [second]})
        file.attrs["keras_version"] = "2.0.6"
    values, loaded = np.ones((3, 4)), models.load_model(tmp_path / "net.h5")
    assert loaded.input_shape == (None, 4)
    np.testing.assert_allclose(loaded.predict_on_batch(values), model.predict_on_batch(values), rtol=1e-6)


@of_keras_2
def test_a_hard_sigmoid_of_keras_2_is_another_function(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="hard_sigmoid", name="gate")])
    path = tmp_path / "model.h5"
    model.save(path)
    assert models.load_model(path).layers[-1].name == "gate"  # of Keras 3
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "2.14.0"
    with pytest.raises(
        ValueError, match=r"layer 'gate' has the activation hard_sigmoid.*with Keras 2, installed by"
    ):
        models.load_model(path)


@of_keras_2
@pytest.mark.parametrize("name", NETWORKS_OF_KERAS_2)
def test_networks_of_keras_2_calculate_the_same_on_keras_3(name, tmp_path):
    model = lively_weights(NETWORKS_OF_KERAS_2[name]())
    requires_same(written_by_keras_2(tmp_path / "old.h5", model), model)

    def slashed(config):
        return json.loads(json.dumps(config).replace("of_three", "of/three"))

    requires_same(written_by_keras_2(tmp_path / "slashed.h5", model, slashed), model)
    for version in ("2.13.1", "2.15.0"):
        requires_same(archive_of_keras_2(tmp_path / "new.keras", model, version), model)


@of_keras_2
@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((8,), lambda: layers.Dense(4)),
        ((6, 6, 2), lambda: layers.Conv2D(3, 2)),
        ((None, 3), lambda: layers.Bidirectional(layers.LSTM(2))),
        ((5,), lambda: layers.Embedding(9, 3)),
        ((8,), lambda: functional((8,), layers.Dense(4))),
        ((8,), lambda: keras.Sequential([keras.Input((8,)), layers.Dense(4)])),
    ],
)
def test_a_sequential_of_keras_2_without_an_input_layer(shape, first, as_list, tmp_path):
    model = keras.Sequential([keras.Input(shape), first(), layers.Dense(2)])
    path = written_by_keras_2(tmp_path / "old.h5", model, lambda config: without_input(config, as_list))
    loaded = models.load_model(path)
    assert loaded.input_shape == model.input_shape
    values = np.ones((5, *(size or 4 for size in shape)), np.float32)
    np.testing.assert_allclose(
        loaded.predict_on_batch(values), model.predict_on_batch(values), rtol=1e-5, atol=1e-6
    )


@of_keras_2
def test_a_gru_from_before_reset_after(tmp_path):
    model = functional((4, 3), layers.GRU(2, reset_after=False, use_bias=False))

    def older(config):
        del config["config"]["layers"][1]["config"]["reset_after"]
        return config

    requires_same(written_by_keras_2(tmp_path / "old.h5", model, older, "2.1.2"), model)


@of_keras_2
def test_what_keras_3_does_not_have_is_named(tmp_path):
    dense, path = layers.Dense(2, name="dense"), tmp_path / "net.keras"
    model = keras.Sequential([keras.Input((4,)), dense])
    operation = entry("TFOpLambda", {"name": "tf.nn.relu", "function": "nn.relu"}, name="tf.nn.relu")
    for layer, cause in (
        (entry("LocallyConnected1D", {"name": "own"}), r"LocallyConnected1D, which is not part of Keras 3\.\d"),
        (operation, "'tf.nn.relu' is an operation of TensorFlow.*explain the model with Keras 2, installed by"),
        (
            entry("Dense", {"name": "d", "units": 1, "activation": "hard_sigmoid"}),
            "has the activation hard_sigmoid",
        ),
    ):

        def with_layer(config, layer=layer):
            config["config"]["layers"].append(layer)
            return config

        with pytest.raises(ValueError, match=cause):
            models.load_model(written_by_keras_2(tmp_path / "net.h5", model, with_layer))
        with zipfile.ZipFile(archive_of_keras_2(path, model)) as archive:
            config = with_layer(json.loads(archive.read("config.json")))
        write_keras(path, config, "2.14.0")
        with pytest.raises(ValueError, match=cause):
            models.load_model(path)
