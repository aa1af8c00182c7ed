"""The charts of the result pages show the figures of the tables on these pages."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
IMAGE = re.compile(r"\(images/charts/([\w-]+\.svg)\)")


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_charts = load("make_charts")

TABLE = """\
# Page

## A network

| method | ratio POS, median ↓ | mean | mIOU, POS ↑ |
|---|---|---|---|
| RAP | **0.024** [0.021, 0.029] | 0.5 | **0.652** |
| RAP, `input_rule=None` | -0.100 [-0.200, 0.100] | 0.5 | 0.5 |
| LRP | refused: unknown | | |

| symbol | ratio ↓ |
|---|---|
| x | 1.0 |

## Two networks

| data set and network | method | AOPC of the logit ↓ |
|---|---|---|
| first | RAP | 1.464 [1.321, 1.612] |
|  | Input\\*Gradient | 2.0 [1.0, 3.0] |
""".replace("-0", "\N{MINUS SIGN}0")


def test_charts_have_the_figures_of_the_tables(tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text(TABLE, "utf-8")
    monkeypatch.setattr(make_charts, "FOLDER", tmp_path)
    ratio, miou, aopc = make_charts.charts("page")
    assert ratio.file == "page-1-ratio.svg"
    assert (ratio.section, ratio.better, miou.better) == ("A network", "lower is better", "higher is better")
    assert ratio.bars == [("RAP", 0.024, 0.021, 0.029, ""), ("RAP, input_rule=None", -0.1, -0.2, 0.1, "")]
    assert miou.bars == [("RAP", 0.652, None, None, ""), ("RAP, input_rule=None", 0.5, None, None, "")]
    assert aopc.file == "page-2-aopc.svg"
    assert aopc.bars == [("RAP", 1.464, 1.321, 1.612, "first"), ("Input*Gradient", 2.0, 1.0, 3.0, "first")]


@pytest.mark.parametrize("page", make_charts.PAGES)
def test_charts_are_up_to_date(page):
    """Otherwise run `python docs/make_charts.py`."""
    charts = list(make_charts.charts(page))
    assert len(charts) >= 12
    for chart in charts:
        assert description(make_charts.CHARTS / chart.file) == make_charts.description(chart), chart.file


@pytest.mark.parametrize("page", make_charts.PAGES)
def test_each_chart_stands_above_its_table(page):
    text = (DOCS / f"{page}.md").read_text("utf-8")
    before_tables = re.split(r"^\|.*\n(?:\|.*\n)+", text, flags=re.M)[:-1]
    shown = [IMAGE.findall(before) for before in before_tables]
    charts = [chart.file for chart in make_charts.charts(page)]
    if page == "models":  # all networks together, above the summary
        overview, *shown = shown
        assert overview == [file for file in charts if file.endswith("-ratio.svg")]
    tables: dict[str, list[str]] = {}
    for file in charts:
        tables.setdefault(file.rsplit("-", 1)[0], []).append(file)
    assert shown == list(tables.values())


def test_there_are_no_other_charts():
    drawn = {chart.file for page in make_charts.PAGES for chart in make_charts.charts(page)}
    assert {file.name for file in make_charts.CHARTS.iterdir()} == drawn


def test_a_drawn_chart_has_its_figures(tmp_path, monkeypatch):
    chart = next(make_charts.charts("results"))
    monkeypatch.setattr(make_charts, "CHARTS", tmp_path)
    make_charts.draw(chart)
    assert description(tmp_path / chart.file) == make_charts.description(chart)
    texts = [text for text in ElementTree.parse(tmp_path / chart.file).getroot().itertext() if text.strip()]
    assert "RAP" in texts
    assert {f"{bar.value:.3f}" for bar in chart.bars} <= set(texts)


def description(file: Path) -> str | None:
    return ElementTree.parse(file).getroot().findtext(".//{http://purl.org/dc/elements/1.1/}description")
