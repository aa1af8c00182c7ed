"""A benchmark run: the contents of a row, interruption and continuation."""

from __future__ import annotations

import dataclasses
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

from rap_keras import benchmark, datasets, metrics, models, shapes
from rap_keras.benchmark import Benchmark, Options, manifest, parts
from rap_keras.benchmark import runner as engine
from rap_keras.hosts import methods
from rap_keras.metrics.records import WORDS
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
    assert [len(made.names_of(number)) for number in range(3)] == [2, 2, 1]
    rows = made.evaluate(1)
    columns = [column for name in every for column in metrics.records.METRICS[name].columns]
    assert list(rows.columns) == [*WORDS, "target", "logit", "seconds", *columns]
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
    with pytest.raises(ValueError, match="unknown metrics speed: there are discrimination, outside-inside, mask,"):
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


@pytest.mark.slow
def test_killed_at_random_moments_and_continued_it_gives_the_same_table(tmp_path):
    options = [
        "--limit",
        "8",
        "--batch-size",
        "1",
        "--methods",
        "input_t_gradient,gradient",
        "--steps",
        "10",
    ]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    moments = random.Random(1)
    disturbed = tmp_path / "disturbed"
    for wanted in sorted(moments.sample(range(1, 7), 2)):
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
    for file in (tmp_path / "before").glob("[0-9]*.parquet"):  # not one that was being written
        assert file.stat().st_mtime_ns == (disturbed / "parts" / file.name).stat().st_mtime_ns
    assert (disturbed / "table.csv").read_bytes() == (tmp_path / "undisturbed" / "table.csv").read_bytes()
    assert (disturbed / "curves.csv").read_bytes() == (tmp_path / "undisturbed" / "curves.csv").read_bytes()
