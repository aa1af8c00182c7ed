"""A softmax, log-softmax or sigmoid at the end of a model, in any form: refused, removed, and what remains."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, NotAnalyzeableModelException, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP, PatternAttribution
from rap_keras.engine import registered_rules
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules.unweighted import unchanged
from rap_keras.hosts import methods
from rap_keras.models import final_activation
from rap_keras.models.final_activation import find, to_logits

pytestmark = pytest.mark.usefixtures("as_built")


class OwnSoftmax(layers.Layer):
    def call(self, x):
        return tf.nn.softmax(x)


def on_features(end, *more):
    """Convolution, ReLU, Flatten, and the given end."""
    inputs = keras.Input((6, 6, 3))
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    for layer in (end, *more):
        y = layer(y)
    return keras.Model(inputs, y)


def dense(activation, units=3, **options):
    return on_features(layers.Dense(units, activation, name="end", **options))


def after_dense(end, *more):
    return on_features(layers.Dense(3), end, *more)


def convolution_then_moving():
    inputs = keras.Input((6, 6, 3))
    y = layers.Conv2D(3, 6, activation="softmax", use_bias=False)(inputs)
    return keras.Model(inputs, layers.Dropout(0.5)(layers.Reshape((3,))(y)))


def softmax_then_operations():
    inputs = keras.Input((6, 6, 3))
    y = ops.softmax(layers.Conv2D(3, 6)(inputs))
    return keras.Model(inputs, ops.cast(ops.squeeze(y, [1, 2]), "float32"))


def head_in_a_model():
    head = keras.Sequential([keras.Input((36, 4)), layers.Flatten(), layers.Dense(3, "softmax")], name="head")
    inputs = keras.Input((6, 6, 3))
    y = layers.Reshape((36, 4))(layers.Conv2D(4, 3, padding="same")(inputs))
    return keras.Model(inputs, head(y))


def model_in_models():
    inputs = keras.Input((6, 6, 3))
    return keras.Sequential([inputs, keras.Sequential([inputs, dense("softmax")])])


def head_without_an_input():
    head = keras.Sequential([layers.Flatten(), layers.Dense(3, "softmax")])
    return keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), head])


def two_heads_side_by_side():
    inputs = keras.Input((6, 6, 3))
    y = layers.Flatten()(inputs)
    return keras.Model(
        inputs, layers.Concatenate()([layers.Dense(2, "sigmoid")(y), layers.Dense(1, "sigmoid")(y)])
    )


def sigmoid_behind_a_nested_body():
    body = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, layers.Activation("sigmoid")(layers.Dense(1)(body(inputs))))


SPELLINGS = {
    "string": ("softmax", lambda: dense("softmax")),
    "Keras function": ("softmax", lambda: dense(keras.activations.softmax)),
    "tf.nn function": ("softmax", lambda: dense(tf.nn.softmax)),
    "lambda": ("softmax", lambda: dense(lambda z: tf.nn.softmax(z, axis=-1))),
    "partial": ("softmax", lambda: dense(functools.partial(tf.nn.softmax, axis=-1))),
    "layer as activation": ("softmax", lambda: dense(layers.Softmax())),
    "without bias": ("softmax", lambda: dense("softmax", use_bias=False)),
    "Activation": ("softmax", lambda: after_dense(layers.Activation("softmax"))),
    "Softmax": ("softmax", lambda: after_dense(layers.Softmax())),
    "operation": ("softmax", lambda: after_dense(ops.softmax)),
    "layer of the user": ("softmax", lambda: after_dense(OwnSoftmax())),
    "moved by layers": ("softmax", convolution_then_moving),
    "moved by operations": ("softmax", softmax_then_operations),
    "behind linear": ("softmax", lambda: after_dense(layers.Softmax(), layers.Activation("linear"))),
    "nested": ("softmax", head_in_a_model),
    "nested twice": ("softmax", model_in_models),
    "nested without an input": ("softmax", head_without_an_input),
    "log-softmax": ("log_softmax", lambda: dense(tf.nn.log_softmax)),
    "log-softmax, Keras": ("log_softmax", lambda: after_dense(layers.Activation("log_softmax"))),
    "log-softmax, operation": ("log_softmax", lambda: after_dense(ops.log_softmax)),
    "sigmoid": ("sigmoid", lambda: dense("sigmoid", 1)),
    "multi-label": ("sigmoid", lambda: dense(tf.nn.sigmoid)),
    "sigmoid, operation": ("sigmoid", lambda: after_dense(ops.sigmoid)),
    "hard sigmoid": ("sigmoid", lambda: dense("hard_sigmoid")),
    "two heads": ("sigmoid", two_heads_side_by_side),
    "sigmoid, nested body": ("sigmoid", sigmoid_behind_a_nested_body),
}


@pytest.fixture
def own_layer_has_a_rule(monkeypatch):
    monkeypatch.setitem(registered_rules.RULES, OwnSoftmax, unchanged)


def probabilities(logits, kind):
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def x_of(count=4):
    return np.random.default_rng(0).normal(size=(count, 6, 6, 3)).astype(np.float32)


@pytest.mark.usefixtures("own_layer_has_a_rule")
@pytest.mark.parametrize(("kind", "build"), SPELLINGS.values(), ids=list(SPELLINGS))
def test_every_spelling_is_refused_removed_and_explained(kind, build):
    model, x = build(), x_of()
    before = model.predict_on_batch(x)
    variables = None if tf.executing_eagerly() else len(tf.compat.v1.global_variables())

    assert {found.kind for found in find(flatten(model))} == {kind}
    message = rf"ends the model in a {final_activation.NAMES[kind]}.*rap_keras\.to_logits"
    for create in (RAP, PatternAttribution, functools.partial(methods.create, "gradient")):
        with pytest.raises(NotAnalyzeableModelException, match=message):
            create(model)

    stripped = rap_keras.to_logits(model)  # the advice in the message
    logits = stripped.predict_on_batch(x)
    expected = probabilities(logits, kind)
    if "hard_sigmoid" in str(getattr(model.layers[-1], "activation", "")):
        expected = np.clip((1 / 6 if KERAS_3 else 0.2) * logits + 0.5, 0, 1)
    np.testing.assert_allclose(np.exp(before) if kind == "log_softmax" else before, expected, rtol=1e-4, atol=1e-6)
    assert find(flatten(stripped)) == []
    assert to_logits(stripped) is stripped
    relevance = RAP(stripped).analyze(x)
    assert relevance.sum((1, 2, 3)) == pytest.approx(logits.max(1), rel=1e-3)

    # The variables are the same, and the given model is unchanged; training the one trains the other.
    assert {id(v) for v in stripped.weights} == {id(v) for v in model.weights}
    if variables is not None:
        assert len(tf.compat.v1.global_variables()) == variables
    np.testing.assert_array_equal(model.predict_on_batch(x), before)
    model.set_weights([2 * value for value in model.get_weights()])
    assert abs(stripped.predict_on_batch(x) - logits).max() > 1e-3


def test_a_sigmoid_may_not_leave_a_confident_no_without_relevance():
    model = dense("sigmoid", 1)
    kernel, bias, last, _ = model.get_weights()
    model.set_weights([kernel, bias, last, np.array([-200.0])])
    x = x_of(1)
    assert model.predict_on_batch(x)[0, 0] == 0
    logits = to_logits(model)
    assert RAP(logits).analyze(x).sum() == pytest.approx(logits.predict_on_batch(x)[0, 0], rel=1e-4) != 0


def test_disabled_checks_explain_the_probability():
    model, x = dense("softmax"), x_of()
    found = RAP(model, disable_model_checks=True).analyze(x).sum((1, 2, 3))
    assert found == pytest.approx(model.predict_on_batch(x).max(1), rel=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: dense(None),
        lambda: dense("relu"),
        lambda: dense("tanh"),
        lambda: on_features(layers.Dense(4, "softmax"), layers.Dense(2)),
        lambda: on_features(layers.Dense(4, "sigmoid"), layers.Dropout(0.5), layers.Dense(2, "swish")),
    ],
)
def test_a_model_that_ends_in_logits_is_returned_as_it_is(build):
    model = build()
    assert find(flatten(model)) == []
    assert to_logits(model) is model


def test_a_gate_is_no_final_activation():
    inputs = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 3)(inputs)
    y = layers.Multiply()([y, layers.Conv2D(4, 3, activation="sigmoid")(inputs)])
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(y))
    assert to_logits(model) is model
    logits = model.predict_on_batch(x_of()).max(1)
    assert RAP(model).analyze(x_of()).sum((1, 2, 3)) == pytest.approx(logits, rel=1e-3)


def average_of_heads():
    inputs = keras.Input((6, 6, 3))
    y = layers.Flatten()(inputs)
    heads = [layers.Dense(3, "softmax", name=name)(y) for name in ("first", "second")]
    return keras.Model(inputs, layers.Average()(heads))


def average_of_models():
    inputs = keras.Input((6, 6, 3))
    parts = [keras.Model(inputs, dense("softmax")(inputs), name=name) for name in ("first", "second")]
    return keras.Model(inputs, layers.Average()([part(inputs) for part in parts]))


def resized_map():
    inputs = keras.Input((6, 6, 3))
    y = layers.Conv2D(2, 3, activation="softmax", name="second")(inputs)
    return keras.Model(inputs, layers.UpSampling2D(2, interpolation="bilinear")(y))


@pytest.mark.parametrize("build", [average_of_heads, average_of_models, resized_map])
def test_what_calculates_with_probabilities_is_refused_and_the_way_out_works(build):
    model = build()
    with pytest.raises(NotAnalyzeableModelException, match="softmax"):
        RAP(model)
    with pytest.raises(ValueError, match="cannot be removed") as error:
        to_logits(model)
    advice = str(error.value).split("ends in it: ")[1]
    assert "second" in advice
    part = eval(advice, {"rap_keras": rap_keras, "keras": keras, "model": model})
    x = x_of()
    logits = part.predict_on_batch(x)
    assert abs(logits.sum(-1) - 1).min() > 1e-3
    assert RAP(part).analyze(x).sum((1, 2, 3)) == pytest.approx(logits.reshape(4, -1).max(1), rel=1e-3)


def test_a_softmax_written_out_is_refused():
    inputs = keras.Input((6, 6, 3))
    z = ops.exp(layers.Dense(3)(layers.Flatten()(inputs)))
    model = keras.Model(inputs, z / ops.sum(z, axis=1, keepdims=True))
    with pytest.raises(NotAnalyzeableModelException, match="softmax"):
        RAP(model)


def test_an_allowed_lambda_is_tried_too():
    model = on_features(layers.Dense(3), layers.Lambda(lambda z: tf.exp(z) / tf.reduce_sum(tf.exp(z), -1)))
    softmax = on_features(layers.Dense(3), layers.Lambda(tf.nn.softmax))
    with pytest.raises(NotAnalyzeableModelException, match="softmax"):
        RAP(softmax, allow_lambda_layers=True)
    assert find(flatten(model)) == []  # not a softmax: nothing adds up to 1
    assert to_logits(softmax).predict_on_batch(x_of()).min() < 0


def test_a_softmax_behind_a_softmax_is_removed_as_well():
    model = after_dense(layers.Softmax(), layers.Softmax())
    assert to_logits(model).predict_on_batch(x_of()).min() < 0


def test_logits_are_those_of_the_last_layer():
    model = keras.Sequential([keras.Input((6, 6, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    x = x_of()
    kernel, _ = model.get_weights()
    model.set_weights([kernel, np.array([1, 2, 3])])
    expected = x.reshape(4, -1) @ kernel + [1, 2, 3]
    np.testing.assert_allclose(to_logits(model).predict_on_batch(x), expected, rtol=1e-4, atol=1e-5)


def test_model_can_be_saved_after_its_softmax_was_removed(tmp_path):
    model = head_in_a_model()
    x = x_of()
    for given in (model, to_logits(model)):
        given.save(tmp_path / "model.h5")
        loaded = rap_keras.models.load_model(tmp_path / "model.h5")
        np.testing.assert_allclose(loaded.predict_on_batch(x), given.predict_on_batch(x), rtol=1e-5)


def test_the_most_ordinary_network(tmp_path):
    """Loaded from a file it has default names only; iNNvestigate's own way to remove the softmax fails there."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.save(tmp_path / "model.h5")
    keras.backend.clear_session()
    loaded = keras.models.load_model(tmp_path / "model.h5")
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
    logits = to_logits(loaded)
    for name in ("rap", "lrp.alpha_1_beta_0"):
        relevance = create_analyzer(name, logits).analyze(x)
        assert np.isfinite(relevance).all()
    assert RAP(logits).analyze(x).sum((1, 2, 3)) == pytest.approx(logits.predict_on_batch(x).max(1), rel=1e-4)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.last = layers.Dense(3, "softmax")

    def call(self, x):
        return self.last(x)


def sequential_without_an_input():
    return keras.Sequential([layers.Dense(3, "softmax")])


@pytest.mark.parametrize(
    ("build", "trained"),
    [
        (Subclassed, False),
        # Keras 3 takes such a model apart once it knows the shape of its input.
        pytest.param(Subclassed, True, marks=pytest.mark.keras2),
        (sequential_without_an_input, False),
        # Keras 3 connects the layers of such a model as soon as it sees data.
        pytest.param(sequential_without_an_input, True, marks=pytest.mark.keras2),
    ],
)
def test_a_model_whose_layers_are_unknown(build, trained):
    model = build()
    if trained:
        model.compile("sgd", "mse")
        model.fit(np.ones((2, 4)), np.ones((2, 3)), verbose=0)
    with pytest.raises(ValueError, match=r"not a graph of layers.*keras\.Input"):
        to_logits(model)
    with pytest.raises(NotAnalyzeableModelException, match=r"not a graph of layers"):
        RAP(model)
