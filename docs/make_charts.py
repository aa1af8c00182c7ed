"""Draws the charts of the result pages from the tables on these pages: docs/images/charts/*.svg.

    python docs/make_charts.py

A chart shows one column of a table. The pages embed the charts above their tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib

FOLDER = Path(__file__).parent
CHARTS = FOLDER / "images" / "charts"
PAGES = ("results", "results_contrastive", "models")
# The columns that have a chart: how the chart is called, and its part of the file's name.
COLUMNS = {
    "ratio POS, median": ("Outside-inside ratio, median", "ratio"),
    "ratio POS": ("Outside-inside ratio, median", "ratio"),
    "ratio": ("Outside-inside ratio, median", "ratio"),
    "mass inside": ("Share of relevance inside", "mass"),
    "mIOU, POS": ("mIOU, positive relevance", "miou"),
    "mIOU POS": ("mIOU, positive relevance", "miou"),
    "mIOU": ("mIOU, positive relevance", "miou"),
    "accuracy POS": ("Pixel accuracy, positive relevance", "pixels"),
    "mIOU, signed": ("mIOU, signed", "signed"),
    "after 4,000 pixels": ("Accuracy after 4,000 pixels", "accuracy"),
    "AOPC of the logit": ("Fall of the logit (AOPC)", "aopc"),
    "by mass": ("Classes told apart, by mass", "by_mass"),
    "pointing, own": ("Highest pixel on the object", "pointing"),
}
BETTER = {"\N{DOWNWARDS ARROW}": "lower is better", "\N{UPWARDS ARROW}": "higher is better"}
METHOD, GROUP = "method", "data set and network"

# Greys and colours that can be read on white, and on dark grey once the site's style sheet has inverted them.
INK, OTHERS, INTERVAL = "#666666", "#949494", "#4d4d4d"
COLOURS = {"RAP": "#3949ab", "RAP, input_rule=None": "#7986cb", "Contrastive RAP": "#c2410c"}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rap_keras",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
}


class Bar(NamedTuple):
    """A figure of a table, with the bounds of its interval if any, and the name of its group of rows if any."""

    method: str
    value: float
    low: float | None = None
    high: float | None = None
    group: str = ""


class Chart(NamedTuple):
    """A column of a table."""

    file: str
    title: str
    better: str
    section: str
    bars: list[Bar]


def charts(page: str) -> Iterator[Chart]:
    """The charts of the tables of a page, from its Markdown."""
    number = 0
    for section, header, rows in _tables((FOLDER / f"{page}.md").read_text("utf-8")):
        drawn = [title for title in header if _plain(title) in COLUMNS]
        if METHOD not in header or not drawn:
            continue
        number += 1
        for title in drawn:
            name, file = COLUMNS[_plain(title)]
            better = next((BETTER[arrow] for arrow in BETTER if arrow in title), "")
            bars = _bars(rows, header, header.index(title))
            yield Chart(f"{page}-{number}-{file}.svg", name, better, section, bars)


def _tables(text: str) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """The tables of a page: the heading above, the titles of the columns, and the rows."""
    section = ""
    header: list[str] = []
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not header:
                header = cells
            elif not set(line) <= set("|-: "):
                rows.append(cells)
            continue
        if header:
            yield section, header, rows
            header, rows = [], []
        if line.startswith("#"):
            section = line.strip("# ")


def _plain(text: str) -> str:
    """A cell's text without Markdown and arrows."""
    return re.sub(r"\*\*|[`\\\N{DOWNWARDS ARROW}\N{UPWARDS ARROW}]", "", text).strip()


def _bars(rows: list[list[str]], header: list[str], column: int) -> list[Bar]:
    bars: list[Bar] = []
    group = ""
    for row in rows:
        if GROUP in header:
            group = row[header.index(GROUP)] or group
        numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", row[column].replace("\N{MINUS SIGN}", "-"))]
        if numbers:
            bars.append(
                Bar(_plain(row[header.index(METHOD)]), *numbers[:1], *(numbers[1:3] or [None, None]), group)
            )
    return bars


def draw(chart: Chart) -> None:
    """Writes a chart, with its figures as JSON in the description."""
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        places, labels, groups = _places(chart.bars)
        depth = len(labels)
        figure = Figure(figsize=(3.4, 0.65 + 0.185 * depth), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        for place, bar in zip(places, chart.bars):
            axes.barh(place, bar.value, 0.72, color=COLOURS.get(bar.method, OTHERS))
            axes.plot([0, 0], [place - 0.5, place + 0.5], color=INK, linewidth=0.8)
            ends = [0.0, bar.value]
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [place, place], color=INTERVAL, linewidth=1)
                ends += [bar.low, bar.high]
            axes.annotate(
                f"{bar.value:.3f}".replace("-", "\N{MINUS SIGN}"),
                (max(ends), place),
                (3, 0),
                textcoords="offset points",
                verticalalignment="center",
                fontsize=7,
            )
        for place, group in groups.items():
            axes.annotate(group, (0.01, place), xycoords=("figure fraction", "data"), verticalalignment="center")
        axes.set_yticks(range(depth), labels)
        for label in axes.get_yticklabels():
            if label.get_text() in COLOURS:
                label.set_fontweight("bold")
        axes.set_ylim(depth - 0.4, -0.6)
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + 0.2 * (high - low))
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        figure.suptitle("\n".join([chart.title, chart.section, chart.better]), fontsize=8.5)
        CHARTS.mkdir(parents=True, exist_ok=True)
        figure.savefig(CHARTS / chart.file, metadata={"Description": description(chart), "Date": None})


def _places(bars: list[Bar]) -> tuple[list[int], list[str], dict[int, str]]:
    """Where each bar is from top to bottom, the labels of all places, and where the names of groups are."""
    places: list[int] = []
    labels: list[str] = []
    groups: dict[int, str] = {}
    for before, bar in zip([None, *bars], bars):
        if bar.group and (before is None or before.group != bar.group):
            groups[len(labels)] = bar.group
            labels.append("")
        places.append(len(labels))
        labels.append(bar.method)
    return places, labels, groups


def description(chart: Chart) -> str:
    """The figures of a chart as its file has them."""
    return json.dumps(chart._asdict(), ensure_ascii=True)


if __name__ == "__main__":
    for page in PAGES:
        for chart in charts(page):
            draw(chart)
