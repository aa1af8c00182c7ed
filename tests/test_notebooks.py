from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

nbformat = pytest.importorskip("nbformat", reason="needs the extra notebooks")
NotebookClient = pytest.importorskip("nbclient", reason="needs the extra notebooks").NotebookClient
install = pytest.importorskip("ipykernel.kernelspec", reason="needs the extra notebooks").install

ROOT = Path(__file__).resolve().parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 180  # for a single cell; none takes nearly as long

# A path counts, unless a folder of that name contains another package: a virtual environment within a clone.
OURS = re.compile(r"rap_keras(?![\\/].*site-packages)|ipykernel_\d+[\\/].*Warning")

notebooks = pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PATHS])


def module(path: str):
    """A module of this project that is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def code_of(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook) -> list:
    return [output for cell in code_of(notebook) for output in cell.outputs]


def text_of(output) -> str:
    """All that can be read of an output, without its pictures."""
    data = output.get("data", {})
    found = [output.get("text", ""), *(value for kind, value in data.items() if kind.startswith("text/"))]
    return re.sub(r"base64,[\w+/=]+", "", "".join(found))


def stderr(notebook) -> str:
    return "".join(output.text for output in outputs_of(notebook) if output.get("name") == "stderr")


def png(array) -> str:
    written = io.BytesIO()
    Image.fromarray(array).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


@notebooks
def test_begins_as_it_should(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    title, start = notebook.cells[:2]
    assert title.cell_type == "markdown"
    assert title.source.startswith("# ")
    assert "**What it takes:**" in title.source
    assert start.source == nbformat.read(PATHS[0], as_version=4).cells[1].source
    assert 'if importlib.util.find_spec("rap_keras") is None:\n    %pip install -q ".."\n' in start.source
    with_innvestigate, without = start.source.split("if WITH_INNVESTIGATE:")[1].split("else:")
    assert "tf.compat.v1.disable_eager_execution()" in with_innvestigate
    assert "create_analyzer = innvestigate.create_analyzer" in with_innvestigate
    assert without.strip() == "create_analyzer = rap_keras.create_analyzer"


@notebooks
def test_has_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 1e6
    assert [cell.execution_count for cell in code_of(notebook)] == list(range(1, len(code_of(notebook)) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs_of(notebook))
    for output in outputs_of(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        # Not every viewer of notebooks shows pictures within HTML, and widgets need a kernel that runs.
        assert "base64," not in output.get("data", {}).get("text/html", "")
        assert not any("widget" in kind for kind in output.get("data", {}))
        assert not re.search(r"\r|Warning|(/home|/root|/tmp|/Users|[A-Z]:\\)", text_of(output)), text_of(output)
        assert str(ROOT) not in text_of(output)


@pytest.mark.slow
@notebooks
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    # A kernel of the Python that runs the tests, whatever "python3" is on this machine.
    install(prefix=str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter" / "share" / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    work = tmp_path / "work"
    work.mkdir()
    notebook = nbformat.read(path, as_version=4)
    for cell in code_of(notebook):
        cell.outputs, cell.execution_count = [], None
    # Raises CellExecutionError where a cell does.
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(work)}}).execute()
    assert not OURS.search(stderr(notebook)), stderr(notebook)
    assert all(cell.execution_count for cell in code_of(notebook))


def test_a_warning_of_ours_is_recognised():
    venv = "/home/a/rap_keras/venv/lib/python3.11/site-packages"
    for path in ("/home/a/rap_keras/plan.py", f"{venv}/rap_keras/plan.py", "/home/a/ipykernel_12/345.py"):
        assert OURS.search(f"1 of 2\n{path}:156: UserWarning: it stays\n  warnings.warn(\n")
    assert OURS.search("UserWarning: rap_keras has no rule")
    assert not OURS.search(f"{venv}/keras/a.py:1: UserWarning: old\n")


def test_outputs_are_made_light():
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    colours[0, 0], colours[0, 1] = 255, 0
    make = nbformat.v4.new_output
    html = f'<img alt="RAP" style="max-width:100%" width="4" src="data:image/png;base64,{png(colours)}">'
    parts = (("stdout", "a"), ("stderr", "50%"), ("stdout", "b"))
    stream = [make("stream", name=name, text=text) for name, text in parts]
    text, picture = module("notebooks/make_outputs.py").without_stderr(
        [*stream, make("display_data", {"text/html": html, "text/plain": "<HTML object>"})]
    )
    assert (text.name, text.text) == ("stdout", "ab")
    assert sorted(picture.data) == ["image/png", "text/plain"]
    assert picture.data["text/plain"] == "RAP"
    assert picture.metadata == {"image/png": {"width": 4}}
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.data["image/png"]))))
    np.testing.assert_allclose(found.astype(int), colours, atol=3)
    assert found[0, 0].tolist() == [255] * 3
    assert found[0, 1].tolist() == [0] * 3
    assert len(np.unique(found)) <= 64


def test_page_on_the_site():
    make = nbformat.v4
    looks = "<style scoped>\n  td {}\n</style>\n"
    table = f'<div>\n{looks}<table border="1" class="dataframe"><td>1</td></table>\n</div>'
    picture = png(np.zeros((1, 1, 3), np.uint8))
    outputs = [
        make.new_output("stream", text="1 < 2\n"),
        make.new_output("display_data", {"image/png": picture}, metadata={"image/png": {"width": 9}}),
        make.new_output("execute_result", {"text/html": table, "text/plain": "1"}),
        make.new_output("execute_result", {"text/plain": "3"}),
    ]
    cells = [
        make.new_markdown_cell("# Title\n\nSee [the second](2-b.ipynb)."),
        make.new_code_cell("x = 1", outputs=outputs),
    ]
    notebook = json.loads(nbformat.writes(make.new_notebook(cells=cells)))
    page, pictures = module("docs/hooks/notebooks.py").as_page(notebook, "1-a")
    assert page == (
        "# Title\n\n[Download this notebook](1-a.ipynb)\n\nSee [the second](2-b.md).\n\n"
        "````python\nx = 1\n````\n\n"
        "````{ .text .no-copy }\n1 < 2\n````\n\n"
        '![Figure of the code above](1-a-1.png){ width="9" }\n\n'
        "<div>\n<table><td>1</td></table>\n</div>\n\n"
        "````{ .text .no-copy }\n3\n````\n"
    )
    assert pictures == {"1-a-1.png": base64.b64decode(picture)}
