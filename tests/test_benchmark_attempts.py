"""Batches that fail: how often they are tried, what becomes of them, and when they end a run."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from rap_keras import benchmark, datasets, models, shapes
from rap_keras.benchmark import Benchmark, Options, parts, report
from rap_keras.benchmark import runner as engine
from rap_keras.benchmark.parts import in_one_line
from rap_keras.benchmark.runner import Attempts
from rap_keras.cli.commands import main


class Recorded:
    """A benchmark that fails a given number of times for some batches, and records what it was asked for."""

    def __init__(self, failures):
        self.failures = dict(failures)
        self.asked = []

    def evaluate(self, number):
        self.asked.append(number)
        if self.failures.get(number, 0) > 0:
            self.failures[number] -= 1
            raise ValueError(f"no result\nof {number}")
        return pd.DataFrame({"image": [str(number)], "status": ["used"]})


def given_up(number, reason):
    return pd.DataFrame({"image": [str(number)], "status": ["broken"], "reason": [reason]})


def outcome(failures, count, **options):
    """The order in which batches were done, the reasons for those set aside, and what was evaluated."""
    recorded = Recorded(failures)
    found = list(engine.one_by_one(recorded, Attempts(range(count), given_up, **options)))
    reasons = {number: rows["reason"][0] for number, rows in found if rows["status"][0] == "broken"}
    return [number for number, _ in found], reasons, recorded.asked


def test_a_batch_that_fails_twice_is_done_after_the_others():
    assert outcome({1: 2}, 4) == ([0, 2, 3, 1], {}, [0, 1, 2, 3, 1, 1])


def test_a_batch_that_fails_three_times_is_set_aside(capsys):
    reason = "given up after 3 tries: ValueError: no result of 1"
    assert outcome({1: 3}, 3) == ([0, 2, 1], {1: reason}, [0, 1, 2, 1, 1])
    assert capsys.readouterr().err.splitlines() == [
        "batch 1 is tried again: ValueError: no result of 1",
        "batch 1 is tried again: ValueError: no result of 1",
        f"batch 1: {reason}",
    ]


def test_until_one_succeeds_a_batch_is_tried_at_once_and_what_is_set_aside_waits():
    done, reasons, asked = outcome({0: 3, 1: 1}, 4)
    assert asked == [0, 0, 0, 1, 1, 2, 3]
    assert done == [1, 0, 2, 3]
    assert list(reasons) == [0]


@pytest.mark.parametrize(("count", "which"), [(9, "first 3 batches"), (2, "first 2 batches"), (1, "first batch")])
def test_failures_alone_end_the_run_soon(count, which):
    recorded = Recorded(dict.fromkeys(range(9), 3))
    message = (
        f"every batch so far failed: the {which} failed 3 times, and the last error was ValueError: no result of"
    )
    with pytest.raises(RuntimeError, match=message):
        list(engine.one_by_one(recorded, Attempts(range(count), given_up)))
    assert len(recorded.asked) == 3 * min(count, 3)


def test_what_is_left_of_a_run_that_had_begun_may_fail_altogether():
    done, reasons, _ = outcome(dict.fromkeys(range(5), 3), 5, begun=True)
    assert done == list(reasons) == [0, 1, 2, 3, 4]


def test_an_interrupt_is_no_failure():
    class Interrupted:
        def evaluate(self, number):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.one_by_one(Interrupted(), Attempts(range(2), given_up)))


def test_wrong_number_of_tries():
    with pytest.raises(ValueError, match="tries=0: must be at least 1"):
        Attempts([], given_up, tries=0)


def test_a_reason_is_one_line_of_bearable_length():
    assert in_one_line(KeyError("a\n  b")) == r"KeyError: 'a\n b'"
    text = in_one_line(MemoryError("x\ny" * 5000))
    assert text.startswith("MemoryError: x yx yx")
    assert len(text) == 304


class Touchy:
    """An analyzer that fails on one image, given by name."""

    def __init__(self, name):
        self.fails_on = shapes.preprocess(shapes.sample(int(name), shapes.TEST_SEED).image[np.newaxis])
        self.calls = 0

    def analyze(self, x):
        self.calls += 1
        if any(np.array_equal(image, self.fails_on[0]) for image in x):
            raise MemoryError("not enough\nmemory")
        return x


def touchy_benchmark(fails_on="00003", **changes):
    model = models.to_logits(shapes.load_network("vgg"))
    options = Options(metrics=("mask",), batch_size=2)
    analyzers = {"touchy": Touchy(fails_on)}
    made = Benchmark(model, analyzers, datasets.shapes(6), shapes.preprocess, (96, 96), options=options)
    return dataclasses.replace(made, **changes)


def test_a_run_goes_on_without_a_batch_that_fails_and_a_continued_one_does_not_try_it_again(tmp_path):
    made = touchy_benchmark()
    summary = benchmark.run(made, tmp_path, "m")
    assert summary.used == 4
    assert made.analyzers["touchy"].calls == 2 + 3 + 1  # the last for the picture
    left_out = pd.read_csv(tmp_path / "left_out.csv", dtype=str)
    assert left_out[["image", "kind", "reason"]].to_numpy().tolist() == [
        [name, "broken", "given up after 3 tries: MemoryError: not enough memory"] for name in ("00002", "00003")
    ]
    assert "MemoryError: not enough memory" in (tmp_path / "report.html").read_text()
    again = touchy_benchmark()
    assert benchmark.run(again, tmp_path, "m").used == 4
    assert again.analyzers["touchy"].calls == 1


def test_preprocessing_that_fails_on_one_photo(tmp_path):
    bad = shapes.sample(4, shapes.TEST_SEED).image

    def preprocess(photos):
        if any(np.array_equal(photo, bad) for photo in photos):
            raise ZeroDivisionError("flat")
        return shapes.preprocess(photos)

    summary = benchmark.run(touchy_benchmark("00099", preprocessing=preprocess), tmp_path, "m")
    assert summary.used == 4
    (reason,) = set(summary.left_out["reason"])
    assert reason == "given up after 3 tries: ValueError: the preprocessing failed: ZeroDivisionError: flat"


def test_an_analyzer_that_always_fails_ends_the_run_and_nothing_is_written(tmp_path):
    class Broken:
        def analyze(self, x):
            raise KeyError("gone")

    made = touchy_benchmark(analyzers={"broken": Broken()})
    with pytest.raises(
        RuntimeError, match="the first 3 batches failed 3 times, and the last error was KeyError: 'gone'"
    ):
        benchmark.run(made, tmp_path, "m")
    assert parts.finished(tmp_path) == set()
    assert benchmark.run(touchy_benchmark("00099", analyzers={"broken": Touchy("00099")}), tmp_path, "m").used == 6


def test_a_picture_that_fails_does_not_cost_the_tables(tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise MemoryError("no picture")

    monkeypatch.setattr(report, "picture", fail)
    assert benchmark.run(touchy_benchmark(), tmp_path, "m").used == 4
    assert "there is no picture of heatmaps: MemoryError: no picture" in capsys.readouterr().err
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "heatmaps.png").exists()


def test_no_image_used(tmp_path):
    """All images are misclassified or broken; there is a report nevertheless."""
    made = touchy_benchmark()
    read = made.dataset.read

    def read_otherwise(name):
        if int(name) >= 4:
            raise datasets.BrokenExample(f"{name}.png: no such photo")
        return dataclasses.replace(read(name), labels=frozenset({99}))

    made = dataclasses.replace(made, dataset=dataclasses.replace(made.dataset, read=read_otherwise))
    message = (
        r"no image was used: 4 were misclassified and 2 were broken; check that the preprocessing .* official "
        r"order; .*left_out.csv says what is broken, first 00004: 00004.png: no such photo; then take another"
    )
    for _ in range(2):
        with pytest.raises(RuntimeError, match=message):
            benchmark.run(made, tmp_path, "m")
    assert set(pd.read_csv(tmp_path / "left_out.csv")["kind"]) == {"misclassified", "broken"}
    assert (tmp_path / "report.html").exists()


def test_a_data_set_without_images(tmp_path):
    made = touchy_benchmark()
    empty = dataclasses.replace(made, dataset=dataclasses.replace(made.dataset, names=()))
    with pytest.raises(RuntimeError, match="no image was used: the data set has none"):
        benchmark.run(empty, tmp_path, "m")


def test_command_on_misclassified_images_only(tmp_path, monkeypatch):
    """The preprocessing is not the network's; following the advice helps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blackened.py").write_text("def black(photos):\n    return 0 * photos\n")
    command = ["benchmark", "--model", "shapes-vgg", "--dataset", "shapes", "--limit", "1"]
    command += ["--methods", "gradient", "--metrics", "mask"]
    done = CliRunner().invoke(main, [*command, "--preprocessing", "blackened:black"])
    assert done.exit_code == 1, done.output
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: no image was used: 1 were misclassified and 0 were broken; check that")
    assert json.loads((tmp_path / "rap-keras-benchmark" / "manifest.json").read_text())["images"] == 1
    done = CliRunner().invoke(main, [*command, "--output", "another"])
    assert done.exit_code == 0, done.output
