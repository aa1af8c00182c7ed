"""Executes the notebooks and writes their outputs into them: `python notebooks/make_outputs.py [NOTEBOOK ...]`.

Needs `pip install ".[notebooks]"`. The committed outputs are made without iNNvestigate. Progress bars and
messages of other packages are left out. Pictures keep 6 of the 8 bits of each colour, which looks the same, so
that each file is smaller than 1 MB.
"""

from __future__ import annotations

import base64
import io
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
PICTURE = re.compile(r'<img alt="([^"]*)".* width="(\d+)" src="data:image/png;base64,([^"]+)">')


def execute(path: Path) -> None:
    """Runs a notebook from top to bottom and writes its outputs into it.

    Raises:
        CellExecutionError: a cell fails. The file stays as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as work:
        resources = {"metadata": {"path": work}}
        NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = without_stderr(cell.outputs)
    nbformat.write(notebook, path)


def without_stderr(outputs: list[Any]) -> list[Any]:
    """The outputs without progress bars and messages, and with adjacent pieces of text joined."""
    kept: list[Any] = []
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if kept and output.get("name") == kept[-1].get("name") == "stdout":
            kept[-1].text += output.text
        else:
            kept.append(light(output))
    return kept


def light(output: Any) -> Any:
    """An output with small pictures, each as image/png, which every viewer of notebooks shows."""
    data = output.get("data", {})
    picture = PICTURE.fullmatch(data.get("text/html", ""))
    if picture:
        alt, width, data["image/png"] = picture.groups()
        del data["text/html"]
        data["text/plain"] = alt
        output.metadata["image/png"] = {"width": int(width)}
    if "image/png" in data:
        data["image/png"] = smaller(data["image/png"])
    return output


def smaller(png: str) -> str:
    """A picture, in base64, with 64 shades of each colour."""
    written = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.point(lambda value: (value & 0b11111100) | (value >> 6)).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode("ascii")


if __name__ == "__main__":
    given = [Path(name) for name in sys.argv[1:]]
    for path in given or sorted(Path(__file__).parent.glob("*.ipynb")):
        started = time.perf_counter()
        execute(path)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s, {path.stat().st_size / 1e3:.0f} kB")
