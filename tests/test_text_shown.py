"""Words in colours: in a terminal, on a page, in a figure, and by the command."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import host  # noqa: F401  switches eager execution off in the plugin, before any model is built
import numpy as np
import pytest
import tensorflow as tf
from commands import accepted, refused
from host import KERAS_3
from PIL import Image
from tensorflow import keras
from text_networks import WORDS, Words, small

import rap_keras
from rap_keras.visualization import coloured_words
from rap_keras.visualization.coloured_words import Line
from rap_keras.visualization.colours import Style

layers = keras.layers
pytestmark = pytest.mark.usefixtures("as_built")
eager = pytest.mark.skipif(not tf.executing_eagerly(), reason="TextVectorization needs eager execution")

LINE = Line("RAP, for", [("good", 2.0), ("<b>", -1.0), ("film", 0.0)], [("[CLS]", 0.5)])
SIGNS = ("negative", "positive")


def test_words_with_numbers():
    text = coloured_words.as_text([LINE], Style(), coloured=False)
    assert text == "RAP, for\n  good +2  <b> -1  film +0\n  apart: [CLS] +0.5"


def test_words_in_the_colours_of_a_terminal():
    text = coloured_words.as_text([LINE], Style(), coloured=True).splitlines()[1]
    colours = re.findall(r"\x1b\[48;5;(\d+);38;5;(\d+)m(.*?)\x1b\[0m", text)
    # 88 is dark red, 21 is blue, 231 is white; the letters are white (231) or black (16).
    assert colours == [("88", "231", "good"), ("21", "231", "<b>"), ("231", "16", "film")]
    hostile = coloured_words.as_text([Line("t", [("a\x1b[2J", 1.0)], [])], Style(), coloured=True)
    assert "\x1b[2J" not in hostile


def test_long_texts_are_wrapped():
    line = Line("t", [("word", 1.0)] * 60, [])
    for coloured in (False, True):
        plain = re.sub(r"\x1b\[[\d;]*m", "", coloured_words.as_text([line], Style(), coloured))
        assert max(map(len, plain.splitlines())) <= 100
        assert plain.count("word") == 60


def test_colours_only_in_a_terminal(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured_words.has_colours(Terminal())
    assert not coloured_words.has_colours(open(Path(__file__), encoding="utf-8"))  # noqa: SIM115
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured_words.has_colours(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured_words.has_colours(Terminal())


def test_html_is_escaped_and_has_the_colours():
    page = coloured_words.as_html([LINE._replace(title="<RAP>")], Style(), SIGNS)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;RAP&gt;" in page
    spans = re.findall(r'<span title="(\S+)" style="background:rgba\((.*?)\);color:inherit', page)
    assert spans == [
        ("+2", "255,40,40,0.60"), ("-1", "70,110,255,0.30"), ("+0", "70,110,255,0.00"), ("+0.5", "255,40,40,0.15"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="colormap is 'viridis', and HTML has red and blue only"):
        coloured_words.as_html([LINE], Style(colormap="viridis"), SIGNS)


@pytest.mark.parametrize("page", [(255, 255, 255), (17, 17, 17)], ids=["light", "dark"])
@pytest.mark.parametrize("colour", [coloured_words._POSITIVE, coloured_words._NEGATIVE])
def test_text_is_readable_on_light_and_dark_pages(page, colour):
    """A contrast of 4.5 at least, as WCAG 2.1 asks for, of black or white letters on the strongest colour."""

    def luminance(rgb):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return np.dot(parts, [0.2126, 0.7152, 0.0722])

    part = coloured_words._OPACITY
    behind = part * np.array(list(map(int, colour.split(",")))) + (1 - part) * np.array(page)
    letters = (0, 0, 0) if page[0] > 128 else (255, 255, 255)
    high, low = sorted([luminance(behind), luminance(letters)], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_figure_of_words():
    figure = coloured_words.figure([LINE, LINE], Style(), SIGNS)
    shown = {text.get_text(): text.get_bbox_patch() for text in figure.texts}
    assert shown["good"].get_facecolor()[:3] == pytest.approx((128 / 255, 0, 0), abs=0.01)
    assert shown["<b>"].get_facecolor()[:3] == pytest.approx((0, 0, 1), abs=0.01)
    assert [text.get_text() for text in figure.texts].count("good") == 2
    narrow = coloured_words.figure([Line("a title " * 9, [("word", 1.0)] * 30, [])], Style(width=3.3), SIGNS)
    assert narrow.get_figwidth() == pytest.approx(3.3)
    right = [text.get_window_extent().x1 for text in narrow.texts]
    assert max(right) <= 3.3 * narrow.dpi
    with pytest.raises(ValueError, match="width is 1 inches, and the meaning of the colours needs"):
        coloured_words.figure([LINE], Style(width=1), SIGNS)


def test_explanations_of_texts_are_shown(tmp_path, capsys):
    found = rap_keras.explain(
        small(), ["the <b> film", "we saw"], ["rap", "rap.contrastive"], 1, against=None, preprocessing=Words()
    )
    assert len(found) == 4
    print(found)
    found.show()
    once, twice = capsys.readouterr().out, str(found)
    assert once == f"{twice}\n" * 2
    assert twice.startswith("text 1: RAP of 'class 1': logit ")
    assert "text 2: Contrastive RAP of 'class 1'" in twice
    assert "&lt;b&gt;" in found._repr_html_()
    assert "<img" not in found._repr_html_()
    for name in ("words.html", "words.pdf", "words.png"):
        found.save(tmp_path / name)
    page = (tmp_path / "words.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert '"light dark"' in page
    assert "&lt;b&gt;" in page
    assert (tmp_path / "words.pdf").read_bytes().startswith(b"%PDF")
    assert Image.open(tmp_path / "words.png").size[0] == int(300 * found.figure().get_figwidth())
    with pytest.raises(ValueError, match="overlay is for images"):
        found.save(tmp_path / "x.png", overlay=0.5)
    one = rap_keras.explain(small(), "the film", "rap.contrastive", 1, against=0, preprocessing=Words())
    assert "'class 1' against 'class 0'" in str(one)
    assert isinstance(rap_keras.explain(small(), ["the film"], preprocessing=Words()), rap_keras.Explanations)


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small().save("model.keras" if KERAS_3 else "model.h5")
    (tmp_path / "my_words.py").write_text(f"WORDS = {WORDS!r}\n\n\ndef tokens(texts):\n"
        "    return [[WORDS.index(word) if word in WORDS else 1 for word in text.split()] for text in texts]\n"
    )  # fmt: skip
    yield "model.keras" if KERAS_3 else "model.h5"
    sys.modules.pop("my_words", None)


def test_the_command(in_folder, tmp_path):
    own = ["--model", in_folder, "--preprocessing", "my_words:tokens"]
    said = accepted(
        "explain", "--text", "the film", "--text", "we saw it", *own, "--method", "rap,integrated_gradients",
        "--baseline", "3", "--target", 1,
    )  # fmt: skip
    assert "RAP of 'class 1'" in said
    assert "baseline: token 3" in said
    assert "2 explained; files in" in said
    folder = tmp_path / "rap-keras-output"
    assert {path.name for path in folder.iterdir()} == {f"text{n}.{e}" for n in ("", "-2") for e in ("png", "npz")}
    arrays = np.load(folder / "text.npz")
    right = rap_keras.explain(in_folder, "the film", "rap", 1, preprocessing=Words())
    np.testing.assert_allclose(arrays["rap"], right.relevance, rtol=1e-5)
    assert arrays["tokens"].shape == (5,)


def test_refusals_of_the_command(in_folder, tmp_path):
    own = ["--model", in_folder, "--preprocessing", "my_words:tokens"]
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    assert "--baseline is for --text" in refused("explain", "photo.png", "--model", "vgg16", "--baseline", "mask")
    assert "with --model, and no IMAGE" in refused("explain", "photo.png", *own, "--text", "the film")
    assert "with --model, and no IMAGE" in refused("explain", "--text", "the film")
    assert "--layers is not for --text" in refused("explain", *own, "--text", "the film", "--layers", "*")
    assert "the text is empty" in refused("explain", *own, "--text", "")
    assert "takes token numbers: give what made" in refused("explain", "--model", in_folder, "--text", "the film")
    assert "takes no text" in refused("explain", "--model", "shapes-vgg", "--text", "the film")
    said = refused("explain", "--model", "shapes-vgg", "--text", "film")
    assert "networks that take tokens, and shapes-vgg takes none: give an IMAGE" in said
