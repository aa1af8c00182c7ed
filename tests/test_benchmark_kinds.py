"""The heatmaps that are compared beside the methods' own: absolute ones of gradients, and a random control."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from rap_keras import benchmark, datasets, metrics, models, shapes
from rap_keras.benchmark import Benchmark, Options, manifest, tables
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.hosts import methods
from rap_keras.visualization import heatmap

GRADIENTS = (
    "gradient",
    "input_t_gradient",
    "integrated_gradients",
    "smoothgrad",
    "guided_backprop",
    "deconvnet",
)


class Counted:
    """An analyzer that counts its calls."""

    def __init__(self, analyzer):
        self.analyzer = analyzer
        self.calls = 0

    def analyze(self, x):
        self.calls += 1
        return self.analyzer.analyze(x)


def made(names=("rap", "gradient"), count=4, **options):
    model = models.to_logits(shapes.load_network("vgg"))
    analyzers = {name: Counted(methods.create(name, model)) for name in names}
    options = Options(**{"steps": 3, "pixels": 200, "batch_size": 2, **options})
    return Benchmark(model, analyzers, datasets.shapes(count), shapes.preprocess, (96, 96), options=options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A benchmark, its summary and the folder of its results."""
    folder = tmp_path_factory.mktemp("results")
    prepared = made(metrics=("outside-inside", "mask", "lerf", "morf"))
    return prepared, benchmark.run(prepared, folder, "m"), folder


def test_gradients_have_an_absolute_heatmap_and_other_methods_have_none():
    assert {name for name in methods.names() if kinds.absolute_of(name)} == set(GRADIENTS)
    for name in (*methods.names(), kinds.CONTROL, "own.absolute", "rap.absolute"):
        assert not kinds.is_absolute(name)
        assert kinds.signed_of(name) == name
    for name in GRADIENTS:
        absolute = f"{name}.absolute"
        assert kinds.absolute_of(name) == absolute
        assert kinds.is_absolute(absolute)
        assert kinds.signed_of(absolute) == name
        assert kinds.title(absolute) == f"{methods.title(name)}, absolute"
    assert kinds.added(["rap", "gradient", "own"]) == ["gradient.absolute", "random_heatmap"]


def test_the_absolute_heatmap_is_that_of_the_sum_over_channels_and_needs_no_second_run():
    prepared = made(metrics=("outside-inside", "mask", "lerf"))
    rows = prepared.evaluate(0).set_index(["image", "method"])
    assert {name: analyzer.calls for name, analyzer in prepared.analyzers.items()} == {"rap": 1, "gradient": 1}
    samples = shapes.generate(2, shapes.TEST_SEED)
    x = shapes.preprocess(samples.images)
    values = np.abs(heatmap(prepared.analyzers["gradient"].analyze(x)))
    assert (values >= 0).all()
    box = np.zeros((96, 96), bool)
    left, top, right, bottom = samples.boxes[1]
    box[top:bottom, left:right] = True
    row = rows.loc[("00001", "gradient.absolute")]
    assert row["outside_inside_pos"] == metrics.outside_inside_ratio(values[1], box)
    assert row["mass_inside"] == metrics.mass_inside(values[1], box)
    counts = metrics.confusion(metrics.marked(values[1], "pos"), samples.masks[1])
    assert [row[f"{name}_pos"] for name in counts._fields] == list(counts)
    curve = metrics.region_perturbation(prepared.predict, x, values, samples.labels[:2], "lerf", 200, 3)
    np.testing.assert_allclose(row["lerf_logit"], curve.logit[1], rtol=1e-5)
    signed = rows.loc[("00001", "gradient")]
    assert signed["outside_inside_pos"] != row["outside_inside_pos"]
    assert list(signed["lerf_logit"]) != list(row["lerf_logit"])
    assert signed["seconds"] > 0
    assert np.isnan(row["seconds"])


def test_the_random_heatmap_depends_on_the_image_alone():
    found = {}
    for size, names in ((1, ("gradient",)), (3, ("rap", "gradient"))):
        prepared = made(names, batch_size=size, metrics=("outside-inside", "mask"))
        rows = pd.concat([prepared.evaluate(number) for number in range(prepared.batches)])
        found[size] = (
            rows[rows["method"] == kinds.CONTROL].drop(columns=["seconds", "logit"]).reset_index(drop=True)
        )
        assert len(found[size]) == 4
    pd.testing.assert_frame_equal(found[1], found[3], check_exact=True)
    maps = kinds.random_heatmaps([7, 8], (200, 300))
    assert maps.shape == (2, 200, 300)
    np.testing.assert_array_equal(maps[1], kinds.random_heatmaps([8], (200, 300))[0])
    assert abs(np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1]) < 0.02
    assert maps.mean() == pytest.approx(0, abs=0.01)
    assert maps.std() == pytest.approx(1, abs=0.01)


def test_the_random_heatmap_is_what_chance_gives(finished):
    _, summary, _ = finished
    table = summary.table.set_index(["method", "metric", "case"])
    assert table.loc[(kinds.CONTROL, "outside_inside_ratio", "pos"), "median"] == pytest.approx(1, abs=0.1)
    # A random half of the pixels is marked.
    assert table.loc[(kinds.CONTROL, "pixel_accuracy", "signed"), "mean"] == pytest.approx(0.5, abs=0.02)


def test_absolute_heatmaps_have_no_value_where_negative_relevance_counts(finished):
    _, summary, folder = finished
    table = summary.table
    cases = {name: set(group["case"]) for name, group in table.groupby("method")}
    assert cases["gradient"] == cases["random_heatmap"] == {"all", "pos", "signed", "lerf", "morf"}
    assert cases["gradient.absolute"] == {"pos", "lerf", "morf"}
    assert "undefined" not in set(summary.left_out["kind"])
    column = tables.names(summary).index("gradient.absolute")
    for row in tables.rows(summary):
        cell = row.cells[column]
        assert (cell == tables.Cell("", "", False)) == (row.figure.case in ("all", "signed")), row.label
        assert all(other.value for other in row.cells if other is not cell)
    assert "|  |" in (folder / "table.md").read_text(encoding="utf-8")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "ALL and signed, which are about negative relevance, have no value" in " ".join(text.split())


def test_the_control_is_last_and_never_the_best(finished):
    _, summary, _ = finished
    assert tables.methods(summary) == ["RAP", "Gradient", "Gradient, absolute", "Random heatmap (control)"]
    best = summary.table.copy()
    control = best["method"] == kinds.CONTROL
    best.loc[control & (best["metric"] == "outside_inside_ratio"), ["mean", "median"]] = 0.0
    best.loc[control & (best["metric"] != "outside_inside_ratio"), "mean"] = 1.0
    rows = [row for row in tables.rows(summary._replace(table=best)) if row.figure.better]
    assert not any(row.cells[-1].best for row in rows)
    assert all(any(cell.best for cell in row.cells[:-1]) for row in rows)


def test_how_the_heatmaps_are_made_is_said_of_those_that_there_are(finished):
    _, summary, folder = finished
    assert [text.split()[0] for text in kinds.explained(tables.names(summary))] == ["Each", "Absolute:", "Random"]
    assert len(kinds.explained(["rap", kinds.CONTROL])) == 2
    assert kinds.explained([]) == []
    page = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    for text in kinds.explained(tables.names(summary)):
        assert text in page
        assert text in tables.notes(summary)


def test_an_analyzer_cannot_have_the_name_of_an_added_heatmap():
    prepared = made()
    for name in ("random_heatmap", "gradient.absolute"):
        with pytest.raises(ValueError, match=f"{name}: the benchmark adds heatmaps of this name by itself"):
            dataclasses.replace(prepared, analyzers={**prepared.analyzers, name: None})
    dataclasses.replace(prepared, analyzers={"gradient.absolute": None})  # nothing is added to it


def test_results_from_before_there_were_such_heatmaps_are_refused_and_new_ones_continued(tmp_path):
    prepared, folder = made(metrics=("mask",)), tmp_path
    summary = benchmark.run(prepared, folder, "m")
    file = folder / "manifest.json"
    written = file.read_text(encoding="utf-8")
    (folder / "parts" / "000001.parquet").unlink()
    old = json.loads(written)
    assert old.pop("heatmaps beside the methods' own") == ["gradient.absolute", "random_heatmap"]
    file.write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"heatmaps beside the methods' own: nothing there, \[\"gradient.absolute"
    ):
        benchmark.run(prepared, folder, "m")
    file.write_text(written, encoding="utf-8")
    again = benchmark.run(prepared, folder, "m")
    pd.testing.assert_frame_equal(again.table, summary.table, check_exact=True)
    assert manifest.describe(prepared, "m")["methods"] == ["rap", "gradient"]


def test_an_absolute_heatmap_tells_classes_apart_too():
    model = models.to_logits(shapes.load_network("vgg"))
    analyzers = {"gradient": methods.create("gradient", model, "index")}
    options = Options(metrics=benchmark.PAIR_METRICS, batch_size=8)
    pairs = Benchmark(model, analyzers, datasets.shapes_pairs(8), shapes.preprocess, (96, 96), options=options)
    rows = pairs.evaluate(0)
    used = rows[rows["status"] == "used"]
    assert set(used["method"]) == {"gradient", "gradient.absolute", "random_heatmap"}
    (row,) = used[used["method"] == "gradient.absolute"].head(1).itertuples()
    example = pairs.dataset.read(row.image)
    x = shapes.preprocess(example.photo[np.newaxis])
    values = np.abs(heatmap(analyzers["gradient"].analyze(x, neuron_selection=row.target)))[0]
    own, other = (example.pixels == label for label in (row.target, *(example.labels - {row.target})))
    found = metrics.discrimination(values, own, other)
    assert (row.own_above_other_mass, row.pointing_own) == (found.mass, found.pointing_own)
