"""The main figures of a benchmark: what its tables and charts begin with, and what the command prints."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import pandas as pd

from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark import tables
from rap_keras.benchmark.summary import Summary

_WIDTH = 88  # characters, of sentences that are printed
_WIDEST = 100  # of the table that is printed; more columns go below
TIME = "ms per image"
"""Heading of the time that a method took."""


class MainFigure(NamedTuple):
    """A metric of the main figures.

    Attributes:
        name: its short heading.
        metric: as in `Summary.table`.
        case: as in `Summary.table`.
        column: of `Summary.table`; low and high bound its interval.
        better: "lower" or "higher", or "" where neither is.
        meaning: in words, to follow the name.
    """

    name: str
    metric: str
    case: str
    column: str
    better: str
    meaning: str

    @property
    def heading(self) -> str:
        """The name with an arrow to the better direction."""
        return self.name + tables.arrow(self.better)


_ALL = (
    MainFigure(
        "own above other",
        "own_above_other",
        "mass",
        "mean",
        "higher",
        "how often the explained object has more positive relevance than the other object of the image; 0.5 for a "
        "heatmap that does not depend on the class",
    ),
    MainFigure(
        "POS ratio",
        "outside_inside_ratio",
        "pos",
        "median",
        "lower",
        "mean positive relevance outside of the object's box over that inside, the median of the images",
    ),
    MainFigure(
        "mIOU",
        "miou",
        "pos",
        "mean",
        "higher",
        "overlap of the pixels of much positive relevance with the object's mask, intersection over union",
    ),
    MainFigure(
        "accuracy left",
        "accuracy_end",
        "lerf",
        "mean",
        "higher",
        "share of the images still classified as before after the least relevant pixels are removed",
    ),
    MainFigure(
        "with morf",
        "accuracy_end",
        "morf",
        "mean",
        "lower",
        "the same share after the most relevant pixels are removed (the order morf)",
    ),
    MainFigure(
        "with random",
        "accuracy_end",
        "random",
        "mean",
        "",
        "the share of images still classified as before after random pixels are removed, the same for all methods",
    ),
)


def main_figures(summary: Summary) -> list[MainFigure]:
    """The main figures that were measured; the random order is one of them only if nothing else was measured."""
    measured = set(zip(summary.table["metric"], summary.table["case"]))
    found = [figure for figure in _ALL if (figure.metric, figure.case) in measured]
    return [figure for figure in found if figure.case != "random"] or found


def values(summary: Summary, figure: MainFigure) -> pd.DataFrame:
    """The value, low and high of each method; the index is what results call the methods."""
    table = summary.table
    mine = table[(table["metric"] == figure.metric) & (table["case"] == figure.case)].set_index("method")
    return mine[[figure.column, "low", "high"]].set_axis(["value", "low", "high"], axis=1)


def milliseconds(summary: Summary) -> dict[str, str]:
    """What each method took for an image, as text; absolute and random heatmaps have no time of their own."""
    return {
        one.method: f"{1000 * one.seconds:,.{1 if one.seconds < 0.01 else 0}f}"
        for one in summary.times.itertuples()
    }


def plain(summary: Summary) -> str:
    """The main figures as plain text for a terminal: a row for each method, then what the columns mean."""
    names, figures = tables.names(summary), main_figures(summary)
    columns = {
        figure.heading: values(summary, figure)["value"].reindex(names).map(tables.text) for figure in figures
    }
    columns[TIME] = pd.Series(milliseconds(summary), dtype=object).reindex(names).fillna("")
    table = pd.DataFrame(columns, index=names).rename(index=kinds.title)
    paragraphs = [f"{figure.name}: {figure.meaning}." for figure in figures]
    wide = {heading: len(heading) + 1 for heading in columns}
    lines = [table.to_string(col_space=wide, line_width=_WIDEST) if names else "No image was used.", ""]
    for paragraph in [*paragraphs, "", *tables.images_of(summary)]:
        lines += textwrap.wrap(paragraph, _WIDTH, subsequent_indent="  ", break_long_words=False) or [""]
    return "\n".join(lines)
