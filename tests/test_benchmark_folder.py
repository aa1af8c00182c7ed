"""The folder of a run: who may use it, which files are ours, and what is said of missing and damaged files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
from click.testing import CliRunner

from rap_keras import benchmark, datasets, models, shapes
from rap_keras.basics import whole_file
from rap_keras.benchmark import Benchmark, Options, manifest, parts
from rap_keras.benchmark.parts import locked
from rap_keras.cli.commands import main


class Itself:
    """An analyzer whose heatmap is the image."""

    def analyze(self, x):
        return x


def made(count=3):
    model = models.to_logits(shapes.load_network("vgg"))
    options = Options(metrics=("mask",), batch_size=1)
    return Benchmark(
        model, {"itself": Itself()}, datasets.shapes(count), shapes.preprocess, (96, 96), None, options
    )


HOLD = """
import sys, time
from pathlib import Path
from rap_keras.benchmark.parts import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended_even_by_force(holder, tmp_path):
    output = tmp_path / "out"
    whole_file.write(output / "file", b"")
    (output / "parts").mkdir()
    unfinished = output / "parts" / ".000000.parquet.1.unfinished"
    unfinished.write_bytes(b"half")
    with pytest.raises(BlockingIOError, match=f"another run works in {output}: wait until it has ended"):
        benchmark.run(made(), output, "m")
    assert unfinished.exists()  # it may be the other's
    assert not (output / "manifest.json").exists()
    arguments = ["--limit", "1", "--methods", "gradient", "--metrics", "mask", "--output", str(output)]
    done = CliRunner().invoke(main, ["benchmark", *arguments])
    assert done.exit_code == 2
    assert f"another run works in {output}" in " ".join(done.stderr.split())
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (output / ".lock").exists()
    assert benchmark.run(made(), output, "m").used == 3
    assert not unfinished.exists()


def test_two_runs_in_one_process(tmp_path):
    with locked(tmp_path), pytest.raises(BlockingIOError, match="another run works in"):
        benchmark.run(made(), tmp_path, "m")
    assert benchmark.run(made(), tmp_path, "m").used == 3
    assert benchmark.run(made(), tmp_path, "m").used == 3


def test_foreign_files_are_neither_read_nor_deleted(tmp_path):
    def interrupted(batches):
        yield from batches.succeeded(batches.waiting.popleft(), made().evaluate(0))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark.run(made(), tmp_path, "m", evaluate=interrupted)
    foreign = [
        "notes.parquet", "000001 (copy).parquet", "1.parquet", "000001.parquet~", "-00001.parquet", ".DS_Store",
        ".000001.parquet.swp", ".#000001.parquet", ".000001.parquet.77", "._000001.parquet", "0000001.parquet",
        "\N{ARABIC-INDIC DIGIT ONE}00001.parquet",
    ]  # fmt: skip
    files = [folder / name for folder in (tmp_path, tmp_path / "parts") for name in foreign]
    for file in files:
        file.write_bytes(b"foreign")
    for folder in (tmp_path, tmp_path / "parts"):
        for name in ("folder", ".ipynb_checkpoints", "000099.parquet", ".report.html.1.unfinished"):
            (folder / name).mkdir()
    ours = [tmp_path / ".report.html.77.unfinished", tmp_path / "parts" / ".000002.parquet.77.unfinished"]
    for file in ours:
        file.write_bytes(b"half")
    assert parts.finished(tmp_path) == {0}
    evaluated = []
    evaluate = Benchmark.evaluate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Benchmark, "evaluate", lambda self, n: evaluated.append(n) or evaluate(self, n))
        assert benchmark.run(made(), tmp_path, "m").used == 3
    assert evaluated == [1, 2]
    assert {file.read_bytes() for file in files} == {b"foreign"}
    assert not any(file.exists() for file in ours)
    assert len(list(tmp_path.glob("*/.ipynb_checkpoints"))) == 1


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def empty(file):
    file.write_bytes(b"")


def spoil(file):
    data = bytearray(file.read_bytes())
    data[4:200] = bytes(196)
    file.write_bytes(data)


def replace(file):
    pd.DataFrame({"image": ["another's"]}).to_parquet(file)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, empty, spoil, replace])
def test_a_damaged_part_is_named_and_deleting_it_helps(tmp_path, damage):
    before = benchmark.run(made(), tmp_path, "m")
    file = tmp_path / "parts" / "000001.parquet"
    damage(file)
    with pytest.raises(
        ValueError, match=f"{file} is damaged .*: delete this file and give the same command again"
    ):
        benchmark.run(made(), tmp_path, "m")
    file.unlink()
    pd.testing.assert_frame_equal(benchmark.run(made(), tmp_path, "m").table, before.table, check_exact=True)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"{", b"", b"[]", b"\xff\xfe"])
def test_a_damaged_manifest(tmp_path, content):
    benchmark.run(made(1), tmp_path, "m")
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"manifest.json is damaged .*: choose another folder, or delete this one"
    ):
        benchmark.run(made(1), tmp_path, "m")
    assert benchmark.run(made(1), tmp_path / "another", "m").used == 1
    shutil.rmtree(tmp_path)
    assert benchmark.run(made(1), tmp_path, "m").used == 1


def test_a_run_with_other_options(tmp_path):
    benchmark.run(made(1), tmp_path, "m")
    with pytest.raises(ValueError, match="continue it with the same options, or choose another folder"):
        benchmark.run(made(2), tmp_path, "m")
    assert benchmark.run(made(1), tmp_path, "m").used == 1
    assert benchmark.run(made(2), tmp_path / "another", "m").used == 2


def test_the_command_refuses_what_cannot_run_before_it_builds_an_analyzer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["benchmark", "--methods", "gradient", "--metrics", "mask", "--output", "out", "--limit"]
    assert CliRunner().invoke(main, [*command, "1"]).exit_code == 0
    for arguments, message in (
        (["2"], "out holds a run with other options (images: 1 there, 2 here): continue it with the same options"),
        (
            ["1", "--metrics", "lerf", "--steps", "100"],
            "100 steps of 100 pixels are more than an input of 96x96 has",
        ),
    ):
        done = CliRunner().invoke(main, [*command, *arguments])
        assert done.exit_code == 2
        assert message in done.stderr
        assert "building" not in done.stderr
    assert CliRunner().invoke(main, [*command, "1"]).exit_code == 0
    assert CliRunner().invoke(main, [*command[:-2], "another", "--limit", "2"]).exit_code == 0


def test_results_without_a_manifest(tmp_path):
    benchmark.run(made(1), tmp_path, "m")
    kept = (tmp_path / "manifest.json").rename(tmp_path / "kept")
    with pytest.raises(
        FileNotFoundError, match=r"manifest.json is missing, so nobody knows .*: put it back, choose"
    ):
        benchmark.run(made(1), tmp_path, "m")
    kept.rename(tmp_path / "manifest.json")
    assert benchmark.run(made(1), tmp_path, "m").used == 1


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    whole_file.write(tmp_path / "a", b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'a'}'"):
        whole_file.write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.slow
def test_command_tells_of_files_without_a_traceback(tmp_path, monkeypatch):
    """A full disk in mid-run, a damaged part, a lost manifest, a file where the folder should be."""
    monkeypatch.chdir(tmp_path)
    command = ["benchmark", "--limit", "1", "--methods", "gradient", "--metrics", "mask", "--output", "out"]
    output = tmp_path / "out"

    def message(status):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == status, done.output
        assert isinstance(done.exception, SystemExit)
        return done.stderr.splitlines()[-1]

    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:  # the manifest is written, the first part is not
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert message(2).endswith("No space left on device: 'out/parts/000000.parquet'")
    assert CliRunner().invoke(main, command).exit_code == 0
    cut(output / "parts" / "000000.parquet")
    assert "out/parts/000000.parquet is damaged" in message(2)
    (output / "manifest.json").unlink()
    assert "out/manifest.json is missing" in message(2)
    command[-1] = "out/report.html"
    assert "is a file" in message(2)


def test_a_network_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    """The folder is not a SavedModel, so a path to it fails, but the name does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes-vgg").mkdir()
    arguments = ["--dataset", "shapes", "--limit", "1", "--methods", "gradient", "--metrics", "mask"]
    done = CliRunner().invoke(main, ["benchmark", "--model", "shapes-vgg", *arguments])
    assert done.exit_code == 0, done.output
    about = manifest.json.loads((tmp_path / "rap-keras-benchmark" / "manifest.json").read_text())
    assert about["model"] == "shapes-vgg"
    done = CliRunner().invoke(main, ["benchmark", "--model", "./shapes-vgg", "--preprocessing", "tf", *arguments])
    assert done.exit_code == 2
    assert "a folder without saved_model.pb" in " ".join(done.stderr.split())
    assert [models.is_network_name(name) for name in ("VGG16", "Shapes-ResNet", "./vgg16", "vgg", "")] == [
        True, True, False, False, False,
    ]  # fmt: skip
