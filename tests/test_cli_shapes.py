"""Commands with only what the package ships: `rap-keras explain` without arguments, `rap-keras train-shapes`."""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner

from rap_keras import shapes
from rap_keras.cli.commands import main
from rap_keras.metrics import outside_inside_ratio
from rap_keras.visualization import heatmap

NAMES = ["0-disc", "1-ring", "2-triangle", "3-square", "4-cross"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


def test_embedded_images_by_one_method(run, tmp_path):
    result = run("explain", "--method", "rap", "--layers", "*")
    assert result.exit_code == 0, result.output
    output = tmp_path / "rap-keras-output"
    assert sorted(path.name for path in (output / "images").iterdir()) == [f"{name}.png" for name in NAMES]
    samples = shapes.generate(5, shapes.TEST_SEED)
    for index, name in enumerate(NAMES):
        assert (output / f"{name}.png").stat().st_size > 10_000
        assert (output / f"{name}-layers.png").stat().st_size > 10_000
        found = np.load(output / f"{name}.npz")
        assert int(found["target"]) == samples.labels[index]
        assert found["rap"].sum(dtype=float) == pytest.approx(float(found["logit"]), rel=1e-3)
        left, top, right, bottom = samples.boxes[index]
        inside = np.zeros((96, 96), bool)
        inside[top:bottom, left:right] = True
        assert outside_inside_ratio(heatmap(found["rap"]), inside) < 0.1
    assert "5 explained, 0 skipped" in result.output
    assert re.search(r"2-triangle.png  rap  triangle  probability [\d.]+  logit [\d.]+  sum [\d.]+", result.output)


@pytest.mark.slow
def test_embedded_images_by_all_methods(run, tmp_path):
    result = run("explain")
    assert result.exit_code == 0, result.output
    found = np.load(tmp_path / "rap-keras-output" / "4-cross.npz")
    assert list(found["methods"]) == [
        "rap", "rap.contrastive", "gradient", "input_t_gradient", "integrated_gradients", "pattern.attribution",
        "guided_backprop", "lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1",
    ]  # fmt: skip
    assert all(np.isfinite(found[name]).all() for name in found["methods"])


@pytest.mark.slow
def test_embedded_network_on_a_photo_of_ones_own(run, tmp_path):
    run("explain", "--method", "rap")
    photo = tmp_path / "rap-keras-output" / "images" / "1-ring.png"
    result = run("explain", photo, "--model", "shapes-resnet", "--target", "star", "--output", "out")
    assert result.exit_code == 0, result.output
    assert int(np.load(tmp_path / "out" / "1-ring.npz")["target"]) == shapes.CLASSES.index("star")


def test_only_a_photo_or_only_a_model_is_not_enough(run, tmp_path):
    result = run("explain", "--model", "shapes-vgg")
    assert result.exit_code == 2
    assert "or neither" in result.output


@pytest.mark.slow
def test_train_shapes(run, tmp_path):
    result = run("train-shapes", "resnet", "--epochs", 1, "--images", 32, "--output", "own/weights.h5")
    assert result.exit_code == 0, result.output
    accuracy = float(re.search(r"accuracy on 1,000 unseen images: ([\d.]+)", result.output)[1])
    network = shapes.build_network("resnet")
    network.load_weights(str(tmp_path / "own" / "weights.h5"))
    assert shapes.accuracy(network, shapes.generate(1000, shapes.VALIDATION_SEED)) == pytest.approx(
        accuracy, abs=1e-3
    )
    result = run("train-shapes", "vgg", "--epochs", 1, "--images", 32, "--output", "weights.txt")
    assert result.exit_code == 2
    assert "the name must end in .h5" in result.output
