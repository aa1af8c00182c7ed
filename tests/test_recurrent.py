"""Recurrent layers: gates are constant factors, the rest follows the linear rule at every time step."""

from __future__ import annotations

import jacobian
import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, NotAnalyzeableModelException, value_of
from layer_rules import back, random_weights
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP, create_analyzer
from rap_keras.engine.checks.conservation import check
from rap_keras.engine.rules import recurrent
from rap_keras.hosts.native import lrp_methods
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = pytest.mark.usefixtures("double_precision")

SEQUENCE, FILM = (6, 4), (5, 6, 7, 2)


def network(*steps, shape=SEQUENCE):
    x = y = keras.Input(shape)
    for layer in steps:
        y = layer(y)
    return random_weights(keras.Model(x, y))


def sequences(shape=SEQUENCE, count=3):
    return np.random.default_rng(1).normal(size=(count, *shape))


LAYERS = {
    "simple": lambda **o: layers.SimpleRNN(5, **o),
    "simple relu": lambda **o: layers.SimpleRNN(5, activation="relu", use_bias=False, **o),
    "lstm": lambda **o: layers.LSTM(5, **o),
    "lstm of others": lambda **o: layers.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid", **o),
    "lstm unrolled": lambda **o: layers.LSTM(5, unroll=True, use_bias=False, **o),
    "gru": lambda **o: layers.GRU(5, **o),
    "gru reset before": lambda **o: layers.GRU(5, reset_after=False, **o),
    "gru without bias": lambda **o: layers.GRU(5, use_bias=False, **o),
    "backwards": lambda **o: layers.LSTM(5, go_backwards=True, **o),
    "cell": lambda **o: layers.RNN(layers.GRUCell(5), **o),
    "cells": lambda **o: layers.RNN([layers.LSTMCell(5), layers.SimpleRNNCell(3), layers.GRUCell(4)], **o),
    "convolutions in one dimension": lambda **o: layers.ConvLSTM1D(3, 2, **o),
    "convolutions": lambda **o: layers.ConvLSTM2D(3, 3, **o),
    "strided convolutions": lambda **o: layers.ConvLSTM2D(3, (3, 2), strides=(2, 1), padding="same", **o),
    "dilated convolutions": lambda **o: layers.ConvLSTM2D(3, 2, dilation_rate=2, use_bias=False, **o),
}


def shape_of(name):
    if "one dimension" in name:
        return FILM[:2] + FILM[-1:]
    return FILM if "convolutions" in name else SEQUENCE


@pytest.mark.parametrize("name", LAYERS)
def test_the_cells_calculate_what_keras_does(name):
    model = network(LAYERS[name](return_sequences=True), shape=shape_of(name))
    x = sequences(shape_of(name))
    layer = model.layers[-1]

    def outputs():
        at_first = x[:, ::-1] if layer.go_backwards else x
        steps = tf.constant(np.swapaxes(at_first, 0, 1))
        step, shapes = recurrent._step(layer, steps[0])
        states = [tf.zeros(shape, tf.float64) for shape in shapes]
        after = tf.scan(lambda olds, now: step(now, olds)[0], steps, states)
        return after[sum(recurrent._counts(layer)[:-1])]

    expected = np.swapaxes(model.predict_on_batch(x), 0, 1)
    np.testing.assert_allclose(value_of(outputs), expected, rtol=1e-10, atol=1e-12)


# Where relevance begins does not depend on what is in a cell, except on its number of states.
LAST_STEP = ("simple", "lstm", "gru", "backwards", "cells", "convolutions")


@pytest.mark.parametrize(
    ("name", "return_sequences"), [*((name, True) for name in LAYERS), *((name, False) for name in LAST_STEP)]
)
def test_relevance_is_conserved(name, return_sequences):
    head = [layers.Flatten(), layers.Dense(3)]
    model = network(LAYERS[name](return_sequences=return_sequences), *head, shape=shape_of(name))
    x = sequences(shape_of(name))
    analyzer = RAP(model)
    R = analyzer.analyze(x)
    assert R.shape == x.shape
    np.testing.assert_allclose(R.reshape(3, -1).sum(1), model.predict_on_batch(x).max(1), rtol=1e-9)
    np.testing.assert_allclose(analyzer.analyze(x[1:2]), R[1:2], rtol=1e-9, atol=1e-12)
    if return_sequences:
        assert check(analyzer, x).passed()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def shares(parts, R):
    sizes = np.abs(parts)
    total = sizes.sum(0)
    return [np.where(total > 0, size / np.where(total > 0, total, 1), 1 / len(parts)) * R for size in sizes]


def lstm_in_numpy(x, weights, R, linear):
    """Relevance of x (time, features) for R of the last output, with `linear(v, w, b, R)` for the candidate."""
    W, U, b = weights
    units = len(U)
    part = [slice(k * units, (k + 1) * units) for k in range(4)]
    h = c = np.zeros(units)
    steps = []
    for now in x:
        z = now @ W + h @ U + b
        i, f, o = (sigmoid(z[part[k]]) for k in (0, 1, 3))
        new = i * np.tanh(z[part[2]])
        steps.append((now, h, f * c, new))
        c = f * c + new
        h = o * np.tanh(c)
    R_h, R_c, found = R, np.zeros(units), []
    for now, h, kept, new in reversed(steps):
        R_c, R_new = shares(np.array([kept, new]), R_h + R_c) if linear is rap else z_shares(kept, new, R_h + R_c)
        both = linear(np.concatenate([now, h]), np.concatenate([W, U])[:, part[2]], b[part[2]], R_new)
        found.insert(0, both[: len(now)])
        R_h = both[len(now) :]
    return np.array(found)


def rap(v, w, b, R):
    return jacobian.relative_attribution(v[None], w, R[None], signed=False)[0]


def epsilon(v, w, b, R):
    z = v @ w + b
    return v * (w @ (R / (z + 1e-3 * np.where(z >= 0, 1, -1))))


def z_shares(kept, new, R):
    each = R / (kept + new)
    return kept * each, new * each


def test_an_lstm_equals_numpy():
    model = network(layers.LSTM(5))
    x, R = sequences(), np.random.default_rng(2).normal(size=(3, 5))
    (found,) = back(model, [x], R)
    expected = [lstm_in_numpy(sample, model.get_weights(), relevance, rap) for sample, relevance in zip(x, R)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_lrp_of_an_lstm_equals_the_formulas_of_arras():
    """Arras et al. 2017, section 2: epsilon-LRP at linear maps, shares at sums, nothing for gates."""
    model = network(layers.LSTM(5))
    x = sequences()
    analyzer = create_natively("lrp.epsilon", model, epsilon=1e-3, neuron_selection_mode="all")
    R = model.predict_on_batch(x)
    expected = [lstm_in_numpy(sample, model.get_weights(), r, epsilon) for sample, r in zip(x, R)]
    np.testing.assert_allclose(analyzer.analyze(x), expected, rtol=1e-7, atol=1e-12)


def gru_in_numpy(x, weights, R, linear):
    """Relevance of x (time, features) for R of the last output; with one bias the reset gate comes before U."""
    W, U, biases = weights
    units, reset_after = len(U), np.ndim(biases) == 2
    b, b_state = biases if reset_after else (biases, np.zeros_like(biases))
    of_u, of_r, of_new = (slice(k * units, (k + 1) * units) for k in range(3))
    h, steps = np.zeros(units), []
    for now in x:
        z, state = now @ W + b, h @ U + b_state
        u, r = (sigmoid(z[part] + state[part]) for part in (of_u, of_r))
        seen, scale = (h, r) if reset_after else (r * h, 1.0)
        bias = b[of_new] + scale * b_state[of_new]
        new = (1 - u) * np.tanh(now @ W[:, of_new] + scale * (seen @ U[:, of_new]) + bias)
        steps.append((now, seen, scale, bias, u * h, new))
        h = u * h + new
    R_h, found = R, []
    for now, seen, scale, bias, kept, new in reversed(steps):
        R_kept, R_new = shares(np.array([kept, new]), R_h) if linear is rap else z_shares(kept, new, R_h)
        both = linear(np.r_[now, seen], np.r_[W[:, of_new], scale * U[:, of_new]], bias, R_new)
        found.insert(0, both[: len(now)])
        R_h = R_kept + both[len(now) :]
    return np.array(found)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_equals_numpy(reset_after):
    model = network(layers.GRU(5, reset_after=reset_after))
    x, R = sequences(), np.random.default_rng(2).normal(size=(3, 5))
    (found,) = back(model, [x], R)
    expected = [gru_in_numpy(sample, model.get_weights(), r, rap) for sample, r in zip(x, R)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reset_after", [True, False])
def test_lrp_of_a_gru_counts_both_biases(reset_after):
    """The recurrent bias is within the reset gate with `reset_after`, and takes its share of relevance there."""
    model = network(layers.GRU(5, reset_after=reset_after))
    x = sequences()
    analyzer = create_natively("lrp.epsilon", model, epsilon=1e-3, neuron_selection_mode="all")
    R = model.predict_on_batch(x)
    expected = [gru_in_numpy(sample, model.get_weights(), r, epsilon) for sample, r in zip(x, R)]
    np.testing.assert_allclose(analyzer.analyze(x), expected, rtol=1e-7, atol=1e-12)


def test_of_a_simple_network_each_step_is_a_dense_layer():
    model = network(layers.SimpleRNN(5))
    (W, U, b), x = model.get_weights(), sequences(count=1)[0]
    h, states = np.zeros(5), []
    for now in x:
        states.append(h)
        h = np.tanh(now @ W + h @ U + b)
    R = R_h = np.random.default_rng(2).normal(size=5)
    expected = []
    for now, h in zip(x[::-1], states[::-1]):
        both = rap(np.concatenate([now, h]), np.concatenate([W, U]), b, R_h)
        expected.insert(0, both[:4])
        R_h = both[4:]
    (found,) = back(model, [x[None]], R[None])
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-12)


METHODS = ("rap", "rap.contrastive", "lrp.epsilon", "lrp.alpha_1_beta_0", "input_t_gradient")


def remembers_one_step():
    """An LSTM that stores feature 0 at the step where feature 1 is set, and keeps it for good."""
    model = keras.Sequential([keras.Input((8, 2)), layers.LSTM(1), layers.Dense(2, use_bias=False)])
    W = np.array([[0.0, 0, 1, 0], [30, 0, 0, 0]])  # the input gate opens for the flag, the candidate is the value
    b = np.array([-15.0, 15, 0, 15])  # otherwise the old state is kept; the output is open
    model.set_weights([W, np.zeros((1, 4)), b, np.array([[1.0, -1.0]])])
    return model


@pytest.mark.parametrize("method", METHODS)
def test_relevance_lies_at_the_step_that_is_remembered(method):
    x = np.random.default_rng(3).uniform(0.5, 1, (4, 8, 2))
    flags = np.array([0, 3, 5, 7])
    x[:, :, 1] = 0
    x[np.arange(4), flags, 1] = 1
    R = np.abs(create_natively(method, remembers_one_step()).analyze(x)).sum(2)
    # Input times gradient also gives the gate a part of it, within the same step.
    assert (R.argmax(1) == flags).all()
    assert R[np.arange(4), flags].sum() > 0.99 * R.sum()


def test_what_opens_a_gate_gets_no_relevance():
    x = np.random.default_rng(3).uniform(0.5, 1, (4, 8, 2))
    R = RAP(remembers_one_step()).analyze(x)
    assert (R[:, :, 1] == 0).all()
    assert (R[:, :, 0] != 0).all()


def test_states_that_are_handed_on_take_relevance_with_them():
    x, z = keras.Input((6, 4)), keras.Input((3, 4))
    _, h, c = layers.LSTM(5, return_state=True)(x)
    y = layers.LSTM(5)(z, initial_state=[h, c])
    model = random_weights(keras.Model([x, z], layers.Dense(3)(y)))
    both = [sequences(), sequences((3, 4))]
    R = RAP(model).analyze(both)
    total = R[0].sum((1, 2)) + R[1].sum((1, 2))
    np.testing.assert_allclose(total, model.predict_on_batch(both).max(1), rtol=1e-9)
    assert np.abs(R[0]).max() > 1e-3


def test_long_sequences_need_no_larger_graph():
    def operations(length):
        model = network(layers.LSTM(3), layers.Dense(2), shape=(length, 2))
        analyzer = create_natively("rap", model)
        function = tf.function(lambda *tensors: analyzer.attributions(list(tensors)), autograph=False)
        return len(function.get_concrete_function(*analyzer.specs()).graph.get_operations())

    assert operations(5) == operations(5000)


def test_sequences_of_any_length():
    model = network(layers.GRU(5, return_sequences=True), layers.LSTM(4), layers.Dense(3), shape=(None, 4))
    for length in (3, 9):
        x = sequences((length, 4))
        R = RAP(model, input_rule=None).analyze(x)
        np.testing.assert_allclose(R.sum((1, 2)), model.predict_on_batch(x).max(1), rtol=1e-9)


class OwnCell(layers.Layer):
    state_size = output_size = 3

    def call(self, x, states, training=False):
        return x + states[0], [x + states[0]]


REFUSED = {
    "stateful": (lambda x: layers.LSTM(3, stateful=True)(x), "build it with stateful=False"),
    "cell": (lambda x: layers.RNN(OwnCell(), name="own")(x), r"no rule for this layer: 'own' \(RNN\)"),
    "reset gate": (lambda x: layers.GRU(3, recurrent_activation="tanh")(x), "build it with reset_after=False"),
    "constant state": (
        lambda x: layers.GRU(3)(x, initial_state=tf.zeros((2, 3), tf.float64)),
        "is called with constant states.*an initial_state that depends on",
    ),
}
if not KERAS_3:  # which calculates in single precision instead
    message = "build the model with.*'float32'"
    REFUSED["half precision"] = (lambda x: layers.LSTM(3, dtype="mixed_float16")(x), message)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, message = REFUSED[name]
    x = keras.Input(batch_shape=(2, 6, 3))
    with pytest.raises(NotAnalyzeableModelException, match=message):
        RAP(keras.Model(x, layers.Dense(2)(build(x))), allow_lambda_layers=True)


def test_no_method_explains_a_layer_with_a_memory():
    x = keras.Input(batch_shape=(2, 6, 3))
    model = keras.Model(x, layers.Dense(2)(layers.LSTM(3, stateful=True)(x)))
    with pytest.raises(
        NotAnalyzeableModelException, match="is stateful, so its output depends on earlier batches"
    ):
        create_natively("gradient", model)


@pytest.mark.parametrize("name", ["guided_backprop", "deconvnet", "deep_taylor", "pattern.attribution"])
def test_methods_of_relus_and_patterns_are_refused(name):
    model = network(layers.SimpleRNN(5, activation="relu"), layers.Dense(3))
    with pytest.raises(NotAnalyzeableModelException, match=r"'simple_rnn\w*'.*an lrp method"):
        create_natively(name, model)


def test_the_contrast_begins_behind_the_recurrent_layer():
    model = network(layers.LSTM(5, name="memory"), layers.Dense(4, activation="relu"), layers.Dense(3))
    x = sequences()
    analyzer = create_analyzer("rap.contrastive", model, contrast="logit")
    W, b, V, _ = model.get_weights()[3:]
    h = keras.Model(model.inputs, model.get_layer("memory").output).predict_on_batch(x)
    hidden = np.maximum(h @ W + b, 0)
    chosen = model.predict_on_batch(x).argmax(1)
    expected = h * (((hidden > 0) * V.T[chosen]) @ W.T)
    np.testing.assert_allclose(analyzer.analyze(x).sum((1, 2)), expected.sum(1), rtol=1e-8)


def test_a_composite_has_a_rule_for_recurrent_layers():
    model = network(layers.LSTM(5), layers.Dense(3))
    by_type = lrp_methods.LRP(model, [(layers.LSTM, lrp_methods.flat), ("any", lrp_methods.z)])
    flat = lrp_methods.LRP(model, lrp_methods.flat)
    x = sequences()
    assert np.abs(by_type.analyze(x) - flat.analyze(x)).max() > 1e-3
    with pytest.raises(ValueError, match="no rule for layer"):
        lrp_methods.LRP(model, [(layers.Dense, lrp_methods.z)])
