"""`rap-keras explain`: which class is named, with which probability and logit, and where its red is."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from host import KERAS_3
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras.cli.commands import main

SIZE = 24
NAMED = ("--model", "binary.h5", "--preprocessing", "unit_scaling:unit", "--classes", "classes.txt")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def explain(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["explain", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def written(name: str) -> dict[str, np.ndarray]:
    with np.load(Path("rap-keras-output") / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def object_photos(folder: Path) -> np.ndarray:
    """A red square and a blue one, on black; returns where they are."""
    place = np.zeros((SIZE, SIZE), bool)
    place[4:12, 6:14] = True
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        pixels[place] = colour
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return place


def binary_network(folder: Path, activation: str | None = "sigmoid", weight: float = 40.0) -> None:
    """Class 1 is red, class 0 blue: one detector each, with weights of opposite sign."""
    inputs = keras.Input((SIZE, SIZE, 3))
    y = layers.Conv2D(2, 3, padding="same", activation="relu", name="detectors")(inputs)
    y = layers.GlobalAveragePooling2D()(y)
    model = keras.Model(inputs, layers.Dense(1, activation, name="decision")(y))
    kernel = np.zeros((3, 3, 3, 2))
    kernel[..., 0, 0] = kernel[..., 2, 1] = 1 / 9
    kernel[..., 0, 1] = kernel[..., 2, 0] = -1 / 9
    model.set_weights([kernel, np.zeros(2), np.array([[weight], [-weight]]), np.zeros(1)])
    model.save(folder / "binary.h5")


@pytest.fixture
def binary(here) -> np.ndarray:
    (here / "unit_scaling.py").write_text("def unit(pixels):\n    return pixels / 255\n")
    binary_network(here)
    (here / "classes.txt").write_text("blue thing\nred thing\n")
    return object_photos(here)


def test_a_sigmoid_unit_is_two_classes_and_the_decision_is_named(binary):
    result = explain("red.png", "blue.png", *NAMED, "--method", "rap", "--method", "lrp.alpha_1_beta_0")
    assert result.exit_code == 0, result.output
    for name in ("red", "blue"):
        found = written(name)
        logit, probability = float(found["logit"]), float(found["probability"])
        assert logit > 0  # of the class that is named, whichever it is
        assert probability == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-4)
        line = rf"{name}\.png  rap  {name} thing  probability {probability:.4g}  logit {logit:.6g}  sum"
        assert re.search(line, result.output)
        assert int(found["target"]) == ["blue", "red"].index(name)
        assert found["rap"].sum() == pytest.approx(logit, rel=1e-4)
        for method in ("rap", "lrp.alpha_1_beta_0"):
            heatmap = found[method].sum(-1)
            assert binary[np.unravel_index(heatmap.argmax(), heatmap.shape)]
            assert heatmap[binary].sum() > 0
            assert np.maximum(heatmap, 0)[binary].sum() > 0.6 * np.maximum(heatmap, 0).sum()


@pytest.mark.parametrize(("target", "sign"), [("0", -1), ("blue thing", -1), ("1", 1), ("red thing", 1)])
def test_explaining_class_0_explains_minus_the_logit(binary, target, sign):
    result = explain("red.png", *NAMED, "--target", target)
    assert result.exit_code == 0, result.output
    found = written("red")
    assert np.sign(found["logit"]) == np.sign(found["rap"].sum()) == sign
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-found["logit"])), rel=1e-4)


def test_one_name_is_not_enough_for_two_classes(binary, here):
    (here / "one.txt").write_text("red thing\n")
    result = explain(
        "red.png", "--model", "binary.h5", "--preprocessing", "unit_scaling:unit", "--classes", "one.txt"
    )
    assert result.exit_code == 2
    assert "one.txt has 1 line, but the network has 2 classes" in result.output


def test_a_network_that_ends_in_logits_has_no_probability(here, binary):
    binary_network(here, activation=None)
    result = explain("red.png", "--model", "binary.h5", "--preprocessing", "unit_scaling:unit")
    assert "rap  output  value" in result.output
    assert "probability" not in written("red")


def test_the_probability_is_the_networks_own(here, binary):
    binary_network(here, activation="hard_sigmoid", weight=10.0)
    slope = 1 / 6 if KERAS_3 else 0.2
    explain("red.png", "blue.png", *NAMED)
    for name in ("red", "blue"):
        found = written(name)
        assert found["probability"] == pytest.approx(slope * float(found["logit"]) + 0.5, rel=1e-4)


def test_a_heatmap_of_zeros_is_told(here, binary):
    Image.new("RGB", (SIZE, SIZE)).save("black.png")
    result = explain("black.png", "--model", "binary.h5", "--preprocessing", "unit_scaling:unit")
    assert result.exit_code == 0
    assert "the heatmap of rap for black.png is zero everywhere, so it says nothing" in result.output


def two_outputs(folder: Path) -> None:
    inputs = keras.Input((SIZE, SIZE, 3))
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(inputs))
    outputs = [layers.Dense(2, "softmax", name="age")(y), layers.Dense(3, "softmax", name="kind")(y)]
    keras.Model(inputs, outputs).save(folder / "two.h5")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["explain", "check"])
def test_several_outputs_need_a_choice(binary, here, command):
    two_outputs(here)
    given = ["two.h5"] if command == "check" else ["red.png", "--model", "two.h5", "--preprocessing", "tf"]
    result = CliRunner().invoke(main, [command, *given])
    assert result.exit_code == 2
    assert "2 outputs (age, kind)" in result.output
    for choice, classes in (("kind", 3), ("1", 3), ("age", 2)):
        result = CliRunner().invoke(main, [command, *given, "--output-layer", choice])
        assert result.exit_code == 0, result.output
        if command == "explain":
            assert written("red")["target"] in range(classes)
    result = CliRunner().invoke(main, [command, *given, "--output-layer", "size"])
    assert result.exit_code == 2
    assert "the model has the outputs age, kind" in result.output


def test_augmentation_layers_do_not_change_what_is_said_of_a_photo(binary, here):
    inner = keras.models.load_model(here / "binary.h5")
    inputs = keras.Input((SIZE, SIZE, 3))
    augmented = layers.RandomTranslation(0.4, 0.4)(layers.RandomRotation(0.4)(inputs))
    keras.Model(inputs, inner(augmented)).save(here / "augmented.h5")
    expected = None
    for model in ("binary.h5", "augmented.h5", "augmented.h5"):
        result = explain("red.png", "--model", model, "--preprocessing", "unit_scaling:unit")
        assert result.exit_code == 0, result.output
        found = written("red")
        expected = expected or found
        assert found["logit"] == pytest.approx(float(expected["logit"]), rel=1e-5)
        np.testing.assert_allclose(found["rap"], expected["rap"], rtol=1e-4, atol=1e-6)
