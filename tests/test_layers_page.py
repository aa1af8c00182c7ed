"""docs/layers.md says for every layer and operation what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from host import KERAS_3

DOCS = Path(__file__).parent.parent / "docs"


def make_layers():
    spec = importlib.util.spec_from_file_location("make_layers", DOCS / "make_layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_rule_of_every_layer():
    page = (DOCS / "layers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]\w+(?:, \w+)*) \| (.*) \|$", page, re.MULTILINE)
    written = {name: rule.split(": refused")[0] for names, rule in rows for name in names.split(", ")}
    rules = make_layers().rules()
    known = {name: rule for name, rule in rules.items() if name in written}
    assert len(known) > 90
    assert {name: written[name] for name in known} == known
    if KERAS_3:  # a newer one may have more
        assert {name for name in rules if name not in written} <= {n for n, r in rules.items() if r == "none"}


def test_the_page_has_the_rule_of_every_operation():
    page = (DOCS / "layers.md").read_text(encoding="utf-8")
    for rule, names in make_layers().operations().items():
        assert f"| {', '.join(sorted(set(names)))} | {rule} |" in page
