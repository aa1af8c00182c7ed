"""Figures of relevance from any source: what is drawn, in which colours, and how it is shown and written."""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from colours import DARK_BLUE, DARK_RED, PINK, RED, WHITE
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageShow

import rap_keras
from rap_keras import visualization
from rap_keras.visualization import display, picture
from rap_keras.visualization.colours import Style

PHOTO = np.full((2, 2, 3), 51, np.uint8)
RELEVANCE = np.array([[[1.0, 1.0], [-3.0, -1.0]], [[2.0, -2.0], [1.0, 0.0]]])  # sums: 2, -4, 0, 1
COLOURS = [[RED, DARK_BLUE], [WHITE, PINK]]


def images(figure: Figure) -> list[np.ndarray]:
    """What is drawn, without the bar of colours."""
    return [np.asarray(axes.get_images()[0].get_array()) for axes in figure.axes[:-1]]


def headings(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes[:-1]]


def bar(figure: Figure) -> tuple[list[str], str]:
    """The words beside the bar of colours, and the note below it."""
    return [text.get_text() for text in figure.axes[-1].texts], figure.axes[-1].get_xlabel()


def test_the_photo_beside_its_heatmap():
    for relevance in (RELEVANCE, RELEVANCE[np.newaxis], RELEVANCE.sum(axis=-1)):
        figure = picture(relevance, PHOTO)
        assert headings(figure) == ["photo", "relevance"]
        photo, heatmap = images(figure)
        np.testing.assert_allclose(photo, PHOTO / 255)
        np.testing.assert_array_equal(heatmap, COLOURS)
    (heatmap,) = images(picture(RELEVANCE))
    np.testing.assert_array_equal(heatmap, COLOURS)


def test_what_the_colours_are_called():
    alone, beside = picture({"RAP": RELEVANCE}), picture({"RAP": RELEVANCE, "Gradient": RELEVANCE})
    assert bar(alone)[0] == ["irrelevant", "relevant"]
    assert bar(beside)[0] == ["negative", "positive"]
    assert bar(picture({"Gradient": RELEVANCE}, absolute=True))[0] == ["0", "strongest"]


def test_one_strong_pixel_leaves_the_others_their_colours():
    relevance = np.full((20, 20), 1.0)
    relevance[0, 0], relevance[5, 5] = -500.0, 0.5
    (by_percentile,), (by_largest,) = images(picture(relevance)), images(picture(relevance, scale="max"))
    assert tuple(by_percentile[1, 1]) == DARK_RED
    assert tuple(by_percentile[5, 5]) == RED
    assert tuple(by_percentile[0, 0]) == DARK_BLUE
    assert tuple(by_largest[1, 1]) == (255, 254, 254)
    assert bar(picture(relevance))[1] == "darkest: \N{PLUS-MINUS SIGN}99th percentile of |relevance|"
    assert bar(picture(relevance, scale="max"))[1] == "darkest: \N{PLUS-MINUS SIGN}largest |relevance|"


def test_limits():
    values = np.arange(-200.0, 201.0)  # 401 values, whose absolute 99th percentile is at least at place 396
    assert Style("max").limit(values) == 200
    assert Style("percentile").limit(values) == 198
    assert Style("percentile").limit(np.arange(101.0)) == 99
    assert Style("percentile").limit(np.arange(100.0)) == 99  # no percentile of less than a hundred: the largest
    sparse = np.zeros(1000)
    sparse[3] = -7
    assert Style("percentile").limit(sparse) == 7
    assert Style("max").limit(np.zeros(5)) == Style("percentile").limit(np.zeros(5)) == 1


def test_absolute_relevance():
    (heatmap,) = images(picture(RELEVANCE, absolute=True))
    np.testing.assert_array_equal(heatmap, [[RED, DARK_RED], [WHITE, PINK]])  # of the sums over channels


def test_a_heatmap_over_the_photo():
    figure = picture(RELEVANCE, PHOTO, overlay=1.0)
    assert headings(figure) == ["relevance"]
    np.testing.assert_array_equal(images(figure)[0], visualization.overlay(RELEVANCE.sum(-1), PHOTO))
    (faint,) = images(picture(RELEVANCE, PHOTO, overlay=0.5))
    np.testing.assert_array_equal(faint, visualization.overlay(RELEVANCE.sum(-1), PHOTO, 0.5))
    assert tuple(faint[0, 1]) == tuple(np.rint(0.5 * 51 + 0.5 * np.array(DARK_BLUE)).astype(int))


def test_another_colour_map():
    import matplotlib

    (heatmap,) = images(picture(RELEVANCE, colormap="RdBu_r"))
    expected = matplotlib.colormaps["RdBu_r"](np.array([[0.75, 0.0], [0.5, 0.625]]), bytes=True)[..., :3]
    np.testing.assert_array_equal(heatmap, expected)
    (heatmap,) = images(picture(RELEVANCE, colormap="viridis", absolute=True))
    expected = matplotlib.colormaps["viridis"](np.array([[0.5, 1.0], [0.0, 0.25]]), bytes=True)[..., :3]
    np.testing.assert_array_equal(heatmap, expected)


def test_several_photos_and_methods():
    other = -2 * RELEVANCE
    figure = picture({"a": [RELEVANCE, other], "b": [other, other]}, [PHOTO, PHOTO], titles=["cat", "dog"])
    assert headings(figure) == ["photo", "a", "b", "", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes[:-1]] == ["cat", "", "", "dog", "", ""]
    mirrored = np.array(COLOURS)[..., ::-1]
    for place, expected in ((1, COLOURS), (2, mirrored), (4, mirrored), (5, mirrored)):
        np.testing.assert_array_equal(images(figure)[place], expected)


@pytest.mark.parametrize("width", [2.5, 3.3, 7.0])
def test_a_figure_as_wide_as_asked_for(width):
    methods = dict.fromkeys(("RAP", "Gradient", "LRP", "Input*Gradient", "Grad-CAM"), RELEVANCE)
    figure = picture(methods, PHOTO, width=width)
    assert figure.get_figwidth() == width
    boxes = [axes.get_position() for axes in figure.axes[:-1]]
    assert len(boxes) == 6
    assert all(box.x0 >= 0 and box.x1 <= 1 for box in boxes)
    sizes = {round(box.width * width, 3) for box in boxes}
    assert len(sizes) == 1
    texts = [
        text for axes in figure.axes for text in (axes.title, axes.xaxis.label, *axes.texts) if text.get_text()
    ]
    assert {text.get_fontsize() for text in texts} == {8}


def test_samples_of_other_kinds():
    series, relevance = np.array([[1.0], [2.0], [3.0]]), np.array([[4.0], [0.0], [-2.0]])
    for given in (relevance, relevance[np.newaxis]):
        figure = picture({"RAP": given}, series, width=3.3)
        assert figure.get_figwidth() == 3.3
        assert [text.get_text() for inner in figure.subfigs for text in inner.texts] == ["RAP"]
    five_channels = np.zeros((2, 2, 5))
    figure = picture({"RAP": five_channels + 1}, five_channels)
    assert images(figure)[1].tolist() == np.full((2, 2, 3), DARK_RED).tolist()


def test_what_is_refused():
    for options, message in (
        ({"scale": "log"}, "scale is 'log': it must be 'max' or 'percentile'"),
        ({"overlay": 2}, "overlay is 2: it must be from 0 to 1"),
        ({"colormap": "rainbows"}, "colormap is 'rainbows': it must be the name of a colour map of matplotlib"),
        ({"width": 0}, "width is 0: it must be positive and finite"),
        ({"width": 0.4}, "width is 0.4 inches, and the labels and one image need"),
        ({"font_size": float("nan")}, "font_size is nan"),
        ({"titles": ["a"]}, "titles is for several photos"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            picture(RELEVANCE, PHOTO, **options)
    with pytest.raises(TypeError, match="overlay is 'yes'"):
        picture(RELEVANCE, PHOTO, overlay="yes")
    with pytest.raises(ValueError, match="overlay is for images"):
        picture(np.ones((3, 1)), np.ones((3, 1)), overlay=0.5)
    with pytest.raises(
        ValueError, match=r"the heatmap of relevance has height and width \(2, 2\), photo has \(3, 3\)"
    ):
        picture(RELEVANCE, np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match=r"the heatmap of RAP has 1 value that is not finite"):
        picture({"RAP": np.array([[np.nan, 1.0]])})
    with pytest.raises(
        ValueError, match=r"the relevance of relevance has shape \(4, 1\), and the sample has \(3, 1\)"
    ):
        picture(np.ones((4, 1)), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"channels first: give relevance\.transpose\(1, 2, 0\)"):
        picture(np.ones((3, 8, 8)), np.zeros((8, 8, 3)))
    with pytest.raises(ValueError, match=r"rap_keras\.images\.fit\(photo, \(2, 2\)\)"):
        picture(RELEVANCE, np.zeros((3, 3, 3)))
    with pytest.raises(ValueError, match="width is 1 inches, and the meaning of the colours needs"):
        picture(RELEVANCE, width=1)
    with pytest.raises(ValueError, match="method 'a' has 1 heatmap for 2 photos"):
        picture({"a": [RELEVANCE]}, [PHOTO, PHOTO])
    with pytest.raises(ValueError, match="relevance is an empty dict"):
        picture({})
    with pytest.raises(ValueError, match="photo has values from 0 to 255: floats must be in"):
        picture(RELEVANCE, np.array([[[0.0] * 3, [255.0] * 3]] * 2))


def test_a_pdf_for_a_paper(tmp_path):
    figure = picture({"RAP": RELEVANCE}, PHOTO, width=3.3)
    visualization.save(figure, tmp_path / "figure.pdf")
    data = (tmp_path / "figure.pdf").read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", data)
    assert float(box[0]) == pytest.approx(3.3 * 72)
    streams = b"".join(_unpacked(data))
    everything = data + streams
    assert b"/FontFile2" in everything  # an embedded TrueType font
    assert b"/Type3" not in everything
    assert set(re.findall(rb"/F\d+ ([\d.]+) Tf", everything)) == {b"8"}


def _unpacked(data: bytes) -> list[bytes]:
    found = []
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", data, re.S):
        try:
            found.append(zlib.decompress(match[1]))
        except zlib.error:
            continue
    return found


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files_of_every_format(ending, start, tmp_path):
    figure = picture(RELEVANCE, PHOTO)
    visualization.save(figure, tmp_path / f"x.{ending}", dpi=100)
    assert (tmp_path / f"x.{ending}").read_bytes().startswith(start)
    if ending == "png":
        with Image.open(tmp_path / "x.png") as image:
            assert image.mode == "RGBA"
            assert image.size[0] == pytest.approx(100 * figure.get_figwidth(), abs=1)
    with pytest.raises(ValueError, match="not supported"):
        visualization.save(figure, tmp_path / "x.docx")


def test_shown_in_the_viewer(monkeypatch):
    shown = []
    screen = ImageShow.Viewer()
    monkeypatch.setattr(screen, "show", lambda image: shown.append(image.size) or True)
    # Pillow's viewer for notebooks is there wherever IPython is installed, and shows nothing outside of them.
    printing = type("IPythonViewer", (ImageShow.Viewer,), {"show": lambda self, image: True})()
    monkeypatch.setattr(ImageShow, "_viewers", [printing, screen])
    monkeypatch.setenv("DISPLAY", ":0")
    assert rap_keras.show({"RAP": RELEVANCE}, PHOTO) is None
    assert len(shown) == 1
    missing = "there is no viewer for pictures on this machine: write the figure to a file"
    monkeypatch.setattr(ImageShow, "_viewers", [printing])
    with pytest.warns(UserWarning, match=missing):
        rap_keras.show(RELEVANCE)
    # Without a screen a viewer fails, and does not say so.
    monkeypatch.setattr(ImageShow, "_viewers", [screen])
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.warns(UserWarning, match=missing):
        rap_keras.show(RELEVANCE)
    assert len(shown) == 1


def test_shown_in_a_notebook(monkeypatch):
    IPython = pytest.importorskip("IPython")
    shell = type("Shell", (), {"kernel": object()})()
    below: list = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    import IPython.display

    monkeypatch.setattr(IPython.display, "display", below.append)
    rap_keras.show(RELEVANCE, PHOTO)
    (image,) = below
    data, metadata = image._repr_mimebundle_()
    assert set(data) == {"image/png"}
    assert data["image/png"].startswith("iVBOR")
    assert metadata["image/png"]["width"] == image.width > 96


def test_figures_of_explanations(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from tensorflow import keras

    dense = keras.layers.Dense(2, "softmax", use_bias=False)
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), dense])
    model.set_weights([np.repeat([[1.0, -1.0]], 12, axis=0)])
    both = rap_keras.explain(
        model,
        PHOTO,
        ["rap", "gradient"],
        [0, 1],
        preprocessing=lambda x: x / 255,
        classes=["cat <3", "dog, hound"],
    )
    figure = both.figure(scale="max")
    assert headings(figure) == ["photo", "RAP", "Gradient", "", "", ""]
    labels = [axes.get_ylabel() for axes in figure.axes[:-1]]
    assert labels[0] == "cat <3\nlogit 2.4\nprobability 0.99"
    assert "negative logit: blue is relevant" in repr(both[2])
    assert "negative logit" not in repr(both[3])  # the gradient does not turn with the logit
    assert labels[3] == "dog, hound\nlogit -2.4\nprobability 0.0082\nnegative logit:\nblue is relevant\nin RAP"
    np.testing.assert_array_equal(images(figure)[1], np.full((2, 2, 3), DARK_RED))
    np.testing.assert_array_equal(images(figure)[4], np.full((2, 2, 3), DARK_BLUE))
    for target, ends in ((0, {"irrelevant", "relevant"}), (1, {"negative", "positive"})):
        alone = rap_keras.explain(model, PHOTO, "rap", target, preprocessing=lambda x: x / 255).figure()
        assert ends <= {text.get_text() for text in alone.findobj(Text)}
    both.save("both.pdf", width=3.3)
    assert Path("both.pdf").read_bytes().startswith(b"%PDF")
    html = both._repr_html_()
    assert "data:image/png;base64," in html
    assert "cat &lt;3" in html
    assert "cat <3" not in html
    one = both[0]
    assert bar(one.figure())[0] == ["irrelevant", "relevant"]
    assert repr(one).startswith("<RAP of 'cat <3': logit 2.4, probability 0.9918, relevance sums to 2.4 (")
    with pytest.raises(TypeError, match="colour"):
        one.save("x.png", colour="red")


def test_nothing_is_shown_where_no_notebook_runs():
    assert not display.in_notebook()
