"""MODULE and MODULE:FUNCTION are found in the current folder, after everything that is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorflow import keras

from rap_keras.models import user_code

OWN = """
from tensorflow.keras.layers import Dense, Layer
from tensorflow.keras.losses import Loss
from math import sqrt
from pathlib import Path

class Mine(Layer):
    def call(self, x):
        return 2 * x

class MyLoss(Loss):
    def call(self, truth, found):
        return found

class Other:
    pass

def swelling(x):
    return 3 * x

def _hidden(x):
    return x

constant = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own for every test; modules, paths and registered objects are put back after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", {name: m for name, m in sys.modules.items() if name != "own"})
    known = keras.utils.get_custom_objects()
    before = dict(known)
    yield tmp_path
    known.clear()
    known.update(before)


def test_what_a_module_defines_is_made_known(here):
    (here / "own_objects.py").write_text(OWN)
    before = set(keras.utils.get_custom_objects())
    user_code.make_known("own_objects")
    known = keras.utils.get_custom_objects()
    assert set(known) - before == {"Mine", "MyLoss", "swelling"}
    assert known["swelling"](2) == 6


def test_a_package_may_gather_its_parts(here):
    (here / "own_package").mkdir()
    (here / "own_package" / "__init__.py").write_text("from own_package.parts import Mine, swelling\n")
    (here / "own_package" / "parts.py").write_text(OWN)
    user_code.make_known("own_package")
    known = keras.utils.get_custom_objects()
    assert known["Mine"].__module__ == known["swelling"].__module__ == "own_package.parts"


def test_an_installed_module_goes_before_a_file_here(here, monkeypatch):
    """This holds also if the folder was first on the path, as with `python -m`."""
    for name in ("colorsys", "defusedxml"):
        (here / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    sys.path[:0] = ["", str(here)]
    before = list(sys.path)
    assert user_code.find_function("colorsys:rgb_to_hsv")(1, 0, 0) == (0, 1, 1)
    assert "site-packages" in str(user_code.import_module("defusedxml").__file__)
    assert sys.path[: len(before)] == before


def test_a_function_may_import_from_the_folder_when_it_is_called(here):
    (here / "helper.py").write_text("value = 7\n")
    (here / "own_function.py").write_text("def late():\n    import helper\n    return helper.value\n")
    assert user_code.find_function("own_function:late")() == 7


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "gone", "ModuleNotFoundError: No module named 'gone'$"),
        ("", "own.py", r"No module named 'own\.py'.*give the module's name, without \.py"),
        ("1 / 0", "own", "ZeroDivisionError"),
        ("import sys; sys.exit('usage')", "own", "SystemExit: usage"),
        ("def", "own", "SyntaxError"),
        ("", "..own", "TypeError"),
        ("", "", "ValueError: Empty module name"),
    ],
)
def test_a_module_that_cannot_be_imported(here, content, name, message):
    (here / "own.py").write_text(content)
    with pytest.raises(ValueError, match=message):
        user_code.make_known(name)
