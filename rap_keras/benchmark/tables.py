"""A benchmark as a table in the arrangement of the RAP paper: a row per metric, a column per method."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rap_keras.basics.wording import counted
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark.heatmap_kinds import title
from rap_keras.benchmark.published import IMAGENET_SEGMENTATION_MIOU, SOURCE
from rap_keras.benchmark.summary import Summary

_NAMED = 10  # images named in a note; left_out.csv names all
_DASH = "\N{EN DASH}"
_APART = "Why this class and not the other one of the image"
_INSIDE, _MASK = "Relevance inside and outside of the object", "Segmentation mask"
_ALL = "As in the paper, for completeness"
_REMOVED = {
    "lerf": "Least relevant pixels removed first",
    "morf": "Most relevant pixels removed first",
    "random": "Pixels removed in random order",
}
_CASES = {
    "pos": "POS",
    "all": "ALL",
    "signed": "signed",
    "lerf": "least relevant first",
    "morf": "most relevant first",
    "random": "random order",
    "mass": "by mass",
    "density": "by mean density",
    "own": "on the own object",
    "other": "on the other object",
}
_NAMES = {
    "own_above_other": "own object above the other",
    "pointing": "highest pixel",
    "outside_inside_ratio": "outside-inside ratio",
    "mass_inside": "mass inside",
    "miou": "mIOU",
    "miou_pooled": "mIOU, pooled",
    "pixel_accuracy": "pixel accuracy",
    "accuracy_left": "accuracy left, mean of steps",
    "accuracy_end": "accuracy left at the end",
    "aopc": "AOPC, logit",
}


class Cell(NamedTuple):
    """A value as text, its interval as text ("" if it has none), and whether it is the best of its row.

    Where a metric has no meaning for a heatmap, the value is "".
    """

    value: str
    interval: str
    best: bool


class Row(NamedTuple):
    """A metric's values, one for each method; `group` is its heading, `better` "lower", "higher" or ""."""

    metric: str
    case: str
    column: str  # of `Summary.table`
    group: str
    label: str
    better: str
    cells: list[Cell]


class _Line(NamedTuple):
    group: str
    metric: str
    case: str
    column: str
    better: str


# The most telling metrics come first: POS, mass inside, mIOU. ALL has no best, see `notes`.
_LINES = (
    _Line(_APART, "own_above_other", "mass", "mean", "higher"),
    _Line(_APART, "own_above_other", "density", "mean", "higher"),
    _Line(_APART, "pointing", "own", "mean", "higher"),
    _Line(_APART, "pointing", "other", "mean", "lower"),
    _Line(_INSIDE, "outside_inside_ratio", "pos", "median", "lower"),
    _Line(_INSIDE, "outside_inside_ratio", "pos", "mean", "lower"),
    _Line(_INSIDE, "mass_inside", "pos", "mean", "higher"),
    *(
        _Line(_MASK, metric, case, "mean", "higher")
        for metric in ("miou", "miou_pooled", "pixel_accuracy")
        for case in ("pos", "signed")
    ),
    *(
        _Line(_REMOVED[order], metric, order, "mean", better)
        for order, betters in (("lerf", ("higher", "higher", "lower")), ("morf", ("lower", "lower", "higher")))
        for metric, better in zip(("accuracy_left", "accuracy_end", "aopc"), betters)
    ),
    *(_Line(_REMOVED["random"], m, "random", "mean", "") for m in ("accuracy_left", "accuracy_end", "aopc")),
    _Line(_ALL, "outside_inside_ratio", "all", "median", ""),
    _Line(_ALL, "outside_inside_ratio", "all", "mean", ""),
)


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
    columns = names(summary)
    found = {key: group.set_index("method") for key, group in summary.table.groupby(["metric", "case"])}
    result = []
    for line in _LINES:
        if (line.metric, line.case) not in found:
            continue
        mine = found[line.metric, line.case].reindex(columns)
        values = [float(value) for value in mine[line.column]]
        # The interval of the ratio is that of its median: the mean of a heavy tail has none worth showing.
        has_interval = line.metric != "outside_inside_ratio" or line.column == "median"
        bounds = zip(mine["low"], mine["high"])
        intervals = [f"[{text(a)}, {text(b)}]" if has_interval and a == a else "" for a, b in bounds]
        best = _best([v for v, name in zip(values, columns) if name != kinds.CONTROL], line.better)
        cells = []
        for name, value, interval in zip(columns, values, intervals):
            text_of = text(value) if kinds.has_case(name, line.case) else ""
            is_best = best is not None and name != kinds.CONTROL and text_of == text(best)
            cells.append(Cell(text_of, interval, is_best))
        result.append(Row(line.metric, line.case, line.column, line.group, _label(line), line.better, cells))
    return result


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
    found = [["", "paper", *(f"{_NAMES[metric]}, {_CASES[case]}" for metric, case in columns)]]
    for name in dict.fromkeys([*IMAGENET_SEGMENTATION_MIOU, *methods(summary)]):
        values = [IMAGENET_SEGMENTATION_MIOU.get(name), *(here.get((name, *column)) for column in columns)]
        found.append([name, *("" if value is None or value != value else f"{value:.2f}" for value in values)])
    return found


def markdown(summary: Summary) -> str:
    """The table and its notes in Markdown; the best values are bold, arrows tell which direction is better."""
    return "\n".join(_markdown(summary)) + "\n"


def _label(line: _Line) -> str:
    if line.case in _REMOVED or line.metric == "mass_inside":
        return _NAMES[line.metric]
    label = f"{_NAMES[line.metric]}, {_CASES[line.case]}"
    return f"{label}, {line.column}" if line.metric == "outside_inside_ratio" else label


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
        yield f"No value of {_NAMES[metric]}, {_CASES[case]} ({each})", list(names)


def images_of(summary: Summary) -> Iterator[str]:
    """How many images there were and were used, and what was left out, a sentence each."""
    total = summary.used + sum(summary.left_out.loc[summary.left_out["method"] == "", "images"])
    yield f"{summary.model} on {summary.dataset}: {counted(total, 'image')}, {summary.used} used."
    for what, names in left_out(summary):
        listed = "" if what.startswith("Misclassified") else f": {shortened(names, _NAMED)}"
        yield f"{what}, {len(names)} {'image' if len(names) == 1 else 'images'}{listed}."


def reading(summary: Summary) -> Iterator[str]:
    """How to read the table, a paragraph each."""
    table = summary.table
    metrics, cases = set(table["metric"]), set(table["case"])
    yield (
        "In brackets: bootstrap 95 % intervals (percentiles of 1000 resamples of the images), of the median for "
        "the outside-inside ratio, whose tail is heavy, and of the mean for the others. Bold: the best value, "
        "even if intervals overlap."
    )
    if "own_above_other" in metrics:
        yield (
            "Each image has objects of two classes, the network's first two choices, and is explained once for "
            'each. A method whose heatmap does not depend on the class has 0.5 for "own object above the other". '
            "Intervals resample these questions, not the images."
        )
    if "outside_inside_ratio" in metrics:
        yield (
            "ALL tells little about RAP and has no best value here: where positive and negative relevance nearly "
            "cancel, it tends to minus the ratio of inside to outside pixels, whatever the heatmap. The paper "
            "reports it; read POS, mass inside and mIOU instead. A ratio has no value where the mean inside is 0; "
            "for POS such a heatmap is the worst of all."
        )
    if "signed" in cases:
        yield (
            "POS marks positive relevance above its mean, signed marks all positive relevance. That is nearly "
            "every pixel for methods without negative relevance."
        )
    if "miou" in metrics and summary.dataset == "imagenet":
        yield "The masks here are the filled bounding boxes."
    if "miou" in metrics and summary.dataset != "imagenet-seg":
        figures = ", ".join(f"{name} {value:.2f}" for name, value in IMAGENET_SEGMENTATION_MIOU.items())
        yield (
            "For orientation, mIOU in percent as the paper reports it on ImageNet segmentation, which is another "
            f"data set: {figures} ({SOURCE})."
        )


def shortened(names: list[str], most: int) -> str:
    """Names in a row, the first `most` of them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more (left_out.csv has all)" if more > 0 else "")


def arrow(better: str) -> str:
    """An arrow in the direction that is better, after a space."""
    return {"lower": " \N{DOWNWARDS ARROW}", "higher": " \N{UPWARDS ARROW}", "": ""}[better]


def _markdown(summary: Summary) -> Iterator[str]:
    columns = [_escaped(name) for name in methods(summary)]
    yield f"| | {' | '.join(columns)} |" if columns else "| |"
    yield "|---|" + "---|" * len(columns)
    group = ""
    for row in rows(summary):
        if row.group != group:
            group = row.group
            yield f"| **{group}** |" + " |" * len(columns)
        cells = (
            (f"**{c.value}**" if c.best else c.value) + (f" {c.interval}" if c.interval else "") for c in row.cells
        )
        yield f"| {row.label}{arrow(row.better)} | {' | '.join(cells)} |"
    for note in notes(summary):
        yield ""
        yield _escaped(note)
    beside = published(summary)
    if beside:
        lines = [f"| {' | '.join(map(_escaped, row))} |" for row in beside]
        yield from ("", f"mIOU in percent, beside the paper's ({SOURCE}).", "")
        yield from (lines[0], "|---|" + "---|" * (len(beside[0]) - 1), *lines[1:])


def _escaped(text: str) -> str:
    """Text that is shown as it is in Markdown and in HTML within it."""
    text = re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
