"""A benchmark as a table in the arrangement of the RAP paper: a row per metric, a column per method."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rap_keras.basics.wording import counted, listed
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark.heatmap_kinds import title
from rap_keras.benchmark.published import IMAGENET_SEGMENTATION_MIOU, SOURCE
from rap_keras.benchmark.summary import Summary
from rap_keras.metrics import Figure
from rap_keras.metrics.records import METRICS, in_full

TIME = "ms per image"
"""Heading of the time that a method took."""

_NAMED = 10  # images named in a note; left_out.csv names all
_WIDTH = 88  # characters, of sentences that are printed
_WIDEST = 100  # of the table that is printed; more columns go below
_DASH = "\N{EN DASH}"
_ARROWS = {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}", "": ""}


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "\N{GREEK SMALL LETTER BETA}": r"$\beta$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
}


class Cell(NamedTuple):
    """A value as text, its interval as text ("" if it has none), and whether it is the best of its row.

    Where a metric has no meaning for a heatmap, the value is "".
    """

    value: str
    interval: str
    best: bool


class Row(NamedTuple):
    """A figure's values, one for each method.

    Attributes:
        figure: the figure; None for the time.
        column: of `Summary.table`.
        group: the heading of the row and its neighbours.
        label: with an arrow to the better direction.
        cells: one for each method.
        values: with the columns value, low and high; the index is what results call the methods.
        meaning: of a main figure: its name, and what it is.
    """

    figure: Any
    column: str
    group: str
    label: str
    cells: list[Cell]
    values: pd.DataFrame
    meaning: tuple[str, str] = ("", "")


def names(summary: Summary) -> list[str]:
    """What results call the methods, in the order of the columns."""
    return list(dict.fromkeys(summary.table["method"]))


def methods(summary: Summary) -> list[str]:
    """Titles of the methods, in the order of the columns."""
    return [title(name) for name in names(summary)]


def rows(summary: Summary) -> list[Row]:
    """The rows of the table; metrics that were not asked for have none.

    The best value is the one that the row's metric calls best; values that look the same once rounded share it.
    The random heatmap is never the best.
    """
    found = []
    for metric in METRICS.values():
        for figure in metric.figures:
            # The interval of the ratio is that of its median: the mean of a heavy tail has none worth showing.
            columns = ["median", "mean"] if figure.typical == "median" else ["mean"]
            for column in columns:
                label = metric.label(figure) + (f", {column}" if len(columns) > 1 else "")
                found += _row(
                    summary, figure, column, figure.heading or metric.heading, label, column == columns[0]
                )
    # Figures with a heading of their own come last.
    order = [metric.heading for metric in METRICS.values()]
    return sorted(found, key=lambda row: order.index(row.group) if row.group in order else len(order))


def main_rows(summary: Summary) -> list[Row]:
    """The main figures that were measured; one that is the same for all methods only if it is alone."""
    found: list[Row] = []
    shared: list[Row] = []
    for metric in METRICS.values():
        figure = metric.main
        column = "median" if figure.typical == "median" else "mean"
        label = figure.short or metric.label(figure)
        meaning = figure.meaning or metric.in_words
        own = [row._replace(meaning=(label, meaning)) for row in _row(summary, figure, column, "", label)]
        (shared if metric.is_shared else found).extend(own)
    return found or shared


def _row(
    summary: Summary, figure: Figure, column: str, group: str, label: str, has_interval: bool = True
) -> list[Row]:
    """The row of a figure, in a list; nothing where it was not measured."""
    table = summary.table
    mine = table[(table["metric"] == figure.name) & (table["case"] == figure.case)].set_index("method")
    if mine.empty:
        return []
    values = mine[[column, "low", "high"]].set_axis(["value", "low", "high"], axis=1).reindex(names(summary))
    best = _best([value for name, value in values["value"].items() if name != kinds.CONTROL], figure.better)
    cells = []
    for name, value, low, high in values.itertuples():
        shown = text(value) if kinds.has_case(name, figure.case) else ""
        interval = f"[{text(low)}, {text(high)}]" if has_interval and low == low else ""
        cells.append(Cell(shown, interval, best is not None and name != kinds.CONTROL and shown == text(best)))
    return [Row(figure, column, group, label + _ARROWS[figure.better], cells, values)]


def time_row(summary: Summary) -> list[Row]:
    """What each method took for an image, in a list; absolute and random heatmaps have no time of their own."""
    times = {one.method: 1000 * one.seconds for one in summary.times.itertuples()}
    shown = {name: f"{time:,.{1 if time < 10 else 0}f}" for name, time in times.items()}
    cells = [Cell(shown.get(name, ""), "", False) for name in names(summary)]
    meaning = (
        "time that the method took for an image in this run, the median of the images; it depends on the machine "
        "and on what else it did"
    )
    return [Row(None, "", "", TIME, cells, summary.times, (TIME, meaning))] if times else []


def plain(summary: Summary) -> str:
    """The main figures as plain text for a terminal: a row for each method, then what the columns mean."""
    found = main_rows(summary)
    columns = {row.label: [cell.value for cell in row.cells] for row in [*found, *time_row(summary)]}
    table = pd.DataFrame(columns, index=methods(summary))
    paragraphs = [f"{name}: {meaning}." for name, meaning in (row.meaning for row in found)]
    wide = {heading: len(heading) + 1 for heading in columns}
    lines = [table.to_string(col_space=wide, line_width=_WIDEST) if len(table) else "No image was used.", ""]
    for paragraph in [*paragraphs, "", *images_of(summary)]:
        lines += textwrap.wrap(paragraph, _WIDTH, subsequent_indent="  ", break_long_words=False) or [""]
    return "\n".join(lines)


def notes(summary: Summary) -> list[str]:
    """What stands under the table, a paragraph each: images, what was left out and why, how to read it."""
    return [*images_of(summary), *kinds.explained(names(summary)), *reading(summary)]


def published(summary: Summary) -> list[list[str]]:
    """Table 2 of the paper beside what was measured here, mIOU in percent; empty for other data sets.

    The first row has the headings. Each other row is a method: its name, the paper's value, values measured here.
    """
    if summary.dataset != "imagenet-seg":
        return []
    table = summary.table[summary.table["metric"].isin(["miou", "miou_pooled"])]
    here = {(title(one.method), one.metric, one.case): 100 * one.mean for one in table.itertuples()}
    columns = list(dict.fromkeys((metric, case) for _, metric, case in here))
    found = [["", "paper", *(_in_full(*column) for column in columns)]]
    for name in dict.fromkeys([*IMAGENET_SEGMENTATION_MIOU, *methods(summary)]):
        values = [IMAGENET_SEGMENTATION_MIOU.get(name), *(here.get((name, *column)) for column in columns)]
        found.append([name, *("" if value is None or value != value else f"{value:.2f}" for value in values)])
    return found


def markdown(summary: Summary) -> str:
    """The table and its notes in Markdown; the best values are bold, arrows tell which direction is better."""
    return filled("table.md", summary, in_markdown)


def latex(summary: Summary) -> str:
    r"""The table and its notes in LaTeX, to be read with \input; needs the package booktabs."""
    return filled("table.tex", summary, in_latex)


def filled(template: str, summary: Summary, escape: Callable[[str], str] | None = None, **more: Any) -> str:
    """A template filled with the tables of a summary.

    Args:
        template: its file.
        summary: the summary.
        escape: makes a text safe in the template's format, if that is not HTML.
        **more: what the template needs beside the tables.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=escape is None,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    if escape is not None:  # braces mean something else in LaTeX

        def finalize(value: Any) -> str:
            return value if hasattr(value, "__html__") else escape(str(value))  # not what is called safe

        environment = environment.overlay("<%", "%>", "<<", ">>", finalize=finalize)
    groups = [(group, list(together)) for group, together in groupby(rows(summary), lambda row: row.group)]
    return environment.get_template(template).render(
        summary=summary,
        names=names(summary),
        titles=methods(summary),
        groups=groups,
        notes=notes(summary),
        published=published(summary),
        source=SOURCE,
        **more,
    )


def _best(values: list[float], better: str) -> float | None:
    known = [value for value in values if value == value]
    if not better or len(known) < 2:
        return None
    return min(known) if better == "lower" else max(known)


def text(value: float) -> str:
    """A value with three decimals, or fewer where it is large; a dash where there is none."""
    if value != value:
        return _DASH
    decimals = 3 if abs(value) < 100 else 1
    digits = f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.2e}"
    return digits.replace("-", "\N{MINUS SIGN}")


def left_out(summary: Summary) -> Iterator[tuple[str, list[str]]]:
    """What was left out and why, and which images it concerns."""
    left = summary.left_out
    for kind, group in left[left["method"] == ""].groupby("kind", sort=False):
        what = "Misclassified, so not used" if kind == "misclassified" else f"Not used, {kind}"
        reasons = [f" ({one.reason})" if one.reason else "" for one in group.itertuples()]
        yield what, [name + reason for names, reason in zip(group["names"], reasons) for name in names]
    for one in left[(left["method"] != "") & (left["metric"] == "")].itertuples():
        yield f"Heatmap of {title(one.method)} {one.kind}", list(one.names)
    for (metric, case), group in left[left["metric"] != ""].groupby(["metric", "case"], sort=False):
        each = ", ".join(f"{title(one.method)} {one.images}" for one in group.itertuples())
        names = dict.fromkeys(name for one in group.itertuples() for name in one.names)
        yield f"No value of {_in_full(metric, case)} ({each})", list(names)


def images_of(summary: Summary) -> Iterator[str]:
    """How many images there were and were used, and what was left out, a sentence each."""
    total = summary.used + sum(summary.left_out.loc[summary.left_out["method"] == "", "images"])
    yield f"{summary.model} on {summary.dataset}: {counted(total, 'image')}, {summary.used} used."
    for what, names in left_out(summary):
        which = "" if what.startswith("Misclassified") else f": {shortened(names, _NAMED)}"
        yield f"{what}, {counted(len(names), 'image')}{which}."


def reading(summary: Summary) -> Iterator[str]:
    """How to read the table, a paragraph each."""
    measured = set(summary.table["metric"])
    figures = [figure for metric in METRICS.values() for figure in metric.figures]
    heavy = listed(dict.fromkeys(f"the {figure.title}" for figure in figures if figure.typical == "median"))
    yield (
        "In brackets: bootstrap 95 % intervals (percentiles of 1000 resamples of the images), of the median for "
        f"{heavy}, whose tail is heavy, and of the mean for the others. Bold: the best value, even if intervals "
        "overlap."
    )
    for metric in METRICS.values():
        if metric.note and measured & {figure.name for figure in metric.figures}:
            yield metric.note
    if "miou" in measured and summary.dataset == "imagenet":
        yield "The masks here are the filled bounding boxes."
    if "miou" in measured and summary.dataset != "imagenet-seg":
        reported = ", ".join(f"{name} {value:.2f}" for name, value in IMAGENET_SEGMENTATION_MIOU.items())
        yield (
            "For orientation, mIOU in percent as the paper reports it on ImageNet segmentation, which is another "
            f"data set: {reported} ({SOURCE})."
        )


def _in_full(name: str, case: str) -> str:
    """The title of a figure with its case, by their names in `Summary.table`."""
    figures = (figure for metric in METRICS.values() for figure in metric.figures)
    return next(in_full(figure) for figure in figures if (figure.name, figure.case) == (name, case))


def shortened(names: list[str], most: int) -> str:
    """Names in a row, the first `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more (left_out.csv has all)" if more > 0 else "")


def in_markdown(text: str) -> str:
    """Text that is shown as it is in Markdown and in HTML within it."""
    text = re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def in_latex(text: str) -> str:
    """Text escaped for LaTeX; line breaks and control characters become spaces."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return "".join(_LATEX.get(char, char) for char in printable)
