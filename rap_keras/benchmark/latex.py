"""The table of a benchmark in LaTeX."""

from __future__ import annotations

from collections.abc import Iterator

from rap_keras.benchmark import tables
from rap_keras.benchmark.published import SOURCE
from rap_keras.benchmark.summary import Summary

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


def latex(summary: Summary) -> str:
    r"""The table and its notes in LaTeX, to be read with \input; needs the package booktabs."""
    return "\n".join(_latex(summary)) + "\n"


def escaped(text: str) -> str:
    """Text escaped for LaTeX; line breaks and control characters become spaces."""
    printable = "".join(char if char.isprintable() else " " for char in text)
    return "".join(_LATEX.get(char, char) for char in printable)


def _latex(summary: Summary) -> Iterator[str]:
    columns = [escaped(name) for name in tables.methods(summary)]
    yield "% Needs \\usepackage{booktabs,graphicx}; file names in non-Latin scripts need XeLaTeX or LuaLaTeX."
    yield r"\begin{table*}"
    yield r"\centering\scriptsize\setlength{\tabcolsep}{3pt}"
    # Many methods are too wide for a page.
    yield r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
    yield rf"\begin{{tabular}}{{l{'c' * len(columns)}}}"
    yield r"\toprule"
    yield " & ".join(["", *columns]) + r" \\"
    group = ""
    for row in tables.rows(summary):
        if row.group != group:
            group = row.group
            yield r"\midrule"
            yield rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{escaped(group)}}}}} \\"
        values = (escaped(c.value) for c in row.cells)
        bold = (rf"\textbf{{{v}}}" if c.best else v for v, c in zip(values, row.cells))
        yield " & ".join([escaped(row.label + tables.arrow(row.better)), *bold]) + r" \\"
        if any(c.interval for c in row.cells):
            small = (rf"{{\tiny {escaped(c.interval)}}}" if c.interval else "" for c in row.cells)
            yield " & ".join(["", *small]) + r" \\"
    yield from (r"\bottomrule", r"\end{tabular}}", "")
    yield r"\begin{flushleft}"
    yield from (escaped(note) + r"\par" for note in tables.notes(summary))
    yield r"\end{flushleft}"
    beside = tables.published(summary)
    if beside:
        lines = [" & ".join(map(escaped, row)) + r" \\" for row in beside]
        yield from ("", escaped(f"mIOU in percent, beside the paper's ({SOURCE}):"), r"\par\smallskip")
        yield rf"\begin{{tabular}}{{l{'c' * (len(beside[0]) - 1)}}}"
        yield from (r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}")
    yield r"\end{table*}"
