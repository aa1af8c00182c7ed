"""The figures that `rap-keras explain` writes: formats, sizes, scales and overlays."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import accepted, refused
from PIL import Image
from tensorflow import keras

layers = keras.layers
SIZE = 6


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a photo and a network that looks at one pixel more than at all others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (SIZE, SIZE), (255, 128, 0)).save("photo.png")
    dense = layers.Dense(2, activation="softmax", use_bias=False)
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Flatten(), dense])
    kernel = np.zeros((SIZE, SIZE, 3, 2))
    kernel[..., 0, 0], kernel[2, 3, 0, 0] = 0.01, 1
    model.set_weights([kernel.reshape(-1, 2)])
    model.save("net.h5")
    (tmp_path / "unit_scaling.py").write_text("def unit(pixels):\n    return pixels / 255\n")
    return tmp_path


def explained(*arguments: object) -> str:
    return accepted(
        "explain", "photo.png", "--model", "net.h5", "--preprocessing", "unit_scaling:unit", *arguments
    )


def written(name: str = "photo.png") -> np.ndarray:
    with Image.open(Path("rap-keras-output") / name) as image:
        return np.asarray(image.convert("RGB"))


def has_red(pixels: np.ndarray) -> bool:
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    return bool(((red > 120) & (green < 10) & (blue < 10)).any())


def test_a_figure_for_a_paper():
    explained("--format", "pdf", "--width", 3.3)
    data = Path("rap-keras-output/photo.pdf").read_bytes()
    (width,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", data)
    assert float(width) == pytest.approx(3.3 * 72)
    assert b"/FontFile2" in data  # TrueType, embedded
    assert not Path("rap-keras-output/photo.png").exists()
    assert Path("rap-keras-output/photo.npz").exists()


def test_dots_per_inch():
    explained("--dpi", 100, "--width", 4)
    assert written().shape[1] == 400
    explained("--format", "svg")
    assert Path("rap-keras-output/photo.svg").read_text().startswith("<?xml")


def test_beside_the_photo_or_over_it():
    explained("--dpi", 100)
    beside = written()
    explained("--dpi", 100, "--overlay")
    over = written()
    assert over.shape[1] < beside.shape[1]
    orange = np.all(np.abs(beside.astype(int) - (255, 128, 0)) < 3, axis=-1)
    assert orange.any()
    assert not np.all(np.abs(over.astype(int) - (255, 128, 0)) < 3, axis=-1).any()  # the photo is grey there
    assert has_red(over)


def test_scale():
    explained("--dpi", 100, "--scale", "max")
    by_largest = written()
    explained("--dpi", 100)
    assert not np.array_equal(by_largest, written())  # the note below the colours differs


def test_a_figure_that_is_too_narrow():
    arguments = ("explain", "photo.png", "--model", "net.h5", "--preprocessing", "unit_scaling:unit", "--width")
    message = refused(*arguments, "0.8")
    assert "Invalid value for '--width' / '--dpi': width is 0.8 inches, and the meaning of the colours" in message
    needed = re.search(r"needs ([\d.]+): give a larger width", message)
    accepted(*arguments, needed[1])  # the way out


def test_layers_by_a_pattern():
    explained("--layers", "den*", "--format", "svg", "--scale", "max")
    assert "largest |relevance|" in Path("rap-keras-output/photo-layers.svg").read_text()
    explained("--layers", "den*", "--format", "svg")
    text = Path("rap-keras-output/photo-layers.svg").read_text()
    assert "99th percentile of |relevance|" in text
    assert ">dense" in text
    assert ">flatten" not in text
    message = refused("explain", "photo.png", "--model", "net.h5", "--preprocessing", "tf", "--layers", "conv*")
    assert "no layer matches 'conv*': there are flatten, dense" in message


def test_series_take_no_overlay():
    keras.Sequential([keras.Input((6, 2)), layers.Flatten(), layers.Dense(2)]).save("series.h5")
    np.save("x.npy", np.ones((6, 2)))
    message = refused("explain", "x.npy", "--model", "series.h5", "--overlay")
    assert "--overlay is for images, and the network takes samples of shape (6, 2): leave --overlay out" in message
    accepted("explain", "x.npy", "--model", "series.h5", "--format", "pdf", "--width", 3.3)
    assert Path("rap-keras-output/x.pdf").exists()
