"""The outcome of a benchmark as files: tables, curves, figures, and one page with all of it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rap_keras.benchmark import tables, whole_file
from rap_keras.benchmark.figures import perturbation_figure
from rap_keras.benchmark.latex import latex
from rap_keras.benchmark.published import SOURCE
from rap_keras.benchmark.summary import Summary

_NAMED = 100  # images named on the page, per reason
_ALT = {
    "lerf": "Accuracy while the least relevant pixels are removed first",
    "morf": "Accuracy while the most relevant pixels are removed first",
    "random": "Accuracy while pixels are removed in random order",
}


class _Picture(NamedTuple):
    alt: str
    data: str  # base64 of a PNG


def write(
    output: Path, summary: Summary, manifest: Mapping[str, Any], grids: Sequence[Path] = (), pixels: int = 100
) -> list[Path]:
    """Writes the outcome of a benchmark into a folder, and returns the files.

    table.csv, table.md, table.tex, left_out.csv (a row per image), curves.csv and fig7-ORDER.png (where there are
    curves), and report.html, which needs no other file. Numbers in CSV files have all digits. A file is replaced
    as a whole, so that one that is there is complete.

    Args:
        output: the folder; it is made if it is not there.
        summary: the summary.
        manifest: what made the results: versions, options, machine. Values may be mappings and lists.
        grids: PNG files with photos and heatmaps, to be part of the page.
        pixels: how many pixels were removed per step of the curves.

    Raises:
        OSError: a file cannot be written, or a grid cannot be read.
    """
    output.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {
        "table.csv": _csv(summary.table),
        "table.md": tables.markdown(summary).encode(),
        "table.tex": latex(summary).encode(),
        "left_out.csv": _csv(_one_by_one(summary.left_out)),
    }
    figures = {}
    if len(summary.curves):
        files["curves.csv"] = _csv(summary.curves)
        orders = list(dict.fromkeys(summary.curves["order"]))
        # The random order is a line in the others' figures, and has one of its own only without them.
        for order in [order for order in orders if order != "random"] or orders:
            figures[order] = _png(summary, order, pixels)
            files[f"fig7-{order}.png"] = figures[order]
    pictures = [_Picture(_ALT.get(order, order), _base64(data)) for order, data in figures.items()]
    examples = [_Picture(f"Photos and heatmaps, {path.stem}", _base64(path.read_bytes())) for path in grids]
    files["report.html"] = _page(summary, manifest, pictures, examples).encode()
    for name, data in files.items():
        whole_file.write(output / name, data)
    return [output / name for name in files]


def _page(summary: Summary, manifest: Mapping[str, Any], figures: list[_Picture], examples: list[_Picture]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        summary=summary,
        methods=tables.methods(summary),
        rows=tables.rows(summary),
        arrow=tables.arrow,
        notes=tables.notes(summary),
        published=tables.published(summary),
        source=SOURCE,
        figures=figures,
        examples=examples,
        left_out=[(what, len(names), tables.shortened(names, _NAMED)) for what, names in tables.left_out(summary)],
        manifest=list(_flat(manifest)),
    )


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as names, joined by dots, and texts."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, (list, tuple)):
        plain = all(not isinstance(value, (Mapping, list, tuple)) for value in values)
        yield name, ", ".join(map(str, values)) if plain else json.dumps(values, default=str, ensure_ascii=False)
    else:
        yield name, str(values)


def _one_by_one(left_out: pd.DataFrame) -> pd.DataFrame:
    """A row for each image that was left out."""
    return left_out.drop(columns="images").explode("names").rename(columns={"names": "image"})


def _csv(table: pd.DataFrame) -> bytes:
    # Without a float format pandas writes the shortest digits that give the same float again.
    return table.to_csv(index=False, lineterminator="\n").encode()


def _png(summary: Summary, order: str, pixels: int) -> bytes:
    file = io.BytesIO()
    perturbation_figure(summary.curves, order, pixels).savefig(file, format="png")
    return file.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
