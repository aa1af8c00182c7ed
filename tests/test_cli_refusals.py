"""What the commands refuse, before any work and without a trace: numbers, pipes, huge figures, full disks."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import click
import host  # noqa: F401  the plugin switches eager execution off
import numpy as np
import pytest
from commands import accepted, refused
from PIL import Image
from tensorflow import keras

from rap_keras import patterns
from rap_keras.cli import benchmark, explain
from rap_keras.cli.commands import main

layers = keras.layers
NUMBERS = [
    (command, option.opts[0])
    for command, found in main.commands.items()
    for option in found.params
    if isinstance(option.type, click.types.FloatParamType)
]
WHOLE_NUMBERS = [
    (command, option.opts[0])
    for command, found in main.commands.items()
    for option in found.params
    if isinstance(option.type, click.types.IntParamType)
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a photo, a series and a network for each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (6, 6), (255, 128, 0)).save("photo.png")
    np.save("x.npy", np.random.default_rng(0).normal(size=(6, 2)))
    for name, shape in (("net.h5", (6, 6, 3)), ("series.h5", (6, 2))):
        keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(2, "softmax")]).save(name)
    return tmp_path


def of_photo(*options: object) -> list[object]:
    return ["explain", "photo.png", "--model", "net.h5", "--preprocessing", "unit", *options]


def of_series(*options: object) -> list[object]:
    return ["explain", "x.npy", "--model", "series.h5", *options]


def test_the_options_are_found():
    assert ("benchmark", "--fill") in NUMBERS
    assert ("explain", "--width") in NUMBERS
    assert ("explain", "--dpi") in WHOLE_NUMBERS


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_numbers_that_are_not_finite(here, command, option, number):
    before = set(here.iterdir())
    message = refused(command, option, number)
    assert f"Invalid value for '{option}'" in message
    assert "is not a finite number" in message or "is not in the range" in message
    assert set(here.iterdir()) == before


@pytest.mark.parametrize(("command", "option"), WHOLE_NUMBERS)
def test_whole_numbers_that_are_none(command, option):
    assert f"Invalid value for '{option}': 'nan' is not a valid integer" in refused(command, option, "nan")


PIPES = {
    "a photo": ["explain", "pipe", *of_photo()[2:]],
    "arrays": ["explain", "pipe.npy", "--model", "series.h5"],
    "a model": ["explain", "photo.png", "--model", "./pipe", "--preprocessing", "unit"],
    "names": of_photo("--classes", "pipe"),
    "a region": of_photo("--region", "pipe"),
    "patterns": of_photo("--method", "pattern.net", "--patterns", "pipe"),
    "a checked model": ["check", "./pipe"],
    "a checked photo": ["check", "net.h5", "--input", "pipe", "--preprocessing", "unit"],
    "a checked array": ["check", "series.h5", "--input", "pipe.npy"],
    "a photo for patterns": ["fit-patterns", "net.h5", "pipe", "--preprocessing", "unit"],
    "a model for patterns": ["fit-patterns", "./pipe", "photo.png", "--preprocessing", "unit"],
}


@pytest.mark.parametrize("arguments", PIPES.values(), ids=PIPES)
def test_pipes(here, arguments):
    os.mkfifo("pipe")
    os.mkfifo("pipe.npy")
    before = set(here.iterdir())

    assert re.search(r"pipe(\.npy)? is a pipe, a device or a socket: give a file", refused(*arguments))
    assert set(here.iterdir()) == before


LATE = {
    "layers": (of_series("--layers", "nothing"), "no layer matches 'nothing'"),
    "overlay": (of_series("--overlay"), "--overlay is for images"),
    "patterns": (of_photo("--method", "pattern.net", "--patterns", "foreign.npz"), "'--patterns'"),
    "narrow": (of_photo("--width", "0.5"), "'--width' / '--dpi'"),
    "wide": (of_photo("--width", "100", "--format", "pdf"), "'--width' / '--dpi': the figure has 100 x"),
    "sharp": (of_series("--dpi", "2400", "--width", "50"), "pixels, and may have at most 50,000,000"),
    "names": (of_series("--classes", "photo.png"), "not a text file"),
    "target": (of_series("--target", "7"), "there is no class 7"),
    "output": (of_series("--output", "photo.png/deeper"), "Not a directory"),
}


@pytest.mark.parametrize(("arguments", "message"), LATE.values(), ids=LATE)
def test_no_folder_is_left(here, arguments, message):
    patterns.Patterns({"a": np.ones(3)}, "another network").save("foreign.npz")
    before = set(here.iterdir())
    assert message in refused(*arguments)
    assert set(here.iterdir()) == before


@pytest.mark.parametrize("file_format", ["png", "pdf", "svg"])
def test_a_figure_of_too_many_pixels_and_the_way_out(file_format):
    wide = of_photo("--width", "100", "--format", file_format)
    message = refused(*wide)
    (width, pixels, most) = re.search(
        r"100 x ([\d.]+) inches.* 30,000 x ([\d,]+) .* at most (\d+)$", message
    ).groups()
    assert float(width) * 300 == pytest.approx(int(pixels.replace(",", "")), rel=1e-3)
    refused(*wide, "--dpi", int(most) + 1)
    if file_format == "svg":  # once: it takes seconds
        accepted(*wide, "--dpi", max(int(most) // 3, 30))
    accepted(*wide[:-4], "--width", "4", "--format", file_format)


def test_no_files_no_folder(here):
    (here / "broken.png").write_bytes(b"no image")
    output = refused("explain", "broken.png", *of_photo()[2:], status=1)
    assert output.endswith("0 explained, 1 skipped")
    assert not (here / "rap-keras-output").exists()


def test_a_full_disk_is_told_and_keeps_the_files_of_before(here, monkeypatch):
    accepted(*of_series())
    before = {file: file.read_bytes() for file in (here / "rap-keras-output").iterdir()}
    assert len(before) == 2

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device: 'rap-keras-output/x.png'" in refused(*of_series(), status=1)
    assert {file: file.read_bytes() for file in (here / "rap-keras-output").iterdir()} == before
    assert "No space left on device" in refused(*of_series("--output", "new"), status=1)
    assert not (here / "new").exists()
    assert "No space left on device" in refused("explain", "--method", "gradient", "--output", "shapes")
    assert not (here / "shapes").exists()


def test_a_missing_ray_is_told_before_tensorflow_is_imported(monkeypatch):
    def started() -> None:
        raise AssertionError("TensorFlow is imported")

    monkeypatch.setattr(benchmark, "start_tensorflow", started)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert 'Ray is not installed: pip install "ray>=2.10,<3"' in refused("benchmark", "--engine", "ray", status=1)
    assert "are for --engine ray" in refused("benchmark", "--workers", "2")
    assert explain.start_tensorflow is not started
