"""The files of a benchmark: tables in three formats, figures and the page."""

from __future__ import annotations

import base64
import os
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rap_keras.benchmark import latex, tables
from rap_keras.benchmark.figures import perturbation_figure
from rap_keras.benchmark.published import IMAGENET_SEGMENTATION_MIOU
from rap_keras.benchmark.report import write
from rap_keras.benchmark.summary import TABLE, summarise
from rap_keras.hosts.titles import title

NASTY = "<script>a_b|50% #1 & $x^2~\\{`*</script>.jpg"
RATIOS = {"rap": 0.1, "gradient": 0.4}


def results(perturbed=True):
    rows = [
        {"image": NASTY, "status": "broken", "reason": "<b>torn</b>", "method": None, "flaw": ""},
        {"image": "c.jpg", "status": "misclassified", "reason": "", "method": None, "flaw": ""},
    ]
    for image in ("a.jpg", "b.jpg"):
        for method, ratio in RATIOS.items():
            row = {"image": image, "status": "used", "reason": "", "method": method, "flaw": ""}
            row.update(outside_inside_all=-ratio, outside_inside_pos=ratio, mass_inside=1 / 3)
            row.update(
                {
                    f"{c}_{case}": n
                    for case in ("pos", "signed")
                    for c, n in zip(("tp", "fp", "fn", "tn"), (3, 1, 0, 4))
                }
            )
            if perturbed:
                for order in ("lerf", "morf", "random"):
                    row.update({f"{order}_correct": [1.0, 1 - ratio, 0.0], f"{order}_logit": [3.0, 2.0, 1.0]})
            rows.append(row)
    return [pd.DataFrame(rows)]


def summary(dataset="voc2012", perturbed=True):
    return summarise(results(perturbed), "vgg16", dataset)


def row_of(text, start):
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line


class Page(HTMLParser):
    """What a browser would make of a page: the tags, their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_markdown():
    text = tables.markdown(summary())
    assert text.startswith("| | RAP | Gradient |\n|---|---|---|\n")
    assert row_of(text, "| outside-inside ratio, POS, median") == (
        "| outside-inside ratio, POS, median ↓ | **0.100** [0.100, 0.100] | 0.400 [0.400, 0.400] |"
    )
    assert row_of(text, "| outside-inside ratio, POS, mean") == (
        "| outside-inside ratio, POS, mean ↓ | **0.100** | 0.400 |"
    )
    # Of equals both are the best; ALL and the random order have no best.
    assert row_of(text, "| mass inside").count("**0.333**") == 2
    assert row_of(text, "| mIOU, POS").count("**0.775** [0.775, 0.775]") == 2
    assert "**" not in row_of(text, "| outside-inside ratio, ALL, median")
    assert "\N{MINUS SIGN}0.100" in row_of(text, "| outside-inside ratio, ALL, median")
    assert "**" not in row_of(text, "| AOPC, logit |")
    left = "| accuracy left, mean of steps"
    assert row_of(text, f"{left} ↑").startswith(f"{left} ↑ | **0.450** [0.450, 0.450] | 0.300")
    assert row_of(text, f"{left} ↓").endswith("| **0.300** [0.300, 0.300] |")
    assert "vgg16 on voc2012: 4 images, 2 of them used." in text
    assert "Misclassified, so not used, 1 image." in text
    assert "ALL tells little about RAP" in text
    assert "RAP 62.23" in text
    assert "<script>" not in text
    assert all(line.count("|") == 4 for line in text.splitlines() if line.startswith("|"))


def test_the_paper_is_beside_its_own_data_set_only():
    assert tables.published(summary("voc2012")) == []
    headings, *rows = tables.published(summary("imagenet-seg"))
    assert headings == ["", "paper", "mIOU, POS", "mIOU, signed", "mIOU, pooled, POS", "mIOU, pooled, signed"]
    assert ["RAP", "62.23", *["77.50"] * 4] in rows
    assert ["Gradient", "", *["77.50"] * 4] in rows
    assert ["DeepMask", "58.69", *[""] * 4] in rows
    assert len(rows) == 6
    assert len(IMAGENET_SEGMENTATION_MIOU) == 5
    for text in (tables.markdown(summary("imagenet-seg")), latex.latex(summary("imagenet-seg"))):
        assert "DeepSaliency" in text
        assert "1904.00605" in text
        assert "another data set" not in text


def test_latex():
    text = latex.latex(summary())
    assert r"outside-inside ratio, POS, median $\downarrow$ & \textbf{0.100} & 0.400 \\" in text
    assert r"\toprule" in text
    begun, ended = (re.findall(rf"\\{word}{{(.*?)}}", text) for word in ("begin", "end"))
    assert sorted(begun) == sorted(ended)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for line in body.splitlines():
        if line.endswith(r"\\") and not line.startswith(r"\multicolumn"):
            assert line.count("&") == 2
    escaped = (
        r"\textless{}script\textgreater{}a\_b\textbar{}50\% \#1 \& \$x\textasciicircum{}2\textasciitilde{}"
        r"\textbackslash{}\{`*\textless{}/script\textgreater{}.jpg"
    )
    assert escaped in text
    assert latex.escaped(f"{title('lrp.alpha_1_beta_0')}\n\N{MINUS SIGN}1\x07") == r"LRP $\alpha$1$\beta$0 $-$1 "


def test_files(tmp_path):
    grid = tmp_path / "grid.png"
    Image.new("RGB", (3, 2), "red").save(grid)
    output = tmp_path / "new" / "output"
    made = summary()
    files = write(output, made, {"versions": {"numpy": "1.26"}, "options": {"limit": None}}, [grid])
    assert {file.name for file in files} == {
        "table.csv",
        "table.md",
        "table.tex",
        "curves.csv",
        "left_out.csv",
        "fig7-lerf.png",
        "fig7-morf.png",
        "report.html",
    }
    assert {file.name for file in output.iterdir()} == {file.name for file in files}
    table = pd.read_csv(output / "table.csv", float_precision="round_trip")
    assert list(table.columns) == TABLE
    pd.testing.assert_frame_equal(table, made.table, check_exact=True, check_dtype=False)
    assert str(1 / 3) in (output / "table.csv").read_text()
    curves = pd.read_csv(output / "curves.csv", float_precision="round_trip")
    pd.testing.assert_frame_equal(curves, made.curves, check_exact=True, check_dtype=False)
    left = pd.read_csv(output / "left_out.csv", keep_default_na=False)
    assert list(left["image"]) == ["c.jpg", NASTY]
    with Image.open(output / "fig7-lerf.png") as figure:
        assert figure.size[0] > 800


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path):
    grid = tmp_path / "grid.png"
    Image.new("RGB", (3, 2), "red").save(grid)
    write(tmp_path, summary(), {"options": {"methods": ["rap", "<i>x</i>"]}, "machine": NASTY}, [grid])
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "b", "i", "object", "base"} & set(names)
    loads = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "srcset", "data") if key in attrs]
    assert len(loads) == 3
    for load in loads:
        assert load.startswith("data:image/png;base64,")
        assert base64.b64decode(load.partition(",")[2], validate=True).startswith(b"\x89PNG")
    assert grid.read_bytes() == base64.b64decode(loads[-1].partition(",")[2])
    assert "url(" not in source
    assert "@import" not in source
    assert not re.search(r"https?://", source)
    assert names.count("html") == 1
    assert page.text.count(NASTY) == 3  # in the note, among what was left out, in the manifest
    assert "options.methods" in page.text
    assert "rap, <i>x</i>" in page.text
    best = [attrs for tag, attrs in page.tags if tag == "span" and attrs.get("class") == "best"]
    assert len(best) == tables.markdown(summary()).count("**0") + tables.markdown(summary()).count("**1")


def test_without_curves_images_or_results(tmp_path):
    write(tmp_path / "a", summary(perturbed=False), {})
    assert not list((tmp_path / "a").glob("fig7*"))
    assert not (tmp_path / "a" / "curves.csv").exists()
    empty = summarise([], "vgg16", "voc2012")
    write(tmp_path / "b", empty, {})
    assert (tmp_path / "b" / "table.csv").read_text() == ",".join(TABLE) + "\n"
    assert "No image was used" in (tmp_path / "b" / "report.html").read_text()
    assert "0 images, 0 of them used" in (tmp_path / "b" / "table.md").read_text()


def test_the_random_order_alone_has_a_figure(tmp_path):
    rows = results()[0].drop(columns=[f"{o}_{w}" for o in ("lerf", "morf") for w in ("correct", "logit")])
    write(tmp_path, summarise([rows], "m", "d"), {})
    assert [file.name for file in tmp_path.glob("fig7*")] == ["fig7-random.png"]


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    write(tmp_path, summary(), {})
    before = (tmp_path / "table.csv").read_bytes()

    def full(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path, summary("imagenet"), {})
    monkeypatch.undo()
    assert (tmp_path / "table.csv").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_figure():
    curves = summary().curves
    axes = perturbation_figure(curves, "lerf", pixels=50).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["RAP", "Gradient", "random order"]
    assert list(lines["RAP"].get_xdata()) == [0, 50, 100]
    assert list(lines["RAP"].get_ydata()) == pytest.approx([100, 90, 0])
    assert list(lines["random order"].get_ydata()) == pytest.approx([100, 75, 0])
    assert lines["RAP"].get_linewidth() > 2 * lines["Gradient"].get_linewidth()
    assert len({line.get_color() for line in lines.values()}) == 3
    with pytest.raises(ValueError, match=r"no curves of order 'up'; there are: lerf, morf, random"):
        perturbation_figure(curves, "up")


def test_numbers():
    found = summary()
    found.table.loc[found.table["metric"] == "outside_inside_ratio", "mean"] = [np.nan, 1e9] * 2
    text = tables.markdown(found)
    assert row_of(text, "| outside-inside ratio, POS, mean").endswith("| **1.00e+09** | **1.00e+09** |")
    assert row_of(text, "| outside-inside ratio, ALL, mean").endswith("| \N{EN DASH} | \N{EN DASH} |")
