"""The charts of a benchmark: Figure 7 of the RAP paper, and bars of the main figures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark.summary import Summary
from rap_keras.benchmark.tables import Row, main_rows
from rap_keras.hosts.titles import TITLES
from rap_keras.metrics import Metric
from rap_keras.metrics.records import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Settings of matplotlib for a chart on a dark page.
_DARK: Any = {
    "figure.facecolor": "#161618",
    "axes.facecolor": "#161618",
    "axes.edgecolor": "#a5a5ad",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#ececee"),
}
# Okabe and Ito's colours, which colour-blind readers tell apart, with brown for yellow, and Tol's wine. Markers
# tell the lines apart in grey too. In the order of TITLES.
_STYLES = (
    ("#D55E00", "o"),
    ("#882255", "h"),
    ("#0072B2", "s"),
    ("#56B4E9", "D"),
    ("#009E73", "^"),
    ("#CC79A7", "v"),
    ("#8A6D00", "P"),
    ("#000000", "X"),
    ("#E69F00", "*"),
)
_OF_METHOD = dict(zip(TITLES, _STYLES))
_ON_DARK = {"#000000": "#ECECEE", "#882255": "#D4699F", "#0072B2": "#3C9BDC", "#8A6D00": "#C9A21E"}
_GREY = "0.5"
_BETTER = {"lower": "lower is better", "higher": "higher is better", "": ""}
_MARKERS = 8  # on a line
_BAR = 0.24  # inches, of a bar and the gap to the next
_PANEL = 2.6  # inches


class _Style(NamedTuple):
    """How a chart shows the heatmaps of one name."""

    colour: str
    marker: str
    line: Any
    is_first: bool


def perturbation_figure(curves: pd.DataFrame, order: str, pixels: int = 100, dark: bool = False) -> Figure:
    """Accuracy over removed pixels: a line for each method, with its 95 % interval as a band.

    RAP's line is the thickest. Absolute heatmaps have a panel of their own, in the colours of their methods. Where
    there are curves of the random order, a dotted line shows their mean over the methods.

    Args:
        curves: as in `rap_keras.benchmark.summary.Summary`.
        order: "lerf", "morf" or "random".
        pixels: how many pixels are removed per step.
        dark: for a dark page.

    Raises:
        ValueError: there are no curves of that order.
    """
    shown = curves[curves["order"] == order]
    if shown.empty:
        there = ", ".join(dict.fromkeys(curves["order"])) or "none"
        raise ValueError(f"there are no curves of order {order!r}; there are: {there}")
    random = pd.DataFrame() if METRICS[order].is_shared else curves[curves["order"] == "random"]
    with _page(dark):
        return _curves(shown, random, METRICS[order], pixels, dark)


def bar_chart(summary: Summary, dark: bool = False) -> Figure:
    """The main figures as bars with their 95 % intervals: a panel for each figure, a bar for each method.

    Args:
        summary: of a benchmark.
        dark: for a dark page.

    Raises:
        ValueError: the summary has no main figures.
    """
    panels = main_rows(summary)
    if not panels:
        raise ValueError("the summary has no figures to show: no image was used")
    with _page(dark):
        return _bars(panels, dark)


def _curves(shown: pd.DataFrame, random: pd.DataFrame, metric: Metric, pixels: int, dark: bool) -> Figure:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(shown["method"]))
    absolute = [name for name in names if kinds.is_absolute(name)]
    panels = {"Heatmaps with their sign": [name for name in names if name not in absolute]}
    if absolute:
        beside = [name for name in names if name in ("rap", *absolute, kinds.CONTROL)]
        panels["Absolute heatmaps, and RAP"] = beside
    styles = _styles(names, dark)
    figure = Figure(figsize=(4.2 + 3.8 * len(panels), 4.6), dpi=150, layout="constrained")
    handles: dict[str, Any] = dict.fromkeys(map(kinds.title, names))
    for axes, (heading, chosen) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        for name in chosen:
            handles[kinds.title(name)] = _curve(axes, shown[shown["method"] == name], pixels, styles[name])
        if not random.empty:
            mean = random.groupby("step")["accuracy"].mean()
            dotted = {"label": "random order", "color": _GREY, "linestyle": ":", "zorder": 1}
            (handles["random order"],) = axes.plot(pixels * mean.index, 100 * mean, **dotted)
        axes.set(xlabel="pixels removed", ylim=(-2, 102))
        axes.set_title(heading, fontsize=9)
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("still classified as before, %")
    better = _BETTER[metric.main.better]
    figure.suptitle(metric.heading + (f": {better}" if better else ""), fontsize=10)
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def _curve(axes: Axes, curve: pd.DataFrame, pixels: int, style: _Style) -> Line2D:
    """Draws a curve with its band; the markers of an absolute heatmap are not filled."""
    name = curve["method"].iat[0]
    removed = pixels * curve["step"]
    low, high = 100 * curve["low"], 100 * curve["high"]
    axes.fill_between(removed, low, high, color=style.colour, alpha=0.13, linewidth=0, zorder=1)
    (line,) = axes.plot(
        removed,
        100 * curve["accuracy"],
        label=kinds.title(name),
        color=style.colour,
        marker=style.marker,
        markersize=7 if style.is_first else 5,
        markevery=max(1, len(curve) // _MARKERS),
        markerfacecolor=axes.get_facecolor() if kinds.is_absolute(name) else style.colour,
        linewidth=3 if style.is_first else 1.3,
        linestyle=style.line,
        zorder=3 if style.is_first else 2,
    )
    return line


def _bars(panels: list[Row], dark: bool) -> Figure:
    from matplotlib.figure import Figure

    names = list(panels[0].values.index)
    styles = _styles(names, dark)
    figure = Figure(figsize=(2 + _PANEL * len(panels), 1 + _BAR * len(names)), dpi=150, layout="constrained")
    for number, (panel, axes) in enumerate(zip(panels, figure.subplots(1, len(panels), squeeze=False)[0])):
        found = panel.values
        places = range(len(names))
        bars = axes.barh(places, found["value"], height=0.74, color=[styles[name].colour for name in names])
        for bar, name in zip(bars, names):
            if kinds.is_absolute(name):
                bar.set(hatch="////", edgecolor=figure.get_facecolor(), linewidth=0)
        # A halo, as a bar may have the colour of the interval.
        for width, colour in ((3.6, figure.get_facecolor()), (1.4, _ON_DARK["#000000"] if dark else "#000000")):
            axes.hlines(places, found["low"], found["high"], color=colour, linewidth=width, zorder=3)
        axes.set_yticks(places, [kinds.title(name) for name in names] if number == 0 else [""] * len(names))
        axes.set(ylim=(len(names) - 0.4, -0.6))
        axes.set_title(panel.meaning[0], fontsize=10)
        axes.set_xlabel(_BETTER[panel.figure.better], fontsize=9)
        axes.tick_params(axis="both", labelsize=9)
        axes.tick_params(axis="y", length=0)
        axes.grid(alpha=0.3, axis="x")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def _page(dark: bool) -> Any:
    """The settings of matplotlib for the page."""
    import matplotlib

    return matplotlib.rc_context(_DARK if dark else {})


def _styles(names: Iterable[str], dark: bool) -> dict[str, _Style]:
    """A style for each name; methods that are not in TITLES get the colours in turn."""
    others = iter(_STYLES)
    known = dict(_OF_METHOD)
    found: dict[str, _Style] = {}
    for name in names:
        if name == kinds.CONTROL:
            found[name] = _Style(_GREY, "", "--", False)
            continue
        method = kinds.signed_of(name)
        if method not in known:
            known[method] = next(others, _STYLES[-1])
        colour, marker = known[method]
        dashes = "-" if method in _OF_METHOD else "-."
        line = (0, (4, 1.5)) if kinds.is_absolute(name) else dashes
        found[name] = _Style(_ON_DARK.get(colour, colour) if dark else colour, marker, line, name == "rap")
    return found
