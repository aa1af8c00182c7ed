"""Which output is explained: one of several, one of more than two axes, one sigmoid unit (two classes)."""

from __future__ import annotations

import numpy as np
import pytest
from host import NotAnalyzeableModelException, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.keras_graph import output_names
from rap_keras.hosts import methods
from rap_keras.models.final_activation import to_logits
from rap_keras.models.outputs import one_output, two_classes
from rap_keras.patterns import PatternComputer


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
