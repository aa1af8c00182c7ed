"""One function has one rule, however it is spelt; and an activation that moves values is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import NotAnalyzeableModelException, influence
from rap_keras.engine.rules import trials
from rap_keras.engine.rules.unweighted import moved, unchanged

pytestmark = pytest.mark.usefixtures("as_built")

SIGN, ORDER, ABOVE, BOUNDED, RELU = "keeps_sign", "keeps_order", "nonnegative", "saturates", "is_relu"
# What mathematics says of each function.
FACTS = {
    "celu": {SIGN, ORDER},
    "elu": {SIGN, ORDER},
    "exponential": {SIGN, ORDER, ABOVE},
    "gelu": {SIGN},
    "hard_shrink": {SIGN, ORDER},
    "hard_sigmoid": {SIGN, ORDER, ABOVE, BOUNDED},
    "hard_silu": {SIGN},
    "hard_tanh": {SIGN, ORDER, BOUNDED},
    "leaky_relu": {SIGN, ORDER},
    "linear": {SIGN, ORDER},
    "log_sigmoid": {ORDER},
    "mish": {SIGN},
    "relu": {SIGN, ORDER, ABOVE, RELU},
    "relu6": {SIGN, ORDER, ABOVE, BOUNDED},
    "selu": {SIGN, ORDER},
    "sigmoid": {SIGN, ORDER, ABOVE, BOUNDED},
    "silu": {SIGN},
    "soft_shrink": {SIGN, ORDER},
    "softplus": {SIGN, ORDER, ABOVE},
    "softsign": {SIGN, ORDER, BOUNDED},
    "sparse_plus": {SIGN, ORDER, ABOVE},
    "sparse_sigmoid": {SIGN, ORDER, ABOVE, BOUNDED},
    "squareplus": {SIGN, ORDER, ABOVE},
    "tanh": {SIGN, ORDER, BOUNDED},
    "tanh_shrink": {SIGN, ORDER},
}
FACTS.update(hard_swish=FACTS["hard_silu"], swish=FACTS["silu"])
# Values of one axis that influence each other.
SYMMETRIC = {"softmax": {SIGN, ABOVE, BOUNDED}, "log_softmax": set(), "sparsemax": None}
OF_KERAS = {
    name: function
    for name, function in vars(keras.activations).items()
    if inspect.isfunction(function) and name not in ("get", "serialize", "deserialize", "glu", "threshold")
}
OF_TENSORFLOW = {name: getattr(tf.nn, name) for name in FACTS if hasattr(tf.nn, name)}


def measured(function):
    trial = trials.tried(function)
    return trial.places, {name for name, value in trial.facts._asdict().items() if value}


@pytest.mark.parametrize("functions", [OF_KERAS, OF_TENSORFLOW], ids=["Keras", "TensorFlow"])
def test_the_facts_of_every_activation(functions):
    for name, function in functions.items():
        if name in SYMMETRIC:
            places, found = measured(function)
            assert places == trials.SYMMETRIC, name
            assert SYMMETRIC[name] is None or found == SYMMETRIC[name], name
        else:
            assert measured(function) == (trials.ELEMENTWISE, FACTS[name]), name


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tf.maximum(x, 0.0), FACTS["relu"]),
        (lambda x: tf.maximum(0.1 * x, x), FACTS["leaky_relu"]),
        (lambda x: tf.clip_by_value(x, 0.0, 6.0), FACTS["relu6"]),
        (lambda x: tf.clip_by_value(x, -1e6, 1e6), {SIGN, ORDER, BOUNDED}),
        (lambda x: -x, {ORDER}),
        (lambda x: tf.maximum(x, -0.001), {SIGN, ORDER}),
        (lambda x: tf.nn.relu(x) - 0.01, {ORDER}),
        (tf.sin, {BOUNDED}),
        (tf.abs, {SIGN, ABOVE}),
        (lambda x: tf.where(x > 0.5, x, 0.2), {SIGN, ORDER, ABOVE}),
        (lambda x: tf.where(x > 0.5, x, 0.9), {SIGN, ABOVE}),
        (lambda x: tf.math.log(tf.abs(x) + 1), {SIGN, ABOVE}),
        (tf.sqrt, set()),  # NaN below 0
    ],
)
def test_the_facts_of_functions_of_the_users(function, expected):
    assert measured(function) == (trials.ELEMENTWISE, expected)


def window(x):
    return tf.nn.avg_pool1d(x, 3, 1, "SAME") if len(x.shape) == 3 else x


MOVING = {
    "reversed": lambda x: tf.reverse(x, [1]),
    "last axis reversed": lambda x: tf.reverse(x, [-1]),
    "rolled": lambda x: tf.roll(x, 3, 1),
    "sorted": lambda x: tf.sort(x, -1),
    "summed up": lambda x: tf.cumsum(x, 1),
    "mean": lambda x: 0 * x + tf.reduce_mean(x, -1, keepdims=True),
    "blurred": window,
    "swapped": lambda x: tf.concat([x[..., 2:], x[..., :2]], -1),
    "one pair swapped": lambda x: tf.concat([x[..., 1:2], x[..., :1], x[..., 2:]], -1),
    "over samples": lambda x: x - tf.reduce_mean(x, 0, keepdims=True),
    "at random": lambda x: x * tf.random.uniform(tf.shape(x)),
}
STAYING = {
    "softmax": tf.nn.softmax,
    "softmax over steps": lambda x: tf.nn.softmax(x, 1),
    "written out": lambda x: tf.exp(x) / tf.reduce_sum(tf.exp(x), -1, keepdims=True),
    "centred": lambda x: x - tf.reduce_mean(x, -1, keepdims=True),
    "unit length": lambda x: tf.math.l2_normalize(x, -1),
    "layer norm": lambda x: (x - tf.reduce_mean(x, -1, keepdims=True)) / (0.1 + tf.math.reduce_std(x, -1, True)),
    "of this shape alone": lambda x: x * tf.constant(np.ones((8, 4), np.float32)),
}


def with_activation(function, fused):
    """Steps 4 to 7 of the samples are 0; the function follows a Dense layer without a bias, or is in it."""
    x = keras.Input((8, 4))
    identity = keras.initializers.Constant(np.eye(4))
    dense = layers.Dense(4, use_bias=False, kernel_initializer=identity, activation=function if fused else None)
    y = dense(x) if fused else layers.Activation(function, name="own")(dense(x))
    return keras.Model(x, layers.Dense(2, use_bias=False)(layers.Flatten()(y)))


@pytest.mark.parametrize("fused", [False, True])
def test_an_activation_that_moves_values_is_refused(fused):
    for name, function in MOVING.items():
        model = with_activation(function, fused)
        for method in ("rap", "lrp.z"):
            with pytest.raises(NotAnalyzeableModelException, match=r"layer .* moves or mixes values"):
                rap_keras.create_analyzer(method, model), name
    for function in STAYING.values():
        rap_keras.create_analyzer("rap", with_activation(function, fused))


def test_an_activation_of_a_recurrent_layer_that_moves_values_is_refused():
    x = keras.Input((8, 4))
    for options in ({"activation": MOVING["swapped"]}, {"recurrent_activation": MOVING["swapped"]}):
        model = keras.Model(x, layers.Dense(2)(layers.LSTM(4, **options)(x)))
        with pytest.raises(NotAnalyzeableModelException, match="moves or mixes values"):
            rap_keras.create_analyzer("rap", model)


def test_the_way_out_for_an_activation_that_moves_values():
    """As the message says, the function is called on the layer's output; its rule is known."""
    x = keras.Input((8, 4))
    y = ops.flip(layers.Dense(4, use_bias=False)(x), 1)
    model = keras.Model(x, layers.Dense(2, use_bias=False)(layers.Flatten()(y)))
    X = np.random.default_rng(0).uniform(0.5, 1, (2, 8, 4)).astype(np.float32)
    X[:, 4:] = 0
    for method in ("rap", "lrp.z"):
        found = rap_keras.create_analyzer(method, model).analyze(X)
        assert np.abs(found[:, :4]).sum() > 0
        assert np.abs(found[:, 4:]).sum() == 0


def test_influence_finds_an_activation_whose_values_move():
    model = with_activation(MOVING["reversed"], fused=False)
    X = np.random.default_rng(0).normal(size=(2, 8, 4)).astype(np.float32)
    found = influence.check(rap_keras.RAP(model, rules={"own": unchanged}), X)
    assert found.layers["own"] == pytest.approx(1)
    assert influence.check(rap_keras.RAP(model, rules={"own": moved}), X).layers == {"own": 0}


def spellings(name):
    """The ways to write an activation: functions that make a layer, or apply the function to a symbolic tensor."""
    function = OF_KERAS.get(name) or OF_TENSORFLOW[name]
    found = {"Activation": layers.Activation(function)}
    if name in OF_KERAS:
        found["Activation(name)"] = layers.Activation(name)
    if name in OF_TENSORFLOW:
        found["Activation(TensorFlow)"] = layers.Activation(OF_TENSORFLOW[name])
    of_ops = {"exponential": "exp"}.get(name, name)
    if KERAS_3 and hasattr(keras.ops, of_ops):
        options = {"approximate": False} if name == "gelu" else {}
        found["keras.ops"] = lambda x: getattr(keras.ops, of_ops)(x, **options)
    if not KERAS_3 and name != "hard_sigmoid":  # an operation in Keras 2 is what its function is made of
        found["function"] = function
    found["of the user's"] = layers.Activation(lambda x: function(x))
    zero = keras.backend.constant(np.zeros((1, 5)))
    kinds = {
        "relu": {
            "ReLU": layers.ReLU(),
            "maximum": lambda x: ops.maximum(x, 0.0),
            "Maximum": lambda x: layers.Maximum()([x, zero]),
            "leaky of slope 0": layers.LeakyReLU(0.0),
            "clip": lambda x: ops.clip(x, 0.0, 1e9),
        },
        # In Keras 2 a clip is a minimum and a maximum, whose bounds count only one at a time.
        "relu6": {"ReLU(6)": layers.ReLU(6.0), **({"clip": lambda x: ops.clip(x, 0.0, 6.0)} if KERAS_3 else {})},
        "elu": {"ELU": layers.ELU()},
        "softmax": {"Softmax": layers.Softmax()},
        "leaky_relu": {"LeakyReLU(0.2)": layers.LeakyReLU(0.2)},
        "linear": {"Identity": layers.Identity() if hasattr(layers, "Identity") else layers.Dropout(0.5)},
    }
    return {**found, **kinds.get(name, {})}


def all_spellings():
    """A model with one input for every spelling of every activation, and the inputs' numbers by activation."""
    inputs, outputs, places = [], [], {}
    for name in ("relu", "relu6", "sigmoid", "hard_sigmoid", "gelu", "leaky_relu", "linear", "softmax"):
        first, last = layers.Dense(5, use_bias=False), layers.Dense(1)
        for spelling, activation in spellings(name).items():
            x = keras.Input((5,))
            again = spellings(name)[spelling]
            y = layers.Multiply()([again(first(activation(x))), x])
            places.setdefault(name, {})[spelling] = len(inputs)
            inputs.append(x)
            outputs.append(last(y))
    return keras.Model(inputs, layers.Concatenate()(outputs)), places


@pytest.mark.parametrize("method", ["rap", "lrp.alpha_2_beta_1"])
def test_all_spellings_of_an_activation_give_one_heatmap(method):
    model, places = all_spellings()
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    options = {"input_rule": (-4, 4)} if method == "rap" else {}
    analyzer = rap_keras.create_analyzer(method, model, neuron_selection_mode="all", **options)
    found = analyzer.analyze([x] * len(model.inputs))
    for name, numbers in places.items():
        first = found[numbers["Activation"]]
        assert np.abs(first).max() > 0
        for spelling, number in numbers.items():
            message, size = f"{name}: {spelling}", np.abs(first).max()
            np.testing.assert_allclose(found[number], first, rtol=1e-4, atol=1e-5 * size, err_msg=message)


def twins():
    """Layers, and operations that calculate the same from two tensors (N, 4, 6, 2)."""
    c = keras.backend.constant(np.random.default_rng(0).uniform(0.001, 0.01, (1, 4, 6, 2)))

    def pooled(x, pool):
        return pool(x, 2, 2, "valid")

    return {
        "add": (lambda a, b: layers.Add()([a, b]), lambda a, b: a + b),
        "add twice": (lambda a, b: layers.Add()([a, b, b]), lambda a, b: a + b + b),
        "subtract": (lambda a, b: layers.Subtract()([a, b]), lambda a, b: a - b),
        "multiply": (lambda a, b: layers.Multiply()([a, b]), lambda a, b: a * b),
        "maximum": (lambda a, b: layers.Maximum()([a, b]), lambda a, b: ops.maximum(a, b)),
        "minimum": (lambda a, b: layers.Minimum()([a, b]), lambda a, b: ops.minimum(a, b)),
        "concatenate": (lambda a, b: layers.Concatenate()([a, b]), lambda a, b: ops.concatenate([a, b], -1)),
        "concatenate twice": (
            lambda a, b: layers.Concatenate()([a, b, b]),
            lambda a, b: ops.concatenate([a, b, b], -1),
        ),
        "reshape": (lambda a, b: layers.Reshape((24, 2))(a), lambda a, b: ops.reshape(a, (-1, 24, 2))),
        "transpose": (lambda a, b: layers.Permute((2, 1, 3))(a), lambda a, b: ops.transpose(a, (0, 2, 1, 3))),
        "zero padding": (
            lambda a, b: layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(a)),
            lambda a, b: layers.MaxPooling2D(2)(ops.pad(a, [[0, 0], [1, 1], [1, 1], [0, 0]])),
        ),
        "crop": (lambda a, b: layers.Cropping2D(1)(a), lambda a, b: a[:, 1:-1, 1:-1]),
        "max pool": (lambda a, b: layers.MaxPooling2D(2)(a), lambda a, b: pooled(a, ops.max_pool)),
        "average pool": (lambda a, b: layers.AveragePooling2D(2)(a), lambda a, b: pooled(a, ops.average_pool)),
        "global average": (lambda a, b: layers.GlobalAveragePooling2D()(a), lambda a, b: ops.mean(a, (1, 2))),
        "global maximum": (lambda a, b: layers.GlobalMaxPooling2D()(a), lambda a, b: ops.max(a, (1, 2))),
        "rescaling": (lambda a, b: layers.Rescaling(3.0, 0.1)(a), lambda a, b: a * 3.0 + 0.1),
        "constant added": (lambda a, b: layers.Add()([a, c]), lambda a, b: a + c),
        "constant subtracted": (lambda a, b: layers.Subtract()([a, c]), lambda a, b: a - c),
        "constant factor": (lambda a, b: layers.Multiply()([a, c]), lambda a, b: a * c),
        "constant maximum": (lambda a, b: layers.Maximum()([a, c]), lambda a, b: ops.maximum(a, c)),
        "constant broadcast": (lambda a, b: layers.Multiply()([a[:, :1], c]), lambda a, b: a[:, :1] * c),
    }


METHODS = {
    "rap": {"input_rule": (-5, 5)},
    "lrp.epsilon": {},
    "lrp.alpha_1_beta_0": {},
    "lrp.sequential_preset_a": {"epsilon": 1e-6},
    "deep_taylor": {},
}


PARTS = 4  # of the twins, since a graph of Keras 2 with all of them takes minutes


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("method", METHODS)
def test_layers_and_operations_give_one_heatmap_that_sums_to_the_logit(method, part):
    """One model has a branch for each layer and each operation; all contributions of the values are positive."""
    inputs, outputs, pairs = [], [], {}
    for name, pair in list(twins().items())[part::PARTS]:
        if method == "deep_taylor" and name == "constant maximum":
            continue  # is no ReLU
        first, second = (layers.Conv2D(2, 1, use_bias=False) for _ in range(2))
        last = layers.Dense(1, use_bias=False)
        for merge in pair:
            a, b = keras.Input((4, 6, 2)), keras.Input((4, 6, 2))
            outputs.append(last(layers.Flatten()(merge(first(a), second(b)))))
            pairs.setdefault(name, []).append(len(inputs))
            inputs += [a, b]
        second.set_weights([np.full((1, 1, 2, 2), 0.01)])  # so that a - b is positive
        for layer in (first, last):
            layer.set_weights([np.abs(w) + 0.1 for w in layer.get_weights()])
    model = keras.Model(inputs, layers.Concatenate()(outputs))
    random = np.random.default_rng(1)
    x = [random.uniform(0.5, 1, size=(2, 4, 6, 2)).astype(np.float32) for _ in range(2)] * (len(inputs) // 2)
    analyzer = rap_keras.create_analyzer(method, model, neuron_selection_mode="all", **METHODS[method])
    found, logits = analyzer.analyze(x), model.predict_on_batch(x)
    for index, (name, numbers) in enumerate(pairs.items()):
        layer, operation = ([found[number], found[number + 1]] for number in numbers)
        for one, other in zip(layer, operation):
            np.testing.assert_allclose(other, one, 1e-4, 1e-5 * np.abs(one).max(), err_msg=name)
        total = sum(part.sum((1, 2, 3)) for part in layer)
        np.testing.assert_allclose(total, logits[:, 2 * index], rtol=1e-3, err_msg=name)
