from __future__ import annotations

import re
from pathlib import Path

import pytest
from host import PLUGIN

nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
NotebookClient = pytest.importorskip("nbclient", reason="needs the extra notebooks").NotebookClient
install = pytest.importorskip("ipykernel.kernelspec", reason="needs the extra notebooks").install

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 180  # for a single cell, which no cell comes near

# Not where a folder of that name has another package in it, as a virtual environment within a clone.
OURS = re.compile(r"rap_keras(?![\\/].*site-packages)|ipykernel_\d+[\\/].*Warning")

notebooks = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(FOLDER.glob("*.ipynb"))]
)


def stderr(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


@notebooks
def test_is_committed_as_it_should_be(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert 'pip install ".[innvestigate,notebooks]"' in first.source
    assert "**What it takes:**" in first.source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [], f"output is committed: {cell.source}"
            assert cell.execution_count is None


@pytest.mark.slow
@notebooks
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    if "innvestigate" in path.stem and not PLUGIN:
        pytest.skip("about code that has iNNvestigate in it")
    # A kernel of the Python that runs the tests, whatever "python3" is on this machine.
    install(prefix=str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter" / "share" / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("RAP_KERAS_SHARED", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(path, as_version=4)
    # Raises CellExecutionError where a cell does.
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(work)}}).execute()
    assert not OURS.search(stderr(notebook)), stderr(notebook)
    ran = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert all(ran)


def test_a_warning_of_ours_is_recognised():
    venv = "/home/a/rap_keras/venv/lib/python3.11/site-packages"
    for path in ("/home/a/rap_keras/plan.py", f"{venv}/rap_keras/plan.py", "/home/a/ipykernel_12/345.py"):
        assert OURS.search(f"1 of 2\n{path}:156: UserWarning: it stays\n  warnings.warn(\n")
    assert OURS.search("UserWarning: rap_keras has no rule")
    assert not OURS.search(f"{venv}/keras/a.py:1: UserWarning: old\n")
