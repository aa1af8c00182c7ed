"""Masks are part of the forward pass: each method explains what `model.predict` computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3
from layer_rules import random_weights
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras.engine.network import predictor
from rap_keras.hosts import methods

pytestmark = pytest.mark.usefixtures("double_precision")

STEPS, FEATURES = 5, 3
LENGTHS = (2, STEPS, 4)


def attention(h, **options):
    return layers.MultiHeadAttention(2, 3)(h, h, **options)


def nested(*inner):
    x = y = keras.Input((None, FEATURES))
    for layer in inner:
        y = layer(y)
    return keras.Model(x, y)


def mean(h):
    return layers.GlobalAveragePooling1D()(h)


# From what a Masking gives, (N, steps, features), to one vector for each sample. The padding says nothing. Many ways
# share one network, since a graph for each would take minutes.
WITHOUT_PADDING = {
    "recurrent": [
        lambda h: layers.LSTM(4)(h),
        lambda h: layers.GRU(4)(h),
        lambda h: layers.GRU(4, reset_after=False, go_backwards=True)(h),
        lambda h: layers.SimpleRNN(4, unroll=True)(h),
        lambda h: layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)])(h),
    ],
    "states and sequences": [
        lambda h: layers.Concatenate()(layers.LSTM(4, return_state=True)(h)),
        lambda h: layers.GRU(4)(layers.LSTM(4, return_sequences=True)(h)),
        lambda h: layers.Bidirectional(layers.LSTM(3))(h),
        lambda h: mean(layers.Bidirectional(layers.GRU(3, return_sequences=True), "sum")(h)),
    ],
    "handed on": [
        lambda h: layers.SimpleRNN(4)(layers.TimeDistributed(layers.Dense(4, "tanh"))(h)),
        lambda h: mean(layers.Activation("tanh")(layers.LayerNormalization()(layers.Dropout(0.5)(h)))),
        lambda h: layers.SimpleRNN(4)(layers.Add()([h, layers.Dense(FEATURES)(h)])),
        lambda h: layers.SimpleRNN(4)(layers.Concatenate()([h, layers.Dense(2)(h)])),
    ],
    "attention": [
        lambda h: mean(layers.Add()([h, attention(h)])),
        lambda h: mean(attention(h, attention_mask=np.tri(STEPS)[None, : h.shape[1], : h.shape[1]])),
        lambda h: mean(layers.Attention()([layers.Dense(FEATURES)(h), h])),
    ],
    "nested": [
        lambda h: nested(layers.Dense(4), layers.SimpleRNN(4))(h),
        lambda h: mean(nested(nested(layers.SimpleRNN(3, return_sequences=True)), layers.Dense(4))(h)),
        lambda h: keras.Sequential([layers.Dense(4), layers.SimpleRNN(4)])(h),
    ],
}

# Here padding has an influence: the mask is lost on the way, or outputs of masked steps are used.
WITH_PADDING = {
    "lost": [
        lambda h: layers.LSTM(4)(layers.Conv1D(4, 3, padding="same")(h)),
        lambda h: layers.Flatten()(attention(h)),
        lambda h: layers.GRU(4)(layers.Dense(3)(h), initial_state=layers.GRU(4)(h)),  # Keras 3 loses the mask
    ],
    "repeated": [
        lambda h: layers.Flatten()(layers.LSTM(4, return_sequences=True)(h)),
        lambda h: layers.Flatten()(
            layers.RNN(layers.GRUCell(4), return_sequences=True, zero_output_for_mask=True)(h)
        ),
        lambda h: layers.RNN(layers.GRUCell(4), zero_output_for_mask=True)(h),
        lambda h: layers.Flatten()(layers.Bidirectional(layers.LSTM(3, return_sequences=True))(h)),
        lambda h: layers.Flatten()(layers.Attention()([h, h])),
    ],
}


def network(bodies, steps=STEPS, masked=True):
    x = keras.Input((steps, FEATURES))
    h = layers.Masking()(x) if masked else x
    return keras.Model(
        x, layers.Dense(2)(layers.Concatenate()([body(h) for body in bodies]) if len(bodies) > 1 else bodies[0](h))
    )


def with_weights_of(model, other):
    """The other model, of layers that were made in the same order, with the weights of the first one."""

    def weighted(one):
        found = [layer for layer in one.layers if layer.weights]
        return sorted(found, key=lambda layer: (type(layer).__name__, len(layer.name), layer.name))

    for own, layer in zip(weighted(model), weighted(other)):
        layer.set_weights(own.get_weights())
    return other


def samples():
    x = np.random.default_rng(0).normal(size=(len(LENGTHS), STEPS, FEATURES))
    for sample, length in zip(x, LENGTHS):
        sample[length:] = 0
    return x


def explained(name, model, x, target=1):
    return methods.create(name, model, "index").analyze(x, target)


def differences(model, x, target=1, step=1e-5):
    """The gradient of model.predict, by differences."""
    moves = step * np.eye(x[0].size).reshape(-1, *x[0].shape)
    ends = [
        model.predict(np.concatenate([one + sign * moves for one in x]), verbose=0)[:, target] for sign in (1, -1)
    ]
    return (ends[0] - ends[1]).reshape(x.shape) / (2 * step)


@pytest.mark.parametrize("name", [*WITHOUT_PADDING, *WITH_PADDING])
def test_what_is_explained_is_what_predict_computes(name):
    model, x = random_weights(network({**WITHOUT_PADDING, **WITH_PADDING}[name])), samples()
    np.testing.assert_allclose(predictor(model)(x), model.predict(x, verbose=0), atol=1e-8)
    gradient = explained("gradient", model, x)
    counts = x.any(axis=-1)
    np.testing.assert_allclose(gradient[counts], differences(model, x)[counts], atol=1e-7)
    assert not gradient[~counts].any()


@pytest.mark.parametrize("method", ["rap", "rap.contrastive", "lrp.epsilon"])
@pytest.mark.parametrize("name", WITHOUT_PADDING)
def test_a_padded_sample_is_explained_as_it_is_without_its_padding(name, method):
    bodies, x = WITHOUT_PADDING[name], samples()
    model = random_weights(network(bodies))
    R = explained(method, model, x)
    if method == "rap":
        np.testing.assert_allclose(R.sum((1, 2)), model.predict(x, verbose=0)[:, 1], rtol=1e-5)
    assert not R[~x.any(axis=-1)].any()
    short = with_weights_of(model, network(bodies, LENGTHS[0], masked=False))
    np.testing.assert_allclose(short.predict(x[:1, : LENGTHS[0]], verbose=0), model.predict(x[:1], verbose=0))
    np.testing.assert_allclose(
        R[:1, : LENGTHS[0]], explained(method, short, x[:1, : LENGTHS[0]]), rtol=1e-5, atol=1e-7
    )
