"""Localisation metrics on maps with known answers, and the comparison of all methods on the embedded images."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from rap_keras import models, shapes
from rap_keras.hosts import methods
from rap_keras.metrics import (
    Counts,
    confusion,
    marked,
    mass_inside,
    mean_iou,
    outside_inside_ratio,
    pixel_accuracy,
)
from rap_keras.visualization import heatmap

VALUES = np.array([[4.0, 2.0], [1.0, -3.0]])
MASK = np.array([[True, True], [False, False]])
ALL, NONE = np.ones((2, 2), bool), np.zeros((2, 2), bool)
ONE_VOID = np.array([[True, False], [False, False]])


def random_batch(n=20, side=9):
    """Heatmaps, masks and void masks, including edge cases."""
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(n, side, side))
    masks, void = rng.random(maps.shape) < 0.3, rng.random(maps.shape) < 0.2
    masks[0], masks[1], void[2], void[3] = True, False, True, False
    maps[4], maps[5], maps[6] = 0, -np.abs(maps[5]), 1
    return maps, masks, void


def test_outside_inside_ratio():
    assert outside_inside_ratio(VALUES, MASK) == pytest.approx(0.5 / 3)
    assert outside_inside_ratio(VALUES, MASK, positive=False) == pytest.approx(-1 / 3)
    assert outside_inside_ratio(VALUES, MASK, void=ONE_VOID) == pytest.approx(0.5 / 2)
    assert outside_inside_ratio(VALUES, ~MASK, positive=False, void=ONE_VOID) == pytest.approx(2 / -1)
    assert outside_inside_ratio(-VALUES, MASK, positive=False) == pytest.approx(-1 / 3)
    assert isinstance(outside_inside_ratio(VALUES, MASK), float)


@pytest.mark.parametrize(
    ("values", "inside", "void"),
    [
        (VALUES, ALL, None),
        (VALUES, NONE, None),
        (VALUES, MASK, MASK),
        (VALUES, MASK, ~MASK),
        (VALUES, MASK, ALL),
        (-np.abs(VALUES), MASK, None),
        (np.zeros((2, 2)), MASK, None),
        (-VALUES, MASK, None),  # all that is positive is outside
    ],
)
def test_a_ratio_without_a_value_is_nan(values, inside, void):
    assert np.isnan(outside_inside_ratio(values, inside, void=void))


def test_mass_inside():
    assert mass_inside(VALUES, MASK) == pytest.approx(6 / 7)
    assert mass_inside(VALUES, ~MASK) == pytest.approx(1 / 7)
    assert mass_inside(VALUES, MASK, void=ONE_VOID) == pytest.approx(2 / 3)
    assert mass_inside(VALUES, ALL) == 1
    assert mass_inside(-VALUES, MASK) == 0
    for values, inside, void in (
        (VALUES, NONE, None),
        (VALUES, MASK, MASK),
        (VALUES, MASK, ALL),
        (-np.abs(VALUES), MASK, None),
        (np.zeros((2, 2)), MASK, None),
    ):
        assert np.isnan(mass_inside(values, inside, void))


def test_marked():
    # The mean of the positive part is 7 / 4; without the first pixel it is 1.
    assert marked(VALUES, "pos").tolist() == [[True, True], [False, False]]
    assert marked(VALUES, "pos", ONE_VOID).tolist() == [[False, True], [False, False]]
    assert marked(VALUES, "signed").tolist() == [[True, True], [True, False]]
    assert marked(VALUES, "signed", ONE_VOID).tolist() == [[False, True], [True, False]]
    assert not marked(-VALUES - 4, "pos").any()
    assert not marked(np.zeros((2, 2)), "signed").any()
    assert not marked(VALUES, "pos", ALL).any()
    with pytest.raises(ValueError, match="case='neg': must be 'pos' or 'signed'"):
        marked(VALUES, "neg")


@pytest.mark.parametrize("value", [0.1, 0.7])
def test_a_constant_heatmap_has_nothing_above_its_mean(value):
    # The rounded mean of 0.1 over 7 x 7 pixels is below 0.1.
    assert not marked(np.full((7, 7), value), "pos").any()


def test_confusion():
    found = np.array([[True, False, True, False, True]])
    mask = np.array([[True, True, False, False, True]])
    counts = confusion(found, mask)
    assert counts == (2, 1, 1, 1)
    assert all(type(count) is int for count in counts)
    assert confusion(found, mask, np.array([[True, False, False, True, False]])) == (1, 1, 1, 0)
    batch = confusion(np.stack([found, ~found]), np.stack([mask, mask]))
    assert [count.tolist() for count in batch] == [[2, 1], [1, 1], [1, 2], [1, 1]]
    assert {count.dtype for count in batch} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("counts", "accuracy", "iou"),
    [
        (Counts(tp=2, fp=1, fn=1, tn=4), 6 / 8, (2 / 4 + 4 / 6) / 2),
        (Counts(tp=0, fp=0, fn=3, tn=1), 1 / 4, (0 + 1 / 4) / 2),
        (Counts(tp=0, fp=0, fn=0, tn=4), 1, 1),
        (Counts(tp=4, fp=0, fn=0, tn=0), 1, 1),
        (Counts(tp=0, fp=2, fn=2, tn=0), 0, 0),
        (Counts(tp=0, fp=0, fn=0, tn=0), np.nan, np.nan),
    ],
)
def test_accuracy_and_iou(counts, accuracy, iou):
    assert pixel_accuracy(counts) == pytest.approx(accuracy, nan_ok=True)
    assert mean_iou(counts) == pytest.approx(iou, nan_ok=True)
    assert isinstance(mean_iou(counts), float)


def test_pooled_iou_weighs_images_by_their_pixels():
    # One image is marked perfectly, the other not at all; in the first the object is three times as large.
    masks = np.array([[[1, 1, 1, 0]], [[1, 0, 0, 0]]], bool)
    counts = confusion(masks & np.array([True, False])[:, None, None], masks)
    assert mean_iou(counts).tolist() == pytest.approx([1, (0 + 3 / 4) / 2])
    pooled = Counts(*(field.sum() for field in counts))
    assert mean_iou(pooled) == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert pixel_accuracy(pooled) == pytest.approx(7 / 8)


@pytest.mark.parametrize("case", ["pos", "signed"])
def test_iou_and_accuracy_are_those_of_scikit_learn(case):
    maps, masks, void = random_batch()
    found = marked(maps, case, void)
    counts = confusion(found, masks, void)
    for i, (a, b, seen) in enumerate(zip(found, masks, ~void)):
        if seen.any():
            iou = jaccard_score(b[seen], a[seen], labels=[False, True], average="macro", zero_division=1.0)
            assert mean_iou(counts)[i] == pytest.approx(iou)
            assert pixel_accuracy(counts)[i] == pytest.approx(accuracy_score(b[seen], a[seen]))
    assert np.flatnonzero(np.isnan(mean_iou(counts))).tolist() == [2]


@pytest.mark.parametrize("with_void", [False, True])
def test_a_batch_is_its_images_one_by_one(with_void):
    maps, masks, void = random_batch()
    voids = void if with_void else [None] * len(maps)

    def scores(values, mask, ignored):
        found = {case: marked(values, case, ignored) for case in ("pos", "signed")}
        counts = {case: confusion(found[case], mask, ignored) for case in found}
        return [
            outside_inside_ratio(values, mask, void=ignored),
            outside_inside_ratio(values, mask, positive=False, void=ignored),
            mass_inside(values, mask, ignored),
            *(metric(counts[case]) for case in counts for metric in (mean_iou, pixel_accuracy)),
        ]

    together = np.array(scores(maps, masks, void if with_void else None))
    alone = np.array([scores(*one) for one in zip(maps, masks, voids)]).T
    assert together.dtype == np.float64
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    # Scores that exist, in a batch that holds images without them.
    assert np.isfinite(together[:, 7:]).all()
    assert np.isnan(together).any()


def test_void_pixels_are_as_if_cut_out():
    maps, masks, _ = random_batch()
    void = np.zeros(maps.shape, bool)
    void[:, :, 6:] = True
    cut = np.s_[:, :, :6]
    for metric in (outside_inside_ratio, mass_inside):
        np.testing.assert_allclose(metric(maps, masks, void=void), metric(maps[cut], masks[cut]), rtol=1e-12)
    for case in ("pos", "signed"):
        found = marked(maps, case, void)
        np.testing.assert_array_equal(found[cut], marked(maps[cut], case))
        np.testing.assert_array_equal(confusion(found, masks, void), confusion(found[cut], masks[cut]))


@pytest.mark.parametrize(
    "metric", [outside_inside_ratio, mass_inside, lambda values, mask, void=None: marked(values, "pos", void)]
)
def test_bad_heatmaps(metric):
    bad = VALUES.copy()
    bad[0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"heatmap has 2 values that are not finite$"):
        metric(bad, MASK)
    with pytest.raises(ValueError, match=r"heatmap has 4 values that are not finite, in sample 1, 2$"):
        metric(np.stack([VALUES, bad, bad]), np.stack([MASK] * 3))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), the void mask \(2, 1\)"):
        metric(VALUES, MASK, void=MASK[:, :1])
    with pytest.raises(ValueError, match=r"void mask is int64: it must be bool"):
        metric(VALUES, MASK, void=MASK.astype(np.int64))
    with pytest.raises(ValueError, match=r"shape \(2, 2, 3, 1\): it must be \(H, W\) or \(N, H, W\)"):
        metric(np.zeros((2, 2, 3, 1)), MASK)


def test_bad_masks():
    for metric in (outside_inside_ratio, mass_inside):
        with pytest.raises(ValueError, match=r"shape \(2, 2\), the inside mask \(1, 2\)"):
            metric(VALUES, MASK[:1])
        with pytest.raises(ValueError, match="inside mask is uint8: it must be bool"):
            metric(VALUES, np.array([[1, 1], [0, 255]], np.uint8))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), the object's mask \(1, 2\)"):
        confusion(MASK, MASK[:1])
    with pytest.raises(ValueError, match="marked mask is float64: it must be bool"):
        confusion(VALUES, MASK)
    one_axis, four_axes = MASK[0], MASK[None, ..., None]
    for wrong in (one_axis, four_axes):  # a heatmap before its channels are summed, with a mask of the same shape
        shape = str(wrong.shape).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=rf"marked has shape {shape}: it must be \(H, W\) or \(N, H, W\)"):
            confusion(wrong, wrong)
        for metric in (outside_inside_ratio, mass_inside):
            with pytest.raises(ValueError, match=rf"shape {shape}: it must be \(H, W\) or \(N, H, W\)"):
                metric(wrong.astype(float), wrong)
        with pytest.raises(ValueError, match=rf"shape {shape}: it must be \(H, W\) or \(N, H, W\)"):
            marked(wrong.astype(float), "pos")
    for metric in (outside_inside_ratio, mass_inside):  # one mask for a batch would be counted for every image
        with pytest.raises(ValueError, match=r"shape \(3, 2, 2\), the inside mask \(2, 2\)"):
            metric(np.stack([VALUES] * 3), MASK)
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\), the object's mask \(2, 2\)"):
        confusion(np.stack([MASK] * 3), MASK)
    with pytest.raises(ValueError, match=r"shape \(2, 2\), the void mask \(3, 2, 2\)"):
        marked(VALUES, "signed", np.stack([MASK] * 3))


@pytest.mark.slow
def test_rap_marks_the_shape_better_than_every_other_method():
    model = models.to_logits(shapes.load_network("vgg"))
    samples = shapes.generate(100, shapes.TEST_SEED)
    x = shapes.preprocess(samples.images)
    inside = np.zeros(samples.masks.shape, bool)
    for box, (left, top, right, bottom) in zip(inside, samples.boxes):
        box[top:bottom, left:right] = True
    medians = {}
    for name in methods.TITLES:
        analyzer = methods.create(name, model, patterns=shapes.patterns_path("vgg"))
        maps = np.concatenate([heatmap(analyzer.analyze(x[start : start + 50])) for start in range(0, 100, 50)])
        assert np.isfinite(maps).all()
        medians[name] = np.nanmedian(outside_inside_ratio(maps, inside))
    best, contrastive = medians.pop("rap"), medians.pop("rap.contrastive")
    assert best < contrastive < 0.05
    assert best < 0.5 * min(medians.values()), medians
