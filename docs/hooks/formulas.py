"""Turns the formulas of the pages into MathML while the site is built: a browser draws them without a script.

A page has formulas as a Git host shows them: `$...$` in a line, or a fenced block named "math".
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex makes of formulas with its option "generic".
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.S)


def on_page_content(content: str, **_: Any) -> str:
    """The page with its formulas as MathML."""
    return _FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    kind, latex = found.groups()
    # Else it is not said which bar opens. The pages cannot write it like this: a bar ends a cell of a table.
    latex = html.unescape(latex).strip().replace(r"\lvert", r"\left|").replace(r"\rvert", r"\right|")
    formula = convert(latex, display="inline" if kind == "span" else "block")
    if "\\" in formula:
        raise ValueError(f"this formula has a command that latex2mathml does not know: {latex}")
    return formula if kind == "span" else f'<div class="formula">{formula}</div>'
