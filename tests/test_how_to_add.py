"""The code of docs/contributing.md: rules, methods and layers of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import rap_keras
from rap_keras import methods
from rap_keras.cli.commands import main
from rap_keras.engine import registered_rules
from rap_keras.engine.equations import lrp
from rap_keras.engine.keras_graph import KERAS_3
from rap_keras.hosts import titles
from rap_keras.hosts.native import creation, lrp_methods

PAGE = Path(__file__).resolve().parent.parent / "docs" / "contributing.md"
layers = tf.keras.layers


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Registers nothing for other tests."""
    for table in (creation._ANALYZERS, titles._OTHERS, registered_rules.RULES):
        for key, value in list(table.items()):
            monkeypatch.setitem(table, key, value)
    known = dict(tf.keras.utils.get_custom_objects())
    yield
    tf.keras.utils.get_custom_objects().clear()
    tf.keras.utils.get_custom_objects().update(known)
    for table in (creation._ANALYZERS, titles._OTHERS, registered_rules.RULES):
        for key in [
            key
            for key in table
            if key in ("lrp.own_gamma", "occlusion") or getattr(key, "__name__", "") == "Scale"
        ]:
            del table[key]


def code() -> str:
    section = PAGE.read_text("utf-8").partition("## How to add")[2].partition("### A data set")[0]
    return "\n\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))


def network():
    x = tf.keras.Input((12, 16, 3))
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(x))
    return tf.keras.Model(x, layers.Dense(3)(layers.Dense(5, activation="relu")(y)))


def samples(count=2):
    return np.random.default_rng(0).normal(size=(count, 12, 16, 3)).astype(np.float32)


def test_a_rule_of_lrp():
    names: dict = {}
    exec(code(), names)
    model, x = network(), samples()
    alone, within_rap = names["explain_with_gamma"](model, x)

    def expected(linear, x, w, b, R, nonnegative):
        return lrp.z(linear, x, tf.where(w > 0, 1.25 * w, w), 0.0, R)

    by_option = rap_keras.create_analyzer("lrp", model, rule=expected).analyze(x)
    np.testing.assert_allclose(alone, by_option, rtol=1e-5, atol=1e-7)
    mixed = [("first", expected), (layers.Dense, expected)]
    np.testing.assert_allclose(
        within_rap, rap_keras.create_analyzer("lrp", model, rule=mixed).analyze(x), rtol=1e-4
    )
    plain = rap_keras.create_analyzer("lrp.z", model).analyze(x)
    assert np.abs(alone - plain).max() > 1e-3
    assert methods.title("lrp.own_gamma") == "Own LRP gamma"
    assert "lrp.own_gamma" in methods.names()
    found = rap_keras.conservation.check(rap_keras.create_analyzer("lrp.own_gamma", model), x)
    assert [layer.rule for layer in found.layers if layer.kind == "Dense"] == ["own rule: gamma"] * 2


def test_a_method():
    names: dict = {}
    exec(code(), names)
    model, x = network(), samples()
    found = methods.create("occlusion", model).analyze(x)
    logits = model.predict(x, verbose=0)
    chosen = logits.argmax(1)
    for top, left in ((0, 0), (8, 8)):
        without = x.copy()
        without[:, top : top + 8, left : left + 8] = 0
        fall = (logits - model.predict(without, verbose=0))[np.arange(2), chosen]
        np.testing.assert_allclose(found[:, top + 1, left + 2, 1], fall, rtol=1e-3, atol=1e-5)
    explanation = rap_keras.explain(model, x[:1], method="occlusion")
    np.testing.assert_allclose(explanation.relevance, found[0], rtol=1e-4, atol=1e-6)


def test_a_layer_with_weights():
    names: dict = {}
    exec(code(), names)
    x = tf.keras.Input((4,))
    own = tf.keras.Model(x, layers.Dense(3)(names["Scale"](name="own")(layers.Dense(5, activation="relu")(x))))
    random = np.random.default_rng(1)
    own.set_weights([random.normal(size=w.shape) for w in own.get_weights()])
    first, bias, scale, last, last_bias = own.get_weights()
    same = tf.keras.Sequential(
        [
            tf.keras.Input((4,)),
            layers.Dense(5, activation="relu"),
            layers.Dense(5, use_bias=False),
            layers.Dense(3),
        ]
    )
    same.set_weights([first, bias, np.diag(scale), last, last_bias])
    X = random.normal(size=(3, 4)).astype(np.float32)
    found, expected = (rap_keras.RAP(model, input_rule=None).analyze(X) for model in (own, same))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_the_commands_know_own_methods(tmp_path, monkeypatch):
    (tmp_path / "own_methods.py").write_text(code().replace("size = 8", "size = 32"), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    options = ["benchmark", "--limit", "2", "--methods", "rap,occlusion", "--metrics", "outside-inside"]
    result = CliRunner().invoke(main, [*options, "--custom-objects", "own_methods"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Occlusion" in result.output


def test_what_cannot_be_registered():
    with pytest.raises(ValueError, match="the name 'rap' is a method of rap_keras: give another name"):
        rap_keras.register_method("rap")
    with pytest.raises(ValueError, match="must be a word without commas and spaces"):
        rap_keras.register_method("my method")
    with pytest.raises(TypeError, match=r"neither a subclass of rap_keras\.Analyzer nor a function of"):
        rap_keras.register_method("mine")(lambda x: x)


def test_rules_of_layers_and_of_maps_are_one_mechanism():
    model, x = network(), samples()

    def doubled(Xs, Ys, Rs, state):
        return [2 * tf.reshape(Rs[0], tf.shape(Xs[0]))]

    plain = rap_keras.RAP(model).analyze(x)
    for rules in (
        {"flatten": doubled},
        [(layers.Flatten, doubled)],
        [(lambda layer: "flatten" in layer.name, doubled)],
    ):
        name = next(layer.name for layer in model.layers if isinstance(layer, layers.Flatten))
        rules = {name: doubled} if isinstance(rules, dict) else rules
        moved = rap_keras.RAP(model, rules=rules)
        assert sum(p.kind.own for p in moved.plan) == 1
        with pytest.warns(UserWarning, match="does not sum to the logit"):
            np.testing.assert_allclose(moved.analyze(x), 2 * plain, rtol=1e-5, atol=1e-7)
    by_lrp = rap_keras.create_analyzer("rap", model, rules=[("any", lrp_methods.z)]).analyze(x)
    np.testing.assert_allclose(by_lrp, rap_keras.create_analyzer("lrp.z", model).analyze(x), rtol=1e-5, atol=1e-7)
    assert np.abs(by_lrp - plain).max() > 1e-3
    for rules in ([("last", doubled)], [("bounded", doubled)]):
        with pytest.raises(ValueError, match=r"cannot be for '(last|bounded)': name the layer or give its class"):
            rap_keras.RAP(model, rules=rules)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not take layers apart")
def test_a_rule_for_a_class_keeps_its_layers_whole():
    class Twice(layers.Layer):
        def call(self, x):
            return x + x

    def halved(Xs, Ys, Rs, state):
        return [Rs[0] / 2]

    x = tf.keras.Input((4,))
    model = tf.keras.Model(x, layers.Dense(3)(Twice(name="twice")(layers.Dense(5)(x))))
    assert "twice" not in [call.name for call in rap_keras.RAP(model).network.calls]
    analyzer = rap_keras.RAP(model, rules=[(Twice, halved)])
    assert [p.call.name for p in analyzer.plan if p.kind.own] == ["twice"]
    with pytest.raises(ValueError, match=r"the rule for .*Conv2D.* is not used: no layer of the network"):
        rap_keras.RAP(model, rules=[(layers.Conv2D, halved)])


METHODS = ("rap", "lrp.z", "lrp.alpha_1_beta_0", "deep_taylor", "gradient", "input_t_gradient", "guided_backprop")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_relevance_of_layers(method):
    """What a method gives back at the first layer is its heatmap, and checks work with it."""
    model, x = network(), samples()
    analyzer = rap_keras.create_analyzer(method, model)
    found = analyzer.analyze_layers(x)
    assert list(found) == [call.name for call in analyzer.network.calls]
    np.testing.assert_allclose(found[analyzer.network.calls[0].name], analyzer.analyze(x), rtol=1e-5, atol=1e-7)
    checked = rap_keras.conservation.check(analyzer, x)
    assert len(checked.layers) == len(found)
    assert all(layer.rule for layer in checked.layers)
    if method == "rap":
        assert checked.passed()
