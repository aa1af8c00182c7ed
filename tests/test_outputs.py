"""Which output is explained: one of several, one of more than two axes, one sigmoid unit (two classes)."""

from __future__ import annotations

import re

import numpy as np
import pytest
from commands import accepted, refused
from host import KERAS_3, NotAnalyzeableModelException, create_analyzer
from matplotlib.text import Text
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP, explain
from rap_keras.engine.keras_graph import output_names
from rap_keras.hosts import methods
from rap_keras.models.final_activation import to_logits
from rap_keras.models.loading import load_model
from rap_keras.models.outputs import is_regression, one_output, two_classes
from rap_keras.patterns import PatternComputer

pytestmark = pytest.mark.usefixtures("as_built")


def separate():
    x = keras.Input((8,))
    y = layers.Dense(8, "relu")(x)
    return keras.Model(x, [layers.Dense(2, name="age")(y), layers.Dense(3, name="kind")(y)])


def heads_in_a_model():
    inner = keras.Input((8,))
    heads = keras.Model(inner, [layers.Dense(2, name="p")(inner), layers.Dense(2, name="q")(inner)], name="heads")
    x = keras.Input((8,))
    return keras.Model(x, heads(layers.Dense(8)(x)))


def split_by_an_operation():
    x = keras.Input((8,))
    return keras.Model(x, ops.split(layers.Dense(4)(x), 2, axis=1))


@pytest.mark.parametrize("build", [separate, heads_in_a_model, split_by_an_operation])
def test_several_outputs_are_refused_and_the_way_out_works(build):
    model = build()
    X = np.random.default_rng(0).normal(size=(3, 8))
    outputs = model.predict_on_batch(X)
    with pytest.raises(NotAnalyzeableModelException, match="2 outputs") as error:
        RAP(model)
    names = output_names(model)
    assert len(set(names)) == 2
    for name in names:
        assert name in str(error.value)
    advice = str(error.value).split("name or number, ")[1].split(" (--output-layer")[0]
    for option, number in ((f"dict({advice.split(' or ')[0]})", 0), (f"dict({advice.split(' or ')[1]})", 0)):
        analyzer = create_analyzer("rap", model, **eval(option))
        assert analyzer.analyze(X).sum(1) == pytest.approx(outputs[number].max(1), rel=1e-4, abs=1e-5)
    alone = eval(str(error.value).split("a model of it, ")[1], {"keras": keras, "model": model})
    assert RAP(alone).analyze(X).sum(1) == pytest.approx(outputs[0].max(1), rel=1e-4, abs=1e-5)
    for output in (1, names[1]):
        assert RAP(model, output=output).analyze(X).sum(1) == pytest.approx(outputs[1].max(1), rel=1e-4, abs=1e-5)
        if build is not split_by_an_operation:  # which iNNvestigate cannot follow
            gradient = methods.create("gradient", model, output=output).analyze(X)
            np.testing.assert_allclose(gradient, methods.create("gradient", one_output(model, 1)).analyze(X))


def test_patterns_of_one_of_several_outputs():
    model = separate()
    X = np.random.default_rng(0).normal(size=(50, 8))
    patterns = PatternComputer(one_output(model, "kind")).compute(X)
    given = create_analyzer("pattern.attribution", model, patterns=patterns, output="kind")
    alone = create_analyzer("pattern.attribution", one_output(model, "kind"), patterns=patterns)
    np.testing.assert_allclose(given.analyze(X), alone.analyze(X))


def test_a_softmax_at_another_output_does_not_matter():
    x = keras.Input((8,))
    model = keras.Model(x, [layers.Dense(2, "softmax", name="a")(x), layers.Dense(3, name="b")(x)])
    assert RAP(model, output="b").analyze(np.ones((1, 8))).shape == (1, 8)
    with pytest.raises(NotAnalyzeableModelException, match="softmax"):
        RAP(model, output="a")
    logits = to_logits(model)
    assert RAP(logits, output=0).analyze(np.ones((1, 8))).shape == (1, 8)


@pytest.mark.parametrize("output", ["size", 2, -1, True, 1.0])
def test_unknown_output(output):
    with pytest.raises(ValueError, match="the model has the outputs age, kind"):
        RAP(separate(), output=output)


def test_the_output_of_a_model_that_has_one():
    model = one_output(separate(), "age")
    (name,) = output_names(model)
    assert one_output(model, 0) is one_output(model, name) is one_output(model) is model
    chain = keras.Sequential([keras.Input((8,)), layers.Dense(2, name="last")])
    assert one_output(chain, 0) is one_output(chain, "last") is chain


def test_the_chosen_output_is_saved_with_the_analyzer(tmp_path):
    analyzer = RAP(separate(), output="kind")
    analyzer.save_npz(tmp_path / "rap.npz")
    X = np.random.default_rng(0).normal(size=(3, 8))
    np.testing.assert_allclose(RAP.load_npz(tmp_path / "rap.npz").analyze(X), analyzer.analyze(X), rtol=1e-5)


def binary(last):
    x = keras.Input((6, 6, 3))
    y = layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(x, last(y))


LASTS = {
    "dense": lambda y: layers.Dense(1)(layers.Flatten()(y)),
    "no bias": lambda y: layers.Dense(1, use_bias=False)(layers.GlobalAveragePooling2D()(y)),
    "convolution": lambda y: layers.GlobalAveragePooling2D()(layers.Conv2D(1, 3)(y)),
    "operation": lambda y: layers.Dense(1)(layers.Flatten()(y)) * 0.5,
}


@pytest.mark.parametrize("last", LASTS.values(), ids=list(LASTS))
def test_class_0_is_explained_by_minus_the_logit(last):
    model = binary(last)
    x = np.random.default_rng(0).normal(size=(5, 6, 6, 3)).astype(np.float32)
    z = model.predict_on_batch(x)
    both = two_classes(model)
    np.testing.assert_allclose(both.predict_on_batch(x), np.hstack([-z, z]), rtol=1e-5, atol=1e-6)
    analyzer, single = RAP(both, neuron_selection_mode="index"), RAP(model)
    expected = single.analyze(x)
    for number, sign in ((0, -1), (1, 1)):
        found = analyzer.analyze(x, number)
        np.testing.assert_allclose(found, sign * expected, rtol=1e-3, atol=1e-5 * abs(expected).max())
    np.testing.assert_allclose(RAP(both).analyze(x).sum((1, 2, 3)), abs(z[:, 0]), rtol=1e-3)
    gradient = methods.create("gradient", both, "index").analyze(x, 0)
    np.testing.assert_allclose(gradient, -methods.create("gradient", model).analyze(x), rtol=1e-5, atol=1e-7)


def test_lrp_of_class_0_follows_what_speaks_for_it():
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(1, use_bias=False)(x))
    model.set_weights([np.array([[1.0], [-3.0]])])
    # z = 1 - 3: the network decides for class 0, because of the second input alone.
    found = methods.create("lrp.alpha_1_beta_0", two_classes(model)).analyze(np.ones((1, 2)))
    assert found == pytest.approx(np.array([[0.0, 2.0]]))


def test_two_classes_need_one_unit():
    with pytest.raises(ValueError, match=r"output of shape \(None, 1\), but it has \(None, 3\)"):
        two_classes(one_output(separate(), "kind"))
    model = binary(LASTS["dense"])
    with pytest.raises(ValueError, match=r"That unit is class 1; rap_keras\.models\.two_classes"):
        RAP(model, neuron_selection_mode="index").analyze(np.ones((1, 6, 6, 3)), 1)


CROSS_ENTROPY = keras.losses.BinaryCrossentropy(from_logits=True)
REGRESSIONS = [
    # units, end, loss, whether it is a regression
    (1, None, None, True),
    (1, "relu", None, True),
    (1, None, "mse", True),
    (1, None, CROSS_ENTROPY, False),
    (1, None, "hinge", False),
    (1, "sigmoid", None, False),
    (1, "sigmoid", "mse", False),
    (3, None, None, False),
    (3, None, "mean_absolute_error", True),
    (3, None, keras.losses.Huber(), True),
    (3, None, keras.losses.mse, True),
    (3, None, keras.losses.CategoricalCrossentropy(from_logits=True), False),
    (3, None, "sparse_categorical_crossentropy", False),
    (3, "softmax", "mse", False),
]


@pytest.mark.parametrize(("units", "end", "loss", "expected"), REGRESSIONS)
def test_what_a_regression_is(tmp_path, units, end, loss, expected):
    """The same in memory, in files, and of one of several outputs."""
    x = keras.Input((4,))
    y = layers.Dense(units, end, name="last")(x)
    model = keras.Model(x, y)
    if loss:
        model.compile(loss=loss)
    assert is_regression(model) is expected
    kinds = [".h5", ".keras"] if KERAS_3 else [".h5", ""]
    for kind in kinds if units == 1 or loss == "mse" else kinds[:1]:
        model.save(tmp_path / f"model{kind}")
        assert is_regression(load_model(tmp_path / f"model{kind}")) is expected
    both = keras.Model(x, [layers.Dense(2, name="first")(x), y])
    if loss:
        for losses in (["mse", loss], {"first": "categorical_crossentropy", "last": loss}):
            both.compile(loss=losses)
            assert is_regression(one_output(both, 1)) is expected
    else:
        assert is_regression(one_output(both, "last")) is expected


def test_a_unit_trained_as_a_sigmoid_has_two_classes():
    x = np.array([[3.0, 1.0]])
    for loss, label, logit in ((CROSS_ENTROPY, "class 0", 2.0), ("mse", "output", -2.0), (None, "output", -2.0)):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False)])
        model.set_weights([np.array([[-1.0], [1.0]])])
        if loss:
            model.compile(loss=loss)
        found = explain(model, x[0])
        assert (found.label, found.logit, found.sum) == (label, pytest.approx(logit), pytest.approx(logit))


def test_words_about_a_regression(tmp_path, monkeypatch):
    """Text, figure, command and check speak of outputs and values; of classes where these have names."""
    monkeypatch.chdir(tmp_path)
    x = np.array([3.0, 1.0], "float32")
    np.save("x.npy", x)
    for units, loss, label in ((1, None, "output"), (3, "mse", "output 2")):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(units, use_bias=False)])
        model.set_weights([np.linspace(-1, -0.5, 2 * units).reshape(2, units)])
        if loss:
            model.compile(loss=loss)
        value = float((x @ model.get_weights()[0]).max())
        model.save("net.h5")
        found = explain(model, x)
        assert repr(found).startswith(f"<RAP of '{label}': value {value:.6g}, relevance sums to {value:.6g} (")
        assert repr(found).endswith(", negative value: blue is relevant>")
        shown = " ".join(text.get_text() for text in found.figure().findobj(Text))
        assert f"RAP, {label}, value {value:.4g}, negative value: blue is relevant" in " ".join(shown.split())
        printed = accepted("explain", "x.npy", "--model", "net.h5")
        assert f"x.npy  rap  {label}  value {value:.6g}  sum {value:.6g}" in printed
        checked = accepted("check", "net.h5", "--input", "x.npy")
        assert "; the value is " in checked
        assert "lies where changing the input does not change the value" in checked
        for text in (repr(found), shown, printed, checked):
            assert not re.search(r"\bclass\b|logit", text)
        assert refused("explain", "x.npy", "--model", "net.h5", "--target", "9").endswith(
            "there is no output 9: the network has " + ("output 0 only" if units == 1 else "outputs 0 to 2")
        )
        with pytest.raises(ValueError, match="there is no output 9"):
            explain(model, x, target=9)
        named = explain(model, x, classes=list("abc")[:units])
        assert repr(named).startswith(f"<RAP of '{list('abc')[units - 1]}': logit {value:.6g}")


def test_a_map_of_values_has_no_classes():
    for loss, label, places, total in (("mse", "output", 4, -2.0), (None, "class 1", 1, 3.0)):
        model = keras.Sequential([keras.Input((2, 2, 1)), layers.Conv2D(1, 1, use_bias=False)])
        model.set_weights([np.ones((1, 1, 1, 1))])
        if loss:
            model.compile(loss=loss)
        found = explain(model, np.array([[-4.0, 3.0], [-1.0, 0.0]])[..., None], target=None if loss else 1)
        assert (found.label, found.places.sum(), found.logit) == (label, places, pytest.approx(total))
        quantity = "value" if loss else "logit"
        assert f"sum of {quantity}s {total:g}" in " ".join(t.get_text() for t in found.figure().findobj(Text))


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 has no TFSMLayer")
def test_probabilities_of_a_tfsm_layer_are_no_logits(tmp_path):
    keras.Sequential([keras.Input((8,)), layers.Dense(3, "softmax")]).export(tmp_path / "m", verbose=False)
    model = keras.Sequential(
        [keras.Input((8,)), layers.TFSMLayer(str(tmp_path / "m"), call_endpoint="serving_default")]
    )
    X = np.random.default_rng(0).normal(size=8).astype(np.float32)
    explanation = explain(model, X, "gradient")
    assert (explanation.quantity, explanation.probability) == ("value", None)
    values = np.ravel(next(iter(model(X[None]).values())))
    assert explanation.logit == pytest.approx(values.max(), abs=1e-6)
    assert explanation.label == f"output {values.argmax()}"
