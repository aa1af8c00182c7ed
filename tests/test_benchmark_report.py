"""The files of a benchmark: tables in three formats, figures and the page."""

from __future__ import annotations

import base64
import os
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rap_keras import datasets, shapes
from rap_keras.benchmark import report, tables
from rap_keras.benchmark.evaluate import Benchmark
from rap_keras.benchmark.figures import bar_chart, perturbation_figure
from rap_keras.benchmark.published import IMAGENET_SEGMENTATION_MIOU
from rap_keras.benchmark.report import write
from rap_keras.benchmark.summary import TABLE, summarise
from rap_keras.hosts.titles import title
from rap_keras.metrics.records import WORDS

NASTY = "<script>a_b|50% #1 & $x^2~\\{`*</script>.jpg"
RATIOS = {"rap": 0.1, "gradient": 0.4}
ALL_KINDS = {**RATIOS, "gradient.absolute": 0.3, "random_heatmap": 1.0}


def results(perturbed=True, ratios=RATIOS):
    rows = [
        {"image": NASTY, "status": "broken", "reason": "<b>torn</b>", "method": None, "flaw": ""},
        {"image": "c.jpg", "status": "misclassified", "reason": "", "method": None, "flaw": ""},
    ]
    for image in ("a.jpg", "b.jpg"):
        for method, ratio in ratios.items():
            row = {"image": image, "status": "used", "reason": "", "method": method, "flaw": ""}
            row["seconds"] = ratio if method in RATIOS else np.nan
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


def summary(dataset="voc2012", perturbed=True, ratios=RATIOS):
    return summarise(results(perturbed, ratios), "vgg16", dataset)


def row_of(text, start):
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return line


class Page(HTMLParser):
    """What a browser would see in a page: the tags, their attributes, and the text."""

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
    # Equal values are both the best; ALL and the random order have no best.
    assert row_of(text, "| mass inside").count("**0.333**") == 2
    assert row_of(text, "| mIOU, POS").count("**0.775** [0.775, 0.775]") == 2
    assert "**" not in row_of(text, "| outside-inside ratio, ALL, median")
    assert "\N{MINUS SIGN}0.100" in row_of(text, "| outside-inside ratio, ALL, median")
    assert "**" not in row_of(text, "| AOPC, logit |")
    left = "| accuracy left, mean of steps"
    assert row_of(text, f"{left} ↑").startswith(f"{left} ↑ | **0.450** [0.450, 0.450] | 0.300")
    assert row_of(text, f"{left} ↓").endswith("| **0.300** [0.300, 0.300] |")
    assert "vgg16 on voc2012: 4 images, 2 used." in text
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
    for text in (tables.markdown(summary("imagenet-seg")), tables.latex(summary("imagenet-seg"))):
        assert "DeepSaliency" in text
        assert "1904.00605" in text
        assert "another data set" not in text


def test_latex():
    text = tables.latex(summary())
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
    assert tables.in_latex(f"{title('lrp.alpha_1_beta_0')}\n\N{MINUS SIGN}1\x07") == r"LRP $\alpha$1$\beta$0 $-$1 "


def test_files(tmp_path):
    grid = tmp_path / "grid.png"
    Image.new("RGB", (3, 2), "red").save(grid)
    output = tmp_path / "new" / "output"
    made = summary()
    files = write(output, made, {"versions": {"numpy": "1.26"}, "options": {"limit": None}}, {grid: "a grid"})
    assert {file.name for file in files} == {
        "table.csv",
        "table.md",
        "table.tex",
        "curves.csv",
        "left_out.csv",
        "times.csv",
        "main-figures.png",
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
    times = pd.read_csv(output / "times.csv", float_precision="round_trip")
    assert times.to_numpy().tolist() == [["rap", 0.1, 2], ["gradient", 0.4, 2]]
    left = pd.read_csv(output / "left_out.csv", keep_default_na=False)
    assert list(left["image"]) == ["c.jpg", NASTY]
    with Image.open(output / "fig7-lerf.png") as figure:
        assert figure.size[0] > 800


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path):
    grid = tmp_path / "grid.png"
    Image.new("RGB", (3, 2), "red").save(grid)
    about = {"options": {"methods": ["rap", "<i>x</i>"], "limit": None}, "machine": NASTY}
    write(tmp_path, summary(), about, {grid: "disc (<b>1</b>)"})
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "b", "i", "object", "base"} & set(names)
    loads = [attrs[key] for _, attrs in page.tags for key in ("src", "srcset", "data") if key in attrs]
    # The chart of the main figures and two of curves, each for light and for dark pages, and the grid.
    assert len(loads) == 7
    assert len(set(loads)) == 7
    for load in loads:
        assert load.startswith("data:image/png;base64,")
        assert base64.b64decode(load.partition(",")[2], validate=True).startswith(b"\x89PNG")
    assert grid.read_bytes() == base64.b64decode(loads[-1].partition(",")[2])
    assert "disc (<b>1</b>)" in page.text
    links = {attrs["download"]: attrs["href"] for tag, attrs in page.tags if tag == "a"}
    assert list(links) == ["table.csv", "table.tex", "curves.csv", "times.csv"]
    for name, link in links.items():
        assert link.startswith("data:")
        assert base64.b64decode(link.partition(",")[2]) == (tmp_path / name).read_bytes()
    assert "url(" not in source
    assert "@import" not in source
    assert not re.search(r"https?://", source)
    assert names.count("html") == 1
    assert page.text.count(NASTY) == 2  # among what was left out, and in the manifest
    assert "options.methods" in page.text
    assert "options.limit" not in page.text
    assert "rap, <i>x</i>" in page.text
    best = [attrs for tag, attrs in page.tags if tag == "span" and attrs.get("class") == "best"]
    in_tables = tables.markdown(summary()).count("**0") + tables.markdown(summary()).count("**1")
    in_main = 1 + 2 + 2 + 2  # the ratio of RAP; mIOU and both accuracies at the end are equal
    assert len(best) == in_tables + in_main


def test_the_page_has_a_row_for_each_method(tmp_path):
    write(tmp_path, summary(ratios=ALL_KINDS), {})
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    lines = re.findall(r"<tr[^>]*><th scope=\"row\">(.*?)</tr>", source, re.DOTALL)
    texts = [re.sub(r"<[^>]*>", " ", line).split() for line in lines]
    main = "0.100 [0.100, 0.100] 0.775 [0.775, 0.775] 0.000 [0.000, 0.000] 0.000 [0.000, 0.000]"
    assert texts[0] == ["RAP", *main.split(), "100"]
    assert texts[3][:3] == ["Random", "heatmap", "(control)"]
    # Main figures, inside and outside, masks, three orders of removal, and ALL.
    assert len(texts) == 4 * 7
    assert source.count('<tr class="control">') == 7


def test_how_to_cite(tmp_path):
    write(tmp_path / "a", summary(), {"versions": {"rap_keras": "1.2.3", "innvestigate": "2.1.2"}})
    text = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert text.count("@inproceedings{nam2020relative") == text.count("@article{alber2019innvestigate") == 1
    assert "version   = {1.2.3}" in text
    write(tmp_path / "b", summary(), {"versions": {"rap_keras": "1.2.3", "innvestigate": "not installed"}})
    assert "@article" not in (tmp_path / "b" / "report.html").read_text(encoding="utf-8")


def test_plain_text():
    made = summary(ratios=ALL_KINDS)
    text = tables.plain(made)
    lines = text.splitlines()
    assert not any("|" in line for line in lines[:5])
    assert max(map(len, lines)) <= 100
    assert re.split(" {2,}", lines[0].strip()) == [
        "POS ratio ↓",
        "mIOU ↑",
        "accuracy left ↑",
        "with morf ↓",
        "ms per image",
    ]
    assert lines[1].split() == ["RAP", "0.100", "0.775", "0.000", "0.000", "100"]
    assert lines[2].split() == ["Gradient", "0.400", "0.775", "0.000", "0.000", "400"]
    assert lines[3].split() == ["Gradient,", "absolute", "0.300", "0.775", "0.000", "0.000"]
    assert lines[4].startswith("Random heatmap (control) ")
    assert "mIOU: overlap" in text
    assert "vgg16 on voc2012: 4 images, 2 used." in text
    assert "Not used, broken, 1 image:" in " ".join(text.split())
    assert "No image was used" in tables.plain(summarise([], "vgg16", "voc2012"))


def test_without_curves_images_or_results(tmp_path):
    write(tmp_path / "a", summary(perturbed=False), {})
    assert not list((tmp_path / "a").glob("fig7*"))
    assert not (tmp_path / "a" / "curves.csv").exists()
    empty = summarise([], "vgg16", "voc2012")
    write(tmp_path / "b", empty, {})
    assert (tmp_path / "b" / "table.csv").read_text() == ",".join(TABLE) + "\n"
    assert "No image was used" in (tmp_path / "b" / "report.html").read_text()
    assert "0 images, 0 used" in (tmp_path / "b" / "table.md").read_text()


def test_the_random_order_alone_has_a_figure(tmp_path):
    rows = results()[0][[*WORDS, "random_correct", "random_logit"]]
    made = summarise([rows], "m", "d")
    assert [row.label for row in tables.main_rows(made)] == ["with random"]
    write(tmp_path, made, {})
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
    (band, _) = axes.collections
    low, high = band.get_paths()[0].get_extents().intervaly
    # With two images a share of 0.9 can be anything from a half on in a resample.
    assert (low, high) == (0, 100)
    assert {y for x, y in band.get_paths()[0].vertices if x == 50} == {50, 100}
    with pytest.raises(ValueError, match=r"no curves of order 'up'; there are: lerf, morf, random"):
        perturbation_figure(curves, "up")


def test_absolute_heatmaps_have_a_panel_of_their_own():
    curves = summary(ratios=ALL_KINDS).curves
    signed, absolute = perturbation_figure(curves, "lerf").axes
    labels = [[line.get_label() for line in axes.lines] for axes in (signed, absolute)]
    assert labels[0] == ["RAP", "Gradient", "Random heatmap (control)", "random order"]
    assert labels[1] == ["RAP", "Gradient, absolute", "Random heatmap (control)", "random order"]
    assert signed.lines[1].get_color() == absolute.lines[1].get_color()
    assert signed.lines[1].get_linestyle() != absolute.lines[1].get_linestyle()
    (legend,) = perturbation_figure(curves, "lerf").legends
    assert [text.get_text() for text in legend.texts] == [
        "RAP",
        "Gradient",
        "Gradient, absolute",
        "Random heatmap (control)",
        "random order",
    ]


@pytest.mark.parametrize("dark", [False, True])
def test_bars(dark):
    made = summary(ratios=ALL_KINDS)
    mine = (made.table["method"] == "gradient") & (made.table["metric"] == "outside_inside_ratio")
    made.table.loc[mine, ["low", "high"]] = [0.2, 0.9]
    figure = bar_chart(made, dark)
    assert [axes.get_title() for axes in figure.axes] == [
        "POS ratio",
        "mIOU",
        "accuracy left",
        "with morf",
    ]
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.1, 0.4, 0.3, 1.0])
    assert [label.get_text() for label in axes.get_yticklabels()] == [title(m) for m in RATIOS] + [
        "Gradient, absolute",
        "Random heatmap (control)",
    ]
    halo, intervals = axes.collections
    for lines in (halo, intervals):
        assert [list(ends[:, 0]) for ends in lines.get_segments()][:2] == [[0.1, 0.1], [0.2, 0.9]]
    assert (np.mean(figure.get_facecolor()[:3]) < 0.2) == dark
    assert (np.mean(matplotlib.colors.to_rgb(axes.title.get_color())) > 0.8) == dark
    assert matplotlib.rcParams["figure.facecolor"] == "white"
    with pytest.raises(ValueError, match="no figures to show: no image was used"):
        bar_chart(summarise([], "m", "d"))


def test_rows_of_the_picture_have_the_names_of_classes():
    def labels(dataset, chosen):
        made = Benchmark(None, {}, dataset, shapes.preprocess, (96, 96))
        return [report._label(made, one) for one in chosen], report.caption(made, chosen)

    disc, star = (report.Chosen(f"0000{n}", shapes.CLASSES.index(name)) for n, name in ((3, "disc"), (5, "star")))
    found, caption = labels(datasets.shapes(9), [disc, star])
    assert found == ["disc", "star"]
    assert caption == "Photos and heatmaps of all methods: disc (00003), star (00005)"
    pair = report.Chosen("00003:disc", shapes.CLASSES.index("disc"))
    assert labels(datasets.shapes_pairs(4), [pair])[0] == ["why disc"]
    own = datasets.Dataset("folder", ["a"], None, "")
    assert labels(own, [disc])[0] == ["00003"]
    named = datasets.Dataset("own", ["a"], None, "", class_names=["dog", "cat"])
    assert labels(named, [report.Chosen("a", 1)])[0] == ["cat"]
    rows = pd.DataFrame(
        {"image": ["a", "b", "c", "d"], "status": ["used", "broken", "used", "used"], "target": [2, -1, 2, 1]}
    )
    assert report.choose([rows], pairs=False) == [("a", 2), ("d", 1)]
    assert report.choose([rows], pairs=True) == [("a", 2), ("c", 2), ("d", 1)]


def test_numbers():
    found = summary()
    found.table.loc[found.table["metric"] == "outside_inside_ratio", "mean"] = [np.nan, 1e9] * 2
    text = tables.markdown(found)
    assert row_of(text, "| outside-inside ratio, POS, mean").endswith("| **1.00e+09** | **1.00e+09** |")
    assert row_of(text, "| outside-inside ratio, ALL, mean").endswith("| \N{EN DASH} | \N{EN DASH} |")
