"""The commands on models that people bring: every refusal names a way out, which is followed here and works."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import accepted, refused
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras.datasets import images
from rap_keras.engine.keras_graph import input_names
from rap_keras.explanation.class_names import find_class

layers = keras.layers
SIZE = 8


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own for each test, with a photo in it; it is also the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(pixels()).save("photo.png")
    return tmp_path


def pixels():
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def explain(model: str, *arguments: object) -> tuple:
    return ("explain", "photo.png", "--model", model, *arguments)


def written() -> dict[str, np.ndarray]:
    with np.load("rap-keras-output/photo.npz") as stored:
        return dict(stored)


def convolutions(inputs, units=3, end=None):
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return layers.Dense(units, activation=end)(y)


def of_shape(*shape):
    """A network with inputs of another kind than photos."""
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(inputs)))


def of_a_photo_and_numbers():
    photo, numbers = keras.Input((SIZE, SIZE, 3), name="photo"), keras.Input((5,), name="numbers")
    y = layers.Concatenate()([convolutions(photo), layers.Dense(4, "relu")(numbers)])
    return keras.Model([photo, numbers], layers.Dense(2, activation="softmax")(y))


def of_tokens():
    tokens = keras.Input((6,), dtype="int32")
    return keras.Model(tokens, layers.Dense(1, "sigmoid")(layers.Flatten()(layers.Embedding(9, 3)(tokens))))


OTHERS = {
    "vectors": lambda: of_shape(7),
    "series": lambda: of_shape(10, 4),
    "channels": lambda: of_shape(SIZE, SIZE, 5),
    "two": of_a_photo_and_numbers,
    "tokens": of_tokens,
}


@pytest.mark.slow
@pytest.mark.parametrize("build", OTHERS.values(), ids=list(OTHERS))
def test_a_network_that_takes_no_photo_takes_arrays_and_is_checked_by_random_values(build):
    model = build()
    model.save("net.h5")
    message = refused(*explain("net.h5"))  # without asking for a preprocessing, which would not help
    assert message == refused(*explain("net.h5", "--preprocessing", "tf"))
    assert f"'--model': model '{model.name}' takes (None," in message
    (save, command) = re.findall(r"as arrays: (numpy.*\)), then `rap-keras (.*)`$", message)[0]
    X = [np.random.default_rng(0).integers(0, 9, tensor.shape[1:]) for tensor in model.inputs]
    given = dict(zip(input_names(model) if len(X) > 1 else ["x"], X))
    exec(save, {"numpy": np, **given})
    accepted(*command.replace("FILE", "net.h5").split())
    with np.load("rap-keras-output/x.npz") as results:
        total = sum(results[name].sum() for name in results.files if name.split("/")[0] == "rap")
        assert total == pytest.approx(results["logit"], rel=1e-3, abs=1e-5)
    for option in (("--input", "photo.png"), ("--input", "photo.png", "--preprocessing", "tf")):
        message = refused("check", "net.h5", *option)
        assert "Leave --input out, and the model is checked with random values" in message
        (advised,) = re.findall(r"--input x\.np.$", message)
        assert f"{save}, then {advised}" in message
        accepted("check", "net.h5", *advised.split())
    if all("int" not in str(tensor.dtype) for tensor in model.inputs):
        message = refused("fit-patterns", "net.h5", "photo.png", "--preprocessing", "tf")
        (advice,) = re.findall(r"in Python: (.*)$", message)
        batches = [x[None].astype(np.float32).repeat(2, 0) for x in X]
        patterns = eval(advice.replace("FILE", "net.h5"), {"rap_keras": rap_keras, "X": batches})
        assert all(np.isfinite(array).all() for array in patterns.arrays.values())
    assert "Leave --preprocessing out" in refused("check", "net.h5", "--preprocessing", "tf")
    assert "checking net.h5 with random values" in accepted("check", "net.h5")


@pytest.mark.slow
def test_a_network_of_pixels_as_integers_takes_photos_as_they_are():
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    model = keras.Model(inputs, convolutions(layers.Rescaling(1 / 255)(inputs)))
    model.save("net.h5")
    for command in (explain("net.h5"), ("check", "net.h5", "--input", "photo.png")):
        for wrong in ("tf", "caffe", "torch"):
            message = refused(*command, "--preprocessing", wrong)
            assert "Invalid value for '--preprocessing'" in message
            assert "whole numbers from 0 to 255, but sample 0 has" in message
        (advice,) = re.findall(r"For photos as they are: (--preprocessing) (\S+)", message)
        accepted(*command, *advice)
    logit = model.predict_on_batch(pixels()[None]).max()
    assert written()["logit"] == pytest.approx(logit, rel=1e-4)
    assert written()["rap"].sum() == pytest.approx(logit, rel=1e-3)
    accepted("check", "net.h5")  # with pixels by chance
    (logit,) = re.findall(r"the logit is (\S+),", accepted("check", "net.h5"))
    x = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3))
    assert float(logit) == pytest.approx(model.predict_on_batch(x).max(), rel=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (8, 10)])
def test_sizes_that_do_not_fit_the_network(size):
    inputs = keras.Input((*size, 3))
    keras.Model(inputs, convolutions(inputs)).save("net.h5")
    command = explain("net.h5", "--preprocessing", "tf", "--method", "gradient")
    for wrong in (("--resize", 9), ("--resize", 7), ("--crop", 7), ("--crop", 7, "--resize", 9)):
        message = refused(*command, *wrong)
        assert f"the network takes 8x{size[1]}: leave --resize and --crop out" in message
    accepted(*command)
    assert ("or give --crop 8, alone or with a --resize of at least 8" in message) == (size == (8, 8))
    if size == (8, 8):
        accepted(*command, "--crop", 8)
        assert "--crop 8" in refused(*command, "--crop", 8, "--resize", 7)
        accepted(*command, "--crop", 8, "--resize", 8)
        accepted(*command, "--resize", 8)


def test_a_network_for_photos_of_any_size():
    inputs = keras.Input((None, None, 3))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    keras.Model(inputs, layers.Dense(2)(y)).save("net.h5")
    command = explain("net.h5", "--preprocessing", "tf", "--method", "gradient")
    accepted(*command)
    Image.fromarray(np.zeros((1000, 1001, 3), np.uint8)).save("photo.png")
    assert "1000x1001 pixels, and the network takes photos of any size" in refused(*command, status=1)
    accepted(*command, "--resize", 9)
    check = ["check", "net.h5", "--input", "photo.png", "--preprocessing", "tf"]
    assert "1000x1001 pixels, and the network takes photos of any size" in refused(*check)
    with pytest.raises(ValueError, match="resize it to the size of the photos in training"):
        rap_keras.explain("net.h5", "photo.png", "gradient", preprocessing="tf")
    assert rap_keras.explain("net.h5", Image.open("photo.png").resize((9, 9)), "gradient", preprocessing="tf")
    patterns = ["fit-patterns", "net.h5", "photo.png", "--preprocessing", "tf"]
    assert "those of a batch must have one size: give it by --resize N" in refused(*patterns)
    accepted(*patterns, "--resize", 9)
    Image.open("photo.png").resize((11, 9)).save("photo.png")
    assert "photo.png, 9x11" in accepted(*check)


def test_a_network_of_a_class_for_each_pixel():
    """The softmax is over the classes of each pixel, so the region has no single probability."""

    def segmentation(size):
        inputs = keras.Input((size, size, 3))
        return keras.Model(inputs, layers.Conv2D(2, 3, activation="softmax")(inputs))

    segmentation(None).save("any.h5")
    message = refused(*explain("any.h5", "--preprocessing", "tf", "--resize", 8))
    assert "output of no fixed size, (None, None, None, 2): build it for photos of one size" in message
    network = segmentation(SIZE)
    network.save("net.h5")
    accepted(*explain("net.h5", "--preprocessing", "tf"))
    x = images.preprocess([images.fit(images.load_photo("photo.png"), (SIZE, SIZE))], "tf")
    found, highest = written(), network.predict_on_batch(x)[0].argmax(-1)
    assert found["target"] == np.bincount(highest.ravel()).argmax()
    np.testing.assert_array_equal(found["region"], highest == found["target"])
    assert "probability" not in found
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, layers.Conv2D(2, SIZE, activation="softmax")(inputs)).save("one.h5")  # with one place
    assert re.search(r"class [01]\s+probability 0\.", accepted(*explain("one.h5", "--preprocessing", "tf")))


@pytest.mark.parametrize("command", ["check", "fit-patterns"])
def test_commands_blame_the_model_by_their_own_name_for_it(command):
    arguments = ["photo.png", "--preprocessing", "tf"] if command == "fit-patterns" else []
    for name in ("gone.h5", "photo.png"):
        message = refused(command, name, *arguments)
        assert "'MODEL'" in message
        assert "--model" not in message


def test_patterns_of_another_network_are_computed_anew():
    for name in ("a", "b"):
        inputs = keras.Input((SIZE, SIZE, 3))
        keras.Model(inputs, convolutions(inputs)).save(f"{name}.h5")
    accepted("fit-patterns", "a.h5", "photo.png", "--preprocessing", "tf")
    command = explain("b.h5", "--preprocessing", "tf", "--method", "pattern.net")
    assert "compute them with `rap-keras fit-patterns`" in refused(*command)
    message = refused(*command, "--patterns", "patterns.npz")
    assert "compute them again" in message
    assert "`rap-keras fit-patterns`" in message
    accepted("fit-patterns", "b.h5", "photo.png", "--preprocessing", "tf")
    accepted(*command, "--patterns", "patterns.npz")


@pytest.mark.slow
def test_options_that_exclude_each_other():
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, convolutions(inputs)).save("net.h5")
    command = explain("net.h5", "--preprocessing", "tf", "--layers", "*")
    assert "Leave --layers out, or add --method rap" in refused(*command, "--method", "grad_cam")
    accepted(*command[:-2], "--method", "grad_cam")
    accepted(*command, "--method", "grad_cam", "--method", "rap")
    assert "give --preprocessing caffe, tf, torch, unit (0 to 1), raw (0 to 255) or MODULE:FUNCTION" in refused(
        *explain("net.h5")
    )
    for how in ("caffe", "tf", "torch", "unit", "raw", "keras.applications.vgg16:preprocess_input"):
        accepted(*explain("net.h5", "--preprocessing", how))


def test_classes_that_are_not_found():
    with pytest.raises(ValueError, match="give a number from 0 to 2, or the names"):
        find_class("dog", None, 3)
    assert find_class("2", None, 3) == 2
    names = ["cat", "dog", "cat"]
    assert find_class("dog", names, 3) == 1
    with pytest.raises(ValueError, match=r"give one of \[0, 2\]"):
        find_class("cat", names, 3)
    assert [find_class(number, names, 3) for number in ("0", "2")] == [0, 2]
    with pytest.raises(ValueError, match="did you mean 'dog'") as error:
        find_class("dogg", names, 3)
    (meant,) = re.findall("mean '(.*)'", str(error.value))
    assert find_class(meant, names, 3) == 1
