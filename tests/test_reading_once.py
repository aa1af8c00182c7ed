"""A network is read once, and again when its model has changed."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from host import KERAS_3, tf

import rap_keras
from rap_keras.engine.reading import flattening, walk
from rap_keras.engine.reading.flattening import flatten, reading_once
from rap_keras.engine.registered_rules import RULES

keras = tf.keras
layers = keras.layers

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def network(activation: Any = None, units: int = 3) -> Any:
    """Every kind of attribute that a change may be of: a wrapper, a list of cells, statistics, a dense layer."""
    return keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.TimeDistributed(layers.Dense(4, activation="relu"), name="wrapper"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(5, activation="tanh", name="dense"),
            layers.Dense(units, activation=activation, name="last"),
        ]
    )


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the models that are read."""
    names: list[str] = []
    read = walk.Walk.network

    def counted(self: Any, model: Any) -> Any:
        names.append(model.name)
        return read(self, model)

    monkeypatch.setattr(walk.Walk, "network", counted)
    return names


@pytest.mark.parametrize(("activation", "times"), [(None, 1), ("softmax", 2)])  # with it, also the logits' network
@pytest.mark.parametrize("method", ["rap", ["rap", "rap.contrastive"]])
def test_explain_reads_a_network_once(activation, times, method, readings):
    model = keras.Sequential(
        [
            keras.Input((6, 3)),
            layers.Conv1D(4, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation=activation),
        ]
    )
    first = rap_keras.explain(model, X, method)
    assert len(readings) == times
    again = rap_keras.explain(
        model, X, method, target=int(np.atleast_1d(first)[0].target) if method == "rap" else 0
    )
    assert len(readings) == times
    assert np.isfinite(np.atleast_1d(again)[0].logit)


def test_an_analyzer_reads_a_network_once(readings):
    model = network()
    with reading_once():
        rap_keras.explain(model, X)
    assert rap_keras.create_analyzer("rap", model).analyze(X[None]).shape == (1, 6, 3)
    assert len(readings) == 1


def test_a_network_that_is_used_stays_the_same(readings):
    x = keras.Input((6, 3))
    h = layers.Add()([x, layers.MultiHeadAttention(1, 2)(x, x)])
    h = layers.Bidirectional(layers.GRU(2, return_sequences=True, dropout=0.5))(layers.LayerNormalization()(h))
    model = keras.Model(x, layers.Dense(3)(layers.LSTM(2)(layers.SpatialDropout1D(0.5)(h))))
    rap_keras.explain(model, X, "gradient")
    model.predict_on_batch(X[None])
    keras.Model(model.inputs, model.layers[1].output)
    readings.clear()
    rap_keras.explain(model, X, "gradient")
    assert flatten(model) is flatten(model)
    assert readings == []


def replace_wrapped(model: Any) -> None:
    other = layers.Dense(4, activation="tanh")
    other.build((None, 3))
    other.set_weights(model.get_layer("wrapper").layer.get_weights())
    vars(model.get_layer("wrapper"))["layer"] = other  # Keras 3 forbids it as an attribute


def set_activation(model: Any) -> None:
    model.get_layer("dense").activation = keras.activations.relu


def swap_weights(model: Any) -> None:
    """New variables in the place of the old ones."""
    dense = model.get_layer("dense")
    value = 2 * dense.get_weights()[0]
    vars(dense)["_kernel" if KERAS_3 else "kernel"] = (
        keras.Variable(value) if KERAS_3 else keras.backend.variable(value)
    )


def add_layer(model: Any) -> None:
    model.add(layers.Dense(2, name="more"))


def replace_last(model: Any) -> None:
    model.pop()
    model.add(layers.Dense(3, activation="tanh", name="last"))


def lora(model: Any) -> None:
    if not KERAS_3:
        pytest.skip("Keras 2 has no LoRA")
    model.get_layer("dense").enable_lora(2)


def rule(model: Any) -> None:
    rap_keras.register_rule(layers.Flatten, lambda Xs, Ys, Rs, state: [tf.reshape(Rs[0], tf.shape(Xs[0]))])


CHANGES = [replace_wrapped, set_activation, swap_weights, add_layer, replace_last, lora, rule]


@pytest.mark.filterwarnings("ignore:layer .* has a rule of yours")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_network_is_read_again(change, readings):
    model = network()
    try:
        before = flatten(model)
        assert flatten(model) is before
        rap_keras.explain(model, X)
        change(model)
        found = rap_keras.explain(model, X)
        assert flatten(model) is not before
        np.testing.assert_allclose(found.logit, np.max(flattening.predictor(model)(X[None])), rtol=1e-5)
        new = rap_keras.create_analyzer("rap", fresh(model)).analyze(X[None])[0]
        np.testing.assert_allclose(found.relevance, new, rtol=1e-4, atol=1e-6)
    finally:
        RULES.pop(layers.Flatten, None)


def fresh(model: Any) -> Any:
    """Another model of the same layers, about which nothing is known."""
    return keras.Model(model.inputs, model.outputs)


@pytest.mark.parametrize("kind", ["weights", "statistics"])
def test_values_of_variables_are_read_in_every_call(kind, readings):
    model = network()
    first = rap_keras.explain(model, X)
    if kind == "weights":
        model.set_weights([weight * 1.5 for weight in model.get_weights()])
    else:
        norm = model.layers[1]
        norm.set_weights([*norm.get_weights()[:2], norm.get_weights()[2] + 1, norm.get_weights()[3]])
    second = rap_keras.explain(model, X, target=first.target)
    assert len(readings) == 1
    assert second.logit != first.logit
    right = rap_keras.create_analyzer("rap", fresh(model), neuron_selection_mode="index").analyze(
        X[None], first.target
    )[0]
    np.testing.assert_allclose(second.relevance, right, rtol=1e-4, atol=1e-6)


def own_layer(factor: dict[str, float]) -> Any:
    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * factor["x"]

    return Own()


def own_function(factor: dict[str, float]) -> Any:
    return layers.Activation(lambda x: x * factor["x"])


def own_lambda(factor: dict[str, float]) -> Any:
    return layers.Lambda(lambda x: x * factor["x"])


@pytest.mark.skipif(not tf.executing_eagerly(), reason="a graph keeps what was built in it")
@pytest.mark.parametrize("make", [own_layer, own_function, own_lambda])
def test_code_of_the_users_may_depend_on_anything(make, readings):
    factor = {"x": 1.0}
    model = keras.Sequential([keras.Input((6, 3)), make(factor), layers.Flatten(), layers.Dense(2)])
    first = rap_keras.explain(model, X, "gradient", target=0)
    assert len(readings) == 1
    factor["x"] = 3.0
    second = rap_keras.explain(model, X, "gradient", target=0)
    np.testing.assert_allclose(second.relevance, 3 * first.relevance, rtol=1e-5)
    assert len(readings) == 2


def test_a_model_goes_with_what_was_read_of_it():
    model = network("softmax")
    rap_keras.explain(model, X)
    gone = weakref.ref(model)
    del model
    gc.collect()
    if tf.executing_eagerly():  # else the session of Keras holds it
        assert gone() is None


def test_a_model_is_saved_without_what_was_read_of_it(tmp_path):
    model = network("softmax")
    rap_keras.explain(model, X)
    name = "model.keras" if KERAS_3 else "model.h5"
    model.save(tmp_path / name)
    loaded = keras.models.load_model(tmp_path / name)
    assert not [key for key in vars(loaded) if "rap_keras" in key]
    for weight, other in zip(loaded.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(weight, other)
    found, right = rap_keras.explain(loaded, X), rap_keras.explain(model, X)
    np.testing.assert_allclose(found.relevance, right.relevance, rtol=1e-5)


@pytest.mark.skipif(not tf.executing_eagerly(), reason="each thread has a graph of its own")
def test_threads_read_a_network_once(readings):
    model = network()
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(flatten(model))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(readings) == 1
    assert len({id(one) for one in found}) == 1
