"""The outcome of a benchmark as files: tables, curves, charts, examples, and one page with all of it."""

from __future__ import annotations

import base64
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np
import pandas as pd

from rap_keras.basics import whole_file
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark import tables
from rap_keras.benchmark.evaluate import Benchmark, heatmaps
from rap_keras.benchmark.figures import bar_chart, perturbation_figure
from rap_keras.benchmark.published import to_cite
from rap_keras.benchmark.summary import Summary
from rap_keras.datasets import images
from rap_keras.hosts.titles import title
from rap_keras.metrics.records import METRICS
from rap_keras.visualization import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMED = 100  # images named on the page, for each reason
_BARS = "main-figures.png"
_LINKED = {
    "table.csv": ("all figures with all digits", "text/csv"),
    "table.tex": ("the table in LaTeX", "application/x-tex"),
    "curves.csv": ("the curves", "text/csv"),
    "times.csv": ("the times", "text/csv"),
}
"""The files that the page has in it: what they are, and their type."""


_ROWS = 5  # of the picture of examples
_DPI = 160


class _Picture(NamedTuple):
    alt: str
    light: str  # base64 of a PNG
    dark: str  # the same for a dark page, "" where there is none


def write(
    output: Path,
    summary: Summary,
    manifest: Mapping[str, Any],
    grids: Mapping[Path, str] | None = None,
    pixels: int = 100,
) -> list[Path]:
    """Writes the outcome of a benchmark into a folder, and returns the files.

    These are table.csv, table.md, table.tex, times.csv, left_out.csv (a row for each image), main-figures.png,
    curves.csv and fig7-ORDER.png (where there are curves), and report.html, which needs no other file. Numbers in
    CSV files have all digits. A file is replaced as a whole: one that is there is complete.

    Args:
        output: the folder; it is made if it does not exist.
        summary: the summary.
        manifest: what made the results: versions, options, machine. Values may be mappings and lists.
        grids: PNG files with photos and heatmaps, to be part of the page, and what each of them shows.
        pixels: how many pixels were removed per step of the curves.

    Raises:
        OSError: a file cannot be written, or a grid cannot be read.
    """
    files: dict[str, bytes] = {
        "table.csv": _csv(summary.table),
        "table.md": tables.markdown(summary).encode(),
        "table.tex": tables.latex(summary).encode(),
        "left_out.csv": _csv(
            summary.left_out.drop(columns="images").explode("names").rename(columns={"names": "image"})
        ),
        "times.csv": _csv(summary.times),
    }
    charts: dict[str, tuple[str, Callable[..., Figure]]] = {}
    if tables.main_rows(summary):
        charts[_BARS] = "The main figures of each method", partial(bar_chart, summary)
    if len(summary.curves):
        files["curves.csv"] = _csv(summary.curves)
        orders = list(dict.fromkeys(summary.curves["order"]))
        # The random order is a line in the others' figures, and has a figure of its own only without them.
        for order in [order for order in orders if not METRICS[order].is_shared] or orders:
            draw_curves = partial(perturbation_figure, summary.curves, order, pixels)
            charts[f"fig7-{order}.png"] = METRICS[order].curve, draw_curves
    pictures = {}
    for name, (alt, draw_chart) in charts.items():
        files[name] = _png(draw_chart())
        pictures[name] = _Picture(alt, _base64(files[name]), _base64(_png(draw_chart(dark=True))))
    examples = [_Picture(shown, _base64(path.read_bytes()), "") for path, shown in (grids or {}).items()]
    files["report.html"] = _page(summary, manifest, pictures, examples, files).encode()
    for name, data in files.items():
        whole_file.write(output / name, data)
    return [output / name for name in files]


def _page(
    summary: Summary,
    manifest: Mapping[str, Any],
    pictures: dict[str, _Picture],
    examples: list[_Picture],
    files: dict[str, bytes],
) -> str:
    return tables.filled(
        "report.html",
        summary,
        control=kinds.CONTROL,
        main=[*tables.main_rows(summary), *tables.time_row(summary)],
        kinds=kinds.explained(tables.names(summary)),
        bars=pictures.get(_BARS),
        reading=tables.reading(summary),
        figures=[picture for name, picture in pictures.items() if name != _BARS],
        examples=examples,
        images=next(tables.images_of(summary)),
        left_out=[(what, len(names), tables.shortened(names, _NAMED)) for what, names in tables.left_out(summary)],
        links=[(name, *_LINKED[name], _base64(files[name])) for name in _LINKED if name in files],
        manifest=list(_flat(manifest)),
        to_cite=to_cite(manifest),
    )


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as names, joined by dots, and texts; what is None is left out."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, (list, tuple)):
        plain = all(not isinstance(value, (Mapping, list, tuple)) for value in values)
        yield name, ", ".join(map(str, values)) if plain else json.dumps(values, default=str, ensure_ascii=False)
    elif values is not None:
        yield name, str(values)


def _csv(table: pd.DataFrame) -> bytes:
    # Without a float format pandas writes the shortest digits that give the same float again.
    return table.to_csv(index=False, lineterminator="\n").encode()


def _png(figure: Figure, dpi: float | None = None) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi or figure.dpi)
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class Chosen(NamedTuple):
    """An image, by its name in the data set, and the class that is explained."""

    image: str
    target: int


def choose(results: Iterable[pd.DataFrame], pairs: bool) -> list[Chosen]:
    """The first used image of each of some classes; of pairs the first used images, with both their classes."""
    chosen: dict[Any, Chosen] = {}
    wanted = 2 * (_ROWS // 2) if pairs else _ROWS
    for rows in results:
        for row in rows[rows["status"] == "used"].itertuples():
            chosen.setdefault(row.image if pairs else row.target, Chosen(row.image, int(row.target)))
        if len(chosen) >= wanted:
            break
    return list(chosen.values())[:wanted]


def draw(benchmark: Benchmark, chosen: list[Chosen]) -> bytes:
    """Photos and heatmaps of all methods side by side, as in the paper's Figures 5 and 6; a PNG."""
    pairs = benchmark.dataset.pairs
    examples = [benchmark.dataset.read(one.image) for one in chosen]
    photos = [images.fit(example.photo, benchmark.size, benchmark.short_side) for example in examples]
    targets = np.array([one.target for one in chosen]) if pairs else None
    x = images.preprocess(photos, benchmark.preprocessing)
    maps = {}
    for method, analyzer in benchmark.analyzers.items():
        values = heatmaps(analyzer, x, targets)
        finite = np.isfinite(values).all(axis=(1, 2), keepdims=True)
        maps[title(method)] = np.where(finite, values, 0)  # a heatmap that is not finite is left white
    labels = [textwrap.fill(_label(benchmark, one), 24) for one in chosen]
    return _png(picture(maps, photos, titles=labels), _DPI)


def caption(benchmark: Benchmark, chosen: list[Chosen]) -> str:
    """What the picture shows, in words."""
    labels = [_label(benchmark, one) for one in chosen]
    which = (label if label == one.image else f"{label} ({one.image})" for label, one in zip(labels, chosen))
    return f"Photos and heatmaps of all methods: {', '.join(which)}"


def _label(benchmark: Benchmark, one: Chosen) -> str:
    """The name of the class; the name of the image where classes have none."""
    names = benchmark.dataset.class_names
    if names is None:
        return one.image if len(one.image) <= 24 else f"...{one.image[-21:]}"
    return f"why {names[one.target]}" if benchmark.dataset.pairs else names[one.target]
