"""Equations 5 to 10 on every weighted layer, compared with numpy on the layer's Jacobian."""

from __future__ import annotations

import jacobian
import numpy as np
import pytest
import tensorflow as tf
from host import value_of
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.equations import linear
from rap_keras.engine.rules import linear_layers
from rap_keras.engine.rules.kinds import linear_maps

LAYERS = {
    "dense": (lambda: layers.Dense(5), (7,)),
    "dense on a sequence": (lambda: layers.Dense(3), (4, 5)),
    "conv1d": (lambda: layers.Conv1D(3, 3), (9, 2)),
    "conv1d causal": (lambda: layers.Conv1D(3, 3, padding="causal", dilation_rate=2), (9, 2)),
    "conv1d groups": (lambda: layers.Conv1D(4, 3, groups=2, strides=2), (9, 4)),
    "conv2d valid": (lambda: layers.Conv2D(3, 3), (6, 5, 2)),
    "conv2d same": (lambda: layers.Conv2D(3, (3, 2), padding="same"), (6, 5, 2)),
    "conv2d strides": (lambda: layers.Conv2D(3, 3, strides=(2, 1), padding="same"), (6, 5, 2)),
    "conv2d dilation": (lambda: layers.Conv2D(3, 3, dilation_rate=2, padding="same"), (6, 5, 2)),
    "conv2d groups": (lambda: layers.Conv2D(6, 3, groups=2, padding="same"), (5, 4, 4)),
    "conv2d no bias": (lambda: layers.Conv2D(3, 3, use_bias=False), (6, 5, 2)),
    "conv3d": (lambda: layers.Conv3D(3, 2, strides=2, padding="same"), (4, 3, 5, 2)),
    "conv3d dilation": (lambda: layers.Conv3D(2, 2, dilation_rate=2), (4, 3, 5, 2)),
    "conv3d groups": (lambda: layers.Conv3D(4, 2, groups=2), (3, 4, 3, 4)),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (5, 4, 3)),
    "depthwise strides": (lambda: layers.DepthwiseConv2D(3, strides=2), (6, 5, 3)),
    "depthwise dilation": (lambda: layers.DepthwiseConv2D(2, dilation_rate=2), (5, 4, 2)),
    "depthwise 1d": (lambda: layers.DepthwiseConv1D(3, strides=2, padding="same"), (7, 3)),
    "transposed 1d": (lambda: layers.Conv1DTranspose(3, 3, strides=2), (4, 2)),
    "transposed 2d": (lambda: layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (3, 4, 2)),
    "transposed 2d output padding": (
        lambda: layers.Conv2DTranspose(2, 3, strides=2, output_padding=1),
        (2, 3, 2),
    ),
    "transposed 2d dilation": (lambda: layers.Conv2DTranspose(2, 2, dilation_rate=2), (3, 3, 2)),
    "transposed 3d": (lambda: layers.Conv3DTranspose(2, 2, strides=2), (2, 2, 3, 2)),
    "locally connected 1d": (lambda: layers.LocallyConnected1D(3, 3, strides=2), (7, 2)),
    "locally connected 2d": (lambda: layers.LocallyConnected2D(2, 2), (4, 3, 2)),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (3, 4), bias_axes="d"), (3, 5)),
    "einsum of positions": (lambda: layers.EinsumDense("abc,bd->adc", (4, 2)), (3, 2)),
    "depthwise 1d dilation": (lambda: layers.DepthwiseConv1D(2, dilation_rate=3), (7, 3)),
}


_NOT_IN_KERAS_3 = ("transposed 2d dilation", "locally connected 1d", "locally connected 2d")


@pytest.fixture(
    params=[
        pytest.param(case, id=name, marks=[pytest.mark.keras2] if name in _NOT_IN_KERAS_3 else [])
        for name, case in LAYERS.items()
    ]
)
def case(request):
    """A layer's linear map, its weights, a mixed-sign batch with some zeros, relevance, and its Jacobian."""
    tf.keras.backend.set_floatx("float64")
    make, shape = request.param
    layer = make()
    random = np.random.default_rng(1)
    J = jacobian.jacobian(layer, shape)
    x = random.normal(size=(3, *shape)) * (random.random((3, *shape)) > 0.2)
    (found,) = linear_maps(layer)
    R = random.normal(size=(3, J.shape[1]))
    output = (3, *jacobian.output_shape(layer, shape))
    return found, x, R.reshape(output), J


def run(build, *arrays):
    """`build` on the arrays as constant tensors, with w as `build`'s last argument."""
    return value_of(lambda: build(*[tf.constant(array) for array in arrays]))


def flat(array):
    return array.reshape(len(array), -1)


def close(actual, expected):
    return np.abs(flat(actual) - expected).max() <= 1e-9 * np.abs(expected).max()


def test_absolute_influence(case):
    found, x, R, J = case
    actual = run(lambda x, R: linear.absolute_influence(found.function, x, found.w(), R), x, R)
    assert close(actual, jacobian.absolute_influence(flat(x), J, flat(R)))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_relative_attribution(case, signed, nonnegative):
    found, x, R, J = case
    x = np.abs(x) if nonnegative else x
    actual = run(
        lambda x, R: linear.relative_attribution(
            found.function, x, found.w(), R, nonnegative=nonnegative, signed=signed
        ),
        x,
        R,
    )
    assert close(actual, jacobian.relative_attribution(flat(x), J, flat(R), signed))


def test_z_b(case):
    found, x, R, J = case
    # An output that sees no input at all (output padding) has no shares: its relevance is spread evenly.
    R = R * (np.abs(J).sum(0) > 0).reshape(1, *R.shape[1:])
    low, high = (bound(flat(x), axis=1, keepdims=True) for bound in (np.min, np.max))
    shape = (3,) + (1,) * (x.ndim - 1)
    wide = np.ones_like(flat(x))
    expected = jacobian.z_b(flat(x), J, flat(R), low * wide, high * wide)
    for axis in (None, found.channel_axis) if found.adds_up else (None,):
        actual = run(
            lambda x, R, low, high, axis=axis: linear.z_b(found.function, x, found.w(), R, low, high, axis),
            x,
            R,
            low.reshape(shape),
            high.reshape(shape),
        )
        assert close(actual, expected)


def test_contribution_sums_make_up_the_output(case):
    found, x, _, J = case
    sums = run(lambda x: linear.contribution_sums(found.function, x, found.w()), x)
    assert close(sums.positive - sums.negative, flat(x) @ J)
    assert close(sums.positive + sums.negative, np.abs(flat(x)) @ np.abs(J))


@pytest.mark.parametrize("make", [layers.SeparableConv2D, layers.SeparableConv1D])
def test_separable_convolution_is_two_linear_maps(make):
    tf.keras.backend.set_floatx("float64")
    shape = (6, 5, 2) if make is layers.SeparableConv2D else (8, 2)
    layer = make(4, 3, depth_multiplier=2, padding="same")
    J = jacobian.jacobian(layer, shape)
    x = np.random.default_rng(0).normal(size=(2, *shape))
    depthwise, pointwise = linear_maps(layer)
    z = run(lambda x: pointwise.function(depthwise.function(x, depthwise.w()), pointwise.w()), x)
    assert close(z, flat(x) @ J)
    assert depthwise.bias is None
    assert pointwise.bias is not None


@pytest.mark.parametrize("make", [layers.SeparableConv2D, layers.SeparableConv1D])
@pytest.mark.parametrize("place", ["first", "between", "last"])
def test_the_two_maps_of_a_separable_convolution_have_rules_of_their_own(make, place):
    """Only the depthwise map sees the image, and only the pointwise one is the last of the network."""
    tf.keras.backend.set_floatx("float64")
    shape = (5, 4, 2) if make is layers.SeparableConv2D else (7, 2)
    inputs = y = tf.keras.Input(shape)
    if place != "first":
        y = tf.keras.layers.Dense(2, activation="tanh")(y)
    separable = make(3, 3, depth_multiplier=2, padding="same", bias_initializer="normal", name="separable")
    y = layers.Flatten(name="flat")(separable(y))
    if place != "last":
        y = layers.Dense(2)(y)
    model = tf.keras.Model(inputs, y)
    x = np.random.default_rng(0).normal(size=(2, *shape))
    analyzer = RAP(model, input_rule=(-4, 5), neuron_selection_mode="all")
    R = flat(analyzer.analyze_layers(x)["flat"])
    found = analyzer.analyze_layers(x)["separable"]

    seen = flat(x if place == "first" else tf.keras.Model(inputs, separable.input).predict_on_batch(x))
    depthwise, pointwise = linear_maps(separable)
    unit = np.eye(seen.shape[1]).reshape(-1, *separable.input.shape[1:])
    of_depth = run(lambda x: depthwise.function(x, depthwise.w()), unit)
    J = flat(of_depth)
    between = np.eye(J.shape[1]).reshape(-1, *of_depth.shape[1:])
    K = flat(run(lambda x: pointwise.function(x, pointwise.w()), between))
    if place == "last":
        R = jacobian.absolute_influence(seen @ J, K, R)
    else:
        R = jacobian.relative_attribution(seen @ J, K, R, signed=False)
    low, high = (np.full_like(seen, bound) for bound in (-4, 5))
    by_image = jacobian.z_b(seen, J, R, low, high)
    expected = by_image if place == "first" else jacobian.relative_attribution(seen, J, R, signed=False)
    assert close(found, expected)


def test_uniform_shift_by_hand():
    # The sum of C is 6, that of R is 3: the excess of 3 is taken from the three units that are not 0.
    actual = run(linear.uniform_shift, np.array([[1.0, 0, 2, 3]]), np.array([[2.0, 1]]))
    assert actual == pytest.approx(np.array([[0.0, 0, 1, 2]]))


def test_relative_attribution_by_hand():
    # x = (1, 2) contributes 3 and -4 to the only output, so Z+ = 3, Z- = 4, q = 4/7.
    # C = R (1, 4/7) = (7, 4) for R = 7; the excess of 4 is taken off evenly.
    x, w, R = np.array([[1.0, 2.0]]), np.array([[3.0], [-2.0]]), np.array([[7.0]])
    actual = run(lambda x, w, R: linear.relative_attribution(tf.matmul, x, w, R), x, w, R)
    assert actual == pytest.approx(np.array([[5.0, 2.0]]))


def test_negative_relevance_by_hand():
    # The same layer with R = -7: the paper's C is (-7, -4); the authors' program gives both terms to the
    # negative contribution, C = (0, -7 - 4), and has one unit left to shift.
    x, w, R = np.array([[1.0, 2.0]]), np.array([[3.0], [-2.0]]), np.array([[-7.0]])
    for signed, expected in ((False, [[-5.0, -2.0]]), (True, [[0.0, -7.0]])):
        actual = run(
            lambda x, w, R, s=signed: linear.relative_attribution(tf.matmul, x, w, R, signed=s),
            x,
            w,
            R,
        )
        assert actual == pytest.approx(np.array(expected))


def test_z_b_keeps_the_relevance_of_a_neuron_at_its_bounds():
    # x is at its lowest value with a positive weight: nothing decides, so the ranges 4 and 2 share 3.
    x, w, R = np.array([[-1.0, 5.0]]), np.array([[2.0], [0.0]]), np.array([[3.0]])
    low, high = np.array([[-1.0, 4.0]]), np.array([[3.0, 6.0]])
    actual = run(lambda *t: linear.z_b(tf.matmul, *t), x, w, R, low, high)
    assert actual == pytest.approx(np.array([[2.0, 1.0]]))


def test_tiny_contributions_share_like_others():
    x, w, R = np.float32([[1e-20, 3e-20]]), np.float32([[1e-10], [1e-10]]), np.float32([[8.0]])
    actual = run(lambda x, w, R: linear.relative_attribution(tf.matmul, x, w, R), x, w, R)
    assert actual.tolist() == [pytest.approx([2, 6])]


def test_a_layer_that_only_looks_like_a_convolution_has_no_linear_map():
    class Squared(layers.Conv2D):
        def call(self, inputs):
            return super().call(inputs) ** 2

    layer = Squared(2, 3)
    layer.build((None, 5, 5, 2))
    assert linear_maps(layer) is None


@pytest.mark.slow
@pytest.mark.parametrize("signed", [False, True])
def test_fast_path_equals_the_plain_one(case, signed):
    """An input known to be non-negative needs only half of the maps and gives the same result."""
    found, x, R, _ = case

    def build(x, R, nonnegative):
        sums = linear.contribution_sums(found.function, x, found.w(), nonnegative)
        return linear.relative_attribution(found.function, x, found.w(), R, sums, nonnegative, signed)

    x = np.abs(x)
    fast, plain = (run(lambda x, R, n=n: build(x, R, n), x, R) for n in (True, False))
    assert close(fast, flat(plain))


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-12, 1e3, 1e6])
def test_single_precision_where_one_sign_dominates(scale):
    """Z+ is far below or far above Z-: each is summed separately, so neither is lost in rounding."""
    random = np.random.default_rng(0)
    x, w, R = random.random((3, 40)), random.normal(size=(40, 8)), random.normal(size=(3, 8))
    w = np.where(w > 0, w * scale, w)
    expected = jacobian.relative_attribution(x, w, R, signed=False)
    actual = run(
        lambda x, w, R: linear.relative_attribution(tf.matmul, x, w, R, nonnegative=True),
        *(array.astype(np.float32) for array in (x, w, R)),
    )
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("bias", [1e-3, 1e4])
@pytest.mark.parametrize("first", ["relu", "tanh"])
def test_single_precision_in_a_network_with_any_bias(bias, first):
    """An inner layer of a network in float32, with a dominant bias, compared with numpy in float64."""
    random = np.random.default_rng(0)
    x = tf.keras.Input((12,))
    y = layers.Dense(20, activation=first, name="first")(x)
    z = layers.Dense(10, activation="relu", name="inner")(y)
    model = tf.keras.Model(x, layers.Dense(3, name="last")(z))
    model.set_weights([random.normal(size=weight.shape) for weight in model.weights])
    inner = model.get_layer("inner")
    inner.set_weights([inner.get_weights()[0], bias * random.random(10)])
    X = random.normal(size=(4, 12)).astype(np.float32)
    R = RAP(model).analyze_layers(X)
    values = tf.keras.Model(model.inputs, y).predict_on_batch(X).astype(float)
    expected = jacobian.relative_attribution(
        values, inner.get_weights()[0].astype(float), R["last"].astype(float), False
    )
    assert np.abs(R["inner"] - expected).max() <= 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", ["conv1d groups", "conv2d groups"])
def test_groups_in_single_precision(name, whole, monkeypatch):
    """If TensorFlow has no gradient of a grouped convolution, the groups are propagated one by one."""
    if whole and not linear_layers._has_grouped_gradients():
        pytest.skip("TensorFlow has no gradients of grouped convolutions on this processor")
    monkeypatch.setattr(linear_layers, "_has_grouped_gradients", lambda: whole)
    make, shape = LAYERS[name]
    layer = make()
    J = jacobian.jacobian(layer, shape)
    (found,) = linear_maps(layer)
    random = np.random.default_rng(2)
    x = random.normal(size=(3, *shape)).astype(np.float32)
    R = random.normal(size=(3, *jacobian.output_shape(layer, shape))).astype(np.float32)
    actual = run(lambda x, R: linear.relative_attribution(found.function, x, found.w(), R), x, R)
    expected = jacobian.relative_attribution(flat(x).astype(float), J.astype(float), flat(R).astype(float), False)
    assert np.abs(flat(actual) - expected).max() <= 1e-4 * np.abs(expected).max()
