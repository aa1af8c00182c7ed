"""Whether methods tell two objects apart: the metric, the data sets of pairs, and the benchmark with both."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_datasets_voc2012 import save_mask

from rap_keras import benchmark, datasets, metrics, models, shapes
from rap_keras.benchmark import Benchmark, Options
from rap_keras.cli.commands import main
from rap_keras.datasets.pascal_voc import CLASSES
from rap_keras.hosts import methods
from rap_keras.visualization import heatmap

OWN, OTHER = np.zeros((2, 4, 5), bool)
OWN[0, :2], OTHER[3, :4] = True, True  # two pixels and four


def told_apart(values, **options):
    return metrics.discrimination(np.array(values, float), OWN, OTHER, **options)


def test_values_by_hand():
    values = np.zeros((4, 5))
    values[0, :2], values[3, :4], values[2, 2] = [3, -9], [1, 1, 1, 1], -50
    assert told_apart(values) == (0.0, 1.0, 1.0, 0.0)  # 3 against 4, 1.5 against 1 per pixel
    assert told_apart(-values) == (1.0, 1.0, 0.0, 0.0)  # the highest pixel is on neither
    values[3, 0] = 4
    assert told_apart(values) == (0.0, 0.0, 0.0, 1.0)


def test_void_pixels_count_nowhere():
    values, void = np.zeros((4, 5)), np.zeros((4, 5), bool)
    values[0, :2], values[3, :2], void[3, 0] = [2, 0], [9, 1], True
    assert told_apart(values) == (0.0, 0.0, 0.0, 1.0)
    assert told_apart(values, void=void) == (1.0, 1.0, 1.0, 0.0)


def test_no_positive_relevance_tells_nothing_apart():
    assert told_apart(np.zeros((4, 5))) == (0.0, 0.0, 0.0, 0.0)
    assert told_apart(-np.ones((4, 5))) == (0.0, 0.0, 0.0, 0.0)


def test_without_an_object_there_is_no_value():
    found = metrics.discrimination(np.ones((4, 5)), OWN, np.zeros((4, 5), bool))
    assert np.isnan(found).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"give one image, \(H, W\)"):
        metrics.discrimination(np.ones((2, 4, 5)), OWN, OTHER)
    with pytest.raises(ValueError, match="the other mask is int64"):
        metrics.discrimination(np.ones((4, 5)), OWN, OTHER.astype(np.int64))
    for name, masks in {"own": (OWN[:1], OTHER), "other": (OWN, OTHER[:, :1])}.items():
        with pytest.raises(ValueError, match=rf"shape \(4, 5\), the {name} mask"):
            metrics.discrimination(np.ones((4, 5)), *masks)
    with pytest.raises(ValueError, match=r"shape \(4, 5\), the void mask \(4,\)"):
        metrics.discrimination(np.ones((4, 5)), OWN, OTHER, OWN[:, 0])


def test_each_class_of_an_embedded_pair_is_explained():
    pairs = datasets.shapes_pairs(3)
    assert len(pairs.names) == 6
    assert pairs.pairs
    one, two = (pairs.read(name) for name in pairs.names[:2])
    np.testing.assert_array_equal(one.photo, two.photo)
    assert one.labels == two.labels == {one.explained, two.explained}
    assert one.name.endswith(shapes.CLASSES[one.explained])
    own, other = (datasets.truth(one, (96, 96), target=example.explained) for example in (one, two))
    assert own.mask.any()
    assert other.mask.any()
    assert not (own.mask & other.mask).any()
    assert (own.box[own.mask]).all()


@pytest.fixture
def voc(tmp_path):
    """A photo of a bird and a person, and of a sheep of 3 %; one of a cat; one whose mask is broken."""
    base = tmp_path / "VOC2012"
    for folder in ("ImageSets/Segmentation", "SegmentationClass", "Annotations", "JPEGImages"):
        (base / folder).mkdir(parents=True)
    names = ("two", "one", "broken")
    (base / "ImageSets/Segmentation/val.txt").write_text("\n".join(names))
    mask = np.zeros((20, 20), np.uint8)
    mask[:5, :5], mask[10:, 10:], mask[0, 8:20] = 3, 15, 17
    cat = np.full((20, 20), 8, np.uint8)
    for name, pixels in zip(names, (mask, cat, cat)):
        Image.new("RGB", (20, 20)).save(base / "JPEGImages" / f"{name}.jpg")
        save_mask(base / "SegmentationClass" / f"{name}.png", pixels)
        (base / "Annotations" / f"{name}.xml").write_text(
            "<annotation><object><name>bird</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax>"
            "<ymax>5</ymax></bndbox></object></annotation>"
        )
    (base / "SegmentationClass" / "broken.png").write_bytes(b"\x89PNG")
    return base


def test_pairs_of_voc_are_classes_of_more_than_4_percent(voc):
    pairs = datasets.voc2012_pairs(voc)
    assert list(pairs.names) == ["two:bird", "two:person"]
    example = pairs.read("two:person")
    assert example.explained == CLASSES.index("person")
    assert example.labels == {CLASSES.index("bird"), CLASSES.index("person")}


def test_voc_without_pairs_is_refused(voc):
    (voc / "ImageSets/Segmentation/val.txt").write_text("one")
    with pytest.raises(ValueError, match="no photo in it has two classes"):
        datasets.voc2012_pairs(voc)


def pairs_benchmark(count=4, names=("rap", "rap.contrastive"), **options):
    model = models.to_logits(shapes.load_network("vgg"))
    analyzers = {name: methods.create(name, model, "index") for name in names}
    return Benchmark(
        model,
        analyzers,
        datasets.shapes_pairs(count),
        shapes.preprocess,
        (96, 96),
        options=Options(metrics=benchmark.PAIR_METRICS, **options),
    )


def test_rows_are_those_of_the_explained_class():
    made = pairs_benchmark(batch_size=3)
    rows = made.evaluate(0)
    used = rows[rows["status"] == "used"]
    assert len(used) > 0
    for row in used[used["method"] == "rap.contrastive"].itertuples():
        example = made.dataset.read(row.image)
        assert row.target == example.explained
        x = shapes.preprocess(example.photo[np.newaxis])
        values = heatmap(made.analyzers[row.method].analyze(x, neuron_selection=row.target))[0]
        (other,) = example.labels - {row.target}
        masks = [example.pixels == label for label in (row.target, other)]
        expected = metrics.discrimination(values, *masks)
        found = (row.own_above_other_mass, row.own_above_other_density, row.pointing_own, row.pointing_other)
        assert found == tuple(expected)
        assert row.logit == pytest.approx(made.predict(x)[0, row.target], rel=1e-5)


@pytest.mark.slow
def test_an_image_counts_if_its_classes_are_the_first_two_choices():
    made = pairs_benchmark(count=20, names=("rap",))
    for number in range(made.batches):
        for row in made.evaluate(number).itertuples():
            example = made.dataset.read(row.image)
            z = made.predict(shapes.preprocess(example.photo[np.newaxis]))[0]
            assert (row.status == "used") == (set(np.argsort(-z)[:2]) == example.labels)


def test_the_metric_needs_pairs():
    model = models.to_logits(shapes.load_network("vgg"))
    with pytest.raises(ValueError, match="take shapes-pairs or voc2012-pairs, or leave the metric out"):
        Benchmark(
            model,
            {},
            datasets.shapes(2),
            shapes.preprocess,
            (96, 96),
            options=Options(metrics=("discrimination",)),
        )


@pytest.mark.slow
def test_the_command_writes_a_table_and_pictures(tmp_path):
    arguments = "benchmark --dataset shapes-pairs --limit 6 --methods rap,rap.contrastive --output".split()
    done = CliRunner().invoke(main, [*arguments, str(tmp_path / "found")])
    assert done.exit_code == 0, done.output
    assert "own above other" in done.output
    assert "highest pixel, on the own object" in (tmp_path / "found/table.tex").read_text(encoding="utf-8")
    assert (tmp_path / "found/heatmaps.png").stat().st_size > 10_000
