"""Agreement with the authors' own program, layer by layer (files that it wrote in float64)."""

from __future__ import annotations

import numpy as np
import pytest
from host import create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras

assert rap_keras.RAP  # importing registers "rap"

TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


@pytest.fixture(params=TOLERANCE)
def floatx(request):
    keras.backend.set_floatx(request.param)
    return request.param


def vgg_small(data):
    """The recorded layers in forward order; every ReLU is a layer of its own."""
    names = [key.split("/")[1] for key in data.files if key.startswith("relevance/")][::-1]
    model = keras.Sequential([keras.Input(data["input"].shape[1:])])
    for name in names:
        if name.startswith("conv"):
            model.add(layers.Conv2D(data[f"{name}/kernel"].shape[-1], 3, padding="same", name=name))
        elif name.startswith("pool"):
            model.add(layers.MaxPooling2D(name=name))
        elif "relu" in name:
            model.add(layers.ReLU(name=name))
        elif name == "flatten":
            model.add(layers.Flatten(name=name))
        else:
            model.add(layers.Dense(data[f"{name}/kernel"].shape[-1], name=name))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([data[f"{layer.name}/kernel"], data[f"{layer.name}/bias"]])
    return model


def bottleneck_small(data, padding_layer):
    """A bottleneck; the padding of the stem is a layer before it, or within the convolution."""

    def conv(name, size, **kwargs):
        return layers.Conv2D(data[f"{name}/kernel"].shape[-1], size, use_bias=False, name=name, **kwargs)

    def batch_norm(name):
        return layers.BatchNormalization(epsilon=float(data["batch_norm_epsilon"]), name=name)

    x = keras.Input(data["input"].shape[1:])
    padded = layers.ZeroPadding2D(1, name="pad")(x) if padding_layer else x
    stem = conv("stem", 3, strides=2, padding="valid" if padding_layer else "same")(padded)
    fork = layers.ReLU(name="stem_relu")(batch_norm("stem_bn")(stem))
    y = layers.ReLU(name="relu1")(batch_norm("b1")(conv("c1", 1)(fork)))
    y = layers.ReLU(name="relu2")(batch_norm("b2")(conv("c2", 3, padding="same")(y)))
    y = batch_norm("b3")(conv("c3", 1)(y))
    shortcut = batch_norm("down_bn")(conv("down", 1)(fork))
    y = layers.ReLU(name="relu3")(layers.Add(name="add")([y, shortcut]))
    y = layers.Dense(6, name="fc")(layers.GlobalAveragePooling2D(name="gap")(y))
    model = keras.Model(x, y)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            layer.set_weights([data[f"{layer.name}/{name}"] for name in names])
        elif layer.weights:
            layer.set_weights([data[f"{layer.name}/{n}"] for n in ("kernel", "bias")[: len(layer.weights)]])
    return model


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.realdata
def test_vgg_small(shared, floatx):
    data = np.load(shared / "reference" / "vgg_small.npz")
    model = vgg_small(data)
    assert relative_error(model.predict_on_batch(data["input"]), data["logits"]) < TOLERANCE[floatx]
    analyzer = create_analyzer("rap", model, variant="reference", neuron_selection_mode="index")
    found = analyzer.analyze_layers(data["input"], neuron_selection=data["target"])
    expected = {key.split("/")[1]: data[key] for key in data.files if key.startswith("relevance/")}
    assert list(found) == list(expected)[::-1]
    for name in expected:
        assert relative_error(found[name], expected[name]) < TOLERANCE[floatx], name
    heatmap = analyzer.analyze(data["input"], neuron_selection=data["target"])
    assert relative_error(heatmap, expected["conv0"]) < TOLERANCE[floatx]


@pytest.mark.realdata
def test_bottleneck_small(shared, floatx):
    data = np.load(shared / "reference" / "bottleneck_small.npz")
    model = bottleneck_small(data, padding_layer=True)
    assert relative_error(model.predict_on_batch(data["input"]), data["logits"]) < TOLERANCE[floatx]
    analyzer = create_analyzer("rap", model, variant="reference", neuron_selection_mode="index")
    found = analyzer.analyze_layers(data["input"], neuron_selection=data["target"])
    found["add_branch"], found["add_shortcut"] = found["add"]
    found["fork"] = found["stem_relu"]  # what arrives at it: c1 and down added up
    found["stem"] = analyzer.analyze(data["input"], neuron_selection=data["target"])
    expected = {key.split("/")[1]: data[key] for key in data.files if key.startswith("relevance/")}
    for name in expected:
        assert relative_error(found[name], expected[name]) < TOLERANCE[floatx], name


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("variant", ["paper", "reference"])
def test_padding_within_the_convolution_is_that_of_a_layer_before_it(shared, variant):
    # With 23 pixels and stride 2, "same" pads one pixel on each side, like the layer.
    keras.backend.set_floatx("float64")
    data = dict(np.load(shared / "reference" / "bottleneck_small.npz"))
    data["input"] = data["input"][:, :23, :23]
    maps = []
    for padding_layer in (True, False):
        model = bottleneck_small(data, padding_layer)
        maps.append(rap_keras.RAP(model, variant=variant).analyze(data["input"]))
    assert relative_error(*maps) < 1e-12
