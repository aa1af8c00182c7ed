"""What `import rap_keras` alone provides, in a process where nothing else has imported a module of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "docs" / "api"


def in_a_fresh_process(code: str):
    """What `code` prints last, as JSON."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_public_names():
    found = in_a_fresh_process(
        """
import json, sys
import rap_keras

def error_of_an_unknown_name():
    try:
        rap_keras.vizualisation
    except AttributeError as error:
        return str(error)

names = {
    "at first": dir(rap_keras),
    "waits": "rap_keras.visualization" not in sys.modules,
    "unknown": error_of_an_unknown_name(),
    "heatmap": rap_keras.visualization.heatmap([[[1.0, 2.0]]]).tolist(),
    "kinds": {name: type(getattr(rap_keras, name)).__name__ for name in dir(rap_keras) if name[0] != "_"},
    "same": rap_keras.to_logits is rap_keras.without_softmax,
}
from rap_keras.engine.checks import conservation
from rap_keras.engine.way_back import plan
from rap_keras import *
names["star"] = [name for name in rap_keras.__all__ if name not in globals()]
names["at last"] = dir(rap_keras)
print(json.dumps(names))
"""
    )
    modules = {page.stem for page in PAGES.glob("*.md")} - {"rap_keras"}
    functions = {"build_quickly", "create_analyzer", "explain", "region", "register_rule", "show", "to_logits"}
    functions |= {"register_method", "without_softmax"}
    classes = {"ContrastiveRAP", "Explanation", "Explanations", "NotAnalyzeableModelException", "RAP"}
    classes |= {"Analyzer", "PatternAttribution", "PatternNet"}
    assert found["kinds"] == {
        **dict.fromkeys(modules, "module"),
        **dict.fromkeys(functions, "function"),
        **dict.fromkeys(classes, "type"),
    }
    assert [name for name in found["at first"] if not name.startswith("__")] == sorted(found["kinds"])
    assert "__version__" in found["at first"]
    assert found["at last"] == found["at first"]
    assert found["waits"]
    assert found["unknown"] == "module 'rap_keras' has no attribute 'vizualisation'"
    assert found["heatmap"] == [[3.0]]
    assert found["same"]
    assert found["star"] == []


def test_only_a_benchmark_needs_pandas_pyarrow_and_scipy():
    """Keras imports them where they are installed, so they are made to look missing; ours do not ask for them."""
    found = in_a_fresh_process(
        """
import json, sys
sys.modules.update(dict.fromkeys(("pandas", "pyarrow", "scipy")))  # as if they were not installed
import numpy as np
import rap_keras
from tensorflow import keras

model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
relevance = rap_keras.create_analyzer("rap", model).analyze(x)
explained = rap_keras.explain(model, x, method=["rap", "gradient"])
rap_keras.visualization.picture(relevance)
inside = rap_keras.metrics.mass_inside(np.abs(relevance[0].sum(-1)), np.ones((8, 8), bool))
try:
    rap_keras.benchmark
except ImportError as error:
    refused = error.name
print(json.dumps([list(relevance.shape), len(explained), inside, refused]))
"""
    )
    assert found == [[1, 8, 8, 3], 2, 1.0, "pandas"]
