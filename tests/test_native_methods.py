"""The native methods, compared with iNNvestigate if installed and with numbers by hand; what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sums_of_inputs import dense, two_inputs
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import NotAnalyzeableModelException, create_analyzer
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.equations import lrp as equations
from rap_keras.engine.execution import compiled
from rap_keras.engine.keras_graph import KERAS_3
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts.native import NAMES, WITHOUT_DEFAULTS, lrp_methods
from rap_keras.patterns import PatternComputer

BY_CHANCE = ("smoothgrad", "random")
OURS = ("grad_cam", "lrp.attn", "lrp.epsilon_gamma_box", "lrp.gamma")
COMPARED = [
    name
    for name in NAMES
    if name not in (*WITHOUT_DEFAULTS, *BY_CHANCE, *OURS) and not name.endswith(".contrastive")
]


def vgg_like():
    x = keras.Input((16, 16, 3))
    y = layers.Conv2D(6, 3, activation="relu", padding="same")(x)
    y = layers.Conv2D(8, 3, activation="relu")(layers.MaxPooling2D()(y))
    y = layers.Flatten()(layers.AveragePooling2D(2)(y))
    return keras.Model(x, layers.Dense(4)(layers.Dense(10, activation="relu")(y)))


def residual():
    x = keras.Input((16, 16, 3))
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", use_bias=False)(x))
    shortcut = y = layers.Activation("relu")(y)
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(y))
    y = layers.Activation("relu")(layers.Add()([y, shortcut]))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling2D()(y)))


def series():
    x = keras.Input((20, 3))
    y = layers.Conv1D(6, 3, activation="relu", strides=2)(x)
    y = layers.Conv1D(5, 3, activation="relu", padding="causal")(y)
    return keras.Model(x, layers.Dense(4)(layers.Flatten()(layers.MaxPooling1D()(y))))


def branches():
    x = keras.Input((12,))
    y = layers.Dense(10, activation="relu")(x)
    y = layers.Concatenate()([layers.Dense(7, activation="relu")(y), layers.Dense(7)(y)])
    return keras.Model(x, layers.Dense(4)(y))


def average():
    x = keras.Input((12,))
    y = layers.Average()([layers.Dense(7, activation="relu")(x), layers.Dense(7, activation="relu")(x)])
    return keras.Model(x, layers.Dense(4)(y))


def used_twice():
    x, dense = keras.Input((12,)), layers.Dense(12, activation="relu")
    return keras.Model(x, layers.Dense(4)(dense(dense(x))))


def depthwise():
    """A network that iNNvestigate's LRP refuses: a depthwise convolution, ReLU layers, a model in the model."""
    x = keras.Input((10, 10, 3))
    inner = keras.Sequential([keras.Input((10, 10, 3)), layers.DepthwiseConv2D(3, use_bias=False), layers.ReLU()])
    y = layers.ReLU()(layers.Conv2D(5, 1, use_bias=False)(inner(x)))
    return keras.Model(x, layers.Dense(4, use_bias=False)(layers.Flatten()(y)))


def samples(model, count=3, seed=0):
    shape = (count, *model.inputs[0].shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype(keras.backend.floatx())


def options(name, model):
    if not name.startswith("pattern."):
        return {}
    return {"patterns": PatternComputer(model).compute(samples(model, 40, seed=1))}


def distance(found, wanted):
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


OTHERS = (vgg_like, branches, average, used_twice, residual)


@pytest.mark.plugin
@pytest.mark.parametrize("build", [series, *(pytest.param(build, marks=pytest.mark.slow) for build in OTHERS)])
@pytest.mark.parametrize("name", [name for name in COMPARED if name != "rap"])
def test_equal_to_innvestigate(name, build):
    import innvestigate

    double = build in (residual, average)  # LRP is ill-conditioned there, by BatchNormalization and by small sums
    if double:
        keras.backend.set_floatx("float64")
    model = lively_weights(build())
    x, own = samples(model), options(name, model)
    found = create_analyzer(name, model, **own).analyze(x)
    theirs = rap_keras.build_quickly(innvestigate.create_analyzer(name, model, **own))
    if (name, build) == ("deep_taylor", residual):  # at Add theirs gives each branch all relevance
        assert distance(found, theirs.analyze(x)) > 0.1
        return
    assert distance(found, theirs.analyze(x)) < (1e-12 if double else 1e-6)


@pytest.mark.slow
@pytest.mark.plugin
def test_equal_to_innvestigate_with_options():
    import innvestigate

    model = lively_weights(vgg_like())
    x = samples(model)
    for name, own in (
        ("gradient", {"postprocess": "abs"}),
        ("integrated_gradients", {"steps": 5, "reference_inputs": 0.5}),
        ("lrp.epsilon", {"epsilon": 0.3, "bias": False}),
        ("lrp.alpha_beta", {"alpha": 3.0, "beta": 2.0}),
        ("deep_taylor.bounded", {"low": -5, "high": 5}),
    ):
        found = create_analyzer(name, model, **own).analyze(x)
        theirs = rap_keras.build_quickly(innvestigate.create_analyzer(name, model, **own))
        assert distance(found, theirs.analyze(x)) < 1e-6, name
    for mode, choice in (("index", {"neuron_selection": 2}), ("all", {})):
        for name in ("gradient", "guided_backprop", "lrp.alpha_1_beta_0"):
            found = create_analyzer(name, model, neuron_selection_mode=mode).analyze(x, **choice)
            theirs = rap_keras.build_quickly(innvestigate.create_analyzer(name, model, neuron_selection_mode=mode))
            assert distance(found, theirs.analyze(x, **choice)) < 1e-6, (name, mode)


@pytest.mark.parametrize("name", COMPARED)
def test_every_method_takes_depthwise_layers_and_models_in_models(name):
    model = lively_weights(depthwise())
    if name.startswith("pattern."):
        own = {"patterns": PatternComputer(model).compute(samples(model, 40, seed=1))}
    else:
        own = {}
    x = samples(model)
    found = create_analyzer(name, model, **own).analyze(x)
    assert found.shape == x.shape
    assert np.isfinite(found).all()
    assert np.abs(found).sum() > 0
    if name in ("lrp.z", "lrp.alpha_1_beta_0", "rap"):
        logits = np.max(predictor(model)(x), axis=1)
        assert found.sum((1, 2, 3)) == pytest.approx(logits, rel=1e-3)


@pytest.mark.parametrize("name", ["rap", "lrp.alpha_2_beta_1"])
def test_a_relu_that_leaks_is_no_relu(name):
    """Its output may be negative; if taken for a ReLU, it would give the next layer the wrong rule."""

    def model(leaky):
        x = keras.Input((8, 8, 3))
        y = layers.Conv2D(4, 3)(leaky(layers.Conv2D(4, 3)(x)))
        return lively_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(y))))

    slope = {"negative_slope" if KERAS_3 else "alpha": 0.3}
    by_operation = model(lambda y: keras.activations.relu(y, **slope))
    by_layer = model(layers.LeakyReLU(0.3))
    x = samples(by_layer)
    wanted = create_analyzer(name, by_layer).analyze(x)
    np.testing.assert_allclose(create_analyzer(name, by_operation).analyze(x), wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotAnalyzeableModelException, match="only for networks of ReLUs"):
        create_analyzer("guided_backprop", by_operation)


def test_values_calculated_by_hand():
    # Contributions 2 * 3 = 6 and -1 * 1 = -1, bias 1: the logit is 6.
    model, x = dense([[3.0], [1.0]], [1.0]), np.array([[2.0, -1.0]], np.float32)

    def found(name, **own):
        return create_analyzer(name, model, **own).analyze(x)[0].tolist()

    assert found("gradient") == pytest.approx([3, 1])
    assert found("input_t_gradient") == pytest.approx([6, -1])
    assert found("lrp.z") == pytest.approx([6, -1])
    assert found("lrp.epsilon", epsilon=2.0) == pytest.approx([6 * 6 / 8, -6 / 8])
    assert found("lrp.epsilon", epsilon=2.0, bias=False) == pytest.approx([6 * 6 / 7, -6 / 7])
    assert found("lrp.alpha_1_beta_0") == pytest.approx([6 * 6 / 7, 0])
    assert found("lrp.alpha_1_beta_0_IB") == pytest.approx([6, 0])
    assert found("lrp.alpha_2_beta_1_IB") == pytest.approx([12, -6])
    assert found("lrp.flat") == pytest.approx([3, 3])
    assert found("lrp.w_square") == pytest.approx([6 * 9 / 10, 6 / 10])
    assert found("input") == [2, -1]


def test_the_rule_for_positive_inputs_by_hand():
    def rule():
        x, w = tf.constant([[2.0, -1.0]]), tf.constant([[3.0, -1.0], [1.0, 5.0]])
        return equations.of_positive_inputs(tf.matmul, x, w, tf.constant([1.0, -4.0]), tf.constant([[7.0, 6.0]]))

    # Output 0: 2 * 6 / (6 + 1) * 7 = 12; output 1: -1 * 2 / (2 + 4) * 6 = -2.
    assert compiled(rule, [])([]).tolist() == [pytest.approx([10, 0])]


def test_integrated_gradients_are_complete():
    model = lively_weights(vgg_like())
    x = samples(model)
    predict = predictor(model)
    chosen = predict(x).argmax(1)
    found = create_analyzer("integrated_gradients", model, steps=400).analyze(x)
    change = (predict(x) - predict(x * 0))[range(3), chosen]
    assert found.sum((1, 2, 3)) == pytest.approx(change, rel=0.02)


def test_what_is_made_by_chance_is_the_same_again_and_in_any_batch():
    model = lively_weights(series())
    x = samples(model, 5)
    for name in BY_CHANCE:
        analyzer = create_analyzer(name, model, **({"augment_by_n": 4} if name == "smoothgrad" else {}))
        found = analyzer.analyze(x)
        np.testing.assert_allclose(analyzer.analyze(x, batch_size=2), found, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(analyzer.analyze(x), found)
    smooth = create_analyzer("smoothgrad", model, augment_by_n=3, noise_scale=0.0).analyze(x)
    np.testing.assert_allclose(smooth, create_analyzer("gradient", model).analyze(x), rtol=1e-4, atol=1e-6)


def test_a_rule_of_ones_own_and_a_composite():
    model = lively_weights(vgg_like())
    x = samples(model)

    def gamma(linear, x, w, b, R, nonnegative):
        return equations.z(linear, x, w + 0.25 * tf.nn.relu(w), 0.0, R)

    composite = [("first", lrp_methods.flat), (layers.Dense, lrp_methods.epsilon(0.1)), ("any", gamma)]
    found = create_analyzer("lrp", model, rule=composite).analyze(x)
    assert np.isfinite(found).all()
    alone = create_analyzer("lrp", model, rule=[("any", lrp_methods.z)]).analyze(x)
    np.testing.assert_array_equal(alone, create_analyzer("lrp.z", model).analyze(x))
    by_name = [(model.layers[1].name, lrp_methods.flat), (lambda layer: True, lrp_methods.z)]
    by_place = [("first", lrp_methods.flat), ("any", lrp_methods.z)]
    both = [create_analyzer("lrp", model, rule=rule).analyze(x) for rule in (by_name, by_place)]
    np.testing.assert_array_equal(*both)
    assert distance(both[0], alone) > 0.1
    last = create_analyzer("lrp", model, rule=[("last", lrp_methods.w_square), ("any", lrp_methods.z)]).analyze(x)
    assert distance(last, alone) > 0.01
    with pytest.raises(ValueError, match=r'no rule for layer .* end it with \("any", rule\)'):
        create_analyzer("lrp", model, rule=[(layers.Dense, lrp_methods.z)])
    with pytest.raises(ValueError, match="5 is not a condition"):
        create_analyzer("lrp", model, rule=[(5, lrp_methods.z)])
    names = f"{model.layers[1].name}, "
    with pytest.raises(
        ValueError, match=f"'frist', but no layer .* give one of first, last, bounded, any, {names}"
    ):
        create_analyzer("lrp", model, rule=[("frist", lrp_methods.flat), ("any", lrp_methods.z)])
    for rule in ("Z", [lrp_methods.z], [("any", "Z")]):
        with pytest.raises(TypeError, match=r"list of pairs|give a function of"):
            create_analyzer("lrp", model, rule=rule)
    with pytest.raises(TypeError, match="lrp needs the option rule"):
        create_analyzer("lrp", model)


def test_the_options_of_lrp():
    model, x = dense([[3.0], [1.0]], [1.0]), np.array([[2.0, -1.0]], np.float32)
    for own in ({"alpha": 2}, {"beta": 1}, {"alpha": 2, "beta": 1}):
        found = create_analyzer("lrp.alpha_beta", model, **own, bias=False).analyze(x)[0]
        assert found.tolist() == pytest.approx([12, -6])
    for own, message in (
        ({}, "neither alpha nor beta"),
        ({"alpha": 5, "beta": 0}, "alpha - beta must be 1"),
        ({"alpha": 0.5}, "alpha=0.5: must be a finite number, 1 or more"),
        ({"alpha": 1, "beta": -1}, "beta=-1: must be a finite number, 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            create_analyzer("lrp.alpha_beta", model, **own)
    for name in ("lrp.epsilon", "lrp.sequential_preset_a"):
        for epsilon in (-1.0, 0, float("nan"), "1"):
            with pytest.raises(ValueError, match="epsilon="):
                create_analyzer(name, model, epsilon=epsilon)


def test_bounded_deep_taylor():
    # The numerators x w - low w+ - high w- are 2 * 3 + 4 * 3 = 18 and -1 * -1 + 6 * 1 = 7, of a logit of 7.
    model, x = dense([[3.0], [-1.0]], [0.0]), np.array([[2.0, -1.0]], np.float32)
    found = create_analyzer("deep_taylor.bounded", model, low=-4, high=6).analyze(x)[0]
    assert found.tolist() == pytest.approx([7 * 18 / 25, 7 * 7 / 25])
    with pytest.raises(ValueError, match=r"values from -1 to 2, outside of low=0 and high=6: give"):
        create_analyzer("deep_taylor.bounded", model, low=0, high=6).analyze(x)
    with pytest.raises(ValueError, match=r"low=nan: must be a finite number$"):
        create_analyzer("deep_taylor.bounded", model, low=np.nan, high=6)
    with pytest.raises(ValueError, match="low must be below high"):
        create_analyzer("deep_taylor.bounded", model, low=6, high=0)
    with pytest.raises(TypeError, match=r"deep_taylor\.bounded needs the option low, high"):
        create_analyzer("deep_taylor.bounded", model)


def test_an_average_shares_evenly_and_a_sum_in_proportion():
    # Two branches have the values 1 and 3; the logit is 2 for the average and 4 for the sum.
    x = keras.Input((2,))
    for layer, wanted in ((layers.Average(), [1, 1]), (layers.Add(), [1, 3])):
        first, second = (layers.Dense(1, use_bias=False) for _ in range(2))
        y = layers.Dense(1, use_bias=False)
        model = keras.Model(x, y(layer([first(x), second(x)])))
        for weights, which in (([[1.0], [0.0]], first), ([[0.0], [1.0]], second), ([[1.0]], y)):
            which.set_weights([np.array(weights, np.float32)])
        found = create_analyzer("lrp.z", model).analyze(np.array([[1.0, 3.0]], np.float32))
        assert found[0].tolist() == pytest.approx(wanted)


def test_lrp_is_worse_than_chance_where_values_of_both_signs_are_pooled():
    """Why LRP fails on EEGNet in docs/models.md: a window of 3 and -2.8 outweighs one of 1 and 1.

    Their means are 0.1 and 1, and the logit is the sum. LRP shares the 0.1 in proportion to x: 1.5 and -1.4. RAP
    shares in proportion to |x|, so that no value gets more than its window has.
    """
    inputs = keras.Input((4, 1))
    y = layers.Flatten()(layers.AveragePooling1D(2)(inputs))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(y))
    model.set_weights([np.ones((2, 1))])
    x = np.array([1, 1, 3, -2.8], np.float32).reshape(1, 4, 1)

    def outside_inside(R):
        positive = np.maximum(R.ravel(), 0)
        return positive[2:].mean() / positive[:2].mean()

    for method in ("lrp.alpha_1_beta_0", "lrp.epsilon", "lrp.z"):
        R = rap_keras.create_analyzer(method, model).analyze(x)
        np.testing.assert_allclose(R.ravel(), [0.5, 0.5, 1.5, -1.4], rtol=1e-4)
        assert outside_inside(R) == pytest.approx(1.5, rel=1e-4)  # random values have about 1
    R = rap_keras.RAP(model).analyze(x)
    np.testing.assert_allclose(R.ravel(), [0.5, 0.5, 0.1 * 3 / 5.8, 0.1 * 2.8 / 5.8], rtol=1e-4)
    assert outside_inside(R) == pytest.approx(0.1, rel=1e-4)


def test_each_input_has_noise_of_its_own():
    x = np.zeros((2, 2), np.float32)
    first, second = create_analyzer("random", two_inputs()).analyze([x, x])
    assert np.abs(first - second).min() > 0
    for name, option in (("random", "stddev"), ("smoothgrad", "noise_scale")):
        with pytest.raises(ValueError, match=f"{option}=-1: must be a finite number, 0 or more"):
            create_analyzer(name, two_inputs(), **{option: -1})


def test_relus_however_they_are_written():
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    weights = None
    found = {}
    for title, activation in (
        ("fused", "relu"),
        ("layer", layers.ReLU()),
        ("activation", layers.Activation("relu")),
        ("TensorFlow's own", layers.Activation(tf.nn.relu)),
        ("function", keras.activations.relu),
    ):
        inputs = keras.Input((6,))
        if title == "fused":
            y = layers.Dense(5, activation=activation)(inputs)
        else:
            y = activation(layers.Dense(5)(inputs))
        model = lively_weights(keras.Model(inputs, layers.Dense(3)(y)))
        weights = weights or model.get_weights()
        model.set_weights(weights)
        names = ("guided_backprop", "deconvnet", "deep_taylor")
        found[title] = np.stack([create_analyzer(name, model).analyze(x) for name in names])
    for title, array in found.items():
        np.testing.assert_allclose(array, found["fused"], rtol=1e-6, atol=1e-7, err_msg=title)


def test_what_is_refused():
    model = dense([[3.0], [1.0]], [1.0])
    with pytest.raises(ValueError, match="unknown method 'gradeint', did you mean gradient"):
        create_analyzer("gradeint", model)
    with pytest.raises(TypeError, match="gradient has no option steps: it has postprocess"):
        create_analyzer("gradient", model, steps=3)
    with pytest.raises(TypeError, match=r"lrp\.z has no option epsilon: it has neuron_selection_mode"):
        create_analyzer("lrp.z", model, epsilon=3)
    with pytest.raises(ValueError, match="steps=0: must be a positive integer"):
        create_analyzer("integrated_gradients", model, steps=0)
    with pytest.raises(ValueError, match="postprocess='log'"):
        create_analyzer("gradient", model, postprocess="log")
    x = keras.Input((2,))
    softmax = keras.Model(x, layers.Dense(2, activation="softmax")(x))
    for name in COMPARED:
        with pytest.raises(NotAnalyzeableModelException, match="softmax"):
            create_analyzer(name, softmax)
    elu = keras.Model(x, layers.Dense(2)(layers.Dense(2, activation="elu")(x)))
    leaky = keras.Model(x, layers.Dense(2)(layers.ReLU(negative_slope=0.1)(layers.Dense(2)(x))))

    def relu(x):
        return tf.maximum(0.1 * x, x)

    named_like_it = keras.Model(x, layers.Dense(2)(layers.Dense(2, activation=relu)(x)))
    for name in ("guided_backprop", "deconvnet", "deep_taylor"):
        for other in (elu, leaky, named_like_it):
            with pytest.raises(NotAnalyzeableModelException, match="only for networks of ReLUs"):
                create_analyzer(name, other)
