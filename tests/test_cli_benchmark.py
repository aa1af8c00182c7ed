"""`rap-keras benchmark`: what it writes and prints, wrong usage, methods and data that fail."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from host import PLUGIN
from PIL import Image
from tensorflow import keras

from rap_keras import benchmark, shapes
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.cli.commands import main
from rap_keras.hosts import methods


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(main, ["benchmark", *map(str, arguments)])

    return run


@pytest.mark.slow
def test_command(run, tmp_path):
    result = run("--limit", 3, "--methods", "rap,gradient", "--steps", 2)
    assert result.exit_code == 0, result.output
    output = tmp_path / "rap-keras-benchmark"
    table = pd.read_csv(output / "table.csv")
    assert list(table.columns) == benchmark.summary.TABLE
    assert set(table["method"]) == {"rap", "gradient", "gradient.absolute", kinds.CONTROL}
    assert set(table["images"]) == {3}
    mass = table.query("metric == 'mass_inside'").set_index("method")["mean"]
    assert mass["rap"] > 0.8
    assert mass["rap"] > mass["gradient"]
    for name in ("table.md", "table.tex", "curves.csv", "fig7-lerf.png", "heatmaps.png", "report.html"):
        assert (output / name).stat().st_size > 200, name
    about = json.loads((output / "manifest.json").read_text())
    assert about["model"] == "shapes-vgg"
    assert about["options"]["steps"] == 2
    assert about["versions"]["innvestigate"].startswith("2.1" if PLUGIN else "not installed")
    printed = result.stdout.splitlines()
    assert printed[1].split() == "POS ratio ↓ mIOU ↑ accuracy left ↑ ms per image".split()
    assert printed[2].startswith("RAP  ")
    assert printed[5].startswith("Random heatmap (control) ")
    assert "|" not in result.stdout
    assert max(map(len, printed)) <= 100
    again = run("--limit", 3, "--methods", "rap,gradient", "--steps", 2)
    assert again.exit_code == 0
    assert "going on" in again.output
    other = run("--limit", 3, "--methods", "rap,gradient", "--steps", 3)
    assert other.exit_code == 2
    assert "options steps: 2 there, 3 here" in other.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "shapes-vgg"], "both --model and --dataset"),
        (["--dataset", "voc2012"], "both --model and --dataset"),
        (
            ["--model", "shapes-vgg", "--dataset", "voc2012"],
            "the data set voc2012 does not come with this package",
        ),
        (["--model", "shapes-vgg", "--dataset", "voc2012", "--root", "."], "the expected layout is VOCdevkit"),
        (["--metrics", "speed"], "unknown metrics speed"),
        (["--workers", "2"], "are for --engine ray"),
        (["--methods", "rapp"], "unknown method 'rapp'"),
        (["--steps", "200", "--methods", "rap"], "200 steps of 100 pixels"),
    ],
)
def test_wrong_usage(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())


def test_a_network_of_other_classes_is_refused(run, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    model = tmp_path / "three.h5"
    network = keras.Sequential([keras.Input((96, 96, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    network.save(model)
    result = run("--model", model, "--dataset", "shapes", "--preprocessing", "tf", "--methods", "rap")
    assert result.exit_code == 2
    assert "The network has 3 classes, the data set shapes has 10" in " ".join(result.output.split())


@pytest.mark.slow
def test_methods_that_cannot_explain_the_network(run, tmp_path):
    """By default they are left out and named; asking for such a method is an error."""
    if PLUGIN:
        activation, missing, reason = "relu", {"lrp.alpha_1_beta_0", "lrp.alpha_2_beta_1"}, "DepthwiseConv2D"
    else:
        activation, missing, reason = "tanh", {"guided_backprop"}, "only for networks of ReLUs"
    network = keras.Sequential(
        [
            keras.Input((96, 96, 3)),
            keras.layers.DepthwiseConv2D(3, strides=8, activation=activation),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    network.set_weights([*network.get_weights()[:-1], 100 * np.eye(10)[0]])  # class 0, so that an image is used
    network.save(tmp_path / "odd.h5")
    arguments = ["--model", "odd.h5", "--dataset", "shapes", "--preprocessing", "tf", "--limit", "10"]
    result = run(*arguments, "--metrics", "mask")
    assert result.exit_code == 0, result.output
    for name in missing:
        assert f"without {name}: " in result.output
    about = json.loads((tmp_path / "rap-keras-benchmark" / "manifest.json").read_text())
    unable = about["methods that cannot explain this network"]
    assert set(unable) == missing
    assert all(reason in text for text in unable.values())
    assert set(about["methods"]) == set(methods.TITLES) - missing - {"pattern.attribution"}
    assert reason in (tmp_path / "rap-keras-benchmark" / "report.html").read_text()
    result = run(*arguments, "--metrics", "mask", "--methods", f"rap,{min(missing)}")
    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())


def test_broken_data_are_named_counted_and_survived(run, tmp_path):
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    for index in range(5):
        made = shapes.sample(index, shapes.TEST_SEED)
        Image.fromarray(made.image).save(tmp_path / "data" / "images" / f"{index}.png")
        Image.fromarray(made.mask).save(tmp_path / "data" / "masks" / f"{index}.png")
    whole = tmp_path / "data" / "images" / "1.png"
    whole.write_bytes(whole.read_bytes()[:5000])
    Image.fromarray(made.mask[:50]).save(tmp_path / "data" / "masks" / "2.png")
    (tmp_path / "data" / "masks" / "3.png").unlink()
    result = run(
        "--model", "shapes-vgg", "--dataset", "folder", "--root", "data", "--methods", "rap", "--metrics", "mask"
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    left_out = pd.read_csv(tmp_path / "rap-keras-benchmark" / "left_out.csv")
    broken = left_out[left_out["kind"] == "broken"].set_index(left_out["image"].astype(str))["reason"]
    assert sorted(broken.index) == ["1", "2", "3"]
    assert "damaged image" in broken["1"]
    assert "the mask has 96 x 50 pixels" in broken["2"]
    assert "no such mask" in broken["3"]
    assert set(pd.read_csv(tmp_path / "rap-keras-benchmark" / "table.csv")["images"]) == {2}
