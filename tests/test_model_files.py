"""Harmless model files of every kind are read, and the ways out that messages name work."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from host import KERAS_3, NotAnalyzeableModelException
from hostile_files import entry, network, of_keras_3_format, write_h5, write_keras
from keras import __version__ as keras_version
from tensorflow import keras

from rap_keras import RAP, models
from rap_keras.engine.conservation import lively_weights

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


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 reads its own files")
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


def test_layers_that_share_their_name_with_an_operation(tmp_path):
    x = keras.Input((4,))
    y = layers.Dense(3)(x)
    model = keras.Model(x, layers.Dense(2)(layers.Add()([y, layers.ReLU()(y)])))
    model.save(tmp_path / "net.h5")
    values = np.ones((1, 4))
    loaded = models.load_model(tmp_path / "net.h5")
    np.testing.assert_allclose(loaded.predict_on_batch(values), model.predict_on_batch(values), rtol=1e-6)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 reads its own files")
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


def as_keras_2(value, old_names=False):
    """A configuration that Keras 3 wrote as Keras 2 would have written it."""
    if isinstance(value, list):
        return [as_keras_2(one, old_names) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: as_keras_2(one, old_names) for key, one in value.items() if key != "build_config"}
    kind, config = found.get("class_name"), found.get("config")
    if not isinstance(config, dict):
        return found
    if kind == "DTypePolicy":
        policy = entry("Policy", {"name": config["name"]}, module="keras.mixed_precision", registered_name=None)
        return config["name"] if config["name"] == "float32" else policy
    if kind == "InputLayer":
        config["batch_input_shape"] = config.pop("batch_shape")
    if "Conv" in str(kind):
        config.update(groups=1, kernel_initializer="glorot_uniform", kernel_constraint=None)
    if kind in ("LSTM", "GRU", "SimpleRNN"):
        config["time_major"] = False
    if kind == "MultiHeadAttention":
        config["query_shape"] = config["key_shape"] = config["value_shape"] = [None, 3, 4]
    if kind == "BatchNormalization":
        config["axis"] = [config["axis"]]
        found["class_name"] = "BatchNormalizationV1" if old_names else kind
    if kind == "Functional":
        found["class_name"] = "Model" if old_names else kind
        if "module" in found:
            found["module"] = "keras.src.engine.functional"
        inner = [layer["name"] for layer in config["layers"] if "layers" in layer["config"]]
        for layer in config["layers"]:
            layer["inbound_nodes"] = [keras_2_call(node, inner) for node in layer["inbound_nodes"]]
        for key in ("input_layers", "output_layers"):
            one = not isinstance(config[key][0], list)
            config[key] = [
                [n, i + (n in inner and i == 0), p] for n, i, p in ([config[key]] if one else config[key])
            ]
    return found


def keras_2_call(node: dict, inner: list[str]) -> list:
    def reference(tensor, *options):
        name, number, place = tensor["config"]["keras_history"]
        return [name, number + (name in inner), place, *options]

    given = node["args"][0]
    options = {k: reference(v) if isinstance(v, dict) else v for k, v in node["kwargs"].items() if v is not None}
    options.update({"value": reference(node["args"][1])} if len(node["args"]) > 1 else {})
    return [reference(tensor, options) for tensor in (given if isinstance(given, list) else [given])]


def without_input(config: dict, as_list: bool = False) -> dict:
    """A Sequential as before Keras 2.2.3 or TensorFlow 2.2: the first layer has the shape of the input."""
    first, *others = config["config"]["layers"]
    if "layers" not in others[0]["config"]:
        others[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
    return entry("Sequential", others if as_list else {"name": "net", "layers": others})


def functional(shape, build, **options):
    inputs = keras.Input(shape, **options)
    return keras.Model(inputs, build(inputs))


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


def requires_same(file: Path, model: keras.Model) -> None:
    loaded = models.load_model(file)
    assert loaded.input_shape == model.input_shape
    shape = (5, *model.input_shape[1:])
    values = np.random.default_rng(0).integers(0, 9, shape).astype(np.float32)
    np.testing.assert_allclose(
        loaded.predict_on_batch(values), model.predict_on_batch(values), rtol=1e-4, atol=1e-5
    )


of_keras_2 = pytest.mark.skipif(not KERAS_3, reason="Keras 2 reads its own files")


def written_by_keras_2(path: Path, model: keras.Model, change=lambda config: config, version="2.2.4-tf") -> Path:
    """The HDF5 file of a model, as Keras 2 would have written it."""
    model.save(path)
    with h5py.File(path, "a") as file:
        config = as_keras_2(json.loads(file.attrs["model_config"]), old_names=version.startswith("2.2"))
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(change(config)), version
    return path


def archive_of_keras_2(path: Path, model: keras.Model, version: str = "2.14.0") -> Path:
    """The `.keras` file of a model, as Keras 2.13 to 2.15 would have written it."""

    def rename(group):
        for name, inner in list(group.items()):
            if isinstance(inner, h5py.Group):
                rename(inner)
                kind, _, number = name.rpartition("_")
                if version.startswith("2.13") and number.isdecimal() and group.name.endswith("dependencies"):
                    group.move(name, f"{kind}_of_{2 * int(number)}")
            if name == "layers":
                group.move(name, "_layer_checkpoint_dependencies")
                rename(group["_layer_checkpoint_dependencies"])
        for name in [name for name in group if "_of_" in name]:
            group.move(name, name.replace("_of_", "_"))

    model.save(path)
    with zipfile.ZipFile(path) as archive:
        config, weights = json.loads(archive.read("config.json")), io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(weights, "r+") as file:
        rename(file)
    write_keras(path, as_keras_2(config), version, model__weights__h5=weights.getvalue())
    return path


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
