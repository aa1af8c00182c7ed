"""The examples of the README and of the guides, run as they are printed, on an ordinary network.

Each example of the README has a fresh process; the examples on a page of the guides share one, and commands share
that of the tests. Examples that need the first lines are run after them. What two pages say alike is run once. Two
commands take long and are run elsewhere: `rap-keras benchmark` in `.ci/run`, and `rap-keras explain` without
arguments in tests/test_cli_shapes.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from commands import accepted
from host import PLUGIN
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
GUIDES = [
    "docs/index.md",
    "docs/guide/explain.md",
    "docs/guide/check.md",
    "docs/guide/own_rules.md",
    "docs/patterns.md",
]
PAGES = ["README.md", *GUIDES]
ELSEWHERE = re.compile(r"rap-keras (benchmark\b|explain$)")

pytestmark = pytest.mark.slow

# As a user's own program makes it: with eager execution, default names and a softmax.
NETWORK = """
import numpy as np
from tensorflow import keras

layers = keras.layers
keras.utils.set_random_seed(1)
model = keras.Sequential([
    keras.Input((32, 32, 3)),
    layers.Conv2D(8, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(8, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(64, activation="relu"),
    layers.Dropout(0.5),
    layers.Dense(3, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy")
x = np.random.default_rng(0).normal(0, 50, (30, 32, 32, 3))
model.fit(x, np.arange(30) % 3, epochs=2, verbose=0)
model.save("my_model.h5")
keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3, activation="softmax")]).save("segmentation.h5")
keras.Sequential([keras.Input((100, 2)), layers.LSTM(4), layers.Dense(3, activation="softmax")]).save("lstm.h5")
series, facts = keras.Input((100, 2), name="series"), keras.Input((5,), name="facts")
joined = layers.Concatenate()([layers.LSTM(4)(series), layers.Dense(4, activation="relu")(facts)])
keras.Model([series, facts], layers.Dense(3)(joined)).save("two_inputs.h5")
"""

# What the text next to an example says of its results.
CLAIMS = {
    'relevance = innvestigate.create_analyzer("rap", model).analyze(x)': """
        logit = model.predict_on_batch(x).max()
        assert abs(relevance.sum(axis=(1, 2, 3)) - logit) < 1e-3 * abs(logit), (relevance.sum(), logit)
        assert relevance.shape == x.shape
        """,
    "Image.fromarray": """
        with Image.open("heatmap.png") as picture:
            assert picture.size == (32, 32)
        """,
    "layers = analyzer.analyze_layers(x)": """
        assert list(layers)[0] == "conv2d", list(layers)
        assert np.allclose(layers["conv2d"], relevance)
        """,
    "relevance = of_maps.analyze": """
        logit = (segmentation.predict(x) * region).sum()
        assert abs(relevance.sum() - logit) < 1e-3 * abs(logit), (relevance.sum(), logit)
        """,
    "for relevance in analyzer.analyze_batches": """
        assert len(relevance) == 100 % 32
        """,
    "lrp = rap_keras.build_quickly": """
        assert relevance.shape == x.shape
        assert np.abs(relevance).max() > 0
        """,
    "rap_keras.register_rule(Gate, to_the_values)": """
        image = tf.keras.Input((32, 32, 3))
        gated = Gate()([Mirror()(image), tf.keras.layers.Conv2D(3, 3, padding="same")(image)])
        own = tf.keras.Model(image, tf.keras.layers.Dense(3)(tf.keras.layers.Flatten()(gated)))
        batch = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
        logit = own.predict_on_batch(batch).max()
        total = innvestigate.create_analyzer("rap", own).analyze(batch).sum()
        assert abs(total - logit) < 1e-3 * abs(logit), (total, logit)
        """,
    "places = influence.check": """
        assert not places.misplacing() and (places.heatmap == 0).all(), places
        """,
}


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in a language; "" is for commands and their output."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.M | re.S)
    return [code for name, code in fences if name == language]


def commands(page: str) -> list[str]:
    lines = "".join(blocks(page, "")).replace("\\\n", "").splitlines()
    return [line for line in lines if line.startswith("rap-keras ") and not ELSEWHERE.match(line)]


def with_claims(code: str) -> str:
    claims = [textwrap.dedent(claim) for sign, claim in CLAIMS.items() if sign in code]
    imports = [f"import {name}" for name in ("innvestigate",) if any(name in claim for claim in claims)]
    return "\n".join([code, "import numpy as np", *imports, *claims])


def start(page: str) -> str:
    (first,) = (code for code in blocks(page, "python") if "disable_eager_execution" in code)
    return first


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the networks, photo.jpg, mask.png, `photos` and arrays that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    run(folder, sys.executable, "-c", NETWORK)
    random = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for name in ("photo.jpg", *(f"photos/{number}.jpg" for number in range(8))):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / name)
    Image.fromarray(np.eye(48, 64, dtype=np.uint8) * 255).save(folder / "mask.png")
    series = random.normal(size=(100, 2))
    np.save(folder / "series.npy", series)
    np.savez(folder / "both.npz", series=series, facts=np.ones(5))
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{' '.join(command[:1])}\n{command[-1]}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("number", range(len(blocks("README.md", "python"))))
def test_readme_python(folder, number):
    code = blocks("README.md", "python")[number]
    if "innvestigate" in code and not PLUGIN:
        pytest.skip("about iNNvestigate, which is not here")
    output = run(folder, sys.executable, "-c", with_claims(code))
    if "print(explanation)" in code:
        told = r"^<RAP of 'class \d': logit .+, relevance sums to .+ (lost|gained)\)>$"
        assert re.search(told, output, re.M), output
        for name in ("figure.pdf", "why_0_and_why_1.png"):
            assert (folder / name).stat().st_size > 1000


@pytest.mark.plugin
@pytest.mark.parametrize("page", GUIDES)
def test_guide_python(folder, page):
    own = blocks(page, "python")
    alone = [code for code in own if code.startswith("import rap_keras\n")]  # with eager execution
    new = [code for code in alone if code not in blocks("README.md", "python")]
    if new:
        run(folder, sys.executable, "-c", f"for code in {new!r}:\n    exec(code, {{}})")
    own = [code for code in own if code not in alone]
    complete = any("disable_eager_execution" in code for code in own)
    before = [] if complete else [start("docs/index.md")]
    run(folder, sys.executable, "-c", "\n".join([*before, *map(with_claims, own)]))


@pytest.mark.parametrize("page", PAGES)
def test_commands(folder, page, monkeypatch):
    """All commands of a page, one after the other: a later one may use what an earlier one wrote."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    known = {command for earlier in PAGES[: PAGES.index(page)] for command in commands(earlier)}
    for command in commands(page):
        if command in known:
            continue
        arguments = command.split()[1:]
        output = accepted(*arguments)
        if arguments[0] == "check":
            assert "relevance is conserved at every layer" in output
        if arguments[0] == "explain" and "--method" not in arguments:
            assert list(folder.glob("rap-keras-output/*.p[nd]*"))


def test_all_examples_are_found():
    assert len(blocks("README.md", "python")) == 3
    photo = "rap-keras explain photo.jpg --model my_model.h5 --preprocessing caffe"
    assert commands("README.md") == [photo, f"{photo} --format pdf --width 3.3"]
    assert all(blocks(page, "python") for page in GUIDES)
    assert {command.split()[1] for page in GUIDES for command in commands(page)} == {
        "explain",
        "check",
        "fit-patterns",
    }
