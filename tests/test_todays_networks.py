"""A few of the networks of docs/networks.md, chosen for what is in them; docs/make_networks.py tries all."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from host import KERAS_3

if not KERAS_3:
    pytest.skip("these networks are written for Keras 3", allow_module_level=True)

DOCS = str(Path(__file__).parent.parent / "docs")
pytestmark = pytest.mark.usefixtures("as_built")


@pytest.fixture
def program(monkeypatch):
    pytest.importorskip("keras_hub")
    monkeypatch.syspath_prepend(DOCS)
    yield importlib.import_module("make_networks")
    for name in ("make_networks", "networks_of_hub", "texts_of_hub", "networks_of_keras_io", "layers_of_keras_io"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name",
    [
        "BertTextClassifier",  # tokens, masks and places of any length
        pytest.param("ViT", marks=pytest.mark.slow),  # patches, places from an embedding, attention
        pytest.param("FNet on text", marks=pytest.mark.slow),  # Fourier transforms of any length
        pytest.param("DeiTImageClassifier", marks=pytest.mark.slow),  # None, an empty tensor, a tuple
        pytest.param("CLIPTextEncoder", marks=pytest.mark.slow),  # causal attention
    ],
)
def test_all_methods_are_right(program, name):
    """The sum of RAP equals the logit, and the gradient that of `tf.GradientTape`: "yes" in the table."""
    (build,) = [networks[name] for networks in program.groups().values() if name in networks]
    found, reasons = program.cells(build)
    assert set(found.values()) <= {"yes", "no attention"}, reasons
    assert found["rap"] == found["gradient"] == "yes"


def test_the_page_has_every_network_and_says_why_some_are_refused(program):
    lines = program.PAGE.read_text(encoding="utf-8").splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    for heading, networks in program.groups().items():
        known = [rows[name] for name in networks]
        taken = [line for line in known if "refused" not in line and "**" not in line]
        assert len(taken) >= 0.9 * len(known) or heading.endswith("kinds of input"), heading
        for line in known:
            if "refused" in line:
                assert re.search("layer|operation|sample", line.split("|")[-2]), line
