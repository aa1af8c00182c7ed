"""`rap-keras speed`: what it measures and what it does with it; times themselves are not tested."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from click.testing import CliRunner
from tensorflow import keras

from rap_keras.benchmark import timings
from rap_keras.cli.commands import main
from rap_keras.hosts import choice


def found() -> timings.Found:
    where = {"network": "vgg16", "size": 224, "device": "CPU", "batch": 8}
    return timings.Found(
        "CPU",
        times=[
            {**where, "method": "forward", "seconds": [1.0, 1.0, 9.0]},
            {**where, "method": "bare gradient", "seconds": [2.0, 2.5, 2.0]},
            {**where, "method": "gradient", "seconds": [3.0, 3.0, 3.0]},
            {**where, "method": "rap", "seconds": [4.0, 5.0, 4.4]},
            # Another batch has a gradient of its own.
            {**where, "batch": 1, "method": "gradient", "seconds": [0.5]},
            {**where, "batch": 1, "method": "rap", "seconds": [1.0]},
        ],
        first=[{**where, "method": "rap", "seconds": 3.25, "gigabytes": 1.5}],
        failed=["vgg16 224: batches of 32: killed by signal 9, perhaps because the memory was full"],
    )


def test_medians_and_ratios_to_the_faster_gradient():
    rows = {(row["method"], row["batch"]): row for row in timings.rows(found())}
    assert rows["rap", 8]["seconds"] == pytest.approx(4.4)
    assert rows["rap", 8]["per_image"] == pytest.approx(0.55)
    assert rows["rap", 8]["ratio"] == pytest.approx(2.2)
    assert rows["gradient", 8]["ratio"] == pytest.approx(1.5)
    assert rows["forward", 8]["ratio"] == pytest.approx(0.5)
    assert rows["rap", 1]["ratio"] == pytest.approx(2.0)


def test_report(tmp_path):
    timings.write(found(), tmp_path, "rap-keras speed")
    with (tmp_path / "speed.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert lines[3]["method"] == "rap"
    assert float(lines[3]["ratio"]) == pytest.approx(2.2)
    page = (tmp_path / "speed.md").read_text()
    assert "| CPU | vgg16 | 224 | 8 | RAP | 4.400 | 550 | 2.20 |" in page
    assert "| CPU | vgg16 | 224 | RAP | 3.2 | 1.50 |" in page
    assert "Not measured: vgg16 224: batches of 32: killed by signal 9" in page
    assert (tmp_path / "speed.png").stat().st_size > 10_000


@pytest.mark.slow
def test_command(tmp_path):
    arguments = ["speed", "--network", "vgg16", "--size", "32", "--batch", "2", "--repeats", "2"]
    arguments += ["--method", "rap", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    assert "3/3 vgg16 32: batches of 2" in done.stderr
    with (tmp_path / "out" / "speed.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == ["forward", "bare gradient", "rap"]
    assert min(float(line["ratio"]) for line in lines if "gradient" in line["method"]) == 1
    with (tmp_path / "out" / "first-heatmap.csv").open() as file:
        first = list(csv.DictReader(file))
    assert [line["method"] for line in first] == ["bare gradient", "rap"]
    assert all(float(line["seconds"]) > 0 and float(line["gigabytes"]) > 0.1 for line in first)


@pytest.mark.slow
def test_a_task_that_fails_says_why():
    with pytest.raises(RuntimeError, match="alpha"):  # which is not given here
        timings._task(kind="first", network="mobilenet", size=32, method="lrp.alpha_beta", batch=1)


def test_a_measurement_that_fails_is_named_and_the_rest_goes_on(monkeypatch, tmp_path):
    def fails(kind, method="", **task):
        if method == "lrp.epsilon":
            raise RuntimeError("epsilon is odd")
        return {"device": "CPU", "first": {"seconds": 1, "gigabytes": 1}, "times": {"rap": [1.0]}}[kind]

    monkeypatch.setattr(timings, "_task", fails)
    arguments = ["speed", "--network", "mobilenet", "--batch", "1", "--output", str(tmp_path)]
    done = CliRunner().invoke(main, [*arguments, "--method", "lrp.epsilon"])
    assert done.exit_code == 1
    assert "first heatmap of lrp.epsilon: failed, epsilon is odd" in done.stderr
    assert ",bare gradient," in (tmp_path / "first-heatmap.csv").read_text()
    assert "Not measured: mobilenet 224: first heatmap of lrp.epsilon" in (tmp_path / "speed.md").read_text()


def test_slow_methods_have_a_first_heatmap_and_times_of_their_own(monkeypatch):
    tasks = []

    def record(**task):
        tasks.append(task)
        return {"device": "CPU", "first": {"seconds": 1, "gigabytes": 1}, "times": {}}[task["kind"]]

    monkeypatch.setattr(timings, "_task", record)
    list(timings.run(timings.Plan(["vgg16"], ["rap"], batches=(8,), slow=["gradient"], native=["rap"])))
    names = ["bare gradient", "rap", "gradient (slow build)", "rap (native)"]
    assert [task["method"] for task in tasks if task["kind"] == "first"] == names
    assert [task["names"] for task in tasks if task["kind"] == "times"] == [["forward", *names]]


@pytest.mark.plugin
def test_the_slow_build_and_the_native_method_give_the_same_as_the_quick_build():
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Dense(5, activation="relu")(x)))
    before = model.get_weights()
    X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    quick, slow, native = (
        timings._runner(model, f"gradient{end}", copied=True)(X) for end in ("", timings.SLOW, timings.NATIVE)
    )
    assert np.abs(quick).max() > 0
    np.testing.assert_array_equal(quick, slow)
    assert native == pytest.approx(quick)
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "vgg1"], "'vgg1' is not a network of keras.applications"),
        (["--method", "rapp"], "unknown method 'rapp', did you mean rap"),
        (["--slow", "lrp.x"], "unknown method 'lrp.x'"),
        (["--native", "lrp.x"], "unknown method 'lrp.x'"),
        (["--batch", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_options(arguments, message, tmp_path):
    done = CliRunner().invoke(main, ["speed", *arguments, "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--slow", "--native"])
def test_there_is_nothing_to_compare_with_without_innvestigate(option, monkeypatch, tmp_path):
    monkeypatch.setattr(choice, "has_innvestigate", lambda: False)
    done = CliRunner().invoke(main, ["speed", option, "rap", "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert f"{option} compares with iNNvestigate, which is not installed" in done.stderr
