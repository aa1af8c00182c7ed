"""Layers made of other layers, which Keras 3 lets be taken apart."""

from __future__ import annotations

import numpy as np
import pytest
from layer_rules import back, random_weights
from layers_of_layers import Own, gate, in_front, network_of, nothing, of_keras_3, tokens
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP, register_rule
from rap_keras.engine.checks.conservation import check
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules.unweighted import moved_evenly
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = of_keras_3


class Block(layers.Layer):
    """What a transformer has many of, written as its authors write it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norms = [layers.LayerNormalization(name=f"norm_{i}") for i in range(2)]
        self.attention = layers.MultiHeadAttention(2, 3, name="attention")
        self.dropout = layers.Dropout(0.5, name="dropout")
        self.mlp = keras.Sequential([layers.Dense(8, activation="gelu"), layers.Dense(4)], name="mlp")

    def build(self, shape):
        for norm in self.norms:
            norm.build(shape)
        self.attention.build(shape, shape)
        self.mlp.build(shape)

    def call(self, x, training=None):
        y = self.norms[0](x)
        y = x + self.dropout(self.attention(y, y), training=training)
        return y + self.dropout(self.mlp(self.norms[1](y)), training=training)


class Tokens(layers.Layer):
    """A class token in front of the patches, and an embedding of each place."""

    def __init__(self, **options):
        super().__init__(**options)
        self.project = layers.Dense(4, name="project")
        self.places = layers.Embedding(7, 4, name="places")

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, 4), name="token")
        self.project.build(shape)
        self.places.build(None)

    def call(self, x):
        token = ops.tile(self.token, (ops.shape(x)[0], 1, 1))
        return ops.concatenate([token, self.project(x)], axis=1) + self.places(ops.arange(7))


class Transformer(layers.Layer):
    """Layers made of layers made of layers."""

    def __init__(self, **options):
        super().__init__(**options)
        self.tokens = Tokens(name="tokens")
        self.block = Block(name="block")

    def build(self, shape):
        self.tokens.build(shape)
        self.block.build((None, 7, 4))

    def call(self, x):
        return self.block(self.tokens(x))[:, 0]


class InFront(layers.Layer):
    """A place for a class token: as behind a concatenation, its relevance is shared by the whole input."""

    def call(self, x):
        return ops.pad(x, [[0, 0], [1, 0], [0, 0]])


register_rule(InFront, moved_evenly)


def written_out(layer):
    """The network of a Transformer as a functional model, with its layers and its weights as they are now."""
    x = keras.Input((6, 4))
    constants = layer.tokens.places.embeddings.numpy()
    constants[0] += layer.tokens.token.numpy()[0, 0]
    y = InFront()(layer.tokens.project(x)) + constants
    z = layer.block.norms[0](y)
    y = layers.Add()([y, layer.block.attention(z, z)])
    first, second = layer.block.mlp.layers
    y = layers.Add()([y, second(first(layer.block.norms[1](y)))])
    return keras.Model(x, layers.Flatten()(y[:, :1]))


def vit():
    x = keras.Input((6, 4))
    return random_weights(keras.Model(x, Transformer(name="vit")(x)))


def test_relevance_is_that_of_the_network_written_out():
    model = vit()
    X, R = tokens(), np.random.default_rng(2).normal(size=(3, 4))
    for _ in range(2):
        twin = written_out(model.get_layer("vit"))
        np.testing.assert_allclose(twin.predict_on_batch(X), model.predict_on_batch(X), rtol=1e-9)
        np.testing.assert_allclose(back(model, [X], R), back(twin, [X], R), rtol=1e-9, atol=1e-12)
        random_weights(model, seed=3)


def test_relevance_is_conserved_by_every_method():
    model, X = vit(), tokens()
    analyzer = RAP(model)
    R = analyzer.analyze(X)
    np.testing.assert_allclose(R.sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)
    assert check(analyzer, X).passed()
    np.testing.assert_allclose(analyzer.analyze(X[1:2]), R[1:2], rtol=1e-8, atol=1e-11)
    twin = written_out(model.get_layer("vit"))
    for method in ("rap.contrastive", "lrp.epsilon"):
        found, expected = (create_natively(method, network).analyze(X) for network in (model, twin))
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-11)
    for method in ("lrp.alpha_1_beta_0", "gradient"):
        assert create_natively(method, model).analyze(X).any()


def test_layers_within_have_the_same_names_each_time():
    model = vit()
    names = [call.name for call in flatten(model).calls]
    assert names[:4] == [f"vit/{name}" for name in ("tokens/project", "tokens/concatenate", "tokens/add")] + [
        "vit/block/norm_0"
    ]
    assert names[-2:] == ["vit/block/add#2", "vit/getitem"]
    assert names == [call.name for call in flatten(model).calls]
    assert RAP(model).analyze_layers(tokens(), ["vit/tokens/add"])["vit/tokens/add"].shape == (3, 7, 4)


def halves_added(layer, x):
    return x[:, :3] + x[:, 3:] + layer.table


def test_values_by_hand():
    X = np.array([[[1.0, 2], [3, 4], [0, 5], [3, -2], [0, 12], [0, -5]]]) @ np.eye(2, 4)

    def relevance(code, R):
        x = keras.Input((6, 4))
        model = random_weights(keras.Model(x, Own(code)(x)))
        return back(model, [X], R)[0]

    R = np.arange(24.0).reshape(1, 6, 4)
    np.testing.assert_array_equal(relevance(gate, R), R)
    # Shares in proportion to |x|, evenly where both are 0. The table is a constant.
    expected = np.array([[2.0, 4], [8, 2], [4, 4], [6, 4], [0, 6], [4, 4]])
    found = relevance(halves_added, np.pad([[[8.0, 8], [8, 8], [8, 8]]], [(0, 0), (0, 0), (0, 2)]))
    np.testing.assert_allclose(found[0, :, :2], expected, rtol=1e-12)
    # What lies on a constant is spread evenly over all inputs: here 3 * 4 * 2 over 24.
    found = relevance(in_front, np.concatenate([np.full((1, 3, 4), 2.0), R], axis=1))
    np.testing.assert_allclose(found, R + 1, rtol=1e-12)


def with_broadcast(layer, x):
    table = keras.ops.broadcast_to(layer.table, (ops.shape(x)[0], 3, 4))
    return ops.concatenate([table, layer.dense(x)], axis=1)


def with_zeros(layer, x):
    return layer.dense(x) + keras.ops.zeros((ops.shape(x)[0], 1, 4)) + layer.table[:, :1]


def windows(layer, x):
    samples, count, channels = ops.shape(x)
    y = layer.dense(ops.reshape(x, (samples * 2, count // 2, channels))) + layer.table
    return ops.reshape(y, (samples, count, channels))


def of_its_positions(layer, x):
    return layer.dense(x) + keras.ops.take(layer.table, [0, 1, 2, 2, 1, 0], axis=1)


def layer_made_in_it(layer, x):
    return layers.Add()([x, layer.dense(x)])


CODES = [gate, in_front, with_broadcast, with_zeros, windows, of_its_positions, nothing, layer_made_in_it]


@pytest.mark.parametrize("code", CODES)
def test_any_number_of_samples_and_weights_that_change(code):
    model = network_of(Own(code, name="own"))
    analyzer = RAP(model)
    assert "own" not in [call.name for call in analyzer.network.calls]
    for seed, count in enumerate((1, 3)):
        random_weights(model, seed)
        X = tokens(count)
        R = analyzer.analyze(X)
        np.testing.assert_allclose(R.sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)
        np.testing.assert_allclose(R, RAP(model).analyze(X), rtol=1e-9, atol=1e-12)


class Pair(layers.Layer):
    """Two inputs, one of them by name, and two outputs; it keeps what it has calculated last."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense, self.last = layers.Dense(4, name="dense"), None

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x, other=None):
        self.last = self.dense(x)
        return {"sum": self.last + other, "product": self.last * ops.sigmoid(other)}


def test_the_layer_stays_as_it_is():
    x = keras.Input((6, 4))
    layer = Pair(name="pair")
    y = layer(x, other=layers.Dense(4)(x))
    y = layer(y["product"], other=y["sum"])
    model = random_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(y["sum"] + y["product"]))))
    parts, weights = [layer, layer.dense], model.get_weights()
    before = [(dict(vars(part)), len(part._inbound_nodes), len(part._outbound_nodes)) for part in parts]
    names = [call.name for call in flatten(model).calls]
    assert {"pair/dense", "pair/dense#2", "pair/add", "pair/add#2", "pair/sigmoid"} <= set(names)
    for part, (attributes, *counts) in zip(parts, before):
        assert vars(part).keys() == attributes.keys()
        assert all(vars(part)[name] is value for name, value in attributes.items())
        assert [len(part._inbound_nodes), len(part._outbound_nodes)] == counts
    for old, new in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(new, old)
    X = tokens()
    analyzer = RAP(model)
    np.testing.assert_allclose(analyzer.analyze(X).sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)
    assert check(analyzer, X).passed()


def test_a_subclassed_model_as_a_layer():
    class Part(keras.Model):
        def __init__(self):
            super().__init__(name="part")
            self.dense = layers.Dense(4, activation="relu", name="dense")

        def call(self, x):
            return x + self.dense(x)

    part, x = Part(), keras.Input((6, 4))
    model = network_of(part)
    twin = keras.Model(x, model.layers[-1](layers.Flatten()(layers.Add()([x, part.dense(x)]))))
    np.testing.assert_allclose(RAP(model).analyze(tokens()), RAP(twin).analyze(tokens()), rtol=1e-9, atol=1e-12)


def keras_hub_vit(pooling, **options):
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, **options
    )
    return random_weights(hub.models.ViTImageClassifier(backbone=backbone, num_classes=4, pooling=pooling))


@pytest.mark.parametrize("pooling", ["token", "gap"])
def test_relevance_of_a_vision_transformer_of_keras_hub_is_that_of_the_network_written_out(pooling):
    model = keras_hub_vit(pooling, use_class_token=pooling == "token")
    patches, encoder = model.backbone.layers[1:]
    (block,) = encoder.encoder_layers
    x = keras.Input((32, 32, 3))
    y = layers.Reshape((16, 16))(patches.patch_embedding(x))
    constants = patches.position_embedding.embeddings.numpy()
    if pooling == "token":
        constants[0] += patches.class_token.numpy()[0, 0]
        y = InFront()(y)
    y = y + constants
    z = block.layer_norm_1(y)
    y = layers.Add()([block.mha(z, z), y])
    y = layers.Add()([y, block.mlp.dense_2(block.mlp.dense_1(block.layer_norm_2(y)))])
    y = encoder.layer_norm(y)
    twin = keras.Model(x, model.output_dense(y[:, 0] if pooling == "token" else ops.mean(y, axis=1)))
    X = np.random.default_rng(0).uniform(0, 1, (3, 32, 32, 3))
    logits = model.predict_on_batch(X)
    np.testing.assert_allclose(twin.predict_on_batch(X), logits, rtol=1e-6)
    analyzer = RAP(model)
    R = analyzer.analyze(X)
    np.testing.assert_allclose(R.sum((1, 2, 3)), logits.max(1), rtol=1e-6)
    np.testing.assert_allclose(R, RAP(twin).analyze(X), rtol=1e-5, atol=1e-7 * np.abs(R).max())
    assert check(analyzer, X).passed()
    name = "vi_t_backbone/vit_encoder/transformer_block_1/mlp/dense_1"
    assert name in [call.name for call in analyzer.network.calls]
    if pooling == "token":
        for method in ("rap.contrastive", "lrp.epsilon", "lrp.alpha_1_beta_0", "gradient"):
            found, expected = (create_natively(method, network).analyze(X) for network in (model, twin))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())
