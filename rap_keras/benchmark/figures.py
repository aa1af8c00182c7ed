"""Figure 7 of the RAP paper: what a network still recognises while pixels are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from rap_keras.hosts.titles import TITLES, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart, with brown for yellow, and Tol's wine; markers do
# so in grey too. In the order of TITLES.
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
_HEADINGS = {
    "lerf": "Least relevant pixels removed first: higher is better",
    "morf": "Most relevant pixels removed first: lower is better",
    "random": "Pixels removed in random order",
}
_MARKERS = 8  # on a line


def perturbation_figure(curves: pd.DataFrame, order: str, pixels: int = 100) -> Figure:
    """Accuracy over removed pixels, a line per method; RAP's is the thickest.

    Where there are curves of the random order, a dotted line has their mean over the methods, as orientation.

    Args:
        curves: as in `rap_keras.benchmark.summary.Summary`.
        order: "lerf", "morf" or "random".
        pixels: how many pixels are removed per step.

    Raises:
        ValueError: there are no curves of that order.
    """
    shown = curves[curves["order"] == order]
    if shown.empty:
        there = ", ".join(dict.fromkeys(curves["order"])) or "none"
        raise ValueError(f"there are no curves of order {order!r}; there are: {there}")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    others = iter(_STYLES)
    for method, line in shown.groupby("method", sort=False):
        colour, marker = _OF_METHOD.get(method) or next(others, _STYLES[-1])
        first = method == "rap"
        axes.plot(
            pixels * line["step"],
            100 * line["accuracy"],
            label=title(method),
            color=colour,
            marker=marker,
            markersize=7 if first else 5,
            markevery=max(1, len(line) // _MARKERS),
            linewidth=3 if first else 1.3,
            linestyle="-" if method in _OF_METHOD else "--",
            zorder=3 if first else 2,
        )
    random = curves[curves["order"] == "random"].groupby("step")["accuracy"].mean()
    if order != "random" and not random.empty:
        axes.plot(pixels * random.index, 100 * random, label="random order", color="0.45", linestyle=":", zorder=1)
    axes.set(xlabel="pixels removed", ylabel="still classified as before, %", ylim=(-2, 102))
    axes.set_title(_HEADINGS.get(order, order), fontsize=10)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure
