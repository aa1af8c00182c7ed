"""PatternNet, PatternAttribution and the patterns that they use."""

from __future__ import annotations

import numpy as np
import pytest
from host import PLUGIN, NotAnalyzeableModelException, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import PatternAttribution, PatternNet, shapes
from rap_keras.metrics import outside_inside_ratio
from rap_keras.models import to_logits
from rap_keras.patterns import PatternComputer, Patterns
from rap_keras.visualization import heatmap


def one_neuron(w, activation=None):
    inputs = keras.Input((len(w),))
    model = keras.Model(inputs, layers.Dense(1, activation=activation, name="neuron")(inputs))
    model.set_weights([np.array(w, float)[:, None], np.zeros(1)])
    return model


def small(dtype="float64"):
    keras.backend.set_floatx(dtype)
    inputs = keras.Input((7, 6, 2))
    y = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu", name="conv")(inputs)
    y = layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise")(y)
    y = layers.ReLU()(layers.Conv2D(4, 1, groups=2, name="groups")(y))
    y = layers.Dense(5, activation="relu", name="hidden")(layers.Flatten()(y))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(y))
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.weights])
    return model


def data(count, dtype=np.float64):
    return np.random.default_rng(2).normal(0.7, 1, (count, 7, 6, 2)).astype(dtype)


# The paper's example: x = s a_s + e a_d, and the weights that extract s from it are not a_s.
SIGNAL, DISTRACTOR, WEIGHTS = np.array([1.0, 0.0]), np.array([1.0, 1.0]), [1.0, -1.0]


def test_the_linear_pattern_is_the_signal():
    random = np.random.default_rng(0)
    s, e = random.normal(1, 1, 100_000), random.normal(-2, 2, 100_000)
    x = np.outer(s, SIGNAL) + np.outer(e, DISTRACTOR)
    found = PatternComputer(one_neuron(WEIGHTS)).compute(x, batch_size=5_000)
    assert found.arrays["neuron:0"][:, 0] == pytest.approx(SIGNAL, abs=1e-2)


def test_the_two_component_pattern_is_the_signal_of_the_active_half():
    # If y < 0 the input varies in another direction, which misleads the linear estimator.
    random = np.random.default_rng(0)
    s, e = random.normal(0, 1, 100_000), random.normal(0, 0.5, 100_000)
    inactive = np.array([3.0, 2.0])
    x = np.where(s[:, None] > 0, np.outer(s, SIGNAL), np.outer(s, inactive)) + np.outer(e, DISTRACTOR)
    model = one_neuron(WEIGHTS, "relu")
    relu = PatternComputer(model).compute(x, batch_size=5_000).arrays["neuron:0"][:, 0]
    linear = PatternComputer(model, "linear").compute(x, batch_size=5_000).arrays["neuron:0"][:, 0]
    assert relu == pytest.approx(SIGNAL, abs=1e-2)
    assert linear == pytest.approx((SIGNAL + inactive) / 2, abs=2e-2)


def patches(x, size, stride, padding):
    """All patches that a convolution sees, (positions, height, width, channels), in numpy."""
    if padding:
        x = np.pad(x, [(0, 0), *padding, (0, 0)])
    _, height, width, _ = x.shape
    return np.stack(
        [
            x[:, row : row + size, column : column + size]
            for row in range(0, height - size + 1, stride)
            for column in range(0, width - size + 1, stride)
        ],
        axis=1,
    ).reshape(-1, size, size, x.shape[-1])


def direct(rows, y, active, w):
    """The pattern by its definition; rows (M, inputs), y and active (M, neurons), w (inputs, neurons)."""
    result = np.zeros_like(w)
    for neuron in range(w.shape[1]):
        chosen = active[:, neuron]
        positive, values = rows[chosen], y[chosen, neuron]
        c = (positive * values[:, None]).mean(0) - positive.mean(0) * y[:, neuron].mean()
        result[:, neuron] = c / (w[:, neuron] @ c)
    return result


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_streaming_equals_numpy(batch_size):
    model, x = small(), data(40)
    found = PatternComputer(model).compute(x, batch_size).arrays
    conv, depthwise, groups, hidden, logits = (
        model.get_layer(n) for n in ("conv", "depthwise", "groups", "hidden", "logits")
    )
    inner = keras.Model(model.inputs, [conv.output, depthwise.output, hidden.input, hidden.output, groups.output])
    after_conv, after_depthwise, before_hidden, after_hidden, after_groups = inner.predict_on_batch(x)

    def close(name, expected):
        assert np.abs(found[name] - expected).max() <= 1e-6 * np.abs(expected).max()

    w, b = conv.get_weights()
    rows = patches(x, 3, 2, [(1, 1), (0, 1)]).reshape(-1, 18)
    y = rows @ w.reshape(18, 3)
    close("conv:0", direct(rows, y, y + b > 0, w.reshape(18, 3)).reshape(w.shape))
    w, b = depthwise.get_weights()
    rows = patches(after_conv, 2, 1, None)
    expected = np.zeros_like(w)
    for channel in range(3):
        own = rows[..., channel].reshape(-1, 4)
        y = own @ w[:, :, channel].reshape(4, 2)
        expected[:, :, channel] = direct(own, y, np.full(y.shape, True), w[:, :, channel].reshape(4, 2)).reshape(
            2, 2, 2
        )
    close("depthwise:0", expected)
    w, b = groups.get_weights()
    rows = after_depthwise.reshape(-1, 6)
    for group in range(2):
        own, part = rows[:, 3 * group : 3 * group + 3], slice(2 * group, 2 * group + 2)
        y = own @ w[0, 0, :, part]
        expected = direct(own, y, y + b[part] > 0, w[0, 0, :, part])
        assert np.abs(found["groups:0"][0, 0, :, part] - expected).max() <= 1e-6 * np.abs(expected).max()
    assert after_groups.min() < 0
    w, b = hidden.get_weights()
    y = before_hidden @ w
    close("hidden:0", direct(before_hidden, y, y + b > 0, w))
    w, b = logits.get_weights()
    y = after_hidden @ w
    close("logits:0", direct(after_hidden, y, np.full(y.shape, True), w))


def test_single_precision_and_generators():
    double = PatternComputer(small()).compute(data(64)).arrays
    keras.backend.clear_session()
    model, x = small("float32"), data(64, np.float32)
    found = PatternComputer(model).compute((x[i : i + 20], "labels") for i in range(0, 64, 20))
    for name, array in found.arrays.items():
        assert array.dtype == np.float32
        assert np.abs(array - double[name]).max() <= 1e-3 * np.abs(double[name]).max()


def test_constant_and_dead_neurons_have_no_pattern():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(4, activation="relu", name="hidden")(inputs))
    w = np.random.default_rng(0).normal(size=(3, 4))
    w[:, 1] = 0  # constant
    w[:2, 3], w[2, 3] = 0, 1.0  # sees an input that never varies
    model.set_weights([w, np.array([0, 1.0, -1e6, 0])])  # the third is dead
    x = np.random.default_rng(1).normal(size=(500, 3))
    x[:, 2] = 0.1
    found = PatternComputer(model).compute(x).arrays["hidden:0"]
    assert np.isfinite(found).all()
    assert (found[:, [1, 2, 3]] == 0).all()
    assert w[:, 0] @ found[:, 0] == pytest.approx(1, rel=1e-5)


def test_rounding_makes_no_pattern():
    # All positions are equal, but their mean in float32 is not quite their value.
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, layers.Conv2D(4, 2, name="conv")(inputs))
    x = np.broadcast_to(np.float32([0.1, 0.7]), (40, 8, 8, 2))
    assert (PatternComputer(model).compute(x).arrays["conv:0"] == 0).all()


@pytest.mark.parametrize(
    ("cls", "name"), [(PatternNet, "pattern.net"), (PatternAttribution, "pattern.attribution")]
)
def test_analysis_is_the_gradient_with_other_weights(cls, name):
    keras.backend.set_floatx("float64")
    inputs = keras.Input((4,))
    y = layers.BatchNormalization(name="norm")(layers.Dense(5, activation="relu", name="hidden")(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="logits")(y))
    random = np.random.default_rng(0)
    model.set_weights(
        [
            np.abs(random.normal(size=v.shape)) if "var" in v.name else random.normal(size=v.shape)
            for v in model.weights
        ]
    )
    x = random.normal(size=(6, 4))
    patterns = PatternComputer(model).compute(random.normal(size=(200, 4)))
    analyzer = create_analyzer(name, model, patterns=patterns, neuron_selection_mode="index")
    native = cls(model, patterns=patterns, neuron_selection_mode="index")
    assert (type(analyzer) is not cls) == PLUGIN
    chosen = [0, 1, 2, 2, 1, 0]
    found = analyzer.analyze(x, neuron_selection=chosen)
    hidden, norm, logits = (model.get_layer(n) for n in ("hidden", "norm", "logits"))
    gamma, _, _, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    (w1, b1), (w2, _) = hidden.get_weights(), logits.get_weights()
    p1, p2 = patterns.arrays["hidden:0"], patterns.arrays["logits:0"]
    first, last, middle = (p1, p2, 1 / scale) if cls is PatternNet else (p1 * w1, p2 * w2, 1)
    values = model.predict_on_batch(x)[range(6), chosen]
    expected = ((values[:, None] * last[:, chosen].T * middle) * (x @ w1 + b1 > 0)) @ first.T
    assert found == pytest.approx(expected)
    assert native.analyze(x, neuron_selection=chosen) == pytest.approx(expected)
    fitted = cls(model, neuron_selection_mode="index")
    with pytest.raises(RuntimeError, match=r"needs patterns: call fit\(X\)"):
        fitted.analyze(x, neuron_selection=chosen)
    fitted.fit(x)
    assert np.isfinite(fitted.analyze(x, neuron_selection=chosen)).all()
    with pytest.raises(RuntimeError, match="already uses other patterns"):
        fitted.fit(x)
    if PLUGIN:
        from innvestigate.analyzer import AnalyzerBase

        loaded = AnalyzerBase.load(*analyzer.save())
        assert loaded.analyze(x, neuron_selection=chosen) == pytest.approx(found)


def test_saved_patterns(tmp_path):
    model = small("float32")
    patterns = PatternComputer(model).compute(data(20, np.float32))
    patterns.save(tmp_path / "patterns.npz")
    loaded = Patterns.load(tmp_path / "patterns.npz")
    assert loaded.network == patterns.network
    for name, array in patterns.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
    x = data(3, np.float32)
    by_file = PatternAttribution(model, patterns=tmp_path / "patterns.npz").analyze(x)
    np.testing.assert_array_equal(by_file, PatternAttribution(model, patterns=patterns).analyze(x))
    weights = model.get_weights()
    weights[1] += 1e-6
    model.set_weights(weights)
    with pytest.raises(ValueError, match="patterns are of another network"):
        PatternAttribution(model, patterns=loaded)


def test_what_is_refused(tmp_path):
    model = small("float32")
    patterns = PatternComputer(model).compute(data(20, np.float32))
    wrong = {**patterns.arrays, "conv:0": np.zeros((3, 3, 2, 4), np.float32)}
    with pytest.raises(ValueError, match=r"conv:0' has shape \(3, 3, 2, 4\), but its weights have \(3, 3, 2, 3\)"):
        PatternNet(model, patterns=Patterns(wrong, patterns.network))
    with pytest.raises(ValueError, match="'conv:0' has shape None"):
        PatternNet(model, patterns=Patterns({}, patterns.network))
    broken = {**patterns.arrays, "conv:0": np.full((3, 3, 2, 3), np.nan, np.float32)}
    with pytest.raises(ValueError, match="not finite"):
        PatternNet(model, patterns=Patterns(broken, patterns.network))
    np.savez(tmp_path / "other.npz", a=1)
    (tmp_path / "text.npz").write_text("no archive")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.ones(3))
    for name in ("other.npz", "text.npz", "array.npz"):
        with pytest.raises(ValueError, match=f"{name} holds no patterns"):
            PatternNet(model, patterns=tmp_path / name)
    with pytest.raises(FileNotFoundError):
        PatternNet(model, patterns=tmp_path / "missing.npz")
    with pytest.raises(ValueError, match="no samples"):
        PatternComputer(model).compute(iter([]))
    with pytest.raises(ValueError, match="pattern_type='tanh'"):
        PatternComputer(model, "tanh")
    inputs = keras.Input((4, 4, 1))
    transposed = keras.Model(
        inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2DTranspose(2, 2, name="up")(inputs)))
    )
    with pytest.raises(NotAnalyzeableModelException, match=r"'up' \(Conv2DTranspose\) has no patterns"):
        PatternComputer(transposed)
    with pytest.raises(ValueError, match="no weighted layer"):
        PatternComputer(keras.Model(inputs, layers.Flatten()(inputs)))
    with pytest.raises(NotAnalyzeableModelException, match="softmax"):
        PatternNet(keras.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(inputs))))


def test_a_shared_layer_has_one_pattern_of_all_its_uses():
    keras.backend.set_floatx("float64")
    shared = layers.Dense(3, activation="relu", name="shared")
    a, b = keras.Input((3,)), keras.Input((3,))
    both = keras.Model([a, b], layers.Dense(2)(layers.Add()([shared(a), shared(b)])))
    X = np.random.default_rng(0).normal(size=(2, 50, 3))
    found = PatternComputer(both).compute(list(X)).arrays["shared:0"]
    alone = keras.Model(a, shared(a))
    assert found == pytest.approx(PatternComputer(alone).compute(X.reshape(100, 3)).arrays["shared:0"])


def test_pattern_attribution_marks_the_shape():
    samples = shapes.generate(30, shapes.TEST_SEED)
    x = shapes.preprocess(samples.images)
    inside = np.zeros(samples.masks.shape, bool)
    for box, (left, top, right, bottom) in zip(inside, samples.boxes):
        box[top:bottom, left:right] = True
    model = to_logits(shapes.load_network("vgg"))

    def ratio(analyzer):
        maps = heatmap(analyzer.analyze(x))
        return np.nanmedian([outside_inside_ratio(one, box) for one, box in zip(maps, inside)])

    pattern = PatternAttribution(model, patterns=shapes.patterns_path("vgg"))
    assert ratio(pattern) < 0.8 * ratio(create_analyzer("gradient", model))


def test_a_network_without_relu():
    keras.backend.set_floatx("float64")
    inputs = keras.Input((4,))
    y = layers.Dense(5, activation="tanh", name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(y))
    random = np.random.default_rng(0)
    x = random.normal(size=(100, 4))
    patterns = PatternComputer(model).compute(x)
    w = model.get_layer("hidden").get_weights()[0]
    y = x @ w
    assert patterns.arrays["hidden:0"] == pytest.approx(direct(x, y, np.full(y.shape, True), w))
    for cls in (PatternNet, PatternAttribution):
        assert np.isfinite(cls(model, patterns=patterns).analyze(x)).all()


def test_the_regime_is_that_of_the_relu_behind_a_batch_normalization():
    keras.backend.set_floatx("float64")
    inputs = keras.Input((4,))
    y = layers.BatchNormalization(name="norm")(layers.Dense(3, name="inner")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.ReLU()(y)))
    random = np.random.default_rng(0)
    values = [random.normal(size=variable.shape) for variable in model.weights]
    model.set_weights([np.abs(v) if "variance" in w.name else v for v, w in zip(values, model.weights)])
    x = random.normal(size=(200, 4))
    found = PatternComputer(model).compute(x).arrays["inner:0"]
    w = model.get_layer("inner").get_weights()[0]
    normalized = keras.Model(model.inputs, model.get_layer("norm").output).predict_on_batch(x)
    assert found == pytest.approx(direct(x, x @ w, normalized > 0, w))


def test_a_separable_convolution_equals_its_two_parts():
    keras.backend.set_floatx("float64")
    inputs = keras.Input((5, 5, 2))
    separable = layers.SeparableConv2D(3, 2, depth_multiplier=2, activation="relu", name="separable")
    one = keras.Model(inputs, separable(inputs))
    parts = [
        layers.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False, name="depth"),
        layers.Conv2D(3, 1, activation="relu", name="point"),
    ]
    two = keras.Model(inputs, parts[1](parts[0](inputs)))
    two.set_weights(one.get_weights())
    x = np.random.default_rng(0).normal(size=(20, 5, 5, 2))
    found, expected = PatternComputer(one).compute(x).arrays, PatternComputer(two).compute(x).arrays
    assert found["separable:0"] == pytest.approx(expected["depth:0"])
    assert found["separable:1"] == pytest.approx(expected["point:0"])


@pytest.mark.parametrize("relu", [layers.ReLU(), layers.ReLU(6.0), layers.Activation("relu"), ops.relu, ops.relu6])
def test_every_kind_of_relu_makes_the_two_component_estimator(relu):
    keras.backend.set_floatx("float64")
    if isinstance(relu, layers.Layer):
        relu = type(relu).from_config({k: v for k, v in relu.get_config().items() if k != "dtype"})
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2)(relu(layers.Dense(3, name="inner")(inputs))))
    x = np.random.default_rng(0).normal(size=(200, 4))
    w, b = model.get_layer("inner").get_weights()
    expected = direct(x, x @ w, x @ w + b > 0, w)
    assert PatternComputer(model).compute(x).arrays["inner:0"] == pytest.approx(expected)
