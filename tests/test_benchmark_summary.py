"""From results per image to the table, the curves and the list of what was left out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rap_keras.benchmark.summary import TABLE, share_interval, summarise
from rap_keras.hosts.titles import TITLES

LOCALISATION = {"outside_inside_all": -0.5, "outside_inside_pos": 0.5, "mass_inside": 0.5}
COUNTS = {f"{count}_{case}": 1.0 for case in ("pos", "signed") for count in ("tp", "fp", "fn", "tn")}


def used(image, method="rap", flaw="", **values):
    return {"image": image, "status": "used", "reason": "", "method": method, "flaw": flaw, **values}


def unused(image, status, reason):
    return {"image": image, "status": status, "reason": reason, "method": None, "flaw": ""}


def value(summary, metric, case, column="mean", method="rap"):
    table = summary.table
    row = table[(table["metric"] == metric) & (table["case"] == case) & (table["method"] == method)]
    assert len(row) == 1
    return row[column].iat[0]


def random_parts(images=23, methods=("gradient", "rap"), steps=7):
    """Results as a run writes them, one table per image."""
    random = np.random.default_rng(0)
    for number in range(images):
        rows = []
        for method in methods:
            row = used(f"{number}.jpg", method)
            row.update({name: random.lognormal() for name in LOCALISATION})
            row.update({name: float(random.integers(1, 1000)) for name in COUNTS})
            for order in ("lerf", "morf", "random"):
                row[f"{order}_correct"] = random.integers(0, 2, steps + 1).astype(float)
                row[f"{order}_logit"] = list(random.normal(size=steps + 1))
            rows.append(row)
        yield pd.DataFrame(rows)


def test_values_known_by_hand():
    ratios = [0.1, 0.2, 0.6]
    tps, fns = [8.0, 2.0, 5.0], [0.0, 2.0, 5.0]  # of 20 pixels, no false positives
    rows = [
        used(
            f"{number}.jpg",
            outside_inside_all=-ratio,
            outside_inside_pos=ratio,
            mass_inside=1 - ratio,
            tp_pos=tp,
            fp_pos=0.0,
            fn_pos=fn,
            tn_pos=20 - tp - fn,
        )
        for number, (ratio, tp, fn) in enumerate(zip(ratios, tps, fns))
    ]
    summary = summarise([pd.DataFrame(rows)], "vgg16", "voc2012")
    assert list(summary.table.columns) == TABLE
    assert set(summary.table["model"]) == {"vgg16"}
    assert set(summary.table["dataset"]) == {"voc2012"}
    assert value(summary, "outside_inside_ratio", "pos") == pytest.approx(0.3)
    assert value(summary, "outside_inside_ratio", "pos", "median") == 0.2
    assert value(summary, "outside_inside_ratio", "all", "median") == -0.2
    assert value(summary, "mass_inside", "pos") == pytest.approx(0.7)
    assert value(summary, "pixel_accuracy", "pos") == pytest.approx((1 + 18 / 20 + 15 / 20) / 3)
    ious = [1.0, (2 / 4 + 16 / 18) / 2, (5 / 10 + 10 / 15) / 2]
    assert value(summary, "miou", "pos") == pytest.approx(np.mean(ious))
    assert value(summary, "miou", "pos", "median") == pytest.approx(np.median(ious))
    # Together: 15 hits, 7 misses, 38 of the background.
    assert value(summary, "miou_pooled", "pos") == pytest.approx((15 / 22 + 38 / 45) / 2)
    assert np.isnan(value(summary, "miou_pooled", "pos", "median"))
    assert (summary.table["images"] == 3).all()
    assert (summary.table["excluded"] == 0).all()
    # Metrics that were not measured have no row.
    assert set(zip(summary.table["metric"], summary.table["case"])) == {
        ("outside_inside_ratio", "all"),
        ("outside_inside_ratio", "pos"),
        ("mass_inside", "pos"),
        ("pixel_accuracy", "pos"),
        ("miou", "pos"),
        ("miou_pooled", "pos"),
    }
    assert summary.curves.empty


def test_perturbation_known_by_hand():
    rows = [
        used("a", lerf_correct=[1.0, 1.0, 0.0], lerf_logit=[9.0, 6.0, 0.0]),
        used("b", lerf_correct=[1.0, 1.0, 1.0], lerf_logit=[3.0, 3.0, 6.0]),
        used("c", lerf_correct=None, lerf_logit=None),
    ]
    summary = summarise([pd.DataFrame(rows)], "m", "d")
    assert value(summary, "aopc", "lerf") == pytest.approx(((0 + 3 + 9) / 3 + (0 + 0 - 3) / 3) / 2)
    assert value(summary, "accuracy_left", "lerf") == 0.75
    assert value(summary, "accuracy_end", "lerf") == 0.5
    assert value(summary, "aopc", "lerf", "images") == 2
    assert value(summary, "aopc", "lerf", "excluded") == 1
    expected = pd.DataFrame(
        {
            "method": "rap",
            "order": "lerf",
            "step": [0, 1, 2],
            "accuracy": [1.0, 1.0, 0.5],
            "logit": [6.0, 4.5, 3.0],
            "images": 2,
            # Of two images a resample may well have the one or the other only.
            "low": [1.0, 1.0, 0.0],
            "high": [1.0, 1.0, 1.0],
        }
    )
    pd.testing.assert_frame_equal(summary.curves, expected)


def test_intervals_are_those_of_a_second_implementation():
    random = np.random.default_rng(1)
    ratios, mass = random.lognormal(size=200), random.uniform(size=200)
    tp, fp = random.integers(1, 100, (2, 200))
    rows = [
        used(
            str(i),
            outside_inside_all=r,
            outside_inside_pos=r,
            mass_inside=m,
            tp_pos=t,
            fp_pos=f,
            fn_pos=7,
            tn_pos=9,
        )
        for i, (r, m, t, f) in enumerate(zip(ratios, mass, tp, fp))
    ]
    summary = summarise([pd.DataFrame(rows)], "m", "d")
    chosen = np.random.default_rng(2).integers(0, 200, (4000, 200))

    def pooled(images):
        hits, false = tp[images].sum(-1), fp[images].sum(-1)
        return (hits / (hits + false + 1400) + 1800 / (1800 + false + 1400)) / 2

    for metric, estimates in (
        ("outside_inside_ratio", np.median(ratios[chosen], axis=1)),
        ("mass_inside", mass[chosen].mean(axis=1)),
        ("miou_pooled", pooled(chosen)),
    ):
        expected = np.percentile(estimates, [2.5, 97.5])
        found = [value(summary, metric, "pos", bound) for bound in ("low", "high")]
        assert found == pytest.approx(expected, abs=0.25 * (expected[1] - expected[0])), metric
    assert value(summary, "miou_pooled", "pos") == pytest.approx(pooled(np.arange(200)))


def test_the_interval_of_a_share_is_that_of_resampling():
    random = np.random.default_rng(3)
    correct = np.repeat([[1.0, 0.0]], 100, axis=0).ravel()
    for hits in (0, 7, 150, 200):
        images = np.arange(200) < hits
        resampled = images[random.integers(0, 200, (20_000, 200))].mean(axis=1)
        expected = np.percentile(resampled, [2.5, 97.5])
        low, high = share_interval(np.array([hits / 200]), 200)
        assert [low[0], high[0]] == pytest.approx(expected, abs=0.0051)  # an image more or less
    rows = [used(str(i), lerf_correct=[1.0, value], lerf_logit=[1.0, 0.0]) for i, value in enumerate(correct)]
    curve = summarise([pd.DataFrame(rows)], "m", "d").curves
    assert list(curve["low"]) == [1.0, pytest.approx(0.43, abs=0.006)]
    assert list(curve["high"]) == [1.0, pytest.approx(0.57, abs=0.006)]


def test_times_are_medians_of_the_methods_that_took_some():
    rows = [
        used(str(i), seconds=seconds, mass_inside=0.5) for i, seconds in enumerate((9.0, 0.2, 0.3, np.nan, 0.4))
    ]
    rows += [used(str(i), "random_heatmap", seconds=np.nan, mass_inside=0.5) for i in range(5)]
    times = summarise([pd.DataFrame(rows)], "m", "d").times
    assert times.to_numpy().tolist() == [["rap", pytest.approx(0.35), 4]]
    assert summarise([pd.DataFrame([used("a", mass_inside=0.5)])], "m", "d").times.empty


def test_intervals_hold_the_value_and_collapse_for_constant_data():
    spread = summarise(random_parts(), "m", "d").table
    typical = spread["median"].where(spread["metric"] == "outside_inside_ratio", spread["mean"])
    assert (spread["low"] <= typical).all()
    assert (typical <= spread["high"]).all()
    assert (spread["low"] < spread["high"]).all()
    constant = pd.DataFrame([used(str(i), **LOCALISATION, **COUNTS) for i in range(5)])
    table = summarise([constant], "m", "d").table
    assert (table["low"] == table["mean"]).all()
    assert (table["high"] == table["mean"]).all()


def test_parts_do_not_matter():
    parts = list(random_parts())
    whole = pd.concat(parts, ignore_index=True)
    by_row = [whole.iloc[[row]] for row in range(len(whole))]
    expected = summarise(parts, "m", "d")
    for divided in ([whole], by_row, [whole[:5], whole[5:5], whole[5:]], iter(parts)):
        found = summarise(divided, "m", "d")
        pd.testing.assert_frame_equal(found.table, expected.table, check_exact=True)
        pd.testing.assert_frame_equal(found.curves, expected.curves, check_exact=True)


def test_a_metric_does_not_depend_on_what_else_there_is():
    parts = list(random_parts())
    alone = [
        part.loc[part["method"] == "rap", ["image", "status", "reason", "method", "flaw", *LOCALISATION]]
        for part in parts
    ]
    together = summarise(parts, "m", "d").table
    found = summarise(alone, "m", "d").table
    same = (together["method"] == "rap") & together["metric"].isin(set(found["metric"]))
    pd.testing.assert_frame_equal(together[same].reset_index(drop=True), found, check_exact=True)


def test_curves_are_means_over_all_parts():
    parts = list(random_parts())
    whole = pd.concat(parts, ignore_index=True)
    curves = summarise(parts, "m", "d").curves
    assert len(curves) == 2 * 3 * 8
    for (method, order), curve in curves.groupby(["method", "order"]):
        own = whole[whole["method"] == method]
        assert curve["accuracy"].to_numpy() == pytest.approx(np.stack(own[f"{order}_correct"]).mean(axis=0))
        assert curve["logit"].to_numpy() == pytest.approx(np.stack(own[f"{order}_logit"]).mean(axis=0))
        assert list(curve["step"]) == list(range(8))
        assert (curve["images"] == 23).all()


def test_what_is_left_out_is_counted_and_named():
    nothing = dict.fromkeys([*LOCALISATION, *COUNTS], np.nan)
    rows = [
        unused("cat.jpg", "misclassified", "dog"),
        unused("torn.jpg", "broken", "torn.jpg: damaged image"),
        unused("car.jpg", "misclassified", "bus"),
        unused("none.jpg", "broken", "none.png: no such mask"),
    ]
    for image in ("a", "b", "c"):
        rows.append(used(image, "rap", **{**LOCALISATION, **COUNTS}))
        flawed = image == "b"
        values = {**LOCALISATION, **COUNTS, **({"outside_inside_pos": np.nan} if image == "c" else {})}
        rows.append(used(image, "gradient", "not finite" if flawed else "", **(nothing if flawed else values)))
    summary = summarise([pd.DataFrame(rows[:3]), pd.DataFrame(rows[3:])], "m", "d")
    assert summary.used == 3
    assert [tuple(row) for row in summary.left_out.itertuples(index=False)] == [
        ("misclassified", "", "", "", "", 2, ("cat.jpg", "car.jpg")),
        ("broken", "", "", "", "torn.jpg: damaged image", 1, ("torn.jpg",)),
        ("broken", "", "", "", "none.png: no such mask", 1, ("none.jpg",)),
        ("not finite", "gradient", "", "", "", 1, ("b",)),
        ("undefined", "gradient", "outside_inside_ratio", "pos", "", 1, ("c",)),
    ]
    for metric, case, images in (("outside_inside_ratio", "pos", 1), ("outside_inside_ratio", "all", 2)):
        assert value(summary, metric, case, "images", "gradient") == images
        assert value(summary, metric, case, "excluded", "gradient") == 3 - images
        assert value(summary, metric, case, "excluded", "rap") == 0
    assert value(summary, "miou_pooled", "pos", "images", "gradient") == 2


def test_a_curve_with_a_value_that_is_not_finite_is_left_out():
    rows = [
        used("a", morf_correct=[1.0, 0.0], morf_logit=[1.0, np.nan]),
        used("b", morf_correct=[1.0, 1.0], morf_logit=[2.0, 1.0]),
    ]
    summary = summarise([pd.DataFrame(rows)], "m", "d")
    assert list(summary.curves["logit"]) == [2.0, 1.0]
    assert value(summary, "aopc", "morf") == 0.5
    assert set(summary.left_out["names"]) == {("a",)}


def test_void_images_are_no_part_of_the_pooled_value():
    void = dict.fromkeys(COUNTS, 0.0)
    summary = summarise([pd.DataFrame([used("a", **COUNTS), used("b", **void), used("c", **COUNTS)])], "m", "d")
    for metric in ("miou", "miou_pooled", "pixel_accuracy"):
        assert value(summary, metric, "pos", "images") == 2
        assert np.isfinite(value(summary, metric, "pos", "low"))


@pytest.mark.parametrize("parts", [[], [pd.DataFrame([unused("a", "broken", "torn")])]])
def test_no_image(parts):
    summary = summarise(parts, "m", "d")
    assert summary.used == 0
    assert list(summary.table.columns) == TABLE
    assert summary.table.empty
    assert len(summary.left_out) == len(parts)


def test_one_image():
    (part,) = random_parts(images=1, methods=("rap",))
    table = summarise([part], "m", "d").table
    assert (table["images"] == 1).all()
    assert (table["low"] == table["mean"]).all()
    assert (table["high"] == table["mean"]).all()


def test_no_image_with_a_value():
    (row,) = summarise([pd.DataFrame([used("a", mass_inside=np.nan)])], "m", "d").table.itertuples()
    assert (row.images, row.excluded) == (0, 1)
    assert np.isnan([row.mean, row.median, row.low, row.high]).all()


def test_order_of_methods():
    methods = ["random_heatmap", "zebra", "lrp.alpha_2_beta_1", "gradient.absolute", "ant", "rap", "gradient"]
    (part,) = random_parts(images=1, methods=[*methods, "smoothgrad.absolute", "smoothgrad"])
    summary = summarise([part], "m", "d")
    expected = ["rap", "gradient", "gradient.absolute", "lrp.alpha_2_beta_1"]
    expected += ["ant", "smoothgrad", "smoothgrad.absolute", "zebra", "random_heatmap"]
    assert [name for name in TITLES if name in methods] == ["rap", "gradient", "lrp.alpha_2_beta_1"]
    assert list(dict.fromkeys(summary.table["method"])) == expected
    assert list(dict.fromkeys(summary.curves["method"])) == expected


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"a\.jpg has 2 results of rap"):
        summarise([pd.DataFrame([used("a.jpg", mass_inside=0.5)])] * 2, "m", "d")
    rows = [
        used("a", lerf_correct=[1.0, 1.0], lerf_logit=[1.0, 1.0]),
        used("b", lerf_correct=[1.0], lerf_logit=[1.0]),
    ]
    for parts in ([pd.DataFrame(rows)], [pd.DataFrame([row]) for row in rows]):
        with pytest.raises(ValueError, match="lerf_correct and lerf_logit have 1 and 2 values"):
            summarise(parts, "m", "d")
