"""Rules of layers without weights, on numbers worked out by hand."""

from __future__ import annotations

import jacobian
import layer_rules
import numpy as np
import pytest
from host import KERAS_3, PLUGIN, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.way_back.plan import plan


@pytest.fixture(autouse=True)
def double():
    keras.backend.set_floatx("float64")


def through(layer, x, R, **options):
    """The relevance that a layer (or function) of one input passes back; x and R have no batch axis."""
    x = np.asarray(x, float)
    tensor = keras.Input(x.shape)
    (found,) = layer_rules.back(
        keras.Model(tensor, layer(tensor)), [x[None]], np.asarray(R, float)[None], **options
    )
    return found[0].tolist()


def through_merge(layer, xs, R, **options):
    xs = [np.asarray(x, float) for x in xs]
    tensors = [keras.Input(x.shape) for x in xs]
    model = keras.Model(tensors, layer(tensors))
    found = layer_rules.back(model, [x[None] for x in xs], np.asarray(R, float)[None], **options)
    return [part[0].tolist() for part in found]


PASSING = {
    "relu": layers.ReLU(),
    "relu6": layers.ReLU(6.0),
    "leaky": layers.LeakyReLU(),
    "elu": layers.ELU(),
    "prelu": layers.PReLU(),
    "thresholded": layers.ThresholdedReLU(0.5),
    "softmax": layers.Softmax(),
    "swish": layers.Activation("swish"),
    "tanh": layers.Activation("tanh"),
    "dropout": layers.Dropout(0.5),
    "alpha dropout": layers.AlphaDropout(0.5),
    "gaussian dropout": layers.GaussianDropout(0.5),
    "noise": layers.GaussianNoise(1.0),
    "activity": layers.ActivityRegularization(0.1),
    "batch norm": layers.BatchNormalization(),
    "layer norm": layers.LayerNormalization(),
    "group norm": layers.GroupNormalization(2),
    "unit norm": layers.UnitNormalization(),
    "rescaling": layers.Rescaling(2.0, 1.0),
    "normalization": layers.Normalization(mean=1.0, variance=2.0),
    "op relu": ops.relu,
    "op relu6": ops.relu6,
    "op gelu": lambda x: keras.activations.gelu(x),
    "op sigmoid": ops.sigmoid,
    "op scale": lambda x: x * 3.0,
    "op shift": lambda x: 1.0 - x,
    "op quotient": lambda x: x / 4.0,
    "op minimum": lambda x: ops.minimum(x, 1.0),
    "op swish": ops.silu,
    "op clip": lambda x: ops.clip(x, 0.0, 1.0),
}


@pytest.mark.parametrize("name", PASSING)
def test_passes_unchanged(name):
    make = PASSING[name]
    layer = make
    if isinstance(make, layers.Layer):  # built again, in this test's graph and data type
        config = {key: value for key, value in make.get_config().items() if key != "dtype"}
        layer = type(make).from_config(config)
    assert through(layer, [8.0, -1.0, 0.0, 2.0], [1.0, -2.0, 3.0, 4.0]) == [1, -2, 3, 4]


@pytest.mark.parametrize(
    ("layer", "x", "R", "expected"),
    [
        (lambda: layers.Flatten(), [[1, 2], [3, 4]], [1, 2, 3, 4], [[1, 2], [3, 4]]),
        (lambda: layers.Reshape((4,)), [[1, 2], [3, 4]], [1, 2, 3, 4], [[1, 2], [3, 4]]),
        (lambda: layers.Permute((2, 1)), [[1, 2], [3, 4]], [[1, 2], [3, 4]], [[1, 3], [2, 4]]),
        (lambda: layers.RepeatVector(3), [1, 2], [[1, 2], [3, 4], [5, 6]], [9, 12]),
        (lambda: layers.UpSampling1D(2), [[1], [2]], [[1], [2], [3], [4]], [[3], [7]]),
        (lambda: layers.Cropping1D(1), [[1], [2], [3]], [[5]], [[0], [5], [0]]),
        (lambda: layers.MaxPooling1D(2), [[1], [2], [4], [3]], [[5], [6]], [[0], [5], [6], [0]]),
        (lambda: layers.GlobalMaxPooling1D(), [[1], [2], [4], [3]], [5], [[0], [0], [5], [0]]),
        (lambda: layers.GlobalMaxPooling1D(keepdims=True), [[1], [2]], [[5]], [[0], [5]]),
        (lambda: layers.AveragePooling1D(2), [[1], [-3], [0], [2]], [[8], [6]], [[2], [6], [0], [6]]),
        (lambda: layers.GlobalAveragePooling1D(), [[1], [-3]], [8], [[2], [6]]),
        (lambda: layers.GlobalAveragePooling1D(keepdims=True), [[1], [-3]], [[8]], [[2], [6]]),
        # Relevance on the padding falls back on the nearest value.
        (lambda: layers.ZeroPadding1D((2, 1)), [[7], [8]], [[1], [2], [4], [8], [16]], [[6], [25]]),
        (
            lambda: lambda x: ops.pad(x, [[0, 0], [2, 1], [0, 0]]),
            [[7], [8]],
            [[1], [2], [4], [8], [16]],
            [[6], [25]],
        ),
        (lambda: lambda x: ops.mean(x, axis=1), [[1], [-3]], [8], [[2], [6]]),
        (lambda: lambda x: ops.sum(x, axis=1), [[1], [-3]], [8], [[2], [6]]),
        (lambda: lambda x: ops.average_pool(x, 2, 2), [[1], [-3]], [[8]], [[2], [6]]),
        (
            lambda: lambda x: ops.max_pool(x, 2, 2),
            [[1], [2], [4], [3]],
            [[5], [6]],
            [[0], [5], [6], [0]],
        ),
        (lambda: lambda x: ops.transpose(x, (0, 2, 1)), [[1, 2]], [[3], [4]], [[3, 4]]),
        (lambda: lambda x: x[:, 1:], [1, 2, 3], [5, 6], [0, 5, 6]),
    ],
)
def test_moved_and_shared(layer, x, R, expected):
    assert np.allclose(through(layer(), x, R), expected)


def test_bilinear_upsampling_adds_up_what_it_interpolated():
    x, R = np.ones((2, 2, 1)), np.arange(16.0).reshape(4, 4, 1)
    found = np.array(through(layers.UpSampling2D(interpolation="bilinear"), x, R))
    assert found.sum() == pytest.approx(R.sum())
    # The corner pixel makes all of the corner and 3/4 of its neighbours: 0 + 3/4 (1 + 4) + 9/16 * 5.
    assert found[0, 0, 0] == pytest.approx(0 + 0.75 * 5 + 9 / 16 * 5 + 0.25 * (2 + 8) + 3 / 16 * (6 + 9) + 10 / 16)


def test_merging_layers():
    a, b, R = [3.0, -1.0], [1.0, 4.0], [8.0, 10.0]
    assert through_merge(layers.Add(), [a, b], R) == [[6, 2], [2, 8]]
    assert through_merge(layers.Average(), [a, b], R) == [[6, 2], [2, 8]]
    assert through_merge(layers.Subtract(), [a, b], R) == [[6, 2], [2, 8]]
    assert through_merge(layers.Maximum(), [a, b], R) == [[8, 0], [0, 10]]
    assert through_merge(layers.Minimum(), [a, b], R) == [[0, 10], [8, 0]]
    assert through_merge(layers.Concatenate(), [a, b], [1, 2, 3, 4]) == [[1, 2], [3, 4]]
    assert through_merge(lambda t: t[0] + t[1], [a, b], R) == [[6, 2], [2, 8]]
    assert through_merge(lambda t: t[0] - t[1], [a, b], R) == [[6, 2], [2, 8]]
    assert through_merge(lambda t: t[0] / t[1], [a, b], R) == [[8, 10], [0, 0]]


def test_signed_shares_follow_the_authors_program():
    a, b, R = [3.0, -1.0], [1.0, 5.0], [8.0, 10.0]
    assert through_merge(layers.Add(), [a, b], R, reference=True) == [[6, -2.5], [2, 12.5]]
    assert through_merge(layers.Subtract(), [a, b], R, reference=True) == [[12, 10 / 6], [-4, 50 / 6]]
    assert through(layers.AveragePooling1D(2), [[1], [-3]], [[8]], reference=True) == [[-4], [12]]


def test_multiply_gives_all_to_what_is_gated():
    a, b, R = [3.0, -1.0], [1.0, 4.0], [8.0, 10.0]
    # Without a gate, relevance is shared evenly.
    assert through_merge(layers.Multiply(), [a, b], R) == [[4, 5], [4, 5]]

    def gated(tensors):
        return layers.Multiply()([layers.Activation("sigmoid")(tensors[0]), tensors[1]])

    assert through_merge(gated, [a, b], R) == [[0, 0], [8, 10]]

    def hard_swish(x):  # as in MobileNetV3
        return layers.Multiply()([x, layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)])

    assert through(hard_swish, a, R) == [8, 10]

    def excited(x):  # squeeze and excite: one factor for each channel
        factor = layers.Reshape((1, 2))(layers.GlobalAveragePooling1D()(x))
        return layers.Multiply()([x, factor])

    assert through(excited, [[1, 2], [3, 4]], [[1, 2], [3, 4]]) == [[1, 2], [3, 4]]


def test_relevance_on_a_constant_is_spread_evenly():
    ones = keras.backend.constant(np.ones((1, 2)))
    assert through(lambda x: layers.Add()([x, ones]), [3, -1], [8, 10]) == [8, 10]
    assert through(lambda x: ones - x, [3, -1], [8, 10]) == [8, 10]
    assert through(lambda x: layers.Multiply()([x, ones]), [3, -1], [8, 10]) == [8, 10]
    assert through(lambda x: layers.Concatenate()([x, ones]), [3, -1], [1, 2, 3, 4]) == [4.5, 5.5]
    assert through(lambda x: layers.Maximum()([x, ones]), [3, -1], [8, 10]) == [8, 10]  # as at ReLU
    assert through(lambda x: layers.Multiply()([x[:, :1], ones]), [3, -1], [8, 10]) == [18, 0]
    assert through(lambda x: ops.concatenate([x, ones], 1), [3, -1], [1, 2, 3, 4]) == [4.5, 5.5]
    assert through(lambda x: ops.concatenate([ones, x], 1), [3, -1], [1, 2, 3, 4]) == [4.5, 5.5]


@pytest.mark.keras2  # Keras 3 cannot make such a model: its layers take a constant only after a tensor
def test_relevance_on_a_constant_before_the_tensor_is_spread_evenly():
    ones = keras.backend.constant(np.ones((1, 2)))
    assert through(lambda x: layers.Subtract()([ones, x]), [3, -1], [8, 10]) == [8, 10]
    assert through(lambda x: layers.Concatenate()([ones, x]), [3, -1], [1, 2, 3, 4]) == [4.5, 5.5]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (lambda x, c: layers.Add()([x, c]), False),
        (lambda x, c: layers.Concatenate()([x, c]), False),
        (lambda x, c: layers.Concatenate()([x, x]), True),
        (lambda x, c: ops.concatenate([x, c], 1), False),
        (lambda x, c: ops.pad(x, [[0, 0], [1, 1]], constant_values=-1.0), False),
        (lambda x, c: ops.pad(x, [[0, 0], [1, 1]]), True),
    ],
)
def test_a_constant_may_be_negative(merge, expected):
    x = keras.Input((2,))
    merged = merge(layers.ReLU()(x), keras.backend.constant(np.full((1, 2), -1.0)))
    model = keras.Model(x, layers.Dense(1)(layers.Dense(2, name="after_merge")(merged)))
    (dense,) = [p for p in plan(flatten(model)) if p.call.name == "after_merge"]
    assert dense.nonnegative is expected


@pytest.mark.skipif(not PLUGIN, reason="with eager execution on Dot takes no side whose batch is of another size")
@pytest.mark.parametrize("tensor_first", [True, False])
def test_dot_with_one_constant_side_is_a_weighted_layer(tensor_first):
    random = np.random.default_rng(0)
    x, W = random.normal(size=(3, 4, 2)), keras.backend.constant(random.normal(size=(1, 4, 5)))

    def dot(x):
        return layers.Dot((1, 1), name="dot")([x, W] if tensor_first else [W, x])

    J = jacobian.jacobian(dot, (4, 2))
    tensor = keras.Input((4, 2))
    model = keras.Model(tensor, layers.Dense(3)(layers.Flatten(name="flatten")(dot(tensor))))
    R = RAP(model, input_rule=None).analyze_layers(x)
    expected = jacobian.relative_attribution(x.reshape(3, -1), J, R["flatten"].reshape(3, -1), signed=False)
    assert R["dot"].reshape(3, -1) == pytest.approx(expected)


def test_mixed_precision_is_explained_in_single():
    keras.backend.set_floatx("float32")

    def network(policy):
        """A network with its own policy, whatever the global policy is later."""
        make = {"dtype": policy, "kernel_initializer": keras.initializers.RandomNormal(seed=1)}
        x = keras.Input((8, 8, 3))
        y = layers.Rescaling(0.5, dtype=policy)(layers.Resizing(6, 6, dtype=policy)(x))
        y = layers.BatchNormalization(dtype=policy)(layers.Conv2D(4, 3, **make)(y))
        y = layers.MaxPooling2D(dtype=policy)(layers.ReLU(dtype=policy)(y))
        y = layers.Add(dtype=policy)([y, layers.DepthwiseConv2D(1, dtype=policy)(y)])
        return keras.Model(x, layers.Dense(3, **make)(layers.GlobalAveragePooling2D(dtype=policy)(y)))

    single, mixed = network("float32"), network("mixed_float16")
    mixed.set_weights(single.get_weights())
    X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    expected = RAP(single).analyze(X)
    assert np.abs(expected).max() > 0
    close = pytest.approx(expected, rel=1e-5)
    assert RAP(mixed).analyze(X) == close
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        assert RAP(mixed).analyze(X) == close
    finally:
        # Back to the policy of floatx
        keras.mixed_precision.set_global_policy("float32" if KERAS_3 else None)


def test_embedding_gives_one_number_per_token():
    x = keras.Input((3,))
    y = layers.Conv1D(2, 2)(layers.Embedding(10, 4)(x))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalMaxPooling1D()(y)))
    relevance = RAP(model).analyze(np.array([[1, 5, 9], [2, 2, 2]]))
    logits = model.predict_on_batch(np.array([[1, 5, 9], [2, 2, 2]])).max(1)
    assert relevance.shape == (2, 3)
    assert relevance.sum(1) == pytest.approx(logits)


def test_preprocessing_layers_at_the_input_keep_the_pixels_bounds():
    # The network sees x / 127.5 - 1 of the centre. z^B's bounds are transformed, too, so the relevance is that of
    # the network without these layers, on input that was preprocessed and cropped before.
    inner = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(3, 3, activation="relu"), layers.Flatten(), layers.Dense(2)]
    )
    x = keras.Input((6, 6, 1))
    outer = keras.Model(x, inner(layers.Rescaling(1 / 127.5, -1)(layers.CenterCrop(4, 4)(x))))
    X = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 1)).astype(float)
    found = RAP(outer, input_rule=(0, 255)).analyze(X)
    expected = RAP(inner, input_rule=(-1, 1)).analyze(X[:, 1:5, 1:5] / 127.5 - 1)
    assert found[:, 1:5, 1:5] == pytest.approx(expected)
    assert found.sum() == pytest.approx(expected.sum())


def test_two_uses_of_a_layer_equal_two_copies():
    def network(middle):
        x = keras.Input((5,))
        y = layers.Dense(5, activation="relu", name="first")(x)
        for layer in middle:
            y = layer(y)
        return keras.Model(x, layers.Dense(2, name="last")(y))

    shared = layers.Dense(5, activation="relu", name="shared")
    twice = network([shared, shared])
    copies = network([layers.Dense(5, activation="relu", name=f"copy{i}") for i in range(2)])
    for name, source in (("first", "first"), ("copy0", "shared"), ("copy1", "shared"), ("last", "last")):
        copies.get_layer(name).set_weights(twice.get_layer(source).get_weights())
    X = np.random.default_rng(0).normal(size=(3, 5))
    assert RAP(twice).analyze(X) == pytest.approx(RAP(copies).analyze(X))
    assert list(RAP(twice).analyze_layers(X)) == ["first", "shared", "shared#2", "last"]


def test_a_nested_model_used_twice_equals_the_flat_network():
    x = keras.Input((6, 6, 2))
    body = keras.Sequential([keras.Input((None, None, 2)), layers.Conv2D(2, 3, padding="same"), layers.ReLU()])
    inner = keras.Sequential([keras.Input((6, 6, 2)), body], name="inner")
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    nested = keras.Model(x, head[1](head[0](layers.Add()([inner(body(x)), x]))))
    conv = body.layers[0]
    y = layers.ReLU()(conv(layers.ReLU()(conv(x))))
    flat = keras.Model(x, head[1](head[0](layers.Add()([y, x]))))
    X = np.random.default_rng(0).normal(size=(2, 6, 6, 2))
    assert RAP(nested).analyze(X) == pytest.approx(RAP(flat).analyze(X))


def test_a_nested_sequential_without_input_shape_equals_the_flat_network():
    x = keras.Input((6, 6, 2))
    parts = [layers.Conv2D(3, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten()]
    chain = keras.Sequential([parts[0], keras.Sequential(parts[1:], name="inner")], name="chain")
    nested = keras.Model(x, layers.Dense(2, name="last")(chain(x)))
    y = x
    for layer in parts:
        y = layer(y)
    flat = keras.Model(x, layers.Dense(2, name="last_of_flat")(y))
    flat.layers[-1].set_weights(nested.layers[-1].get_weights())
    X = np.random.default_rng(0).normal(size=(2, 6, 6, 2))
    for options in ({}, {"batch_norm": "fold"}):
        assert RAP(nested, **options).analyze(X) == pytest.approx(RAP(flat, **options).analyze(X))
    assert f"chain/inner/{parts[1].name}" in RAP(nested).analyze_layers(X)


def test_several_inputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2, 2), name="b")
    y = layers.Add()([layers.Dense(4)(a), layers.Dense(4)(layers.Flatten()(b))])
    model = keras.Model([a, b], layers.Dense(2)(layers.ReLU()(y)))
    random = np.random.default_rng(0)
    X = [random.normal(size=(3, 3)), random.normal(size=(3, 2, 2))]
    found = RAP(model).analyze(X)
    assert [part.shape for part in found] == [(3, 3), (3, 2, 2)]
    total = found[0].sum(1) + found[1].sum((1, 2))
    assert total == pytest.approx(model.predict_on_batch(X).max(1))
    with pytest.raises(ValueError, match="2 inputs, but 1 arrays"):
        RAP(model).analyze(X[0])
    with pytest.raises(ValueError, match=r"different size: \[3, 2\]"):
        RAP(model).analyze([X[0], X[1][:2]])


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not pad a photo to keep its aspect ratio")
@pytest.mark.parametrize("fill", [0.0, 2.0, -1.0])
def test_a_border_around_a_resized_photo_has_its_relevance_spread_evenly(fill):
    resizing = layers.Resizing(8, 8, pad_to_aspect_ratio=True, fill_value=fill)
    model = keras.Sequential([keras.Input((4, 8, 3)), resizing, layers.Flatten(), layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 3)).astype(np.float32)
    found = create_analyzer("rap", model).analyze(x).sum((1, 2, 3))
    np.testing.assert_allclose(found, model.predict(x, verbose=0).max(-1), rtol=1e-4)
