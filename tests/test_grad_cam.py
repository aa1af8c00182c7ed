"""Grad-CAM: its map by hand and in numpy, what it refuses, and that it tells classes apart with log-odds."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from contrastive_networks import dense_head, gradient_of_score, inputs_of, lively, log_odds_weights, pooled_head
from host import value_of
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine import registered_rules
from rap_keras.engine.equations.class_activation import class_activation
from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.flattening import predictor
from rap_keras.engine.rules.unweighted import moved


def test_by_hand():
    """Two maps of 2x2: a class adds up their means, with weights 1 and -1, or 0 and 2."""
    model = keras.Sequential(
        [
            *(keras.Input((2, 2, 2)), layers.Conv2D(2, 1, use_bias=False)),
            *(layers.GlobalAveragePooling2D(), layers.Dense(2, use_bias=False)),
        ]
    )
    model.set_weights([np.eye(2).reshape(1, 1, 2, 2), np.array([[1.0, 0.0], [-1.0, 2.0]])])
    x = np.array([[[[8, 0], [4, 2]], [[0, 4], [2, 2]]]], "float32")
    analyzer = rap_keras.create_analyzer("grad_cam", model, neuron_selection_mode="index")
    first, second = (analyzer.analyze(x, neuron_selection=k)[0] for k in (0, 1))
    np.testing.assert_allclose(first.sum(-1), np.array([[8, 2], [0, 0]]) / 4)  # (a - b) / 4 where positive
    np.testing.assert_allclose(second.sum(-1), np.array([[0, 4], [8, 4]]) / 4)  # 2 b / 4
    np.testing.assert_allclose(first[..., 0], first[..., 1])


@pytest.mark.parametrize("kind", ["log_odds", "logit"])
def test_equals_numpy(kind):
    """Weights come from differences of the head's logits; the positive part of the map is enlarged."""
    model = lively(dense_head)
    x, target = inputs_of(model), np.array([0, 3, 1])
    features = predictor(keras.Model(model.inputs, model.get_layer("conv").output))(x)
    z = predictor(model)(x)
    a = log_odds_weights(z, target) if kind == "log_odds" else np.eye(4)[target]
    head_input = keras.Input(features.shape[1:])
    y = head_input
    for name in ("flat", "hidden", "logits"):
        y = model.get_layer(name)(y)
    weights = gradient_of_score(keras.Model(head_input, y), features, a).mean((1, 2))
    cam = (features * weights[:, None, None]).sum(-1)
    name = "grad_cam.contrastive" if kind == "log_odds" else "grad_cam"
    found = rap_keras.create_analyzer(name, model, neuron_selection_mode="index").analyze(
        x, neuron_selection=target
    )
    assert found.shape == x.shape
    rows, columns = (_bilinear(small, large) for small, large in zip(cam.shape[1:], x.shape[1:3]))
    np.testing.assert_allclose(found.sum(-1), rows @ np.maximum(cam, 0) @ columns.T, rtol=1e-4, atol=1e-6)
    assert found.any()


def _bilinear(small: int, large: int) -> np.ndarray:
    """The matrix that enlarges a row by interpolating between pixel centres; constant beyond the outer ones."""
    centres = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    return np.maximum(1 - np.abs(centres[:, None] - np.arange(small)), 0)


def test_against_another_class():
    model = lively(pooled_head)
    x = inputs_of(model)
    analyzer = rap_keras.create_analyzer("grad_cam", model, neuron_selection_mode="index")
    alone, compared = analyzer.analyze(x, neuron_selection=0), analyzer.analyze(x, neuron_selection=0, against=2)
    assert np.abs(alone - compared).max() > 1e-3 * np.abs(alone).max()


def test_at_another_layer():
    """The gradient there is that of the rest of the network, as a model of its own."""
    model, first = lively(two_maps), {}
    x, target = inputs_of(model), np.array([0, 3, 1])
    features = predictor(keras.Model(model.inputs, model.get_layer("first").output))(x)
    y = rest_input = keras.Input(features.shape[1:])
    for layer in model.layers[2:]:
        y = layer(y)
    rest = keras.Model(rest_input, y)
    by_class = rap_keras.create_analyzer("gradient", rest, neuron_selection_mode="index")
    gradients = np.stack([by_class.analyze(features, k) for k in range(4)], axis=1)
    for name, contrast in (("grad_cam", "logit"), ("grad_cam.contrastive", "log_odds")):
        a = log_odds_weights(predictor(model)(x), target) if contrast == "log_odds" else np.eye(4)[target]
        weights = np.einsum("nk,nkhwc->nc", a, gradients) / features[0, ..., 0].size
        cam = np.maximum((features * weights[:, None, None]).sum(-1), 0)
        rows, columns = (_bilinear(small, large) for small, large in zip(cam.shape[1:], x.shape[1:3]))
        analyzer = rap_keras.create_analyzer(name, model, neuron_selection_mode="index", layer="first")
        first[name] = analyzer.analyze(x, target).sum(-1)
        np.testing.assert_allclose(first[name], rows @ cam @ columns.T, rtol=1e-4, atol=1e-6)
    with pytest.raises(KeyError, match=r"no layer 'frist' in the network; its layers are first, "):
        rap_keras.create_analyzer("grad_cam", model, layer="frist")
    with pytest.raises(
        NotAnalyzeableModelException, match=r"that of 'logits' has another.* layer=, of first, pool, "
    ):
        rap_keras.create_analyzer("grad_cam", model, layer="logits").analyze(x)


def two_maps():
    x = keras.Input((12, 12, 2))
    y = layers.Conv2D(3, 3, activation="relu", name="first")(x)
    y = layers.Conv2D(4, 3, activation="relu", name="second")(layers.MaxPooling2D(name="pool")(y))
    return keras.Model(x, layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D()(y)))


def test_maps_of_several_layers_are_added_in_the_size_of_the_largest():
    small, large = np.array([[1.0, -2.0], [3.0, -4.0]]), np.random.default_rng(0).normal(size=(4, 4))
    maps = [
        (one[None, ..., None].astype("float32"), np.ones((1, *one.shape, 1), "float32")) for one in (small, large)
    ]
    wide = _bilinear(2, 4)
    cam = np.maximum(wide @ small @ wide.T + large, 0)
    found = value_of(lambda: class_activation([tuple(map(tf.constant, m)) for m in maps], tf.zeros((1, 8, 8, 2))))
    again = _bilinear(4, 8)
    np.testing.assert_allclose(found[0].sum(-1), again @ cam @ again.T, rtol=1e-5, atol=1e-6)


def test_refuses_what_is_no_image():
    vectors = keras.Sequential([keras.Input((7,)), layers.Dense(3)])
    with pytest.raises(NotAnalyzeableModelException, match=r"something other than one image.*rap\.contrastive"):
        rap_keras.create_analyzer("grad_cam", vectors)
    rap_keras.create_analyzer("rap.contrastive", vectors).analyze(np.ones((1, 7), "float32"))


def test_channels_first_is_the_same_map():
    """The input itself is the last feature map, since not every processor has convolutions with channels first."""
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype("float32")
    weights = [np.random.default_rng(1).normal(size=(3, 2)).astype("float32")]
    found = {}
    for form, shape in (("channels_last", (4, 5, 3)), ("channels_first", (3, 4, 5))):
        keras.backend.set_image_data_format(form)
        try:
            pool = layers.GlobalAveragePooling2D(data_format=form)
            model = keras.Sequential([keras.Input(shape), pool, layers.Dense(2, use_bias=False)])
            model.set_weights(weights)
            given = x if form == "channels_last" else x.transpose(0, 3, 1, 2)
            found[form] = rap_keras.create_analyzer("grad_cam", model).analyze(given)
        finally:
            keras.backend.set_image_data_format("channels_last")
    assert found["channels_last"].any()
    np.testing.assert_allclose(found["channels_first"].transpose(0, 2, 3, 1), found["channels_last"], rtol=1e-6)


class Mirror(layers.Layer):
    """A user's own layer that moves places."""

    def call(self, x):
        return x[:, :, ::-1]


@pytest.mark.parametrize("layer", [lambda: layers.Permute((2, 1, 3)), lambda: layers.Reshape((4, 4, 2)), Mirror])
def test_refuses_places_in_another_order(layer, monkeypatch):
    monkeypatch.setattr(registered_rules, "RULES", {Mirror: moved})
    model = keras.Sequential(
        [
            *(keras.Input((4, 4, 2)), layers.Conv2D(2, 1), layer(), layers.Conv2D(2, 1)),
            *(layers.GlobalAveragePooling2D(), layers.Dense(3)),
        ]
    )
    x = np.ones((1, 4, 4, 2), "float32")
    with pytest.raises(NotAnalyzeableModelException, match=r"may move its places.*rap\.contrastive"):
        rap_keras.create_analyzer("grad_cam", model).analyze(x)
    rap_keras.create_analyzer("rap.contrastive", model).analyze(x)


def test_takes_a_reshape_that_has_no_places():
    """A squeeze-and-excitation block, in front of the last feature map, has such a layer."""
    x = keras.Input((4, 4, 2))
    y = layers.Conv2D(2, 1)(x)
    gate = layers.Reshape((1, 1, 2))(layers.Dense(2, activation="sigmoid")(layers.GlobalAveragePooling2D()(y)))
    z = layers.Conv2D(2, 1)(layers.Multiply()([y, gate]))
    model = keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(z)))
    values = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    assert np.isfinite(rap_keras.create_analyzer("grad_cam", model).analyze(values)).all()
