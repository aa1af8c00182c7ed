"""RAP in files: the same format in both hosts, without pickle, and which files are refused, with the way out."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine import keras_graph, registered_rules
from rap_keras.engine.rules.unweighted import unchanged
from rap_keras.models import load_model

X = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
OPTIONS = {
    "variant": "reference",
    "batch_norm": "fold",
    "input_rule": ([-4.0, -5.0], [4.0, 5.0]),
    "neuron_selection_mode": "index",
}


def network():
    x = keras.Input((6, 6, 2))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(x))
    y = layers.ReLU(name="relu")(y)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(y)))


def rule_of_this_module(Xs, Ys, Rs, state):
    return [2 * R for R in Rs]


def of_plugin():
    """RAP as an analyzer of iNNvestigate."""
    import innvestigate

    return innvestigate.analyzer.RAP


def rewritten(path, **changes):
    """Changes the state in a file; the value None removes the entry."""
    arrays = dict(np.load(path, allow_pickle=False))
    state = {**json.loads(str(arrays["state"])), **changes}
    arrays["state"] = json.dumps({name: value for name, value in state.items() if value is not None})
    with path.open("wb") as file:
        np.savez(file, **arrays)


HOSTS = [
    pytest.param(lambda: RAP, id="native"),
    pytest.param(of_plugin, id="plugin", marks=pytest.mark.plugin),
]


@pytest.mark.slow
@pytest.mark.parametrize("reader", HOSTS)
@pytest.mark.parametrize("writer", HOSTS)
def test_a_file_of_either_host_gives_the_same_heatmap_in_either(tmp_path, writer, reader):
    analyzer = writer()(network(), **OPTIONS, rules={"relu": rule_of_this_module})
    path = tmp_path / "analyzer"  # a name without .npz stays as it is
    analyzer.save_npz(path)
    assert all(array.dtype != object for array in np.load(path, allow_pickle=False).values())
    loaded = reader().load_npz(path)
    assert type(loaded) is reader()
    for name, value in {**OPTIONS, "rules": {"relu": rule_of_this_module}}.items():
        assert getattr(loaded, "variant" if name == "variant" else f"_{name}") == value
    assert loaded.analyze(X, 1) == pytest.approx(analyzer.analyze(X, 1), rel=1e-5)
    plain = RAP(network(), **OPTIONS)
    plain.model.set_weights(analyzer.model.get_weights())
    assert not np.allclose(plain.analyze(X, 1), analyzer.analyze(X, 1), rtol=1e-2)  # the rule doubles relevance
    loaded.save_npz(tmp_path / "again")
    assert reader().load_npz(tmp_path / "again").analyze(X, 1) == pytest.approx(analyzer.analyze(X, 1), rel=1e-5)


@pytest.mark.plugin
@pytest.mark.parametrize(
    "option", [{"reverse_clip_values": (-1e-3, 1e-3)}, {"reverse_project_bottleneck_layers": True}]
)
def test_options_that_only_innvestigate_has_are_kept_there_and_refused_here(tmp_path, option):
    path = tmp_path / "analyzer.npz"
    analyzer = of_plugin()(network(), **option)
    analyzer.save_npz(path)
    (name,) = option
    with pytest.raises(ValueError, match=rf"npz: .*\({name}\): load it with innvestigate.analyzer.RAP.load_npz"):
        RAP.load_npz(path)
    again = of_plugin().load_npz(path)
    assert again.save()[1][name] == option[name]
    assert again.analyze(X) == pytest.approx(analyzer.analyze(X), rel=1e-5)


@pytest.mark.plugin
def test_what_innvestigate_keeps_for_debugging_is_left_out(tmp_path):
    analyzer = of_plugin()(network(), reverse_check_finite=True)
    analyzer.save_npz(tmp_path / "analyzer.npz")
    assert RAP.load_npz(tmp_path / "analyzer.npz").analyze(X) == pytest.approx(analyzer.analyze(X), rel=1e-5)


@pytest.mark.plugin
@pytest.mark.parametrize("reader", HOSTS)
def test_a_file_without_the_version_of_keras_is_of_keras_2(tmp_path, reader):
    analyzer = of_plugin()(network(), **OPTIONS)
    analyzer.save_npz(tmp_path / "analyzer.npz")
    rewritten(tmp_path / "analyzer.npz", keras=None)
    loaded = reader().load_npz(tmp_path / "analyzer.npz")
    assert loaded.analyze(X, 1) == pytest.approx(analyzer.analyze(X, 1), rel=1e-5)


@pytest.mark.parametrize(("written", "here"), [("2.14.0", "3.15.1"), ("3.15.1", "2.14.0")])
def test_a_file_of_the_other_keras_is_refused_and_the_way_out_works(tmp_path, monkeypatch, written, here):
    path = tmp_path / "analyzer.npz"
    saved = RAP(network(), **OPTIONS)
    saved.save_npz(path)
    analyzer = RAP.load_npz(path)
    rewritten(path, keras=written)
    with monkeypatch.context() as other:
        other.setattr(keras_graph, "version", lambda: here)
        with pytest.raises(ValueError, match=f"npz: its model was written by Keras {written}, which") as caught:
            RAP.load_npz(path)
    if written[0] == "2":
        assert "save its model with analyzer.model.save('model.h5')" in str(caught.value)
        analyzer.model.save(tmp_path / "model.h5")
        model = load_model(tmp_path / "model.h5")
    else:
        assert "save the weights there with numpy.savez('w.npz', *model.get_weights())" in str(caught.value)
        np.savez(tmp_path / "w.npz", *analyzer.model.get_weights())
        model = network()
        model.set_weights(list(np.load(tmp_path / "w.npz").values()))
    assert RAP(model, **OPTIONS).analyze(X, 1) == pytest.approx(saved.analyze(X, 1), rel=1e-5)


@pytest.mark.slow
def test_a_file_that_was_written_with_eager_execution_on(tmp_path):
    program = f"""
import numpy as np, tensorflow as tf
import rap_keras

x = tf.keras.Input((4,))
y = tf.keras.layers.Dense(5)(x)
model = tf.keras.Model(x, tf.keras.layers.Dense(2)(tf.keras.activations.relu(y) + y))
analyzer = rap_keras.RAP(model)
assert tf.executing_eagerly()
np.save({str(tmp_path / "heat.npy")!r}, analyzer.analyze(np.arange(8.0).reshape(2, 4)))
analyzer.save_npz({str(tmp_path / "rap.npz")!r})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = RAP.load_npz(tmp_path / "rap.npz").analyze(np.arange(8.0).reshape(2, 4))
    assert found == pytest.approx(np.load(tmp_path / "heat.npy"), rel=1e-5, abs=1e-6)


def test_what_is_no_file_of_rap(tmp_path):
    with pytest.raises(FileNotFoundError):
        RAP.load_npz(tmp_path / "missing")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match=r"other.npz: not an analyzer saved by RAP.save_npz"):
        RAP.load_npz(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="cannot be saved"):
        RAP(network(), rules={"relu": lambda Xs, Ys, Rs, state: Rs}).save_npz(tmp_path / "rap.npz")


def test_a_file_of_a_network_with_own_layers_says_how_to_load_it(tmp_path, monkeypatch):
    class Mine(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    monkeypatch.setattr(registered_rules, "RULES", {})
    rap_keras.register_rule(Mine, unchanged)
    model = keras.Sequential([keras.Input((4,)), Mine(), keras.layers.Dense(2)])
    analyzer = RAP(model)
    analyzer.save_npz(tmp_path / "own.npz")
    with pytest.raises(ValueError, match=r"with keras\.utils\.custom_object_scope\(\{'NAME': CLASS\}\):"):
        RAP.load_npz(tmp_path / "own.npz")
    with keras.utils.custom_object_scope({"Mine": Mine}):
        loaded = RAP.load_npz(tmp_path / "own.npz")
    x = np.arange(8.0).reshape(2, 4)
    np.testing.assert_allclose(loaded.analyze(x), analyzer.analyze(x), rtol=1e-6)
