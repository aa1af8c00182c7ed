"""Makes pages of the notebooks while the site is built: text, code and the outputs that they have.

Nothing is executed, and the pages need no script. The entry `notebooks/` of the navigation becomes a list of all
notebooks.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent.parent / "notebooks"
# pandas styles its tables, and with them those of the whole page.
_LOOKS = re.compile(r"<style scoped>.*?</style>\n?| border=\"1\" class=\"dataframe\"", re.S)


def on_config(config: Any) -> None:
    """Lists the notebooks in the navigation."""
    for entry in config.nav:
        for name, target in entry.items():
            if target == "notebooks/":
                entry[name] = [f"notebooks/{path.stem}.md" for path in _paths()]


def on_files(files: Any, config: Any) -> None:
    """Adds a page for each notebook, its pictures, and the notebook itself."""
    from mkdocs.structure.files import File

    for path in _paths():
        page, pictures = as_page(json.loads(path.read_text("utf-8")), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))


def as_page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by the names of their files.

    Args:
        notebook: as JSON has it.
        name: of its file, without .ipynb.
    """
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(re.sub(r"(\]\([\w-]+)\.ipynb\)", r"\1.md)", source))
            continue
        parts.append(f"````python\n{source}\n````")
        for output in cell["outputs"]:
            data = {kind: "".join(value) for kind, value in output.get("data", {}).items()}
            if "image/png" in data:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(data["image/png"])
                width = output["metadata"].get("image/png", {}).get("width")
                parts.append(f"![Figure of the code above]({file})" + (f'{{ width="{width}" }}' if width else ""))
            elif "text/html" in data:
                parts.append(_LOOKS.sub("", data["text/html"]))
            else:
                text = "".join(output.get("text", "")) or data["text/plain"]
                parts.append(f"````{{ .text .no-copy }}\n{text.rstrip()}\n````")
    title, _, rest = parts[0].partition("\n")
    parts[0] = f"{title}\n\n[Download this notebook]({name}.ipynb)\n{rest}"
    return "\n\n".join(parts) + "\n", pictures


def _paths() -> list[Path]:
    return sorted(FOLDER.glob("*.ipynb"))
