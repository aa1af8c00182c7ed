"""Metrics on maps with known answers, and the comparison of all methods on the embedded images."""

from __future__ import annotations

import numpy as np
import pytest

from rap_keras import methods, models, shapes
from rap_keras.metrics import mean_iou, outside_inside_ratio
from rap_keras.visualization import heatmap

MASK = np.array([[True, True, False, False]])


def test_outside_inside_ratio():
    values = np.array([[4.0, 2.0, 1.0, -3.0]])
    assert outside_inside_ratio(values, MASK) == pytest.approx(0.5 / 3)
    assert outside_inside_ratio(values, MASK, positive=False) == pytest.approx(-1 / 3)
    assert np.isnan(outside_inside_ratio(-np.abs(values), MASK))
    assert np.isnan(outside_inside_ratio(values, MASK | True))
    assert np.isnan(outside_inside_ratio(values, MASK & False))


def test_mean_iou():
    # The mean of the positive part is 1.5: the first and the third pixel are marked.
    assert mean_iou(np.array([[4.0, 0.0, 2.0, -9.0]]), MASK) == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert mean_iou(np.array([[4.0, 3.0, 0.0, -9.0]]), MASK) == 1
    assert mean_iou(np.zeros((1, 4)), MASK) == pytest.approx((0 + 2 / 4) / 2)


def test_bad_heatmaps():
    for metric in (outside_inside_ratio, mean_iou):
        with pytest.raises(ValueError, match=r"shape \(1, 3\), the mask \(1, 4\)"):
            metric(np.zeros((1, 3)), MASK)
        with pytest.raises(ValueError, match="1 values that are not finite"):
            metric(np.array([[1.0, np.nan, 0, 0]]), MASK)


@pytest.mark.slow
def test_rap_marks_the_shape_better_than_every_other_method():
    model = models.without_softmax(shapes.load_network("vgg"))
    samples = shapes.generate(200, shapes.TEST_SEED)
    x = shapes.preprocess(samples.images)
    inside = np.zeros(samples.masks.shape, bool)
    for box, (left, top, right, bottom) in zip(inside, samples.boxes):
        box[top:bottom, left:right] = True
    medians = {}
    for name in methods.TITLES:
        analyzer = methods.create(name, model, patterns=shapes.patterns_path("vgg"))
        maps = np.concatenate([heatmap(analyzer.analyze(x[start : start + 50])) for start in range(0, 200, 50)])
        assert np.isfinite(maps).all()
        medians[name] = np.nanmedian([outside_inside_ratio(*pair) for pair in zip(maps, inside)])
    best = medians.pop("rap")
    assert best < 0.05
    assert best < 0.5 * min(medians.values()), medians
