"""Makes the picture of docs/guide/text.md: its first example, run as it stands.

    python docs/make_words.py

Needs eager execution. The network is trained anew, so that the numbers differ a little from run to run.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

DOCS = Path(__file__).resolve().parent


def main() -> None:
    """Runs the example in an empty folder, and writes its figure."""
    (code, *_) = re.findall(
        r"^```python\n(.*?)^```$", (DOCS / "guide" / "text.md").read_text("utf-8"), re.M | re.S
    )
    names: dict[str, Any] = {}
    tf.keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        exec(code, names)
        os.chdir(DOCS)
    names["found"].save(DOCS / "images" / "words.png", dpi=150)


if __name__ == "__main__":
    main()
