"""Lists, plurals and punctuation in what is generated: sentences, captions, messages."""

from __future__ import annotations

import re

import host  # noqa: F401  the plugin switches eager execution off
import numpy as np
import pytest
from tensorflow import keras

from rap_keras.basics.wording import counted, listed
from rap_keras.explanation import class_names
from rap_keras.explanation.answers import Explanation, Explanations, _label_of
from rap_keras.explanation.photos_and_arrays import Sample, arrays_of
from rap_keras.visualization import grid, picture

METHODS = ["rap", "lrp.epsilon", "lrp.z"]
NAMES = ["RAP", "LRP \u03b5", "LRP z"]


@pytest.mark.parametrize(
    ("things", "options", "expected"),
    [
        ([], {}, ""),
        (["a"], {}, "a"),
        (["a", "b"], {}, "a and b"),
        (["a", "b", "c"], {}, "a, b and c"),
        (["a", "", "c"], {}, "a and c"),
        ([1, 2, 3], {"last": "or"}, "1, 2 or 3"),
        (["a", "b"], {"most": 2}, "a and b"),
        (["a", "b", "c"], {"most": 2}, "a, b and 1 more"),
        (["a", "b", "c"], {"most": 1, "last": "or"}, "a and 2 more"),
    ],
)
def test_lists(things, options, expected):
    assert listed(iter(things), **options) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [(0, "0 classes"), (1, "1 class"), (2, "2 classes"), (1000, "1000 classes")]
)
def test_numbers(number, expected):
    assert counted(number, "class", "classes") == expected
    assert counted(number, "photo") == expected.replace("classes", "photos").replace("class", "photo")


def answer(method: str, logit: float = -2.0, empty: bool = False, **other) -> Explanation:
    """One whose relevance sums to its logit; that of a gradient shares out no score."""
    values = np.full((2, 2), 0.0 if empty else logit / 4, np.float32)
    fields = {
        "method": method, "target": 0, "label": "cat", "against": None, "logit": logit, "probability": None,
        "score": None if method == "gradient" else logit, "places": None, "relevances": {"x": values},
        "sample": Sample("x", "x", {"x": values[np.newaxis]}, None, "", None), "milliseconds": 1.0, **other,
    }  # fmt: skip
    return Explanation(**fields)


@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("quantity", ["logit", "value"])
def test_captions_of_a_row(count, others, quantity):
    """Of methods whose relevance has turned signs, and of those that have none at all."""
    if count + others == 0:
        return
    turned = [answer(name, quantity=quantity) for name in METHODS[:count]]
    row = turned + [answer("gradient", quantity=quantity)] * others
    where = ["", " in RAP", " in RAP and LRP \u03b5", " in RAP, LRP \u03b5 and LRP z"][count] if others else ""
    remark = f", negative {quantity}: blue is relevant{where}" if count else ""
    assert _label_of(row, in_one_line=True) == f"cat, {quantity} -2{remark}"
    several = _label_of(row, in_one_line=False)
    assert several.replace("\n", " ") == f"cat {quantity} -2{remark.replace(',', '', 1)}"
    assert max(map(len, several.split("\n"))) <= 24
    empty = [answer(name, 2.0, empty=True) for name in METHODS[:count]]
    none = f", no relevance: {listed(NAMES[:count])}" if count else ""
    assert _label_of([*empty, answer("gradient", 2.0)], in_one_line=True) == f"cat, logit 2{none}"


def test_captions_of_all_that_can_be_told():
    places = np.array([[True, False], [True, True]])
    name = "great white shark, man-eater, Carcharodon"
    many = answer("rap", label=name, against="dog", places=places, probability=0.25)
    sample = many.sample._replace(note="mean of 5 channels", prepared="prepared")
    many = Explanation(**{**vars(many), "sample": sample})
    assert _label_of([many], in_one_line=True) == (
        "great white shark, man-eater, ... against dog, 3 of 4 places, sum of logits -2, probability 0.25, "
        "negative logit: blue is relevant, mean of 5 channels, prepared"
    )
    assert _label_of([many], in_one_line=False).startswith(
        "great white shark,\nman-eater, ...\nagainst dog\n3 of 4"
    )
    assert answer("rap", places=np.ones((1, 1), bool)).of_places() == "1 of 1 place"


@pytest.mark.parametrize("count", range(4))
def test_explanations_as_text(count):
    text = repr(Explanations([answer(name) for name in METHODS[:count]]))
    assert text.startswith(f"<{['0 explanations', '1 explanation', '2 explanations', '3 explanations'][count]}: ")
    assert text.count("logit -2") == count


@pytest.mark.parametrize(
    ("names", "there"),
    [
        (["a"], "there is a"),
        (["a", "b"], "there are a and b"),
        (["a", "b", "c"], "there are a, b and c"),
        ([f"n{n}" for n in range(22)], "n18, n19 and 2 more"),
    ],
)
def test_names_of_classes(tmp_path, names, there):
    with pytest.raises(ValueError, match=f"^unknown class 'zebra': .*{there}$"):
        class_names.find_class("zebra", names, len(names))
    (tmp_path / "none.txt").write_text("")
    lines = "0 lines, but the network has " + counted(len(names), "class", "classes")
    with pytest.raises(ValueError, match=lines):
        class_names.read_names(tmp_path / "none.txt", len(names))
    are = "1 class name is given" if len(names) == 1 else f"{len(names)} class names are given"
    with pytest.raises(ValueError, match=f"^{are}, and the network has 23 classes$"):
        class_names.given_names(names, "net.h5", 23)


@pytest.mark.parametrize(
    ("count", "text", "known"),
    [(1, "there is no output 5: the network has output 0 only", "output"), (2, "outputs 0 to 1", "output 1")],
)
def test_names_of_outputs(count, text, known):
    names = class_names.given_names(None, "net.h5", count, is_regression=True)
    assert class_names.find_class(known, names, count) == count - 1
    with pytest.raises(ValueError, match=text):
        class_names.find_class("5", names, count)
    with pytest.raises(ValueError, match=r"unknown output 'dog': there (is output|are output 0 and output 1)$"):
        class_names.find_class("dog", names, count)
    with pytest.raises(ValueError, match="there is no class 5: the network has class"):
        class_names.find_class("5", None, count)


@pytest.mark.parametrize("count", range(1, 4))
def test_messages_with_numbers(count):
    photos, maps = np.zeros((count, 2, 2, 3)), np.zeros((count, 2, 2))
    photo = counted(count, "photo")
    with pytest.raises(ValueError, match=f"4 heatmaps for {photo}: give"):
        grid(photos, {"m": np.zeros((4, 2, 2))})
    with pytest.raises(ValueError, match=f"0 titles for {photo}: give"):
        grid(photos, {"m": maps}, titles=[])
    with pytest.raises(ValueError, match=f"4 heatmaps for {photo}: give"):
        picture({"m": np.zeros((4, 2, 2))}, list(photos))
    bad = np.zeros((2, 2))
    bad.flat[:count] = np.nan
    values = "1 value that is not" if count == 1 else f"{count} values that are not"
    with pytest.raises(ValueError, match=f"has {values} finite: find the layer"):
        grid(photos[:1], {"m": [bad]})
    inputs = [keras.Input((2,), name=name) for name in "abcd"]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    with pytest.raises(ValueError, match=rf"^{counted(count, 'array')}, and the model takes 4: a, b, c and d$"):
        arrays_of([np.zeros(2)] * count, model)


def test_no_sentence_is_made_by_a_plural_of_its_own():
    """Plurals by hand, as f"{n} photo{'s' * (n != 1)}", are left to `counted`."""
    from test_layout import ROOT

    by_hand = re.compile(r"""['"]e?s['"] (\*|if) """)
    files = [file for file in (ROOT / "rap_keras").rglob("*.py") if by_hand.search(file.read_text("utf-8"))]
    assert [file.name for file in files if file.name != "wording.py"] == []
