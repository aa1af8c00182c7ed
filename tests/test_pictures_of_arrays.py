"""What pictures of arrays show: colours of curves and bars, which slices, and which channels."""

from __future__ import annotations

import numpy as np
import pytest
from colours import DARK_BLUE, DARK_RED, WHITE
from matplotlib.collections import LineCollection

from rap_keras.visualization import sample_pictures
from rap_keras.visualization.colours import Style
from rap_keras.visualization.sample_pictures import BARS, Cell, as_photo, colours, curves, segments, strongest

LARGEST = Style(scale="max")


def stacked(cells, style=LARGEST):
    return sample_pictures.stacked(cells, style)


def rgb(colours_of_lines) -> list[tuple[int, ...]]:
    return [tuple(np.rint(255 * np.asarray(colour)[:3]).astype(int)) for colour in colours_of_lines]


def axes_of(figure) -> list:
    """The axes with data, without the colour bars, which come last in each cell."""
    return [axes for inner in figure.subfigs for axes in inner.axes[:-1]]


def title_of(figure) -> str:
    return figure.subfigs[0].texts[0].get_text()


def bar_limits(figure) -> list[tuple[float, float]]:
    return [inner.axes[-1].get_ylim() for inner in figure.subfigs]


def test_photos_of_one_three_and_four_channels():
    grey = np.array([[[-1.0], [0.0], [1.0]]])
    np.testing.assert_array_equal(as_photo(grey), [[[0] * 3, [128] * 3, [255] * 3]])
    colour = np.array([[[0.0, 2.0, 1.0], [2.0, 2.0, 0.0]]])
    np.testing.assert_array_equal(as_photo(colour), [[[0, 255, 128], [255, 255, 0]]])
    opacity = np.array([[[2.0, 0.0, 0.0, 2.0], [2.0, 0.0, 0.0, 1.0], [2.0, 0.0, 0.0, 0.0]]])
    np.testing.assert_array_equal(as_photo(opacity), [[[255, 0, 0], [255, 128, 128], [255, 255, 255]]])


def test_photos_of_other_channels_are_their_mean():
    image = np.zeros((1, 2, 5))
    image[0, 1] = [1, 2, 3, 4, 5]
    np.testing.assert_array_equal(as_photo(image), [[[0] * 3, [255] * 3]])
    np.testing.assert_array_equal(as_photo(image, 0, 6), [[[0] * 3, [128] * 3]])
    np.testing.assert_array_equal(as_photo(np.full((1, 1, 1), 7.0)), [[[128] * 3]])


def test_the_curve_of_a_series_in_pieces():
    pieces = segments(np.array([0.0, 2.0, 1.0]))
    np.testing.assert_array_equal(pieces[0], [(-0.5, 0), (0, 0), (0.5, 1)])
    np.testing.assert_array_equal(pieces[1], [(0.5, 1), (1, 2), (1.5, 1.5)])
    np.testing.assert_array_equal(pieces[2], [(1.5, 1.5), (2, 1), (2.5, 1)])
    np.testing.assert_array_equal(segments(np.array([3.0])), [[(-0.5, 3), (0, 3), (0.5, 3)]])


def test_colours_of_relevance():
    assert rgb(colours(np.array([-2.0, 0.0, 2.0]), 2.0, LARGEST)) == [DARK_BLUE, WHITE, DARK_RED]
    assert rgb(colours(np.array([2.0]), 4.0, LARGEST)) == [(255, 0, 0)]


def test_each_step_of_a_series_has_the_colour_of_its_relevance():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 6.0]])
    relevance = np.array([[4.0, 0.0], [0.0, -4.0], [-2.0, 2.0]])
    figure = stacked([[Cell("RAP, class 1", values, relevance)]])
    first, second = axes_of(figure)
    for axes, channel, expected in (
        (first, 0, {0: DARK_RED, 1: WHITE, 2: (0, 0, 255)}),
        (second, 1, {0: WHITE, 1: DARK_BLUE, 2: (255, 0, 0)}),
    ):
        _, line = (found for found in axes.collections if isinstance(found, LineCollection))
        steps = [round(piece[1][0]) for piece in line.get_segments()]
        assert dict(zip(steps, rgb(line.get_colors()))) == expected
        assert [piece[1][1] for piece in line.get_segments()] == list(values[steps, channel])
        strengths = list(np.abs(relevance[steps, channel]))
        assert strengths == sorted(strengths)  # the strongest is drawn last
    assert bar_limits(figure) == [(-4, 4)]
    assert title_of(figure) == "RAP, class 1"


def test_many_channels_are_drawn_as_their_mean():
    values, relevance = np.random.default_rng(0).normal(size=(2, 6, 9))
    drawn, summed, note = curves(values, relevance)
    np.testing.assert_allclose(drawn[:, 0], values.mean(axis=1))
    np.testing.assert_allclose(summed[:, 0], relevance.sum(axis=1))
    assert note == "mean of 9 channels"
    figure = stacked([[Cell("RAP", values, relevance)]])
    assert len(axes_of(figure)) == 1
    assert title_of(figure) == "RAP (mean of 9 channels)"
    drawn, of_it, note = curves(values[:, :8], relevance[:, :8])
    assert note == ""
    assert drawn.shape == of_it.shape == (6, 8)
    assert len(axes_of(stacked([[Cell("RAP", drawn, of_it)]]))) == 8


def test_the_strongest_slices_in_their_order():
    relevance = np.zeros((5, 2, 2))
    relevance[1] = [[-3, 0], [0, 0]]
    relevance[3] = [[1, -1], [1, 1]]
    relevance[4] = [[1, 0], [0, 0]]
    assert strongest(relevance, 2).tolist() == [1, 3]
    assert strongest(relevance, 4).tolist() == [0, 1, 3, 4]  # of equal ones the first
    assert strongest(relevance, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("channels", [1, 2])
def test_slices_of_a_volume(channels):
    values = np.arange(8.0)[:, None, None, None] * np.ones((8, 2, 3, channels))
    relevance = np.zeros((8, 2, 3, channels))
    strengths = {0: 1.0, 2: -4.0, 3: 2.0, 5: -1.0, 6: 3.0, 7: 0.5}
    for number, strength in strengths.items():
        relevance[number, 0, 1] = strength / channels
    figure = stacked([[Cell("RAP", values, relevance)]])
    axes = axes_of(figure)
    assert [a.get_title() for a in axes[:6]] == ["0", "2", "3", "5", "6", "7"]
    for number, upper, lower in zip(strengths, axes[:6], axes[6:]):
        picture = upper.get_images()[0].get_array()
        np.testing.assert_array_equal(picture, np.full((2, 3, 3), np.rint(255 * number / 7)))
        heat = np.asarray(lower.get_images()[0].get_array())
        np.testing.assert_array_equal(heat[0, 1], rgb(colours(np.array([strengths[number]]), 4.0, LARGEST))[0])
        assert (heat[1] == WHITE).all()
    assert bar_limits(figure) == [(-4, 4)]
    note = "6 of 8 slices, of the largest |relevance|" + "; mean of 2 channels" * (channels == 2)
    assert title_of(figure).replace("\n", " ") == f"RAP ({note})"


def test_bars_of_a_vector():
    values, relevance = np.array([1.0, 0.0, -3.0]), np.array([2.0, -2.0, 0.0])
    figure = stacked([[Cell("RAP", values, relevance)]])
    bars, strip = axes_of(figure)
    assert [patch.get_height() for patch in bars.patches] == [1, 0, -3]
    assert rgb(patch.get_facecolor() for patch in bars.patches) == [DARK_RED, DARK_BLUE, WHITE]
    # The second bar has no height: its colour is visible below.
    np.testing.assert_array_equal(strip.get_images()[0].get_array(), [[DARK_RED, DARK_BLUE, WHITE]])


def test_the_strongest_of_many_features():
    relevance = np.zeros(1000)
    relevance[::10] = np.arange(100)
    figure = stacked([[Cell("RAP", np.arange(1000.0), relevance)]])
    bars, strip = axes_of(figure)
    shown = [10 * number for number in range(100 - BARS, 100)]
    assert [patch.get_height() for patch in bars.patches] == shown
    assert [int(label.get_text()) for label in strip.get_xticklabels()] == shown
    assert title_of(figure) == "RAP (64 of 1000 features, of the largest |relevance|)"


def test_images_and_other_samples_in_one_picture(tmp_path):
    image, relevance = np.array([[[0.0], [1.0]]]), np.array([[[3.0], [-3.0]]])
    vector = np.array([1.0])
    figure = stacked([[Cell("RAP, image", image, relevance)], [Cell("RAP, vector", vector, vector)]])
    photo, heat, _, _ = axes_of(figure)
    np.testing.assert_array_equal(photo.get_images()[0].get_array(), [[[0] * 3, [255] * 3]])
    np.testing.assert_array_equal(heat.get_images()[0].get_array(), [[DARK_RED, DARK_BLUE]])
    assert bar_limits(figure) == [(-3, 3), (-1, 1)]
    figure.savefig(tmp_path / "x.png")


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1), (1, 1, 1, 1), (2, 2, 2, 2, 3)])
@pytest.mark.parametrize("relevance", [0.0, np.nan])
def test_relevance_that_is_nothing(shape, relevance, tmp_path):
    figure = stacked([[Cell("RAP", np.ones(shape), np.full(shape, relevance))]])
    assert bar_limits(figure) == [(-1, 1)]
    figure.savefig(tmp_path / "x.png")
