"""A benchmark run: the contents of a row, interruption and continuation, broken data."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from host import PLUGIN
from PIL import Image
from tensorflow import keras

from rap_keras import benchmark, datasets, metrics, models, shapes
from rap_keras.benchmark import Benchmark, Options, manifest, parts
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark import runner as engine
from rap_keras.cli.commands import main
from rap_keras.hosts import methods
from rap_keras.visualization import heatmap

COMMAND = [sys.executable, "-m", "rap_keras", "benchmark"]
METHODS = ("rap", "gradient")


def shapes_benchmark(count=5, names=METHODS, **options):
    model = models.to_logits(shapes.load_network("vgg"))
    analyzers = {name: methods.create(name, model) for name in names}
    return Benchmark(
        model, analyzers, datasets.shapes(count), shapes.preprocess, (96, 96), options=Options(**options)
    )


def test_rows_are_what_analyzer_and_metrics_give():
    every = tuple(name for name in benchmark.METRICS if name != "discrimination")  # which is for pairs
    made = shapes_benchmark(count=5, batch_size=2, steps=3, pixels=50, metrics=every)
    assert made.batches == 3
    assert [made.batch_length(number) for number in range(3)] == [2, 2, 1]
    rows = made.evaluate(1)
    assert list(rows.columns) == benchmark.rows.columns(made.options)
    assert list(rows["image"]) == ["00002"] * 4 + ["00003"] * 4
    assert list(rows["method"]) == [*METHODS, "gradient.absolute", "random_heatmap"] * 2
    samples = shapes.generate(4, shapes.TEST_SEED)
    x = shapes.preprocess(samples.images[2:4])
    box = np.zeros((96, 96), bool)
    left, top, right, bottom = samples.boxes[3]
    box[top:bottom, left:right] = True
    values = heatmap(made.analyzers["rap"].analyze(x))
    row = rows.iloc[4]
    assert row["target"] == samples.labels[3]
    assert row["logit"] == pytest.approx(values[1].sum(), rel=1e-3)
    assert row["outside_inside_pos"] == metrics.outside_inside_ratio(values[1], box)
    assert row["outside_inside_all"] == metrics.outside_inside_ratio(values[1], box, positive=False)
    assert row["mass_inside"] == metrics.mass_inside(values[1], box)
    for case in ("pos", "signed"):
        counts = metrics.confusion(metrics.marked(values[1], case), samples.masks[3])
        assert [row[f"{name}_{case}"] for name in counts._fields] == list(counts)
    for order in metrics.ORDERS:
        curve = metrics.region_perturbation(
            made.model.predict_on_batch, x, values, samples.labels[2:4], order, 50, 3, seeds=np.array([2, 3])
        )
        np.testing.assert_allclose(row[f"{order}_logit"], curve.logit[1], rtol=1e-5)
        assert row[f"{order}_correct"] == curve.correct[1].tolist()
        assert len(curve.logit[1]) == 4


def test_only_the_metrics_that_are_asked_for():
    rows = shapes_benchmark(count=1, names=("gradient",), metrics=("lerf",), steps=1).evaluate(0)
    assert list(rows.columns)[-5:] == ["target", "logit", "seconds", "lerf_correct", "lerf_logit"]
    rows = shapes_benchmark(count=1, names=("gradient",), metrics=("mask",)).evaluate(0)
    assert list(rows.columns)[-8:] == [
        f"{n}_{case}" for case in ("pos", "signed") for n in ("tp", "fp", "fn", "tn")
    ]


def test_images_that_are_not_used():
    """A broken image, a misclassified one and one of unknown class, in the order of the data set."""
    made = shapes_benchmark(count=4, batch_size=4, names=("gradient",), metrics=("mask",))
    read = made.dataset.read

    def read_otherwise(name):
        if name == "00000":
            raise datasets.BrokenExample("a.jpg: damaged\nimage")
        wrong = {"00001": frozenset({9}), "00002": None}
        example = read(name)
        return dataclasses.replace(example, labels=wrong.get(name, example.labels))

    made = dataclasses.replace(made, dataset=dataclasses.replace(made.dataset, read=read_otherwise))
    rows = made.evaluate(0)
    # Each used image has three heatmaps.
    assert list(rows["status"]) == ["broken", "misclassified", *["used"] * 6]
    assert list(rows["reason"]) == ["a.jpg: damaged image", *[""] * 7]
    assert rows["tp_pos"].isna().tolist() == [True, True, *[False] * 6]


def test_a_batch_without_a_used_image_has_the_same_columns(tmp_path):
    made = shapes_benchmark(count=2, batch_size=1, names=("gradient",), steps=1)

    def broken(name):
        raise datasets.BrokenExample("gone")

    unused = dataclasses.replace(made, dataset=dataclasses.replace(made.dataset, read=broken)).evaluate(0)
    assert list(unused.columns) == list(made.evaluate(0).columns)
    parts.write(tmp_path, 0, unused)
    parts.write(tmp_path, 1, made.evaluate(1))
    summary = benchmark.summarise(parts.read(tmp_path, 2), "m", "d")
    assert summary.used == 1


class NotFinite:
    def analyze(self, x):
        values = np.ones_like(x)
        values[0, 0, 0] = np.nan
        return values


def test_heatmaps_that_are_not_finite_are_named_and_the_others_of_the_batch_are_not_lost():
    made = shapes_benchmark(count=2, names=("gradient",), steps=2)
    spoilt = dataclasses.replace(made, analyzers={"spoilt": NotFinite(), **made.analyzers})
    rows = spoilt.evaluate(0).set_index(["image", "method"])
    flawed = rows[rows["flaw"] != ""]
    assert list(flawed.index) == [("00000", "spoilt")]
    assert list(flawed["flaw"]) == ["not finite"]
    assert np.isnan(flawed["mass_inside"].iat[0])
    assert pd.isna(flawed["lerf_logit"].iat[0])
    assert len(rows["lerf_logit"]["00001", "spoilt"]) == 3
    kept = made.evaluate(0).set_index(["image", "method"])
    assert rows["lerf_logit"]["00000", "gradient"] == kept["lerf_logit"]["00000", "gradient"]


def test_a_batch_that_is_given_up():
    made = shapes_benchmark(count=3, batch_size=2, names=("gradient",), metrics=("mask", "lerf"), steps=1)
    rows = made.given_up(1, "its worker died")
    assert list(rows.columns) == list(made.evaluate(1).columns)
    assert rows.dtypes["tp_pos"] == np.float64
    assert rows[["image", "status", "reason"]].to_numpy().tolist() == [["00002", "broken", "its worker died"]]


def test_foreground():
    """Objects of the predicted class, or every object."""
    example = datasets.Example(
        "two",
        shapes.sample(0, shapes.TEST_SEED).image,
        frozenset({0}),
        np.where(np.arange(96) < 48, 0, 5) * np.ones((96, 1), np.int16),
    )
    source = datasets.Dataset("two", ["two"], lambda name: example, "")
    found = {}
    for foreground in ("predicted", "all"):
        made = shapes_benchmark(names=("gradient",), metrics=("mask",), foreground=foreground)
        row = dataclasses.replace(made, dataset=source).evaluate(0).iloc[0]
        found[foreground] = row["tp_pos"] + row["fn_pos"]
    assert found == {"predicted": 96 * 48, "all": 96 * 96}


def test_wrong_options():
    with pytest.raises(ValueError, match="unknown metrics speed: there are outside-inside, mask, lerf"):
        Options(metrics=("speed",))
    with pytest.raises(ValueError, match="foreground='red'"):
        Options(foreground="red")
    with pytest.raises(ValueError, match="steps=0: must be at least 1"):
        Options(steps=0)
    with pytest.raises(ValueError, match="100 steps of 100 pixels are more than an input of 96x96 has"):
        shapes_benchmark(names=(), steps=100)


@pytest.mark.slow
def test_a_run_is_continued_and_nothing_is_done_twice(tmp_path, monkeypatch):
    made = shapes_benchmark(count=6, batch_size=2, metrics=("outside-inside", "mask"))
    done = []
    evaluate = Benchmark.evaluate

    def evaluate_some(self, number):
        if len(done) == 2 and not (tmp_path / "go on").exists():
            raise KeyboardInterrupt
        done.append(number)
        return evaluate(self, number)

    monkeypatch.setattr(Benchmark, "evaluate", evaluate_some)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(made, tmp_path, "m")
    assert engine.unfinished(tmp_path, made.batches) == [2]
    (tmp_path / "parts" / ".000002.parquet.77.unfinished").write_bytes(b"half")
    (tmp_path / "go on").touch()
    benchmark.run(made, tmp_path, "m")
    assert done == [0, 1, 2]
    assert not list((tmp_path / "parts").glob(".*"))
    undisturbed = tmp_path / "undisturbed"
    benchmark.run(made, str(undisturbed), "m")
    assert (tmp_path / "table.csv").read_bytes() == (undisturbed / "table.csv").read_bytes()


@pytest.mark.slow
def test_another_run_in_the_folder_is_refused(tmp_path, monkeypatch):
    made = shapes_benchmark(count=2)
    begun = manifest.begin(tmp_path, manifest.describe(made, "m", "first"))
    again = manifest.describe(made, "m", "second")
    added = again.pop("heatmaps beside the methods' own")
    assert added == ["gradient.absolute", "random_heatmap"]
    with pytest.raises(ValueError, match=r"heatmaps beside the methods' own: \[\"gradient.* there, nothing here"):
        manifest.begin(tmp_path, again)
    again["heatmaps beside the methods' own"] = added
    assert manifest.begin(tmp_path, {**again, "machine": "another"}) == begun
    for other, difference in (
        (dataclasses.replace(made, options=Options(steps=10)), "options steps: 40 there, 10 here"),
        (dataclasses.replace(made, dataset=made.dataset.first(1)), "images: 2 there, 1 here"),
        (dataclasses.replace(made, preprocessing="tf"), "rap_keras.datasets.images:_tf"),
        (
            dataclasses.replace(made, analyzers={"rap": None}),
            r'methods: \["rap", "gradient"\] there, \["rap"\] here',
        ),
        (dataclasses.replace(made, model=models.load_model("shapes-resnet")), "model_fingerprint: .* there"),
    ):
        with pytest.raises(ValueError, match=rf"holds a run with other options \(.*{difference}"):
            manifest.begin(tmp_path, manifest.describe(other, "m", "first"))
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "x")
    with pytest.raises(ValueError, match=r'\(TF_ENABLE_ONEDNN_OPTS: .* there, "x" here\)'):
        manifest.begin(tmp_path, manifest.describe(made, "m", "first"))


def test_other_patterns_are_another_run():
    model = models.to_logits(shapes.load_network("vgg"))
    analyzer = methods.create("pattern.attribution", model, patterns=shapes.patterns_path("vgg"))
    made = dataclasses.replace(shapes_benchmark(count=1, names=()), analyzers={"pattern.attribution": analyzer})
    before = manifest.describe(made, "m")
    next(iter(analyzer._patterns.arrays.values()))[...] += 1
    assert before["patterns"] != manifest.describe(made, "m")["patterns"]


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
    assert set(table["method"]) == {*METHODS, "gradient.absolute", kinds.CONTROL}
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
    result = run(*arguments, "--methods", f"rap,{min(missing)}")
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


@pytest.mark.slow
def test_killed_at_random_moments_and_continued_it_gives_the_same_table(tmp_path):
    options = [
        "--limit",
        "12",
        "--batch-size",
        "1",
        "--methods",
        "rap,gradient,lrp.alpha_1_beta_0",
        "--steps",
        "10",
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    moments = random.Random(1)
    disturbed = tmp_path / "disturbed"
    for wanted in sorted(moments.sample(range(1, 11), 3)):
        process = subprocess.Popen(
            [*COMMAND, *options, "--output", str(disturbed)], env=environment, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 300
        while len(list(disturbed.glob("parts/*.parquet"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(moments.random() / 10)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (disturbed / "table.csv").exists()
    shutil.copytree(disturbed / "parts", tmp_path / "before")
    for output in (disturbed, tmp_path / "undisturbed"):
        subprocess.run([*COMMAND, *options, "--output", str(output)], env=environment, check=True, timeout=300)
    for file in (tmp_path / "before").glob("*.parquet"):
        assert file.stat().st_mtime_ns == (disturbed / "parts" / file.name).stat().st_mtime_ns
    assert (disturbed / "table.csv").read_bytes() == (tmp_path / "undisturbed" / "table.csv").read_bytes()
    assert (disturbed / "curves.csv").read_bytes() == (tmp_path / "undisturbed" / "curves.csv").read_bytes()
