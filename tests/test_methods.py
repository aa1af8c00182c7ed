from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import PLUGIN, NotAnalyzeableModelException, create_analyzer
from tensorflow import keras

import rap_keras
from rap_keras.engine.execution import compiled
from rap_keras.engine.reading.network import specs
from rap_keras.hosts import methods

layers = keras.layers


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)


def linear() -> keras.Model:
    # As in a model from a file: Keras does not know that the name is taken and gives it to the next input, too.
    inputs = keras.Input((6, 6, 3), name="input_1")
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(inputs)))


def normalized() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.ReLU()(y))))


def nested() -> keras.Model:
    base = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(4, 3, activation="relu")], name="base")
    return keras.Sequential([keras.Input((6, 6, 3)), base, layers.Flatten(), layers.Dense(4)], name="classifier")


def test_titles():
    assert methods.title("rap") == "RAP"
    assert methods.title("lrp.alpha_2_beta_1") == "LRP \N{GREEK SMALL LETTER ALPHA}2\N{GREEK SMALL LETTER BETA}1"
    assert methods.title("lrp.flat") == "LRP flat"
    assert methods.title("lrp.z_plus") == "lrp.z_plus"
    for name in methods.TITLES:
        methods.find(name)


@pytest.mark.parametrize(("name", "close"), [("RAPP", "rap"), ("lrp.alpha1beta0", "lrp.alpha_1")])
def test_unknown_method(name, close):
    message = rf"unknown method '{name}', did you mean .*{close}.* There are: "
    with pytest.raises(ValueError, match=message) as error:
        methods.find(name)
    named = str(error.value).split("There are: ")[1].split(", ")
    assert named == list(methods.names())
    assert {"rap", "input", "gradient", "lrp.alpha_1_beta_0", "deep_taylor"} < set(named)


@pytest.mark.parametrize("name", ["lrp", "lrp.alpha_beta", "deep_taylor.bounded"])
def test_methods_that_need_options(x, name):
    assert name not in methods.names()
    with pytest.raises(
        ValueError, match=rf"{name} needs options of its own.*: rap_keras\.create_analyzer"
    ) as error:
        methods.create(name, linear())
    # The way out, as it is printed.
    analyzer = eval(str(error.value).split(": ")[1], {"rap_keras": rap_keras, "model": linear()})
    assert np.isfinite(analyzer.analyze(np.abs(x))).all()


def test_a_name_that_is_begun_is_completed():
    with pytest.raises(ValueError, match=r"did you mean lrp\.alpha_1_beta_0 or lrp\.alpha_1_beta_0_IB\?"):
        methods.find("lrp.alpha_1")


@pytest.mark.skipif(PLUGIN, reason="the host here has them")
def test_methods_of_innvestigate_alone():
    with pytest.raises(
        ValueError, match=r"lrp\.z_plus exists only with iNNvestigate.*disable_eager_execution\(\)"
    ):
        methods.find("lrp.z_plus")


def test_several_methods_as_one_text():
    with pytest.raises(ValueError, match=r"give several methods as a list, \['rap', 'gradient'\]"):
        methods.find("rap, gradient")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gradient", lambda x, kernel, logit: kernel),
        ("input_t_gradient", lambda x, kernel, logit: x * kernel),
        ("integrated_gradients", lambda x, kernel, logit: x * kernel),
        # As in iNNvestigate, it starts from the logit, not from 1.
        ("guided_backprop", lambda x, kernel, logit: kernel * logit),
        ("lrp.z", lambda x, kernel, logit: x * kernel),
    ],
)
@pytest.mark.parametrize("mode", ["max_activation", "index"])
def test_methods_on_a_linear_model(x, name, expected, mode):
    model = linear()
    logits = model.predict_on_batch(x)
    # One index for both samples would give integrated_gradients wrong ones, in iNNvestigate.
    choice = {"neuron_selection": [2, 0]} if mode == "index" else {}
    targets = [2, 0] if choice else logits.argmax(axis=1)
    kernel = model.get_weights()[0].T[targets].reshape(x.shape)
    relevance = methods.create(name, model, mode).analyze(x, **choice)
    logit = logits[[0, 1], targets].reshape(2, 1, 1, 1)
    np.testing.assert_allclose(relevance, expected(x, kernel, logit), rtol=1e-3, atol=1e-5)


def test_rap_is_the_analyzer_of_this_package(x):
    model = normalized()
    logits = model.predict_on_batch(x)
    relevance = methods.create("rap", model, "index").analyze(x, neuron_selection=1)
    np.testing.assert_allclose(relevance.sum(axis=(1, 2, 3)), logits[:, 1], rtol=1e-3, atol=1e-4)
    same = create_analyzer("rap", model, neuron_selection_mode="index")
    np.testing.assert_array_equal(relevance, same.analyze(x, neuron_selection=1))


def test_methods_do_not_disturb_each_other_or_the_model(x):
    model = normalized()
    model.set_weights([value + 0.1 for value in model.get_weights()])
    logits = model.predict_on_batch(x)
    inner = model.layers[1:]
    nodes = [len(layer._inbound_nodes) + len(layer._outbound_nodes) for layer in inner]
    names = ["guided_backprop", "rap", "gradient"]
    together = [methods.create(name, model).analyze(x) for name in names]

    def gradient(x):
        return tf.gradients(tf.reduce_max(model(x), axis=-1), x)

    (expected,) = compiled(gradient, specs(model))([x])
    np.testing.assert_allclose(together[2], expected, rtol=1e-4, atol=1e-6)
    for name, relevance in zip(names, together):
        np.testing.assert_array_equal(methods.create(name, model).analyze(x), relevance)
    np.testing.assert_array_equal(model.predict_on_batch(x), logits)
    assert nodes == [len(layer._inbound_nodes) + len(layer._outbound_nodes) for layer in inner]


@pytest.mark.plugin  # native methods look into models in models
@pytest.mark.parametrize("name", ["lrp.alpha_1_beta_0", "guided_backprop", "deep_taylor"])
def test_nested_model_is_refused_where_it_would_get_the_gradient(name):
    with pytest.raises(ValueError, match=rf"{name} cannot look into 'base'.*'classifier'.*Use rap"):
        methods.create(name, nested())


def test_nested_model_where_it_does_no_harm(x):
    model = nested()
    logits = model.predict_on_batch(x).max(axis=1)
    kernel, bias, dense, _ = model.get_weights()
    flat = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    flat.set_weights([kernel, bias, dense, np.zeros(4)])
    for name in ("gradient", "rap") if PLUGIN else ("gradient", "rap", "lrp.alpha_1_beta_0", "guided_backprop"):
        np.testing.assert_allclose(
            methods.create(name, model).analyze(x),
            methods.create(name, flat).analyze(x),
            rtol=1e-4,
            atol=1e-6,
        )
    relevance = methods.create("rap", model).analyze(x)
    np.testing.assert_allclose(relevance.sum(axis=(1, 2, 3)), logits, rtol=1e-3)


def test_output_of_several_dimensions_is_flattened(x):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, layers.Conv2D(4, 6)(inputs))
    analyzer = methods.create("gradient", model, "index")
    np.testing.assert_allclose(
        analyzer.analyze(x, neuron_selection=3)[0], model.get_weights()[0][..., 3], rtol=1e-5
    )


def test_lrp_passes_relu_layers(x):
    inputs = keras.Input((6, 6, 3))
    layered, fused = (
        keras.Model(inputs, layers.Dense(4)(layers.Flatten()(output)))
        for output in (
            layers.ReLU()(layers.Conv2D(4, 3, use_bias=False)(inputs)),
            layers.Conv2D(4, 3, use_bias=False, activation="relu")(inputs),
        )
    )
    fused.set_weights(layered.get_weights())
    np.testing.assert_allclose(
        methods.create("lrp.epsilon", layered).analyze(x),
        methods.create("lrp.epsilon", fused).analyze(x),
        rtol=1e-4,
        atol=1e-6,
    )


def test_lrp_passes_saturated_relu_layers():
    inputs = keras.Input((1, 1, 1))
    y = layers.ReLU(6.0)(layers.Conv2D(1, 1, use_bias=False)(inputs))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Flatten()(y)))
    model.set_weights([np.full((1, 1, 1, 1), 5.0), np.full((1, 1), 3.0)])
    relevance = methods.create("lrp.z", model).analyze(np.full((1, 1, 1, 1), 2.0))
    np.testing.assert_allclose(relevance, [[[[18.0]]]], rtol=1e-4)  # 3 times 6, not 10


@pytest.mark.plugin  # native LRP takes what RAP takes
def test_layers_that_lrp_does_not_know_are_named():
    inputs = keras.Input((6, 3))
    model = keras.Model(inputs, layers.Dense(4)(layers.LSTM(5)(inputs)))
    with pytest.raises(NotAnalyzeableModelException, match="LSTM"):
        methods.create("lrp.z", model)


@pytest.mark.plugin  # native LRP takes what RAP takes
def test_layers_that_only_innvestigate_does_not_know_are_named():
    inputs = keras.Input((6, 6, 3))
    y = layers.Flatten()(layers.LayerNormalization()(layers.ReLU()(inputs)))
    model = keras.Model(inputs, layers.Dense(4)(y))
    with pytest.raises(NotAnalyzeableModelException, match=r"know: LayerNormaliz\w+$"):
        methods.create("lrp.z", model)


def with_lambda() -> keras.Model:
    inputs = keras.Input((6, 6, 3))
    twice = layers.Lambda(lambda x: 2 * x, name="twice")(inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(twice)))


@pytest.mark.parametrize("name", ["rap", "lrp.alpha_1_beta_0", pytest.param("gradient", marks=pytest.mark.plugin)])
def test_lambda_layer_without_permission(name):
    with pytest.raises(NotAnalyzeableModelException, match=r"(?i)lambda"):
        methods.create(name, with_lambda())


@pytest.mark.skipif(PLUGIN, reason="iNNvestigate refuses it")
def test_the_native_gradient_needs_no_rule_for_a_lambda_layer(x):
    model = with_lambda()
    gradient = methods.create("gradient", model, "index").analyze(x, neuron_selection=1)
    np.testing.assert_allclose(gradient[1], 2 * model.get_weights()[0][:, 1].reshape(6, 6, 3), rtol=1e-5)
