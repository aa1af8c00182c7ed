"""A metric is one record: whatever shows metrics takes them from there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import host  # noqa: F401  the plugin switches eager execution off
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from rap_keras import metrics, models, shapes
from rap_keras.benchmark import Benchmark, Options, summarise, tables
from rap_keras.cli.commands import main
from rap_keras.datasets import Dataset, Example
from rap_keras.metrics import Figure, Metric
from rap_keras.metrics.records import METRICS, in_full

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(autouse=True)
def as_before():
    """The metrics that there were before a test, after it."""
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


def section():
    """The code of the section "A metric" on the page for contributors."""
    text = (DOCS / "contributing.md").read_text("utf-8")
    return re.search(r"### A metric\n.*?```python\n(.*?)```", text, re.DOTALL)[1]


def example():
    names: dict = {}
    exec(section(), names)
    return names["gini"]


def test_the_example_of_the_documentation_by_hand():
    gini = example()
    assert gini(np.array([[3.0, -3.0], [3.0, 3.0]]), None) == 0
    assert gini(np.array([[0.0, 0.0], [-8.0, 0.0]]), None) == 0.75
    assert gini(np.array([[1.0, 2.0], [3.0, 4.0]]), None) == pytest.approx(0.25)


def test_one_record_puts_a_metric_wherever_metrics_are(tmp_path, monkeypatch):
    """The command gets the module of the documentation, and knows nothing else of the metric."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sparse_metric.py").write_text(section())
    arguments = ["--custom-objects", "sparse_metric", "--metrics", "mask,sparseness", "--output", "out"]
    done = CliRunner().invoke(main, ["benchmark", "--limit", "2", "--methods", "gradient", *arguments])
    assert done.exit_code == 0, done.output
    rows = pd.read_parquet(tmp_path / "out" / "parts")
    gradient = rows[rows["method"] == "gradient"]["gini"]
    assert len(gradient) == 2
    assert gradient.between(0.3, 1).all()
    table = pd.read_csv(tmp_path / "out" / "table.csv").query("metric == 'gini_index'").set_index("method")
    assert table.loc["gradient", "mean"] == pytest.approx(gradient.mean())
    printed = re.sub(r"\s+", " ", done.stdout)
    assert "mIOU ↑ Gini index ↑ ms per image" in printed
    assert "Gini index: how few pixels have the relevance." in printed
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("Gini index\N{NO-BREAK SPACE}↑</th>") == 2
    assert "<h3>How few pixels have the relevance</h3>" in page
    assert "| Gini index ↑ | " in (tmp_path / "out" / "table.md").read_text("utf-8")
    assert r"Gini index $\uparrow$ & " in (tmp_path / "out" / "table.tex").read_text("utf-8")
    assert "sparseness (how few pixels have the relevance)" in re.sub(
        r"\s+", " ", CliRunner().invoke(main, ["benchmark", "--help"]).output
    )
    refused = CliRunner().invoke(main, ["benchmark", "--metrics", "sparsity"])
    assert f"there are {', '.join(METRICS)}" in " ".join(re.sub(r"[\u2500-\u257f]", "", refused.output).split())


def test_the_guide_has_every_metric():
    page = (DOCS / "guide" / "benchmark.md").read_text("utf-8")
    for name, metric in METRICS.items():
        arrows = {"higher": " ↑", "lower": " ↓", "": ""}
        figures = "; ".join(metric.label(figure) + arrows[figure.better] for figure in metric.figures)
        line = f"| `{name}` | {metric.in_words} | {figures} |"
        assert line in page, f"docs/guide/benchmark.md needs the line: {line}"


def results(**columns):
    count = len(next(iter(columns.values())))
    images = [str(number) for number in range(count)]
    words = {"status": "used", "reason": "", "method": "rap", "flaw": ""}
    return pd.DataFrame({"image": images, **columns}).assign(**words)


def test_how_a_figure_is_summarised():
    figures = (
        Figure("one", "one", "lower", columns=("a",)),
        Figure("half", "half", "higher", columns=("b",), typical="median", value=lambda b: b / 2),
        Figure("both", "both", typical=lambda a, b: a.sum(-1) / b.sum(-1)),
    )
    metrics.register(Metric("mine", "Mine", ("a", "b"), None, figures))
    summary = summarise([results(a=[1.0, 2.0, 6.0, np.nan], b=[1.0, 4.0, 40.0, 8.0])], "m", "d")
    table = summary.table.set_index("metric")[["mean", "median", "images", "excluded"]]
    assert table.loc["one"].tolist() == [3.0, 2.0, 3, 1]
    assert table.loc["half"].tolist() == [53 / 8, 3.0, 4, 0]
    assert table.loc["both"].tolist() == [9 / 45, pytest.approx(np.nan, nan_ok=True), 3, 1]
    assert [row.label for row in tables.rows(summary)] == ["one ↓", "half, median ↑", "half, mean ↑", "both"]
    assert "of the median for the outside-inside ratio and the half, whose tail is heavy" in tables.markdown(
        summary
    )
    assert [row.meaning for row in tables.main_rows(summary)] == [("one", "mine")]


def test_a_main_figure_without_a_better_direction_is_shown_too():
    metrics.register(Metric("mine", "Mine", ("a",), None, (Figure("one", "one"),)))
    summary = summarise([results(a=[1.0, 2.0], mass_inside=[0.5, 0.5], outside_inside_pos=[1.0, 1.0])], "m", "d")
    assert [row.label for row in tables.main_rows(summary)] == ["POS ratio ↓", "one"]


def test_what_needs_no_object_is_measured_without_one_and_the_rest_has_no_value():
    photo = shapes.sample(0, shapes.TEST_SEED).image
    dataset = Dataset("own", ["a"], lambda name: Example(name, photo), "")
    gini = example()
    options = Options(metrics=("outside-inside", "mask", "sparseness"))
    model = models.to_logits(shapes.load_network("vgg"))
    made = Benchmark(model, {}, dataset, shapes.preprocess, (96, 96), options=options)
    (row,) = made.evaluate(0).itertuples()
    noise = np.random.default_rng((0, 0)).standard_normal((96, 96))
    assert row.gini == gini(noise, None)
    assert np.isnan([row.outside_inside_pos, row.mass_inside, row.tp_pos]).all()


def test_a_metric_with_several_columns_gets_a_value_for_each():
    def measure(heatmap, image):
        return heatmap.sum(), image.target

    metric = Metric("mine", "Mine", ("a", "b"), measure, (Figure("x", "x", columns=("a",)),))
    images = [metrics.Image(np.zeros((1, 2, 3)), 7, None, None, np.zeros((1, 2), bool))] * 2
    found = metric.of_batch(np.array([[[1.0, 2.0]], [[3.0, 4.0]]]), images, None)
    assert found == {"a": [3.0, 7.0], "b": [7.0, 7.0]}
    wrong = dataclasses.replace(metric, measure=lambda heatmap, image: 1.0)
    with pytest.raises(ValueError, match="the metric mine gave 1 values for 2 columns"):
        wrong.of_batch(np.zeros((1, 1, 2)), images[:1], None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mask"}, "has a metric mask already"),
        ({"columns": ("tp_pos",), "figures": (Figure("x", "x"),)}, "the metric mask has tp_pos already"),
        ({"figures": (Figure("miou", "x", case="pos"),)}, "the metric mask has miou pos already"),
        ({"columns": ("logit",), "figures": (Figure("x", "x"),)}, "results have other columns of these names"),
        ({"columns": ("a", "b")}, "x is made of several columns: give `value`, or one of the columns"),
        ({"figures": ()}, "needs a column and a figure"),
        ({"figures": (Figure("x", "x", columns=("b",)),)}, "the metric mine has no columns b"),
        ({"figures": (Figure("x", "x", "up"),)}, "better='up': must be 'lower', 'higher' or ''"),
        (
            {"figures": (Figure("x", "x", typical="mode"),)},
            "typical='mode': must be 'mean', 'median' or a function",
        ),
    ],
)
def test_what_is_refused(changes, message):
    settings = {"name": "mine", "columns": ("a",), "figures": (Figure("x", "x"),)}
    with pytest.raises(ValueError, match=message):
        metrics.register(Metric(heading="Mine", measure=None, **{**settings, **changes}))
    metrics.register(Metric(heading="Mine", measure=None, **settings))
    metrics.register(Metric(heading="Mine, mended", measure=None, **settings))
    assert METRICS["mine"].heading == "Mine, mended"


def test_names_in_full():
    figures = {(figure.name, figure.case): figure for metric in METRICS.values() for figure in metric.figures}
    assert in_full(figures["mass_inside", "pos"]) == "mass inside, POS"
    assert in_full(figures["aopc", "lerf"]) == "AOPC, logit, least relevant first"
    assert in_full(Figure("x", "an x")) == "an x"
    assert in_full(Figure("x", "an x", case="deep")) == "an x, deep"
