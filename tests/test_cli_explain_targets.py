"""`rap-keras explain` with several targets and against a class; `rap-keras check` of contrastive RAP."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import rap_keras
from rap_keras import datasets, shapes
from rap_keras.cli.commands import main
from rap_keras.engine.reading.flattening import predictor

MODEL = ("--model", "shapes-vgg")


@pytest.fixture(autouse=True)
def example(tmp_path, monkeypatch) -> datasets.Example:
    """An image of two objects, saved as two.png in the folder that the command runs in."""
    monkeypatch.chdir(tmp_path)
    pairs = datasets.shapes_pairs(4)
    found = pairs.read(pairs.names[-1])
    Image.fromarray(found.photo).save(tmp_path / "two.png")
    return found


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def names_of(example: datasets.Example) -> list[str]:
    return [shapes.CLASSES[label] for label in sorted(example.labels)]


def network():
    return rap_keras.to_logits(shapes.load_network("vgg"))


def in_python(example: datasets.Example, method: str = "rap.contrastive", **choice: int) -> np.ndarray:
    analyzer = rap_keras.create_analyzer(method, network(), neuron_selection_mode="index")
    return analyzer.analyze(shapes.preprocess(example.photo[np.newaxis]), **choice)[0]


def written(name: str) -> dict[str, np.ndarray]:
    with np.load(Path("rap-keras-output") / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
def test_each_target_has_its_numbers_and_a_row_of_one_picture(example):
    one, other = names_of(example)
    alone = run("explain", "two.png", *MODEL, "--target", one)
    assert alone.exit_code == 0, alone.output
    with Image.open("rap-keras-output/two.png") as picture:
        width, height = picture.size
    both = run("explain", "two.png", *MODEL, "--target", one, "--target", other, "--target", one)
    assert both.exit_code == 0, both.output
    assert both.output.count("two.png  rap.contrastive  ") == 2
    for label in sorted(example.labels):
        found = written(f"two-{label}")
        assert found["target"] == label
        assert list(found["methods"]) == ["rap", "rap.contrastive"]
        close(found["rap"], in_python(example, "rap", neuron_selection=label))
        close(found["rap.contrastive"], in_python(example, neuron_selection=label))
    with Image.open("rap-keras-output/two.png") as picture:
        assert picture.size[0] > 1.2 * width  # a column more
        assert picture.size[1] > 1.3 * height  # a row more


def test_against_a_class(example):
    target, other = sorted(example.labels)
    one, two = names_of(example)
    result = run("explain", "two.png", *MODEL, "--target", one, "--against", two)
    assert result.exit_code == 0, result.output
    assert f"two.png  rap.contrastive  {one} against {two}  " in result.output
    close(written("two")["rap.contrastive"], in_python(example, neuron_selection=target, against=other))


def test_a_photo_whose_first_choice_is_the_class_itself_is_skipped(example):
    first = int(predictor(network())(shapes.preprocess(example.photo[np.newaxis])).argmax())
    name = shapes.CLASSES[first]
    result = run("explain", "two.png", *MODEL, "--against", name)
    assert result.exit_code == 1
    assert (
        f"{name} is explained, and cannot be compared with itself: give another class to compare with"
        in result.output
    )
    other = names_of(example)[0 if names_of(example)[1] == name else 1]
    assert run("explain", "two.png", *MODEL, "--against", name, "--target", other).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "rap", "--against", "star"], "rap is not one: give --method rap.contrastive"),
        (
            ["--target", "star", "--against", "star"],
            "star is explained, and cannot be compared with itself: give another class",
        ),
        (["--target", "star", "--against", "stra"], "unknown class 'stra': did you mean 'star'"),
    ],
)
def test_wrong_usage(arguments, message):
    result = run("explain", "two.png", *MODEL, *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_check_tells_what_the_biases_of_the_head_keep():
    result = run("check", "shapes-vgg", "--method", "rap.contrastive")
    assert result.exit_code == 0, result.output
    summary = re.search(
        r"the score is (\S+): (\S+) of it goes to the input, (\S+) comes from the head's biases; "
        r"the sum of the heatmap is (\S+) ",
        result.output,
    )
    score, seed, biases, heatmap = map(float, summary.groups())
    assert score == pytest.approx(seed + biases, rel=1e-4)
    assert heatmap == pytest.approx(seed, rel=1e-4)
    assert abs(biases) > 1e-3
    assert result.output.count("signed contribution to the score") == 3  # Flatten and two Dense layers
