"""Heatmaps as colours, and over the photo."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from colours import BLUE, DARK_BLUE, DARK_RED, PALE_BLUE, PINK, RED, WHITE

from rap_keras.visualization import grid, heatmap, layer_strip, overlay, to_rgb


def test_heatmap_sums_the_channels():
    relevance = [[[1, 2, -4], [0.5, 0, 0]], [[0, 0, 0], [-1, -1, -1]]]
    np.testing.assert_array_equal(heatmap(relevance), [[-1, 0.5], [0, -3]])
    np.testing.assert_array_equal(
        heatmap(np.stack([relevance, np.ones((2, 2, 3))])), [[[-1, 0.5], [0, -3]], [[3, 3], [3, 3]]]
    )


def test_heatmap_adds_up_in_float64():
    relevance = np.array([[[1e8, 1, -1e8]]], np.float32)
    assert heatmap(relevance).item() == 1
    assert heatmap(np.full((1, 1, 3), 60000, np.float16)).item() == 180000


@pytest.mark.parametrize("shape", [(4,), (4, 4), (1, 2, 3, 4, 5)])
def test_heatmap_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"relevance has shape \(.*must be \(H, W, C\) or \(N, H"):
        heatmap(np.zeros(shape))


def test_only_real_numbers_are_relevance():
    with pytest.raises(TypeError, match="relevance has dtype complex128"):
        heatmap(np.zeros((1, 1, 1), complex))
    with pytest.raises(TypeError, match="heatmap has dtype <U1"):
        to_rgb([["a"]])


def test_colours():
    values = [[-4, -2, -1, 0], [1, 2, 3, 4]]
    wanted = [[DARK_BLUE, BLUE, PALE_BLUE, WHITE], [PINK, RED, (191, 0, 0), DARK_RED]]
    colours = to_rgb(values)
    assert colours.dtype == np.uint8
    np.testing.assert_array_equal(colours, wanted)


def test_opposite_relevance_has_mirrored_colours():
    values = np.random.default_rng(0).normal(size=(50, 50))
    np.testing.assert_array_equal(to_rgb(-values), to_rgb(values)[..., ::-1])


def test_colours_are_those_of_seismic():
    values = np.linspace(-1, 1, 256)
    seismic = matplotlib.colormaps["seismic"](np.arange(256), bytes=True)[:, :3].astype(int)
    difference = np.abs(to_rgb(values[np.newaxis])[0].astype(int) - seismic)
    # From -0.5 on, blue differs on purpose: seismic's is not the mirror of its red.
    assert difference[values > -0.5].max() <= 2
    assert difference[values <= -0.5, :2].max() <= 2
    assert 40 < difference[0, 2] <= 52


def test_each_sample_has_its_own_scale():
    batch = np.array([[[1.0, -0.5]], [[10.0, -20.0]], [[0.0, 0.0]]])
    wanted = [[DARK_RED, BLUE], [RED, DARK_BLUE], [WHITE, WHITE]]
    np.testing.assert_array_equal(to_rgb(batch)[:, 0], wanted)


def test_scale_is_shared_and_clips():
    batch = np.array([[[1.0, -2.0]], [[4.0, -400.0]], [[0.0, 2.0]]])
    wanted = [[PINK, BLUE], [DARK_RED, DARK_BLUE], [WHITE, RED]]
    np.testing.assert_array_equal(to_rgb(batch, scale=4)[:, 0], wanted)


def test_extreme_magnitudes_keep_their_colours():
    wanted = [[DARK_RED, BLUE, WHITE]]
    np.testing.assert_array_equal(to_rgb([[1e308, -5e307, 0]]), wanted)
    np.testing.assert_array_equal(to_rgb([[2e-323, -1e-323, 0]]), wanted)
    np.testing.assert_array_equal(to_rgb([[1e308, 0]], scale=1e-300), [[DARK_RED, WHITE]])
    np.testing.assert_array_equal(to_rgb(np.array([[-128, 64]], np.int8)), [[DARK_BLUE, RED]])


def test_values_that_are_not_finite_are_counted_in_their_sample():
    batch = np.zeros((3, 2, 2))
    batch[1] = [[np.nan, 1], [np.inf, -np.inf]]
    with pytest.raises(ValueError, match="sample 1 of heatmap has 3 values that are not finite"):
        to_rgb(batch)
    with pytest.raises(ValueError, match=r"^heatmap has 3 values that are not finite"):
        to_rgb(batch[1], scale=1)


@pytest.mark.parametrize("scale", [0, -1.0, np.nan, np.inf])
def test_scale_is_positive(scale):
    with pytest.raises(ValueError, match=f"scale is {scale}: it must be positive"):
        to_rgb([[1.0]], scale=scale)


def test_scale_and_opacity_are_numbers():
    with pytest.raises(TypeError, match="scale is '1'"):
        to_rgb([[1.0]], scale="1")
    with pytest.raises(TypeError, match="opacity is None"):
        overlay([[1.0]], np.zeros((1, 1, 3)), opacity=None)


def test_to_rgb_names_a_wrong_shape():
    with pytest.raises(ValueError, match=r"heatmap has shape \(3,\): it must be \(H, W\) or \(N,"):
        to_rgb([1.0, 2.0, 3.0])


def test_arguments_are_left_alone():
    rng = np.random.default_rng(0)
    relevance, photo = rng.normal(size=(4, 4, 3)), rng.uniform(size=(4, 4, 3))
    maps, bar = rng.normal(size=(1, 4, 4)), rng.normal(size=200)
    arrays = [relevance, photo, maps, bar]
    before = [array.copy() for array in arrays]
    heatmap(relevance)
    to_rgb(maps)
    to_rgb(maps, scale=0.1)
    overlay(maps[0], photo)
    grid([photo], {"RAP": maps})
    layer_strip({"conv": relevance, "dense": bar}, photo)
    for array, copy in zip(arrays, before):
        np.testing.assert_array_equal(array, copy)


def test_overlay_blends_with_the_grey_photo():
    photo = np.full((1, 4, 3), 100, np.uint8)
    photo[0, 3] = (200, 100, 50)
    # Opacity 1, 3/4 and 1/4 over grey 100; the last pixel has no relevance: its luma is
    # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2.
    np.testing.assert_array_equal(
        overlay([[4.0, -3.0, 1.0, 0.0]], photo),
        [[DARK_RED, (25, 25, 168), (139, 107, 107), (124, 124, 124)]],
    )
    # The opacities are 0.8, 0.6 and 0.2.
    np.testing.assert_array_equal(
        overlay([[4.0, -3.0, 1.0, 0.0]], photo, opacity=0.8),
        [[(122, 20, 20), (40, 40, 155), (131, 106, 106), (124, 124, 124)]],
    )


def test_overlay_of_float_and_uint8_photos_agree():
    photo = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    relevance = np.random.default_rng(0).normal(size=(4, 4))
    np.testing.assert_array_equal(overlay(relevance, photo), overlay(relevance, photo / 255))
    white = np.ones((4, 4, 3), np.float32)
    np.testing.assert_array_equal(overlay(np.zeros((4, 4)), white), np.full((4, 4, 3), 255))


def test_overlay_names_both_sizes():
    with pytest.raises(ValueError, match=r"heatmap has height and width \(2, 3\), photo has \(4, 5"):
        overlay(np.zeros((2, 3)), np.zeros((4, 5, 3)))


@pytest.mark.parametrize("opacity", [-0.1, 1.1, np.nan])
def test_opacity_is_a_fraction(opacity):
    with pytest.raises(ValueError, match=f"opacity is {opacity}: it must be from 0 to 1"):
        overlay(np.zeros((1, 1)), np.zeros((1, 1, 3)), opacity=opacity)


@pytest.mark.parametrize(
    ("photo", "error", "message"),
    [
        (np.full((2, 2, 3), 255.0), ValueError, "photo has values from 255 to 255: floats must be"),
        (np.full((2, 2, 3), -0.1), ValueError, "photo has values from -0.1 to -0.1"),
        (np.full((2, 2, 3), np.nan), ValueError, "photo has values from nan to nan"),
        (np.zeros((2, 2, 3), np.int64), TypeError, "photo has dtype int64: it must be uint8"),
        (np.zeros((2, 2, 4)), ValueError, r"photo has shape \(2, 2, 4\): it must be \(H, W, 3\)"),
        (np.zeros((2, 2)), ValueError, r"photo has shape \(2, 2\): it must be \(H, W, 3\)"),
        (np.zeros((0, 2, 3)), ValueError, r"photo has shape \(0, 2, 3\)"),
    ],
)
def test_photos_are_checked(photo, error, message):
    with pytest.raises(error, match=message):
        overlay(np.zeros((2, 2)), photo)
    with pytest.raises(error, match=message):
        layer_strip({"conv": np.zeros((2, 2, 1))}, photo)
    with pytest.raises(error, match=message.replace("photo", r"photos\[0\]")):
        grid([photo], {"RAP": [np.zeros((2, 2))]})
