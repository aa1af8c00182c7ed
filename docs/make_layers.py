"""Makes the tables of docs/layers.md: every layer and operation of Keras, and what relevance does there.

python docs/make_layers.py      # with Keras 3
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.reading import wrappers
from rap_keras.engine.rules import layer_records
from rap_keras.engine.rules.refused_operations import REFUSED
from rap_keras.engine.rules.rule import title_of

PAGE = Path(__file__).parent / "layers.md"
BEGIN, END = "<!-- made by docs/make_layers.py -->", "<!-- end -->"


def rules() -> dict[str, str]:
    """The rule of every layer class by its name, in alphabetical order."""
    found = {}
    for name in sorted(dir(keras.layers)):
        layer = getattr(keras.layers, name)
        if inspect.isclass(layer) and issubclass(layer, keras.layers.Layer) and name not in _NOT_IN_MODELS:
            found[name] = _rule(layer)
    return found


_NOT_IN_MODELS = {"Layer", "Wrapper", "InputLayer", "AbstractRNNCell", "StackedRNNCells", "DenseFeatures"}
_BY_NAME = {
    "Activation": "unchanged",
    "GroupedQueryAttention": "with Keras 3, those of its operations: it is taken apart",
    "Lambda": "only with `allow_lambda_layers=True`: unchanged, moved or shared, as a trial on numbers shows",
}


def _rule(layer: type) -> str:
    name = layer.__name__
    if name in _BY_NAME:
        return _BY_NAME[name]
    if layer in wrappers._WRAPPERS:
        return "that of the wrapped layer"
    return _text(layer_records.LAYERS[layer]) if layer in layer_records.LAYERS else "none"


def _text(key: str) -> str:
    kind = layer_records.RECORDS[key].kind
    if kind.maps:
        return "relative attribution (Eq. 7-9); Eq. 5 and 6 in front of the output, $z^B$ at the image"
    return title_of(kind.rule).format(
        x="\\|x\\|", linear="relative attribution (Eq. 7-9)", averages="shared in proportion to \\|x\\|"
    )


def operations() -> dict[str, list[str]]:
    """Names of functional operations by their rule."""
    found: dict[str, list[str]] = {}
    for name, key in layer_records.OPERATIONS.items():
        found.setdefault(_text(key), []).append(name)
    return found


def tables() -> str:
    """Both tables in Markdown."""
    by_rule: dict[str, list[str]] = {}
    for name, rule in rules().items():
        by_rule.setdefault(rule, []).append(name)
    without = by_rule.pop("none", [])
    lines = ["| layer | relevance |", "|---|---|"]
    lines += [f"| {', '.join(names)} | {rule} |" for rule, names in by_rule.items()]
    lines += [f"| {', '.join(without)} | none: refused by name |", ""]
    lines += [
        "Functional operations, such as `x + y` or `keras.ops.relu(x)`, by their names in Keras and TensorFlow:",
        "",
    ]
    lines += ["| operation | relevance |", "|---|---|"]
    lines += [f"| {', '.join(sorted(set(names)))} | {rule} |" for rule, names in operations().items()]
    lines += ["", "Operations of keras.ops that stop a network, unless `rules=` gives them a rule:", ""]
    lines += ["| operation | why it has no rule |", "|---|---|"]
    lines += [f"| {', '.join(names.split())} | it {reason} |" for reason, names in REFUSED.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    if not keras_graph.KERAS_3:
        sys.exit("this needs Keras 3, which has all layers of today's models")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}", encoding="utf-8")
