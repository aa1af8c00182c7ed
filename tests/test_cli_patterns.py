"""`rap-keras fit-patterns`, and `explain` with what it made."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras.cli.commands import main
from rap_keras.patterns import PatternComputer, Patterns


@pytest.fixture
def files(tmp_path):
    """A model file, and a folder of five photos."""
    inputs = keras.Input((8, 8, 3))
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(inputs))
    keras.Model(inputs, layers.Dense(3, activation="softmax", name="predictions")(y)).save(tmp_path / "model.h5")
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    for number, photo in enumerate(pixels):
        Image.fromarray(photo).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path, pixels


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_patterns_of_a_folder_explain_a_photo(files):
    folder, pixels = files
    model, output = folder / "model.h5", folder / "new" / "patterns.npz"
    done = run(
        "fit-patterns", model, folder / "photos", "--preprocessing", "tf", "--batch-size", 2, "--output", output
    )
    assert done.exit_code == 0, done.output
    assert f"patterns of 2 layers in {output}" in done.output
    loaded = keras.models.load_model(model)
    expected = PatternComputer(loaded).compute(pixels.astype(np.float32) / 127.5 - 1).arrays
    found = Patterns.load(output).arrays
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-4 * np.abs(array).max())
    common = ["explain", folder / "photos" / "0.png", "--model", model, "--preprocessing", "tf"]
    methods = ["--method", "pattern.attribution", "--method", "pattern.net"]
    done = run(*common, *methods, "--patterns", output, "--output", folder / "out")
    assert done.exit_code == 0, done.output
    with np.load(folder / "out" / "0.npz") as arrays:
        assert np.abs(arrays["pattern.attribution"]).max() > 0
        assert np.abs(arrays["pattern.net"]).max() > 0
    done = run(*common, *methods, "--output", folder / "out2")
    assert done.exit_code == 2
    assert "rap-keras fit-patterns" in done.output
    assert not (folder / "out2").exists()


def test_patterns_of_another_network_are_refused(files):
    folder, _ = files
    Patterns({"conv:0": np.zeros((3, 3, 3, 4))}, "another").save(folder / "other.npz")
    arguments = ["explain", folder / "photos", "--model", folder / "model.h5", "--preprocessing", "tf"]
    arguments += ["--method", "pattern.net", "--patterns", folder / "other.npz", "--output", folder / "out"]
    done = run(*arguments)
    assert done.exit_code == 2
    assert "--patterns" in done.output
    assert "patterns are of another network" in " ".join(done.output.split())


def test_embedded_network_needs_no_patterns(tmp_path):
    done = run("explain", "--method", "pattern.attribution", "--output", tmp_path)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.h5", "--preprocessing", "tf"], "Give at least one IMAGE"),
        (["model.h5", "photos"], "give --preprocessing"),
        (["model.h5", "model.h5", "--preprocessing", "tf"], "model.h5"),
        (["missing.h5", "photos", "--preprocessing", "tf"], "missing.h5"),
    ],
)
def test_wrong_usage(files, arguments, message, monkeypatch):
    monkeypatch.chdir(files[0])
    done = run("fit-patterns", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (files[0] / "patterns.npz").exists()
