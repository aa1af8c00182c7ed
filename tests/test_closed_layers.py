"""Layers made of other layers that are refused with a way out, or stay whole by a rule of the user's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import NotAnalyzeableModelException
from layer_rules import random_weights
from layers_of_layers import Own, gate, in_front, network_of, of_keras_3, tokens
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine import registered_rules
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.way_back.plan import plan
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = of_keras_3


def to_the_first(Xs, Ys, Rs, state):
    return [tf.pad(tf.reduce_sum(Rs[0], axis=1, keepdims=True), [[0, 0], [0, 5], [0, 0]])]


def through_an_array(layer, x):
    y = layer.dense(x)
    return tf.TensorArray(y.dtype, 1).write(0, y).read(0)


def of_tensorflow(layer, x):
    return tf.nn.relu(layer.dense(x))


def over_the_samples(layer, x):
    return layer.dense(x) / keras.ops.cast(ops.shape(x)[0], x.dtype)


def noisy(layer, x):
    return layer.dense(x) + keras.random.normal(ops.shape(x))


def rows_of_the_kernel(layer, x):
    return layer.dense(x) + ops.expand_dims(keras.ops.convert_to_tensor(layer.dense.kernel)[: ops.shape(x)[0]], 1)


def one_constant(layer, x):
    return ops.tile(layer.table, (ops.shape(x)[0], 1, 1))


REFUSED = {
    through_an_array: "its call fails on symbolic tensors",
    over_the_samples: "its parts calculate something else than the layer itself",
    noisy: "its parts calculate something else than the layer itself",
    rows_of_the_kernel: "its parts calculate something else than the layer itself",
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_taken_apart_is_refused_with_the_reason(code, monkeypatch):
    monkeypatch.setattr(registered_rules, "RULES", {})
    model = network_of(Own(code, name="own"))
    message = rf"'own' \(Own\)\. It cannot be taken apart: {REFUSED[code]}.*register_rule"
    with pytest.raises(NotAnalyzeableModelException, match=message):
        RAP(model)
    rap_keras.register_rule(Own, lambda Xs, Ys, Rs, state: [tf.ones_like(Xs[0])])  # the way out
    # One sample alone: some of these depend on the number of samples, or on chance.
    assert (RAP(model, input_rule=None).analyze(tokens()[:1]) == 1).all()


def test_layers_with_weights_made_at_every_call_and_models_of_constants_are_refused():
    tensors = [keras.Input((6, 4)), keras.Input((3, 4))]
    both = keras.Model(tensors, tensors[0] + ops.sum(tensors[1], axis=1, keepdims=True), name="both")
    for code, message in (
        (lambda layer, x: layers.Dense(4, name="other")(x), "makes layer 'other' anew at every call"),
        (lambda layer, x: both([x, one_constant(layer, x)]), "calls model 'both' with a constant"),
    ):
        with pytest.raises(NotAnalyzeableModelException, match=rf"'own'.*{message}"):
            RAP(network_of(Own(code, name="own")))
    model = network_of(Own(lambda layer, x: both([x, in_front(layer, x)[:, :3]]), name="own"))
    assert RAP(model).analyze(tokens()).any()


def test_the_gradient_needs_no_layer_taken_apart():
    X = tokens()
    found, expected = (
        create_natively("gradient", random_weights(network_of(Own(code)))).analyze(X)
        for code in (of_tensorflow, lambda layer, x: ops.relu(layer.dense(x)))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_operation_without_a_rule_is_named_behind_its_layer():
    model = network_of(Own(lambda layer, x: ops.cumprod(layer.dense(x), axis=1), name="own"))
    with pytest.raises(NotAnalyzeableModelException, match=r"no rule for this layer: 'own/cumprod' \(Cumprod\)"):
        RAP(model)


def scaled_by_the_length(layer, x):
    return layer.dense(x) * ops.cast(ops.shape(x)[1], x.dtype)


def learned_places(layer, x):
    return layer.dense(x) + layer.table[:, : ops.shape(x)[1]]


@pytest.mark.parametrize("code", [scaled_by_the_length, learned_places])
def test_what_depends_on_an_unknown_length_is_refused_and_the_way_out_works(code):
    x = keras.Input((None, 4))
    model = random_weights(keras.Model(x, layers.Dense(2)(layers.GlobalMaxPooling1D()(Own(code, name="own")(x)))))
    with pytest.raises(NotAnalyzeableModelException, match=r"'own'.*unknown length, so call the model on"):
        RAP(model)
    x = keras.Input((3, 4))
    fixed, X = keras.Model(x, model(x)), tokens(shape=(3, 4))
    np.testing.assert_allclose(RAP(fixed).analyze(X).sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)


def test_own_rules_go_before(monkeypatch):
    monkeypatch.setattr(registered_rules, "RULES", {})
    model, rule = network_of(Own(gate, name="own")), to_the_first
    network = flatten(model, closed=["own"])
    assert network.calls[0].name == "own"
    assert plan(network, rules={"own": rule})[0].kind.rule is rule
    assert (RAP(model, input_rule=None, rules={"own": rule}).analyze(tokens())[:, 1:] == 0).all()
    rap_keras.register_rule(Own, rule)
    assert (RAP(model, input_rule=None).analyze(tokens())[:, 1:] == 0).all()


def test_a_softmax_that_another_layer_uses_is_named():
    x = keras.Input((6, 4))
    code = lambda layer, x: layer.dense(x) + ops.softmax(layer.dense(x))  # noqa: E731
    with pytest.raises(ValueError, match=r"softmax of layer 'head/softmax' cannot be removed.*layer 'head'"):
        rap_keras.to_logits(keras.Model(x, Own(code, name="head")(x)))
