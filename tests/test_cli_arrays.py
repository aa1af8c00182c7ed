"""`rap-keras explain` and `check` with .npy and .npz files, and with photos for networks of one channel."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import accepted, refused
from host import KERAS_3
from PIL import Image
from tensorflow import keras

from rap_keras import models

layers = keras.layers
RANDOM = np.random.default_rng(0)
FORMATS = ["h5", "keras"] if KERAS_3 else ["h5"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own for each test, which is also the home folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def recurrent() -> keras.Model:
    return keras.Sequential([keras.Input((6, 2)), layers.SimpleRNN(4), layers.Dense(3, activation="softmax")])


def volumes() -> keras.Model:
    convolution = layers.Conv3D(2, 3, activation="relu")
    return keras.Sequential([keras.Input((7, 4, 5, 1)), convolution, layers.Flatten(), layers.Dense(3)])


def linear(*shape: int | None, end: str | None = "softmax") -> keras.Model:
    return keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(3, activation=end)])


def two_inputs() -> keras.Model:
    series, facts = keras.Input((6, 2), name="series"), keras.Input((5,), name="facts")
    joined = layers.Concatenate()([layers.SimpleRNN(3)(series), layers.Dense(3, activation="relu")(facts)])
    return keras.Model([series, facts], layers.Dense(3)(joined))


def written(name: str) -> dict[str, np.ndarray]:
    assert (Path("rap-keras-output") / f"{name}.png").exists()
    with np.load(Path("rap-keras-output") / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def checked_logit(output: str) -> float:
    (found,) = re.findall(r"the logit is (-?[\d.e-]+), the sum", output)
    return float(found)


def logits_of(model: keras.Model, x) -> np.ndarray:
    """Logits of a model; to be called before the command, which may switch eager execution off."""
    return np.asarray(models.to_logits(model).predict_on_batch(x))


@pytest.mark.parametrize("ending", FORMATS)
def test_a_series(ending):
    model = recurrent()
    model.save(f"net.{ending}")
    x = RANDOM.normal(size=(6, 2))
    np.save("x.npy", x)
    logits = logits_of(model, x[None].astype("float32"))[0]
    output = accepted("explain", "x.npy", "--model", f"net.{ending}", "--layers", "*")
    data = written("x")
    assert set(data) == {"rap", "target", "logit", "methods", "probability"}
    assert data["rap"].shape == (6, 2)
    assert data["target"] == logits.argmax()
    np.testing.assert_allclose(data["logit"], logits.max(), rtol=1e-4)
    np.testing.assert_allclose(data["rap"].sum(), logits.max(), rtol=1e-3)
    assert f"x.npy  rap  class {logits.argmax()}  probability 0." in output
    assert "1 explained, 0 skipped; files in rap-keras-output" in output
    assert Path("rap-keras-output/x-layers.png").exists()


def test_a_batch_has_numbered_files():
    model = linear(6, 2)
    model.save("net.h5")
    x = RANDOM.normal(size=(3, 6, 2))
    np.save("x.npy", x)
    output = accepted(
        "explain", "x.npy", "--model", "net.h5", "--method", "input_t_gradient", "--target", 1, "--target", 2
    )
    assert "3 explained, 0 skipped" in output
    kernel, _ = model.get_weights()
    for sample in range(3):
        assert f"x.npy[{sample}]  input_t_gradient  class 1  probability" in output
        for target in (1, 2):
            with np.load(f"rap-keras-output/x-{sample}-{target}.npz") as data:
                expected = x[sample] * kernel[:, target].reshape(6, 2)
                np.testing.assert_allclose(data["input_t_gradient"], expected, rtol=1e-4, atol=1e-6)
        assert Path(f"rap-keras-output/x-{sample}.png").exists()


@pytest.mark.parametrize("ending", FORMATS)
def test_a_volume_without_its_channel(ending):
    model = volumes()
    model.save(f"net.{ending}")
    x = RANDOM.normal(size=(7, 4, 5)).astype("float32")
    np.save("x.npy", x)
    logits = logits_of(model, x[None, ..., None])[0]
    accepted("explain", "x.npy", "--model", f"net.{ending}", "--method", "rap", "--method", "gradient")
    data = written("x")
    assert data["rap"].shape == data["gradient"].shape == (7, 4, 5, 1)
    np.testing.assert_allclose(data["rap"].sum(), logits.max(), rtol=1e-3)
    assert "probability" not in data


@pytest.mark.parametrize("ending", FORMATS)
def test_two_inputs(ending):
    model = two_inputs()
    model.save(f"net.{ending}")
    series, facts = RANDOM.normal(size=(6, 2)).astype("float32"), RANDOM.normal(size=5).astype("float32")
    np.savez("x.npz", facts=facts, series=series)
    step = np.float32(1e-2) * np.eye(5, dtype="float32")[0]
    logits, *there = logits_of(model, [np.stack([series] * 3), np.stack([facts, facts + step, facts - step])])
    target = logits.argmax()
    output = accepted("explain", "x.npz", "--model", f"net.{ending}", "--method", "rap", "--method", "gradient")
    data = written("x")
    assert data["rap/series"].shape == data["gradient/series"].shape == (6, 2)
    assert data["rap/facts"].shape == data["gradient/facts"].shape == (5,)
    total = data["rap/series"].sum() + data["rap/facts"].sum()
    np.testing.assert_allclose(total, logits.max(), rtol=1e-3)
    (line,) = [line for line in output.splitlines() if line.startswith("x.npz  rap  ")]
    np.testing.assert_allclose(float(line.split("  sum ")[1].split()[0]), total, rtol=1e-4)
    np.testing.assert_allclose(
        data["gradient/facts"][0], (there[0] - there[1])[target] / 2e-2, rtol=1e-2, atol=1e-4
    )


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_images_of_any_channels(channels):
    model = linear(8, 10, channels)
    model.save("net.h5")
    x = RANDOM.normal(size=(8, 10, channels))
    np.save("x.npy", x[..., 0] if channels == 1 else x)
    accepted("explain", "x.npy", "--model", "net.h5", "--method", "gradient", "--target", 1)
    data = written("x")
    np.testing.assert_array_equal(data["input_size"], (8, 10))
    np.testing.assert_allclose(data["gradient"], model.get_weights()[0][:, 1].reshape(8, 10, channels), rtol=1e-5)


def test_vectors_for_a_sigmoid_unit():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(1, activation="sigmoid")])
    model.set_weights([np.ones((5, 1)), np.zeros(1)])
    model.save("net.h5")
    np.save("x.npy", -np.ones((2, 5)))
    output = accepted("explain", "x.npy", "--model", "net.h5")
    assert "x.npy[1]  rap  class 0  probability 0.9933  logit 5  sum 5  " in output
    np.testing.assert_allclose(written("x-1")["rap"], np.ones(5), rtol=1e-3)


def test_a_class_at_every_step():
    keras.Sequential([keras.Input((6, 2)), layers.LSTM(4, return_sequences=True), layers.Dense(2)]).save("net.h5")
    np.save("x.npy", RANDOM.normal(size=(6, 2)))
    output = accepted("explain", "x.npy", "--model", "net.h5")
    assert " of 6 places  sum of logits " in output
    data = written("x")
    assert data["region"].shape == (6,)
    np.testing.assert_allclose(data["rap"].sum(), data["logit"], rtol=1e-3)


def test_tokens_are_whole_numbers():
    tokens = keras.Input((4,), dtype="int32")
    keras.Model(tokens, layers.Dense(2)(layers.Flatten()(layers.Embedding(9, 3)(tokens)))).save("net.h5")
    np.save("x.npy", [1.0, 8.0, 2.5, 0.0])
    said = refused("explain", "x.npy", "--model", "net.h5", status=1)
    assert "skipped: x.npy: input" in said
    assert "sample 0 has 2.5: give the values as the model takes them" in said
    np.save("x.npy", [1.0, 8.0, 2.0, 0.0])
    accepted("explain", "x.npy", "--model", "net.h5")
    assert written("x")["rap"].shape == (4,)


def test_arrays_are_fed_as_they_are():
    model = linear(8, 10, 3)
    model.save("net.h5")
    pixels = RANDOM.integers(0, 256, (8, 10, 3), np.uint8)
    np.save("x.npy", pixels.astype("float32"))
    np.save("bytes.npy", pixels)
    expected = logits_of(model, pixels[None].astype("float32")).max()
    for option, value in (("--preprocessing", "tf"), ("--resize", 8), ("--crop", 8)):
        said = refused("explain", "x.npy", "--model", "net.h5", option, value)
        assert f"{option} is for photos, and arrays are fed to the network as they are: leave {option} out" in said
    accepted("explain", "x.npy", "--model", "net.h5")
    np.testing.assert_allclose(written("x")["logit"], expected, rtol=1e-4)
    assert "--preprocessing is for photos" in refused(
        "check", "net.h5", "--input", "x.npy", "--preprocessing", "tf"
    )
    assert "with x.npy, 8x10x3 ..." in accepted("check", "net.h5", "--input", "x.npy")
    assert "bytes.npy: the array is uint8, like a photo, and its preprocessing is not known" in refused(
        "explain", "bytes.npy", "--model", "net.h5", status=1
    )


def test_files_that_do_not_fit_are_skipped():
    linear(6, 2).save("net.h5")
    np.save("good.npy", np.ones((6, 2)))
    np.save("wrong.npy", np.ones((2, 6)))
    np.save("huge.npy", np.full((6, 2), 1e300))
    Path("text.npy").write_text("text")
    names = ["wrong.npy", "good.npy", "huge.npy", "text.npy"]
    said = refused("explain", *names, "--model", "net.h5", status=1)
    assert "skipped: wrong.npy: shape (2, 6), but the model takes (6, 2) for one sample" in said
    assert "has a value of 1e+300, which is infinite there: scale the values as in the network's training" in said
    assert "skipped: text.npy: not a NumPy file, or a damaged one" in said
    assert "1 explained, 3 skipped" in said
    np.save("wrong.npy", np.load("wrong.npy").T)
    np.save("huge.npy", np.load("huge.npy") / 1e300)
    np.save("text.npy", np.ones((6, 2)))
    assert "4 explained, 0 skipped" in accepted("explain", *names, "--model", "net.h5")


def test_a_folder_of_arrays_is_given_by_its_files(here):
    linear(6, 2).save("net.h5")
    (here / "folder").mkdir()
    np.save("folder/x.npy", np.ones((6, 2)))
    said = refused("explain", "folder", "--model", "net.h5")
    assert "folder: no image in this folder" in said
    assert "For arrays, give the files: FOLDER/*.npy" in said
    accepted("explain", *here.glob("folder/*.npy"), "--model", "net.h5")


def test_photos_and_arrays_together_are_refused(here):
    linear(8, 10, 3).save("net.h5")
    Image.new("RGB", (20, 16)).save("photo.png")
    np.save("x.npy", np.ones((8, 10, 3)))
    said = refused("explain", "photo.png", "x.npy", "--model", "net.h5")
    assert (
        "x.npy is a file of arrays, but photo.png is not: explain photos and arrays in separate commands" in said
    )


def test_a_photo_is_not_overwritten(here):
    linear(8, 10, 3).save("net.h5")
    Image.new("RGB", (10, 8)).save("photo.png")
    before = Path("photo.png").read_bytes()
    said = refused("explain", "photo.png", "--model", "net.h5", "--preprocessing", "tf", "--output", ".")
    assert "where it could be overwritten: give another folder" in said
    assert Path("photo.png").read_bytes() == before
    accepted("explain", "photo.png", "--model", "net.h5", "--preprocessing", "tf", "--output", "out")


def test_an_array_is_not_overwritten():
    linear(6, 2).save("net.h5")
    np.savez("x.npz", x=np.ones((6, 2)))
    before = Path("x.npz").read_bytes()
    said = refused("explain", "x.npz", "--model", "net.h5", "--output", ".")
    assert "where it could be overwritten: give another folder" in said
    assert Path("x.npz").read_bytes() == before
    accepted("explain", "x.npz", "--model", "net.h5")


def test_check_with_a_sample():
    model = recurrent()
    model.save("net.h5")
    x = RANDOM.normal(size=(2, 6, 2)).astype("float32")
    np.save("x.npy", x)
    expected = logits_of(model, x[:1]).max()
    said = refused("check", "net.h5", "--input", "x.npy")
    assert "x.npy has 2 samples, but only one can be checked at a time. Save one: numpy.save(" in said
    np.save("one.npy", x[0])
    output = accepted("check", "net.h5", "--input", "one.npy")
    assert "checking net.h5 with one.npy, 6x2 ..." in output
    np.testing.assert_allclose(checked_logit(output), expected, rtol=1e-4)
    np.save("one.npy", x[0, 0])
    assert "the model takes (6, 2)" in refused("check", "net.h5", "--input", "one.npy")


def test_check_with_two_inputs():
    two_inputs().save("net.h5")
    np.savez("x.npz", series=RANDOM.normal(size=(6, 2)), facts=RANDOM.normal(size=5))
    output = accepted("check", "net.h5", "--input", "x.npz")
    assert "with x.npz, 6x2 and 5 ..." in output
    assert "relevance is conserved at every layer" in output


def test_photos_in_grey():
    model = linear(8, 10, 1)
    model.save("net.h5")
    Image.new("RGB", (20, 16), (255, 0, 0)).save("red.png")
    Image.new("L", (20, 16), 90).save("grey.png")
    given = ("--model", "net.h5", "--preprocessing", "tf", "--method", "input_t_gradient", "--target", 1)
    expected = logits_of(model, np.full((1, 8, 10, 1), 76 / 127.5 - 1, "float32")).max()
    accepted("explain", "red.png", "grey.png", *given)
    kernel = model.get_weights()[0][:, 1].reshape(8, 10, 1)
    for name, grey in (("red", 76), ("grey", 90)):
        np.testing.assert_allclose(written(name)["input_t_gradient"], kernel * (grey / 127.5 - 1), rtol=1e-3)
        picture = np.asarray(Image.open(f"rap-keras-output/{name}.png").convert("RGB"))
        assert (picture == grey).all(axis=-1).mean() > 0.1
    output = accepted("check", "net.h5", "--input", "red.png", "--preprocessing", "tf")
    np.testing.assert_allclose(checked_logit(output), expected, rtol=1e-4)
    said = refused("explain", "red.png", "--model", "net.h5", "--preprocessing", "caffe")
    assert "For grey photos give unit, tf or raw, or a function of yours" in said


@pytest.mark.parametrize("shape", [(8, 10, 4), (8, 10, 7), (6, 2)])
def test_photos_for_other_networks_are_refused(shape):
    linear(*shape).save("net.h5")
    Image.new("RGB", (20, 16)).save("photo.png")
    said = refused("explain", "photo.png", "--model", "net.h5", "--preprocessing", "tf")
    assert "kind as arrays: numpy.save('x.npy', x), then `rap-keras explain x.npy --model FILE`" in said
    said = refused("check", "net.h5", "--input", "photo.png", "--preprocessing", "tf")
    assert "or give a sample as arrays: numpy.save('x.npy', x), then --input x.npy" in said
    np.save("x.npy", RANDOM.normal(size=shape))
    accepted("explain", "x.npy", "--model", "net.h5")
    accepted("check", "net.h5", "--input", "x.npy")
