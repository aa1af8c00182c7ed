"""Masks are part of the forward pass: each method explains what `model.predict` computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, NotAnalyzeableModelException
from layer_rules import random_weights
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts import methods
from rap_keras.hosts.native.creation import create_analyzer as create_natively

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


# From what a Masking gives, (N, steps, features), to one vector for each sample. The padding says nothing. Many
# ways share one network, since a graph for each would take minutes.
WITHOUT_PADDING = {
    "recurrent": [
        lambda h: layers.GRU(4, reset_after=False, go_backwards=True)(h),
        lambda h: layers.RNN([layers.LSTMCell(3), layers.SimpleRNNCell(3)])(h),
    ],
    "states and sequences": [
        lambda h: layers.Concatenate()(layers.LSTM(4, return_state=True)(h)),
        lambda h: mean(layers.Bidirectional(layers.GRU(3, return_sequences=True), "sum")(h)),
    ],
    "handed on": [
        lambda h: layers.SimpleRNN(4, unroll=True)(layers.TimeDistributed(layers.Dense(4, "tanh"))(h)),
        lambda h: mean(layers.Activation("tanh")(layers.LayerNormalization()(layers.Dropout(0.5)(h)))),
        lambda h: mean(layers.Add()([h, layers.Dense(FEATURES)(h)])),
        lambda h: mean(layers.Concatenate()([h, layers.Dense(2)(h)])),
    ],
    # One each: Keras 3's MultiHeadAttention takes the masks off its inputs, which other layers then miss.
    "attention": [lambda h: mean(layers.Add()([h, attention(h)]))],
    "attention with a mask of its own": [
        lambda h: mean(attention(h, attention_mask=np.tri(STEPS)[None, : h.shape[1], : h.shape[1]]))
    ],
    "attention of one head": [lambda h: mean(layers.Attention()([layers.Dense(FEATURES)(h), h]))],
    "nested": [
        lambda h: nested(layers.Dense(4), layers.SimpleRNN(4))(h),
        lambda h: mean(nested(nested(layers.Dense(3)), layers.Dense(4))(h)),
        lambda h: mean(keras.Sequential([layers.Dense(4), layers.Dense(4)])(h)),
    ],
}

# Here padding has an influence: the mask is lost on the way, or outputs of masked steps are used.
WITH_PADDING = {
    "lost": [
        lambda h: layers.SimpleRNN(4)(layers.Conv1D(4, 3, padding="same")(h)),
        # Keras 2 adds -1e9 to masked scores, which leaves too few digits for differences.
        *([lambda h: layers.Flatten()(attention(h))] if KERAS_3 else []),
        # Keras 3 loses the mask
        lambda h: layers.SimpleRNN(4)(layers.Dense(3)(h), initial_state=layers.SimpleRNN(4)(h)),
    ],
    "repeated": [
        lambda h: layers.Flatten()(layers.LSTM(4, return_sequences=True)(h)),
        lambda h: layers.Flatten()(
            layers.RNN(layers.GRUCell(4), return_sequences=True, zero_output_for_mask=True)(h)
        ),
        lambda h: layers.RNN(layers.SimpleRNNCell(4), zero_output_for_mask=True)(h),
        lambda h: layers.Flatten()(layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))(h)),
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


def natively(name, model, x):
    """Without the bounds of the samples, which depend on their padding."""
    options = {"input_rule": None} if name.startswith("rap") else {}
    return create_natively(name, model, neuron_selection_mode="index", **options).analyze(x, 1)


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


@pytest.mark.parametrize(
    "method", ["rap", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rap.contrastive", "lrp.epsilon"))]
)
@pytest.mark.parametrize("name", WITHOUT_PADDING)
def test_a_padded_sample_is_explained_as_it_is_without_its_padding(name, method):
    bodies, x = WITHOUT_PADDING[name], samples()
    model = random_weights(network(bodies))
    R = natively(method, model, x)
    if method == "rap":
        np.testing.assert_allclose(R.sum((1, 2)), model.predict(x, verbose=0)[:, 1], rtol=1e-5)
    assert not R[~x.any(axis=-1)].any()
    short = with_weights_of(model, network(bodies, LENGTHS[0], masked=False))
    np.testing.assert_allclose(short.predict(x[:1, : LENGTHS[0]], verbose=0), model.predict(x[:1], verbose=0))
    np.testing.assert_allclose(
        R[:1, : LENGTHS[0]], natively(method, short, x[:1, : LENGTHS[0]]), rtol=1e-5, atol=1e-7
    )


def test_by_hand():
    """h = w x + u h at steps 0 and 2 of x = (3, 5, 2), w = 2, u = 0.5: h = 6, 6, 7, and 7 = 4 + 0.5 * 6."""
    x = keras.Input((3, 1))
    h = layers.SimpleRNN(1, activation=None, return_sequences=True)(layers.Masking(mask_value=5.0)(x))
    model = keras.Model(x, layers.Dense(1)(layers.Flatten()(h)))
    model.set_weights(
        [np.array([[2.0]]), np.array([[0.5]]), np.zeros(1), np.array([[0.0], [1.0], [1.0]]), np.zeros(1)]
    )
    X = np.reshape([3.0, 5.0, 2.0], (1, 3, 1))
    assert model.predict(X, verbose=0)[0, 0] == 13  # the masked step repeats 6
    expected = {
        "gradient": [2 + 1, 0, 2],
        "integrated_gradients": [9, 0, 4],
        "rap": [6 + 3, 0, 4],
        "lrp.z": [9, 0, 4],
    }
    for method, R in expected.items():
        np.testing.assert_allclose(explained(method, model, X, 0)[0, :, 0], R, rtol=1e-6, err_msg=method)


def tokens(h):
    return layers.Embedding(6, 3, mask_zero=True)(h)


def given(h):
    return layers.Lambda(lambda x: tf.reduce_any(tf.not_equal(x, 0.0), -1), output_shape=(STEPS,))(h)


# Networks that begin in other ways than with a Masking, of (N, steps, features) or tokens.
GIVEN = {
    "tokens, mean": lambda t: mean(tokens(t)),
    "tokens, recurrent": lambda t: layers.SimpleRNN(3)(tokens(t)),
    "given": lambda h: layers.SimpleRNN(3)(h, mask=given(h)),
    "given to a model": lambda h: nested(layers.SimpleRNN(3))(h, mask=given(h)),
    "given to both ways": lambda h: layers.Bidirectional(layers.SimpleRNN(3))(h, mask=given(h)),
    "of values": lambda h: layers.Flatten()(layers.Attention()([layers.Dense(3)(h), h], mask=[None, given(h)])),
    "one side": lambda h: layers.Flatten()(
        layers.MultiHeadAttention(2, 3)(layers.Dense(3)(h), layers.Masking()(h))
    ),
}


@pytest.mark.parametrize("name", GIVEN)
def test_masks_that_begin_elsewhere(name):
    X = samples()
    if "tokens" in name:
        X = np.where(X.any(-1), np.random.default_rng(0).integers(1, 6, X.shape[:2]), 0)
    x = keras.Input(X.shape[1:])
    model = random_weights(keras.Model(x, layers.Dense(2)(GIVEN[name](x))))
    logits = model.predict(X, verbose=0)
    np.testing.assert_allclose(predictor(model)(X), logits, atol=1e-8)
    R = explained("rap", model, X)
    np.testing.assert_allclose(R.reshape(len(X), -1).sum(1), logits[:, 1], rtol=1e-5)
    if name not in ("of values", "one side"):  # there the padding is not masked as a query
        assert not R[~X.reshape(*X.shape[:2], -1).any(axis=-1)].any()


def test_inputs_made_from_a_sample_have_its_masks():
    """The padding is -1: on the line from 0 it would not be masked, nor with noise."""
    x = keras.Input((STEPS, FEATURES))
    model = random_weights(
        keras.Model(x, layers.Dense(2)(layers.SimpleRNN(3)(layers.Masking(mask_value=-1.0)(x))))
    )
    X = samples()
    padding = ~X.any(axis=-1)
    X[padding] = -1
    for method in ("integrated_gradients", "smoothgrad"):
        assert not explained(method, model, X)[padding].any()


def test_samples_without_any_step_and_single_ones():
    model, x = random_weights(network(WITHOUT_PADDING["recurrent"][1:])), samples()
    x = np.concatenate([x, np.zeros_like(x[:1])])
    analyzer = methods.create("rap", model, "index")
    with pytest.warns(UserWarning, match="sample 3 is zero everywhere"):
        R = analyzer.analyze(x, 1)
    assert not R[3].any()
    np.testing.assert_allclose(
        R[:3], np.concatenate([analyzer.analyze(one[None], 1) for one in x[:3]]), atol=1e-12
    )


class Block(layers.Layer):
    """Attention that no argument of its own gives a mask, and that hands the mask on."""

    def __init__(self, **options):
        super().__init__(**options)
        self.attention, self.norm, self.supports_masking = (
            layers.MultiHeadAttention(2, 3),
            layers.LayerNormalization(),
            True,
        )

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x + self.attention(x, x))


class Mean(layers.Layer):
    """The mean of two Dense layers over the steps that count."""

    def __init__(self, **options):
        super().__init__(**options)
        self.first, self.second = layers.Dense(4), layers.Dense(3)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 4))

    def call(self, x, mask=None):
        counts = keras.ops.cast(mask, x.dtype)[..., None]
        return keras.ops.sum(self.second(self.first(x)) * counts, axis=1) / keras.ops.sum(counts, axis=1)


class Tokens(layers.Layer):
    """An embedding that makes the mask by a method of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.embedding, self.dense = layers.Embedding(6, 3, mask_zero=True), layers.Dense(3)

    def build(self, shape):
        self.embedding.build(shape)
        self.dense.build((*shape, 3))

    def compute_mask(self, x, mask=None):
        return self.embedding.compute_mask(x)

    def call(self, x):
        return self.dense(self.embedding(x))


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 does not show what is in a layer")
@pytest.mark.parametrize("last", [lambda h: mean(Block()(h)), Mean()])
def test_masks_within_layers_of_ones_own(last):
    X = np.where(samples().any(-1), np.random.default_rng(0).integers(1, 6, (3, STEPS)), 0)
    x = keras.Input((STEPS,))
    model = random_weights(keras.Model(x, layers.Dense(2)(last(Block()(Tokens()(x))))))
    logits = model.predict(X, verbose=0)
    np.testing.assert_allclose(predictor(model)(X), logits, atol=1e-8)
    R = explained("rap", model, X)
    np.testing.assert_allclose(R.sum(1), logits[:, 1], rtol=1e-5)
    assert not R[X == 0].any()


def test_a_mask_of_values_within_a_step_is_refused():
    x = keras.Input((STEPS, 2, 1))
    masked = layers.Masking()(x)
    h = (
        layers.TimeDistributed(layers.Flatten())(masked)
        if KERAS_3
        else layers.Lambda(lambda t: t[..., 0], mask=lambda t, m: m)(masked)
    )
    model = keras.Model(x, layers.Dense(2)(layers.SimpleRNN(2)(h)))
    analyzer = create_natively("lrp.epsilon", model, allow_lambda_layers=True)
    with pytest.raises(NotAnalyzeableModelException, match="Masking or an Embedding with mask_zero=True"):
        analyzer.analyze(np.ones((1, STEPS, 2, 1)))


@pytest.mark.plugin
def test_what_innvestigate_cannot_do_with_masks():
    import innvestigate

    model = random_weights(network(WITHOUT_PADDING["handed on"][1:2]))
    with pytest.raises(NotAnalyzeableModelException, match=r"'masking.*mask_zero=True.*use rap"):
        rap_keras.build_quickly(innvestigate.create_analyzer("lrp.z", model, disable_model_checks=True))
