"""RAP in either host: options, neuron selection, batches, layers, and bad arguments."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from host import create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine.checks.conservation import excess_by_layer


def small_network():
    """Convolutions with a fused and a separate ReLU, pooling of both kinds, a shortcut, BatchNormalization."""
    x = keras.Input((12, 12, 3))
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1")(x)
    y = pool = layers.MaxPooling2D(name="pool")(y)
    y = layers.BatchNormalization(name="bn")(layers.Conv2D(6, 3, padding="same", name="conv2")(y))
    y = layers.ReLU(name="relu")(layers.Add(name="add")([y, pool]))
    y = layers.GlobalAveragePooling2D(name="gap")(y)
    y = layers.Dense(8, activation="relu", name="dense")(y)
    model = keras.Model(x, layers.Dense(4, name="logits")(y))
    random = np.random.default_rng(3)
    model.set_weights(
        [
            random.uniform(0.1, 1, w.shape) * random.choice([-1, 1], w.shape)
            if "variance" not in v.name
            else random.uniform(0.5, 2, w.shape)
            for v, w in zip(model.weights, model.get_weights())
        ]
    )
    return model


def batch(count=5):
    return np.random.default_rng(4).normal(size=(count, 12, 12, 3)).astype(np.float32)


def sums(relevance):
    return relevance.astype(np.float64).reshape(len(relevance), -1).sum(axis=1)


@pytest.mark.plugin
def test_registered_once_however_often_imported():
    import innvestigate

    from rap_keras.hosts import plugin

    importlib.reload(rap_keras)
    assert innvestigate.analyzer.analyzers["rap"] is plugin.analyzer.RAP
    analyzer = create_analyzer("rap", small_network())
    assert isinstance(analyzer, RAP)
    assert isinstance(analyzer, innvestigate.analyzer.AnalyzerBase)


@pytest.mark.slow
@pytest.mark.plugin
def test_importing_leaves_eager_execution_on_and_creating_says_how_to_switch_it_off():
    program = (
        "import tensorflow as tf, rap_keras, innvestigate\n"
        "assert tf.executing_eagerly()\n"
        "model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])\n"
        "innvestigate.create_analyzer('rap', model)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("RuntimeError:")
    assert message.endswith("tf.compat.v1.disable_eager_execution()")


def test_max_activation_explains_the_highest_logit():
    model, x = small_network(), batch()
    assert sums(RAP(model).analyze(x)) == pytest.approx(model.predict_on_batch(x).max(1), rel=1e-4)


def test_index_explains_the_chosen_logit():
    model, x = small_network(), batch()
    analyzer = RAP(model, neuron_selection_mode="index")
    logits = model.predict_on_batch(x)
    chosen = [3, 0, 2, 2, 1]
    assert sums(analyzer.analyze(x, chosen)) == pytest.approx(logits[range(5), chosen], rel=1e-4)
    assert sums(analyzer.analyze(x, 1)) == pytest.approx(logits[:, 1], rel=1e-4)
    assert sums(analyzer.analyze(x, neuron_selection=np.int64(2))) == pytest.approx(logits[:, 2], rel=1e-4)


def test_index_of_the_highest_logit_is_max_activation():
    model, x = small_network(), batch()
    by_index = RAP(model, neuron_selection_mode="index").analyze(x, model.predict_on_batch(x).argmax(1))
    assert by_index == pytest.approx(RAP(model).analyze(x), rel=1e-5)


def test_all_explains_every_logit():
    model, x = small_network(), batch()
    relevance = RAP(model, neuron_selection_mode="all").analyze(x)
    assert sums(relevance) == pytest.approx(model.predict_on_batch(x).sum(1), rel=1e-4)


def test_outputs_of_several_dimensions_take_an_index_tuple():
    x = keras.Input((6, 6, 2))
    model = keras.Model(x, layers.Conv2D(3, 1)(layers.Conv2D(4, 3, padding="same", activation="relu")(x)))
    X = np.random.default_rng(0).normal(size=(2, 6, 6, 2))
    analyzer = RAP(model, neuron_selection_mode="index")
    logits = model.predict_on_batch(X)
    assert sums(analyzer.analyze(X, (1, 2, 0))) == pytest.approx(logits[:, 1, 2, 0], rel=1e-4)
    each = analyzer.analyze(X, [(1, 2, 0), (5, 5, 2)])
    assert sums(each) == pytest.approx([logits[0, 1, 2, 0], logits[1, 5, 5, 2]], rel=1e-4)
    assert not each[0, 4:].any()  # a 3 x 3 field around row 1 does not reach there


def test_each_sample_by_itself():
    model, x = small_network(), batch(7)
    analyzer = RAP(model)
    together = analyzer.analyze(x)
    for i in range(len(x)):
        alone = analyzer.analyze(x[i : i + 1])
        assert together[i : i + 1] == pytest.approx(alone, rel=1e-4, abs=1e-5 * float(np.abs(alone).max()))


def test_deterministic_and_the_model_is_untouched():
    model, x = small_network(), batch()
    weights, output = model.get_weights(), model.predict_on_batch(x)
    nodes = {layer.name: (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers[1:]}
    first = RAP(model).analyze(x)
    assert (first == RAP(model).analyze(x)).all()
    assert all((a == b).all() for a, b in zip(weights, model.get_weights()))
    assert (output == model.predict_on_batch(x)).all()
    assert nodes == {
        layer.name: (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in model.layers[1:]
    }


def test_weights_set_later_are_those_explained():
    model, x = small_network(), batch()
    analyzer = RAP(model)
    before = analyzer.analyze(x)
    model.set_weights([1.1 * w for w in model.get_weights()])
    after = analyzer.analyze(x)
    assert sums(after) == pytest.approx(model.predict_on_batch(x).max(1), rel=1e-4)
    assert not np.allclose(before, after)


def test_layers_in_forward_order_conserve():
    model, x = small_network(), batch()
    analyzer = RAP(model)
    found = analyzer.analyze_layers(x)
    assert list(found) == [layer.name for layer in model.layers[1:]]
    assert [part.shape for part in found["add"]] == [(5, 6, 6, 6)] * 2
    assert found["conv1"] == pytest.approx(analyzer.analyze(x))
    assert max(excess_by_layer(analyzer, found, model.predict_on_batch(x).max(1)).values()) <= 1


def test_some_layers_by_name():
    model, x = small_network(), batch()
    analyzer = RAP(model, neuron_selection_mode="index")
    found = analyzer.analyze_layers(x, ["dense", "conv2"], neuron_selection=0)
    assert list(found) == ["conv2", "dense"]
    assert found["dense"] == pytest.approx(analyzer.analyze_layers(x, neuron_selection=0)["dense"])
    with pytest.raises(KeyError, match=r"no layer 'conv7'.*conv1, pool"):
        analyzer.analyze_layers(x, ["conv7"], neuron_selection=0)


def test_nested_model_is_taken_apart():
    flat = small_network()
    body = keras.Model(flat.input, flat.get_layer("gap").output, name="body")
    x = keras.Input((12, 12, 3))
    nested = keras.Model(x, flat.get_layer("logits")(flat.get_layer("dense")(body(x))))
    expected = RAP(flat).analyze(batch())
    analyzer = RAP(nested)
    assert analyzer.analyze(batch()) == pytest.approx(expected)
    assert "body/conv1" in analyzer.analyze_layers(batch(1))


def test_fold_gives_the_output_of_the_network_and_the_relevance_of_a_network_without_batch_norm():
    model, x = small_network(), batch()
    bn, conv = model.get_layer("bn"), model.get_layer("conv2")
    gamma, beta, mean, variance = bn.get_weights()
    kernel, bias = conv.get_weights()
    scale = gamma / np.sqrt(variance + bn.epsilon)
    expected_weights = [kernel * scale, (bias - mean) * scale + beta]
    expected_model = small_network()
    expected_model.get_layer("conv2").set_weights(expected_weights)
    identity = [np.ones(6), np.zeros(6), np.zeros(6), np.ones(6) - bn.epsilon]
    expected_model.get_layer("bn").set_weights(identity)
    assert expected_model.predict_on_batch(x) == pytest.approx(model.predict_on_batch(x), rel=1e-4)
    expected = RAP(expected_model).analyze(x)
    folded = RAP(model, batch_norm="fold").analyze(x)
    assert folded == pytest.approx(expected, rel=1e-3, abs=1e-4 * float(np.abs(expected).max()))
    unfolded = RAP(model).analyze(x)
    assert not np.allclose(folded, unfolded, rtol=1e-2)


def test_input_rule_bounds_and_none():
    x = keras.Input((2,))
    model = keras.Model(x, layers.Dense(1, use_bias=False)(layers.Dense(2, activation="relu", use_bias=False)(x)))
    model.set_weights([np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([[1.0], [1.0]])])
    X = np.array([[3.0, 1.0]])
    # The hidden values are (2, 7) and the logit is 9: absolute influence gives them 2 and 7.
    # With (low, high) = (0, 4) neuron 1 shares by (3 - 0) 1 and (4 - 1) 1, neuron 2 by 3 * 2 and 1 * 1.
    fixed = RAP(model, input_rule=(0, 4)).analyze(X)
    assert fixed == pytest.approx(np.array([[1 + 6, 1 + 1.0]]))
    # By channel, with (1, 1) and (3, 5), neuron 1 shares by 2 and 4, neuron 2 by 4 and 0.
    by_channel = RAP(model, input_rule=([1, 1], [3, 5])).analyze(X)
    assert by_channel == pytest.approx(np.array([[2 / 3 + 7, 4 / 3]]))
    mixed = RAP(model, input_rule=(1, [3, 5])).analyze(X)
    assert mixed == pytest.approx(by_channel)
    # None gives the inner rule, and so does "auto", as features share no scale. Neuron 1 has Z+ = 3 and Z- = 1,
    # neuron 2 has Z+ = 7. C = (2 + 6, 1/4 * 2 + 1), which is 1/2 too much.
    for rule in (None, "auto"):
        assert RAP(model, input_rule=rule).analyze(X) == pytest.approx(np.array([[7.75, 1.25]]))


@pytest.mark.parametrize("x", [(1,), "minmax", (2, 1), (0, np.inf), ([[0]], [[1]]), ("a", "b")])
def test_bad_input_rule(x):
    with pytest.raises(ValueError, match="input_rule"):
        RAP(small_network(), input_rule=x)


def test_bad_options():
    with pytest.raises(ValueError, match="variant='papre': must be one of 'paper', 'reference'"):
        RAP(small_network(), variant="papre")
    with pytest.raises(ValueError, match="batch_norm='merge': must be one of 'identity', 'fold'"):
        RAP(small_network(), batch_norm="merge")
    with pytest.raises(ValueError, match="neuron_selection_mode"):
        RAP(small_network(), neuron_selection_mode="best")


def test_bad_input():
    analyzer = RAP(small_network())
    with pytest.raises(ValueError, match=r"shape \(3, 12, 13, 3\), the model takes \(None, 12, 12, 3\)"):
        analyzer.analyze(np.zeros((3, 12, 13, 3)))
    with pytest.raises(ValueError, match="needs a batch axis"):
        analyzer.analyze(np.zeros((12, 12, 3)))
    with pytest.raises(ValueError, match="empty batch"):
        analyzer.analyze(np.zeros((0, 12, 12, 3)))
    with pytest.raises(ValueError, match="no real numbers"):
        analyzer.analyze(np.full((1, 12, 12, 3), "a"))
    x = batch(4)
    x[1, 0, 0, 0], x[3, 5, 5, 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="NaN or Inf in sample 1, 3"):
        analyzer.analyze(x)
    with pytest.raises(ValueError, match="NaN or Inf in sample 1, 3"):
        analyzer.analyze_layers(x)


def test_bad_selection():
    model, x = small_network(), batch(3)
    with pytest.raises(ValueError, match="needs neuron_selection"):
        RAP(model, neuron_selection_mode="index").analyze(x)
    with pytest.raises(ValueError, match="not 'max_activation'"):
        RAP(model).analyze(x, 1)
    analyzer = RAP(model, neuron_selection_mode="index")
    with pytest.raises(ValueError, match="4 of sample 2 is out of range"):
        analyzer.analyze(x, [0, 1, 4])
    with pytest.raises(ValueError, match="-1 of sample 0"):
        analyzer.analyze(x, -1)
    with pytest.raises(ValueError, match="must be integers"):
        analyzer.analyze(x, 1.5)
    with pytest.raises(ValueError, match="one for each of the 3 samples"):
        analyzer.analyze(x, [0, 1])
    for indices in ([0, 1, 2, 0, 1, 2], np.eye(3, 4, dtype=int)[:, :2]):
        with pytest.raises(
            ValueError, match="neuron_selection has 6 indices for 3 samples: give one index, or one"
        ):
            analyzer.analyze(x, indices)


@pytest.mark.plugin
def test_save_and_load_restore_every_option():
    from innvestigate.analyzer import AnalyzerBase

    model, x = small_network(), batch()
    options = {
        "variant": "reference",
        "batch_norm": "fold",
        "input_rule": (-5.0, 5.0),
        "neuron_selection_mode": "index",
        "reverse_clip_values": (-1.0, 1.0),
    }
    analyzer = create_analyzer("rap", model, **options)
    saved = analyzer.save()
    for _ in range(2):  # loading leaves what was saved as it is
        loaded = AnalyzerBase.load(*saved)
        assert type(loaded) is type(analyzer)
        state = loaded.save()[1]
        assert {name: state[name] for name in options} == options
        assert loaded.analyze(x, 2) == pytest.approx(analyzer.analyze(x, 2))


@pytest.mark.plugin
def test_within_a_wrapper_of_innvestigate():
    from innvestigate.analyzer import AugmentReduceBase

    model, x = small_network(), batch(2)
    plain = create_analyzer("rap", model).analyze(x)
    # The mean over three copies of each sample, which are analyzed on the wrapper's own inputs.
    wrapped = AugmentReduceBase(create_analyzer("rap", model), augment_by_n=3).analyze(x)
    assert wrapped == pytest.approx(plain, rel=1e-4, abs=1e-6)
    # Around an analyzer that has its graph, iNNvestigate's wrappers do nothing.
    used = create_analyzer("rap", model)
    used.analyze(x)
    with pytest.raises(ValueError, match="such as SmoothGrad, need an unused analyzer"):
        AugmentReduceBase(used, augment_by_n=3).analyze(x)


@pytest.mark.plugin
def test_options_that_rap_does_not_have():
    with pytest.raises(TypeError, match=r"RAP has no option bias: it has .*variant, .*neuron_selection_mode"):
        create_analyzer("rap", small_network(), bias=False)


@pytest.mark.slow
@pytest.mark.plugin
def test_options_of_the_base_class(capsys):
    model, x = small_network(), batch(2)
    plain = create_analyzer("rap", model).analyze_layers(x)
    # Relevance is clipped at every layer, so little reaches the input; at the last layer it is the limit itself.
    clipped = create_analyzer("rap", model, reverse_clip_values=(-2e-3, 1e-3)).analyze_layers(x)
    assert np.abs(clipped["conv1"]).max() <= 2e-3 < np.abs(plain["conv1"]).max()
    assert clipped["logits"].sum() == pytest.approx(2 * 1e-3, rel=1e-5)
    projected = create_analyzer("rap", model, reverse_project_bottleneck_layers=True).analyze(x)
    assert np.abs(projected).max(axis=(1, 2, 3)) == pytest.approx([1, 1])
    keeping = create_analyzer("rap", model, reverse_keep_tensors=True)
    assert keeping.analyze(x) == pytest.approx(plain["conv1"])
    kept = dict(keeping._reversed_tensors)
    assert kept[(0, 0)] == pytest.approx(plain["conv1"])
    assert kept[(7, 0)] == pytest.approx(plain["dense"])
    create_analyzer(
        "rap", model, reverse_check_finite=True, reverse_check_min_max_values=True, reverse_verbose=True
    ).analyze(x)
    printed = capsys.readouterr().out
    assert "Minimum values in tensors" in printed
    assert "Not finite" not in printed
    assert "relevance of tensor" in printed


def test_a_second_analyzer_on_the_same_model():
    model, x = small_network(), batch()
    first = RAP(model)
    expected = first.analyze(x)
    assert RAP(model, variant="reference").analyze(x).shape == x.shape
    assert (first.analyze(x) == expected).all()


def test_integer_images_in_float64():
    keras.backend.set_floatx("float64")
    model = keras.Sequential(
        [
            keras.Input((5, 5, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    X = np.random.default_rng(0).integers(0, 256, (3, 5, 5, 3), dtype=np.uint8)
    with pytest.warns(UserWarning, match="uint8, like photos before preprocessing"):
        relevance = RAP(model).analyze(X)
    assert sums(relevance) == pytest.approx(model.predict_on_batch(X).max(1), rel=1e-12)


@pytest.mark.parametrize("logit", [1e-6, 1.0, 1e7])
@pytest.mark.parametrize("layer", ["average pooling", "convolution"])
def test_values_at_the_end_of_float32_neither_overflow_nor_lose_relevance(layer, logit):
    # Swish of -86 is -4e-36. The offset of the BatchNormalization has all relevance and passes it on to these.
    inputs = keras.Input((4, 4, 1))
    y = layers.Activation("swish")(layers.Conv2D(1, 1, use_bias=False)(inputs))
    narrow = layers.AveragePooling2D(2) if layer == "average pooling" else layers.Conv2D(1, 2, use_bias=False)
    y = layers.Flatten()(layers.BatchNormalization(name="norm")(narrow(y)))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="last")(y))
    model.set_weights([np.ones(weight.shape) for weight in model.weights])
    last = model.get_layer("last")
    X = np.full((1, 4, 4, 1), -86.0, np.float32)
    X[:, 0, 0] = -85.0
    last.set_weights([last.get_weights()[0] * logit / model.predict_on_batch(X).item()])
    R = RAP(model).analyze_layers(X)
    for name, found in R.items():
        assert np.isfinite(found).all(), name
        assert found.sum(dtype=float) == pytest.approx(logit, rel=1e-4), name


def test_an_analyzer_tells_what_it_is():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)], name="small")
    analyzer = create_analyzer("rap", model, batch_norm="fold", input_rule=None)
    assert repr(analyzer) == (
        "<RAP of model 'small': 2 layers, variant='paper', batch_norm='fold', input_rule=None, "
        "neuron_selection_mode='max_activation'>"
    )
