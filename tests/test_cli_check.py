from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner, Result
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras import models
from rap_keras.cli.commands import main
from rap_keras.engine import registered_rules
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.rules.unweighted import moved, unchanged

layers = keras.layers
SIZE = (8, 10)
COLOUR = (0, 160, 80)


@keras.utils.register_keras_serializable("test_cli_check")
class Odd(layers.Layer):
    """A layer about which nothing is known."""

    def call(self, inputs):
        return tf.TensorArray(inputs.dtype, 1).write(0, inputs).read(0)  # no symbolic tensor can be written


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own for each test, which is also the home folder; only the package's rules exist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(registered_rules, "RULES", {})
    return tmp_path


def network(*middle: layers.Layer, inputs=(*SIZE, 3), end: str = "softmax") -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input(inputs),
            layers.Conv2D(4, 3, activation="relu", name="first"),
            *middle,
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(3, activation=end, name="last"),
        ]
    )
    return lively_weights(model)


def check(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["check", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def table(output: str) -> dict[str, list[str]]:
    """The cells of each row, without the header."""
    rows = [re.split(r" {2,}", line.strip()) for line in output.split("\n\n")[0].splitlines()]
    head = next(number for number, row in enumerate(rows) if row[0] == "layer")
    return {row[0]: row[1:] for row in rows[head + 1 :]}


def summary(output: str) -> tuple[int, float, float]:
    """Number of layers, logit, sum of the heatmap."""
    number = r"(-?[\d.]+(?:e[+-]\d+)?)"
    (found,) = re.findall(
        rf"^(\d+) layers; the logit is {number}, the sum of the heatmap {number} \(", output, re.M
    )
    return int(found[0]), float(found[1]), float(found[2])


def test_a_network_that_conserves(here):
    network(layers.BatchNormalization(name="norm")).save("net.h5")
    result = check("net.h5")
    assert result.exit_code == 0, result.output
    rows = table(result.stdout)
    assert [row[:2] for row in rows.values()] == [
        ["Conv2D", "z^B (Eq. 10)"],
        ["BatchNormalization", "unchanged"],
        ["GlobalAveragePooling2D", "shared in proportion to |x|"],
        ["Dense", "absolute influence (Eq. 5, 6)"],
    ]
    assert list(rows) == ["first", "norm", "pool", "last"]
    count, logit, total = summary(result.stdout)
    assert count == 4
    np.testing.assert_allclose(total, logit, rtol=1e-3)
    for row in rows.values():
        np.testing.assert_allclose([float(row[2]), float(row[3])], logit, rtol=1e-3)
        assert float(row[4]) <= 1
    assert "relevance is conserved at every layer\nall values are finite\n" in result.stdout
    assert len({len(line) for line in result.stdout.split("\n\n")[0].splitlines()[1:]}) == 1


def test_a_given_photo(here):
    model = network()
    model.save("net.h5")
    Image.new("RGB", (20, 16), COLOUR).save("photo.png")
    result = check("net.h5", "--input", "photo.png", "--preprocessing", "tf")
    assert result.exit_code == 0, result.output
    logits = models.to_logits(model)
    x = np.broadcast_to(np.array(COLOUR) / 127.5 - 1, (1, *SIZE, 3))
    np.testing.assert_allclose(summary(result.stdout)[1], logits.predict_on_batch(x).max(), rtol=1e-4)
    assert "with photo.png, 8x10" in result.output


def test_relevance_that_is_lost(here):
    network(Odd(name="odd"), layers.ReLU(name="after")).save("net.h5")
    rap_keras.register_rule(Odd, lambda Xs, Ys, Rs, state: [Rs[0] / 2])
    result = check("net.h5")
    assert result.exit_code == 1
    rows = table(result.stdout)
    assert rows["odd"][-1] == "NOT CONSERVED"
    np.testing.assert_allclose(float(rows["odd"][3]), float(rows["odd"][2]) / 2, rtol=1e-4)
    np.testing.assert_allclose(float(rows["odd"][4]), 500, rtol=1e-2)
    assert "NOT CONSERVED" not in rows["first"] + rows["after"]
    assert "relevance is not conserved at: odd\n" in result.stdout
    _, logit, total = summary(result.stdout)
    np.testing.assert_allclose(total, logit / 2, rtol=1e-3)


def test_relevance_that_is_not_finite(here):
    network(Odd(name="odd"), layers.ReLU(name="after")).save("net.h5")
    rap_keras.register_rule(Odd, lambda Xs, Ys, Rs, state: [Rs[0] * np.nan])
    result = check("net.h5")
    assert result.exit_code == 1
    rows = table(result.stdout)
    assert rows["first"][-1] == rows["odd"][-1] == "NOT FINITE"
    assert "NOT FINITE" not in rows["after"]
    assert "not finite at: first, odd\n" in result.stdout
    assert "conserved at every" not in result.stdout


@keras.utils.register_keras_serializable("test_cli_check")
class Mirror(layers.Layer):
    """Swaps left and right."""

    def call(self, inputs):
        return inputs[:, :, ::-1]


@pytest.mark.parametrize(("rule", "misplaced"), [(unchanged, True), (moved, False)])
def test_a_mirrored_heatmap_is_conserved_but_misplaced(rule, misplaced):
    network(Mirror(name="mirror"), layers.Conv2D(4, 3, activation="relu")).save("net.h5")
    rap_keras.register_rule(Mirror, rule)
    result = check("net.h5")
    assert result.exit_code == (1 if misplaced else 0), result.output
    assert "relevance is conserved at every layer\n" in result.stdout
    assert "\n0.0 % of |relevance| lies where changing the input does not change the logit\n" in result.stdout
    line = "MISPLACED: the rule of mirror gives 100.0 % of |relevance| to inputs on which the layer's outputs"
    assert (line in result.stdout) == misplaced


def test_a_rule_that_cannot_be_tried(here):
    network(Mixed(name="mixed")).save("net.h5")
    rap_keras.register_rule(Mixed, unchanged)
    result = check("net.h5")
    assert result.exit_code == 0, result.output
    assert "the rule of mixed could not be tried: every output depends on every input" in result.stdout


@keras.utils.register_keras_serializable("test_cli_check")
class Mixed(layers.Layer):
    """Every output depends on every input."""

    def call(self, inputs):
        return inputs + tf.reduce_mean(inputs, [1, 2, 3], keepdims=True)


def test_relevance_outside_of_what_the_network_sees(here):
    x = keras.Input((*SIZE, 3))
    y = layers.Cropping2D(((0, 0), (0, 5)), name="crop")(x)
    lively_weights(keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.ReLU()(y))))).save("net.h5")
    rap_keras.register_rule(layers.Cropping2D, spread)
    result = check("net.h5")
    assert result.exit_code == 1
    # The network sees 5 of 10 columns. Regions are 2, 2, 2, 2, 1 and 1 columns wide: the last four lie outside,
    # except for column 4.
    assert "MISPLACED: 40.0 % of |relevance| lies where changing the input does not change" in result.stdout


def spread(Xs, Ys, Rs, state):
    return [tf.reduce_mean(Rs[0], [1, 2, 3], keepdims=True) * tf.ones_like(Xs[0]) / 2]


def test_layers_without_a_rule_are_all_named(here):
    x = keras.Input((4, 5))
    y = layers.Flatten()(Odd(name="other")(Odd(name="odd")(x)))
    keras.Model(x, layers.Dense(2)(y)).save("net.h5")
    result = check("net.h5")
    assert result.exit_code == 2
    assert "'odd' (Odd), 'other' (Odd)" in result.output
    assert "register_rule" in result.output
    assert "Traceback" not in result.output


def test_other_models_are_refused(here):
    x = keras.Input((4,))
    keras.Model(x, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(x)]).save("two.h5")
    result = check("two.h5")
    assert result.exit_code == 2
    assert "the model has 2 outputs (a, b)" in result.output
    (here / "text.h5").write_text("hello")
    result = check("text.h5")
    assert result.exit_code == 2
    assert "not a Keras model" in result.output
    result = check("vgg61")
    assert result.exit_code == 2
    assert "unknown network 'vgg61': did you mean" in result.output


def test_wrong_input(here):
    network().save("net.h5")
    keras.Sequential([keras.Input((4,)), layers.Dense(2)]).save("numbers.h5")
    Image.new("RGB", (20, 16), COLOUR).save("photo.png")
    (here / "damaged.png").write_bytes(b"no image")
    for arguments, message in (
        (["net.h5", "--input", "photo.png"], "A model file does not say how its photos were preprocessed"),
        (["net.h5", "--input", "damaged.png", "--preprocessing", "tf"], "damaged.png: not an image"),
        (["net.h5", "--input", "none.png", "--preprocessing", "tf"], "'none.png' does not exist"),
        (["net.h5", "--preprocessing", "odd"], "unknown preprocessing 'odd'"),
        (["numbers.h5", "--input", "photo.png", "--preprocessing", "tf"], "it must take RGB photos"),
    ):
        result = check(*arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


def preprocess_input(x):
    """The preprocessing of `Tiny`, found in its module as in keras.applications."""
    return x / 255


def Tiny(weights):
    """Like a network of keras.applications whose weights cannot be downloaded."""
    model = network(layers.BatchNormalization(name="norm"))
    if weights is not None:
        raise Exception("URL fetch failure on https://example.org: none")
    return model


def test_a_named_network_without_its_weights(monkeypatch):
    monkeypatch.setattr(keras.applications, "Tiny", Tiny, raising=False)
    result = check("tiny")
    assert result.exit_code == 0, result.output
    assert "the weights of tiny could not be loaded: random weights are used instead" in result.output
    assert "a photo of noise, 8x10" in result.output
    logits = models.to_logits(Tiny(None))
    x = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8) / 255
    np.testing.assert_allclose(summary(result.stdout)[1], logits.predict_on_batch(x).max(), rtol=1e-4)


def test_networks_of_tokens_and_of_any_length(here):
    tokens = keras.Input((6,), name="tokens")
    word = layers.Embedding(50, 4, name="embedding")(tokens)
    network_of_tokens = keras.Model(tokens, layers.Dense(3)(layers.Flatten()(word)))
    lively_weights(network_of_tokens).save("tokens.h5")
    result = check("tokens.h5")
    assert result.exit_code == 0, result.output
    assert table(result.stdout)["embedding"][:2] == ["Embedding", "summed over each token's vector"]
    assert summary(result.stdout)[1] != 0
    network(inputs=(None, None, 3), end="linear").save("any.h5")
    result = check("any.h5")
    assert result.exit_code == 0, result.output
    Image.new("RGB", (20, 16), COLOUR).save("photo.png")
    result = check("any.h5", "--input", "photo.png", "--preprocessing", "tf")
    assert result.exit_code == 0, result.output
    assert "photo.png, 16x20" in result.output


def test_a_logit_of_zero_checks_nothing(here):
    model = network()
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    model.save("net.h5")
    result = check("net.h5")
    assert "the logit is 0, and so is all relevance: this checks nothing" in result.stdout
