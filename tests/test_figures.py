"""Pictures of many heatmaps: the grid of methods and the strip of layers."""

from __future__ import annotations

import numpy as np
import pytest
from colours import BLUE, DARK_BLUE, DARK_RED, PINK, RED, WHITE
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rap_keras.visualization import grid, layer_strip, to_rgb
from rap_keras.visualization.image_figures import WIDEST


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.get_images()[0].get_array())


def panels(figure: Figure) -> list[Axes]:
    """All axes except the legend's, which is drawn last."""
    return figure.axes[:-1]


def place(axes: Axes) -> tuple[float, float, float, float]:
    """Left, top, width and height in inches, from the left and the top of the figure."""
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    across, down = figure.get_size_inches()
    left, bottom, width, height = axes.get_position().bounds
    return left * across, (1 - bottom - height) * down, width * across, height * down


def rendered(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def middle_pixel(figure: Figure, axes: Axes) -> tuple[int, ...]:
    left, top, width, height = place(axes)
    pixels = rendered(figure)
    row, column = (top + height / 2) * figure.dpi, (left + width / 2) * figure.dpi
    return tuple(pixels[int(row), int(column)].tolist())


def assert_tidy(figure: Figure) -> None:
    """Asserts that every text and image lies in the figure, and that no two of them overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # places the labels
    renderer = canvas.get_renderer()
    boxes = []
    for axes in figure.axes:
        texts = [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        boxes += [t.get_window_extent(renderer) for t in texts if t.get_text()]
        boxes.append(axes.get_window_extent(renderer))
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
        for other in boxes[:index]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or down <= 1  # in pixels: antialiasing


def two_rows() -> Figure:
    photos = [np.full((1, 2, 3), 51, np.uint8), np.full((2, 2, 3), 0.4)]
    rap = [np.array([[3.0, -6.0]]), np.array([[0.0, 1.0], [-2.0, 4.0]])]
    gradient = [np.array([[-1.0, 1.0]]), np.zeros((2, 2))]
    return grid(photos, {"RAP": rap, "gradient": gradient}, ["cat\n12.5", "a dog"])


def test_grid_has_the_photo_and_a_heatmap_per_method_in_each_row():
    images = [shown(axes) for axes in panels(two_rows())]
    assert len(images) == 6
    np.testing.assert_array_equal(images[0], np.full((1, 2, 3), 0.2))
    np.testing.assert_array_equal(images[1], [[RED, DARK_BLUE]])
    np.testing.assert_array_equal(images[2], [[DARK_BLUE, DARK_RED]])
    np.testing.assert_array_equal(images[3], np.full((2, 2, 3), 0.4))
    np.testing.assert_array_equal(images[4], [[WHITE, PINK], [BLUE, DARK_RED]])
    np.testing.assert_array_equal(images[5], np.full((2, 2, 3), 255))


def test_grid_is_laid_out_in_rows_and_columns():
    figure = two_rows()
    lefts, tops, widths, heights = np.array([place(axes) for axes in panels(figure)]).T
    np.testing.assert_allclose(np.diff(lefts)[[0, 1, 3, 4]], 1.3)
    np.testing.assert_allclose(lefts[3], lefts[0])
    np.testing.assert_allclose(tops - tops[0], [0, 0, 0, 0.675, 0.675, 0.675], atol=1e-9)
    np.testing.assert_allclose(widths, 1.25)
    np.testing.assert_allclose(heights, [0.625] * 3 + [1.25] * 3)  # the photos' proportions
    assert_tidy(figure)


def test_grid_is_labelled():
    axes = panels(two_rows())
    assert [a.get_title() for a in axes] == ["photo", "RAP", "gradient", "", "", ""]
    assert [a.get_ylabel() for a in axes] == ["cat\n12.5", "", "", "a dog", "", ""]
    for a in axes:
        assert not a.get_xticks().size
        assert not a.get_yticks().size


def test_grid_without_titles_starts_at_the_margin():
    figure = grid([np.zeros((2, 2, 3))], {"RAP": [np.ones((2, 2))]})
    assert place(panels(figure)[0])[0] == pytest.approx(0.08)
    assert_tidy(figure)


def test_long_method_names_wrap():
    name = "LRP sequential preset A flat with a long name"
    figure = grid([np.zeros((2, 2, 3))], {name: [np.ones((2, 2))], "RAP": [np.ones((2, 2))]})
    heading = panels(figure)[1].get_title()
    assert "\n" in heading
    assert heading.replace("\n", " ") == name
    assert_tidy(figure)


def test_legend_tells_the_colours():
    rap_alone = grid([np.zeros((2, 2, 3))], {"RAP": [np.ones((2, 2))]})
    for figure, words in (
        (two_rows(), ("negative", "positive")),
        (rap_alone, ("irrelevant", "relevant")),
        (layer_strip({"conv": np.zeros((2, 2, 1))}), ("irrelevant", "relevant")),
        (layer_strip({"conv": np.zeros((2, 2, 1))}, negative_logit=True), ("negative", "positive")),
    ):
        legend = figure.axes[-1]
        ramp = shown(legend)[0]
        np.testing.assert_array_equal(ramp[[0, 50, 100, 150, 200]], [DARK_BLUE, BLUE, WHITE, RED, DARK_RED])
        texts = {text.get_text(): text.get_position()[0] for text in legend.texts}
        assert texts[words[0]] < -1
        assert texts[words[1]] > 1
        assert legend.get_xlabel() == "darkest: \N{PLUS-MINUS SIGN}largest |relevance|"


def test_layer_strip_by_percentile():
    values = np.ones((10, 20, 1))
    values[0, 0] = 100  # one in 200: above the 99th percentile
    for scale, colour, note in (
        ("max", WHITE, "largest |relevance|"),
        ("percentile", DARK_RED, "99th percentile of |relevance|"),
    ):
        figure = layer_strip({"conv": values}, scale=scale)
        pixel = shown(panels(figure)[0])[5, 5]
        np.testing.assert_allclose(pixel, colour, atol=6)
        assert figure.axes[-1].get_xlabel().endswith(note)
    with pytest.raises(ValueError, match="scale is 'mean'"):
        layer_strip({"conv": values}, scale="mean")


def test_figures_render_white_with_their_images():
    figure = grid([np.full((3, 3, 3), 51, np.uint8)], {"a": [np.full((3, 3), 7.0)], "b": [-np.eye(3)]})
    photo, red, blue = panels(figure)
    assert middle_pixel(figure, photo) == (51, 51, 51)
    assert middle_pixel(figure, red) == DARK_RED
    assert middle_pixel(figure, blue) == DARK_BLUE
    picture = rendered(figure)
    for corner in (picture[0, 0], picture[0, -1], picture[-1, 0], picture[-1, -1]):
        assert tuple(corner) == WHITE


def test_figures_are_unknown_to_pyplot():
    from matplotlib import pyplot

    two_rows()
    layer_strip({"conv": np.zeros((2, 2, 1))})
    assert pyplot.get_fignums() == []


def test_grid_names_the_method_with_too_few_heatmaps():
    photos = np.zeros((2, 3, 3, 3))
    with pytest.raises(ValueError, match="method 'LRP' has 1 heatmap for 2 photos"):
        grid(photos, {"RAP": np.zeros((2, 3, 3)), "LRP": np.zeros((1, 3, 3))})
    with pytest.raises(ValueError, match="3 titles for 2 photos"):
        grid(photos, {"RAP": np.zeros((2, 3, 3))}, ["a", "b", "c"])


def test_grid_names_the_heatmap_at_fault():
    photos = np.zeros((2, 3, 3, 3))
    with pytest.raises(
        ValueError,
        match=r"heatmaps\['RAP'\]\[1\] has height and width \(2, 2\), "
        r"photos\[1\] has \(3, 3\)",
    ):
        grid(photos, {"RAP": [np.zeros((3, 3)), np.zeros((2, 2))]})
    with pytest.raises(ValueError, match=r"heatmaps\['RAP'\]\[0\] has shape \(3, 3, 3\)"):
        grid(photos, {"RAP": np.zeros((2, 3, 3, 3))})
    with pytest.raises(ValueError, match=r"heatmaps\['RAP'\]\[1\] has 1 value that is not finite"):
        grid(photos, {"RAP": [np.zeros((3, 3)), np.diag([0, np.inf, 0])]})


def test_grid_needs_photos_and_methods():
    with pytest.raises(ValueError, match="0 photos and 1 method:"):
        grid([], {"RAP": []})
    with pytest.raises(ValueError, match="1 photo and 0 methods"):
        grid(np.zeros((1, 2, 2, 3)), {})
    with pytest.raises(TypeError, match="heatmaps is a list: it must be a dict"):
        grid(np.zeros((1, 2, 2, 3)), [np.zeros((1, 2, 2))])


def test_layer_strip_goes_from_the_output_to_the_input():
    figure = layer_strip(
        {
            "conv": np.array([[[1.0, 1.0], [-3.0, -1.0]], [[2.0, -2.0], [1.0, 0.0]]]),
            "add": [np.array([[[2.0], [1.0]]]), np.array([[[0.0], [-8.0]]])],
            "dense": np.array([0.0, 1.0, -2.0]),
        },
        np.full((2, 2, 3), 51, np.uint8),
    )
    axes = panels(figure)
    assert [a.get_title() for a in axes] == ["dense", "add[0]", "add[1]", "conv", "photo"]
    shapes = [a.get_xlabel().split("\N{MULTIPLICATION SIGN}") for a in axes]
    assert shapes == [["3"], [*"121"], [*"121"], [*"222"], [*"223"]]
    images = [shown(a) for a in axes]
    np.testing.assert_array_equal(images[0], [[WHITE], [RED], [DARK_BLUE]])
    np.testing.assert_array_equal(images[1], [[DARK_RED, RED]])
    np.testing.assert_array_equal(images[2], [[WHITE, DARK_BLUE]])
    np.testing.assert_array_equal(images[3], [[RED, DARK_BLUE], [WHITE, PINK]])
    np.testing.assert_array_equal(images[4], np.full((2, 2, 3), 0.2))
    lefts, tops, widths, heights = np.array([place(a) for a in axes]).T
    assert (np.diff(lefts) > widths[:-1]).all()
    np.testing.assert_allclose(tops, tops[0])
    np.testing.assert_allclose(heights, 0.9)
    np.testing.assert_allclose(widths, [0.12, 1.8, 1.8, 0.9, 0.9])
    assert_tidy(figure)


def test_long_bars_keep_the_strongest_features():
    relevance = np.zeros(4500)  # 90 steps of 50 features
    relevance[[49, 120]] = 4
    relevance[[4000, 4001]] = 1, -2
    (bar,) = panels(layer_strip({"softmax": relevance}))
    wanted = np.full((90, 1, 3), 255)
    wanted[[0, 2]] = DARK_RED
    wanted[80] = BLUE
    np.testing.assert_array_equal(shown(bar), wanted)
    assert bar.get_xlabel() == "4500"


def test_short_bars_show_every_feature():
    figure = layer_strip({"softmax": np.arange(90.0) - 89})
    (bar,) = panels(figure)
    np.testing.assert_array_equal(shown(bar), to_rgb(np.arange(90.0)[:, np.newaxis] - 89))
    assert_tidy(figure)  # the legend is wider than the bar


def test_deep_networks_take_several_rows():
    names = [f"conv{i}_block{i}_out" for i in range(20)]
    figure = layer_strip({name: np.ones((2, 2, 1)) for name in names})
    axes = panels(figure)
    assert [a.get_title() for a in axes] == names[::-1]
    lefts, tops, *_ = np.array([place(a) for a in axes]).T.round(6)
    assert len(np.unique(tops)) > 2
    assert figure.get_figwidth() <= WIDEST + 0.1
    reading_order = sorted(zip(tops, lefts))
    assert list(zip(tops, lefts)) == reading_order
    assert_tidy(figure)


def test_layer_strip_names_the_array_at_fault():
    with pytest.raises(ValueError, match=r"relevances\['conv'\] has shape \(1, 2, 2, 3\): it must"):
        layer_strip({"conv": np.zeros((1, 2, 2, 3))})
    with pytest.raises(ValueError, match=r"relevances\['add'\]\[1\] has 2 values that are not fin"):
        layer_strip({"add": [np.zeros(3), np.array([np.nan, 0, np.inf])]})
    with pytest.raises(ValueError, match=r"relevances\['conv'\] has 1 value that is not finite"):
        layer_strip({"conv": np.array([[[np.nan, np.nan], [0, 0]]])})
    with pytest.raises(ValueError, match=r"relevances\['dense'\] has shape \(0,\): it is empty"):
        layer_strip({"dense": np.zeros(0)})
    with pytest.raises(ValueError, match=r"relevances\['add'\] is an empty list"):
        layer_strip({"add": []})
    with pytest.raises(ValueError, match="relevances is empty"):
        layer_strip({})
    with pytest.raises(TypeError, match="relevances is a list: it must be a dict"):
        layer_strip([np.zeros(3)])
