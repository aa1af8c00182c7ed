"""Rules that the user adds, for a layer, for a kind of layer, and when an analyzer is saved."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from innvestigate import NotAnalyzeableModelException
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine.rules import kinds


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def test_a_rule_for_a_layer_of_the_users_own(monkeypatch):
    monkeypatch.setattr(kinds, "_REGISTERED", {})
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, name="last")(Doubled(name="doubled")(layers.Dense(3)(x))))
    with pytest.raises(NotAnalyzeableModelException, match=r"'doubled' \(Doubled\).*register_rule"):
        RAP(model)
    X = np.random.default_rng(0).normal(size=(2, 4))

    def halved(Xs, Ys, Rs, state):
        assert state["layer"].name == "doubled"
        return [Rs[0] / 2]

    by_name = RAP(model, rules={"doubled": halved})
    rap_keras.register_rule(Doubled, halved)
    by_kind = RAP(model)
    for analyzer in (by_name, by_kind):
        R = analyzer.analyze_layers(X)
        assert R["doubled"] == pytest.approx(R["last"] / 2)
    with pytest.raises(KeyError, match=r"rules for dubled: no such layer"):
        RAP(model, rules={"dubled": halved})
    with pytest.raises(TypeError, match="no Keras layer class"):
        rap_keras.register_rule(Doubled(), halved)
    with pytest.raises(TypeError, match="is no rule"):
        rap_keras.register_rule(Doubled, "halved")


def test_a_registered_rule_goes_before_the_packages_own(monkeypatch):
    monkeypatch.setattr(kinds, "_REGISTERED", {})
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(layers.Dense(4, name="first")(x)))
    rap_keras.register_rule(layers.Dense, lambda Xs, Ys, Rs, state: [tf.ones_like(Xs[0])])
    assert (RAP(model).analyze(np.ones((1, 4))) == 1).all()


def rule_of_this_module(Xs, Ys, Rs, state):
    return Rs


@pytest.mark.plugin
def test_saved_without_pickle(tmp_path):
    from rap_keras.hosts.plugin.analyzer import RAP

    x = keras.Input((6, 6, 2))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(x))
    y = layers.ReLU(name="relu")(y)
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))
    options = {
        "variant": "reference",
        "batch_norm": "fold",
        "input_rule": ([-4.0, -5.0], [4.0, 5.0]),
        "neuron_selection_mode": "index",
        "reverse_clip_values": (-1.0, 1.0),
        "rules": {"relu": rule_of_this_module},
    }
    analyzer = RAP(model, **options)
    path = tmp_path / "analyzer"
    analyzer.save_npz(path)
    assert all(array.dtype != object for array in np.load(path, allow_pickle=False).values())
    loaded = RAP.load_npz(path)
    state = loaded.save()[1]
    assert {name: state[name] for name in options} == options
    X = np.random.default_rng(0).normal(size=(2, 6, 6, 2))
    assert loaded.analyze(X, 1) == pytest.approx(analyzer.analyze(X, 1))
    with pytest.raises(FileNotFoundError):
        RAP.load_npz(tmp_path / "missing")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match=r"other.npz: no analyzer saved by RAP.save_npz"):
        RAP.load_npz(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="cannot be saved"):
        RAP(model, rules={"relu": lambda Xs, Ys, Rs, state: Rs}).save_npz(path)
