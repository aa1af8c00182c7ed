"""--custom-objects: models with custom layers, losses and training, from the command line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from own_layers import Doubled, OwnLoss, Trained
from PIL import Image
from tensorflow import keras

from rap_keras.cli.commands import main
from rap_keras.engine import registered_rules

layers = keras.layers
SIZE = (8, 10)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a network that needs `mine.py` beside it, and photos; Keras knows nothing of these yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(registered_rules, "RULES", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    shutil.copy(Path(__file__).with_name("own_layers.py"), tmp_path / "mine.py")
    inputs = keras.Input((*SIZE, 3))
    x = Doubled(name="doubled")(layers.Conv2D(4, 3, activation="relu", name="conv")(inputs))
    outputs = layers.Dense(2, activation="softmax", name="last")(layers.GlobalAveragePooling2D()(x))
    model = Trained(inputs, outputs)
    model.compile("sgd", OwnLoss())
    model.save("net.h5")
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).save(f"data/images/{number}.png")
        mask = np.zeros(SIZE, np.uint8)
        mask[2:6, 3:8] = 1
        Image.fromarray(mask).save(f"data/masks/{number}.png")
    known = keras.utils.get_custom_objects()
    before = dict(known)
    yield tmp_path
    known.clear()
    known.update(before)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


PHOTO = ("--preprocessing", "tf")
COMMANDS = {
    "check": ("check", "net.h5"),
    "explain": ("explain", "data/images/0.png", "--model", "net.h5", *PHOTO),
    "fit-patterns": ("fit-patterns", "net.h5", "data/images", *PHOTO),
    "benchmark": (
        *("benchmark", "--model", "net.h5", "--dataset", "folder", "--root", "data", *PHOTO),
        *("--methods", "rap,gradient", "--metrics", "mask"),
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_needs_the_module_and_takes_it(here, command):
    refused = run(*COMMANDS[command])
    assert refused.exit_code == 2
    message = " ".join(refused.output.split())
    assert "needs Trained, which is not part of Keras" in message
    assert "--custom-objects MODULE" in message
    done = run(*COMMANDS[command], "--custom-objects", "mine")
    assert done.exit_code == 0, done.output


def test_the_rule_of_the_module_is_used(here):
    done = run(*COMMANDS["check"], "--custom-objects", "mine")
    (row,) = [line.split() for line in done.stdout.splitlines() if line.startswith("doubled")]
    assert row[1:3] == ["Doubled", "unchanged"]
    assert "relevance is conserved at every layer" in done.stdout
    run(*COMMANDS["explain"], "--custom-objects", "mine")
    with np.load("rap-keras-output/0.npz") as found:
        np.testing.assert_allclose(found["rap"].sum(), found["logit"], rtol=1e-3)


def test_an_installed_module_does_as_well(here, monkeypatch):
    monkeypatch.delitem(sys.modules, "own_layers")
    assert run(*COMMANDS["explain"], "--custom-objects", "own_layers").exit_code == 0


@pytest.mark.parametrize(
    ("module", "cause"), [("gone", "No module named 'gone'"), ("mine.py", "give the module's name, without .py")]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_module_that_is_not_there(here, command, module, cause):
    result = run(*COMMANDS[command], "--custom-objects", module)
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert "--custom-objects" in message
    assert cause in message
