"""TimeDistributed, Bidirectional and SpectralNormalization: layers that only call others."""

from __future__ import annotations

import numpy as np
import pytest
from host import NotAnalyzeableModelException
from layer_rules import back, random_weights
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine.checks.conservation import check
from rap_keras.hosts.native.creation import create_analyzer as create_natively

pytestmark = pytest.mark.usefixtures("double_precision")


def frames(count=3, shape=(4, 6, 6, 2)):
    return np.random.default_rng(1).normal(size=(count, *shape))


def inner_model():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    return random_weights(keras.Model(x, layers.Dense(5)(layers.Flatten()(y)), name="inner"))


def chain():
    """A Sequential that Keras never connects."""
    return keras.Sequential([layers.Conv2D(3, 3, activation="relu"), layers.Flatten(), layers.Dense(5)])


def test_time_steps_are_samples_of_their_own():
    inner = inner_model()
    x = keras.Input((4, 6, 6, 2))
    model = keras.Model(x, layers.TimeDistributed(inner)(x))
    X, R = frames(), np.random.default_rng(2).normal(size=(3, 4, 5))
    (found,) = back(model, [X], R)
    (expected,) = back(inner, [X.reshape(12, 6, 6, 2)], R.reshape(12, 5))
    np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-10, atol=1e-13)


def test_video_is_explained_by_every_method():
    x = keras.Input((4, 6, 6, 2))
    each = [layers.TimeDistributed(inner)(x) for inner in (chain(), inner_model(), layers.Conv2D(3, 3))]
    y = layers.Concatenate()([layers.TimeDistributed(layers.Flatten())(part) for part in each])
    model = random_weights(keras.Model(x, layers.Dense(3)(layers.LSTM(4)(y))))
    X = frames()
    analyzer = RAP(model)
    R = analyzer.analyze(X)
    np.testing.assert_allclose(R.reshape(3, -1).sum(1), model.predict_on_batch(X).max(1), rtol=1e-7)
    assert check(analyzer, X).passed()
    for method in ("rap.contrastive", "lrp.epsilon", "lrp.alpha_1_beta_0", "gradient"):
        assert np.isfinite(create_natively(method, model).analyze(X)).all()


def test_layers_within_are_named_and_have_their_time_steps():
    x = keras.Input((4, 6, 6, 2))
    y = layers.Flatten()(layers.TimeDistributed(inner_model(), name="each")(x))
    model = random_weights(keras.Model(x, layers.Dense(3)(y)))
    found = RAP(model).analyze_layers(frames(), ["each/inner/conv", "each/unfold"])
    assert found["each/inner/conv"].shape == (3, 4, 6, 6, 2)
    assert found["each/unfold"][0].shape == (3, 4, 5)
    total = model.predict_on_batch(frames()).max(1)
    np.testing.assert_allclose(found["each/inner/conv"].reshape(3, -1).sum(1), total, rtol=1e-9)


def test_guided_backprop_guides_within():
    x = keras.Input((4, 6, 6, 2))
    inner = inner_model()
    model = random_weights(keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.TimeDistributed(inner)(x)))))
    guided, plain = (create_natively(name, model).analyze(frames()) for name in ("guided_backprop", "gradient"))
    assert np.abs(guided - plain).max() > 1e-3
    # The same network with each frame as an input of its own.
    parts = [keras.Input((6, 6, 2)) for _ in range(4)]
    apart = keras.Model(parts, model.layers[-1](layers.Concatenate()([inner(part) for part in parts])))
    expected = create_natively("guided_backprop", apart).analyze([frames()[:, t] for t in range(4)])
    np.testing.assert_allclose(guided, np.stack(expected, 1), rtol=1e-9, atol=1e-12)


MERGED = {
    "concat": layers.Concatenate,
    "sum": layers.Add,
    "ave": layers.Average,
    "mul": layers.Multiply,
    None: layers.Concatenate,
}


@pytest.mark.parametrize(("sequences", "modes"), [(False, list(MERGED)), (True, ["mul", None])])
def test_both_directions_are_two_layers(sequences, modes):
    """One network has an input and a branch for every way to merge."""
    inputs, merged, apart = [keras.Input((5, 4)) for _ in modes], [], []
    for x, mode in zip(inputs, modes):
        wrapper = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=sequences), merge_mode=mode)
        y = wrapper(x)
        merged.append(y if mode else layers.Concatenate()(y))
        b = wrapper.backward_layer(x)
        b = layers.Lambda(lambda t: t[:, ::-1])(b) if sequences else b
        apart.append(MERGED[mode]()([wrapper.forward_layer(x), b]))
    model = random_weights(keras.Model(inputs, layers.Concatenate()(merged)))
    twin = keras.Model(inputs, layers.Concatenate()(apart))
    X = [frames(shape=(5, 4)) for _ in inputs]
    y = model.predict_on_batch(X)
    np.testing.assert_allclose(twin.predict_on_batch(X), y, rtol=1e-10)
    R = np.random.default_rng(2).normal(size=y.shape)
    expected = back(twin, X, R, allow_lambda=True, rules=mirrored(twin))
    for mode, found, of_twin in zip(modes, back(model, X, R), expected):
        np.testing.assert_allclose(found, of_twin, rtol=1e-9, atol=1e-12, err_msg=str(mode))


def mirrored(model):
    """The rule of a Lambda layer that reverses a sequence."""
    return {
        layer.name: lambda Xs, Ys, Rs, state: [Rs[0][:, ::-1]]
        for layer in model.layers
        if isinstance(layer, layers.Lambda)
    }


def test_states_of_both_directions():
    x = keras.Input((5, 4))
    y, *states = layers.Bidirectional(layers.LSTM(3, return_state=True))(x)
    assert len(states) == 4
    model = random_weights(keras.Model(x, layers.Dense(2)(layers.Concatenate()([y, *states]))))
    X = frames(shape=(5, 4))
    np.testing.assert_allclose(RAP(model).analyze(X).sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)


def test_tokens_of_every_time_step():
    x = keras.Input((4, 3), dtype="int32")
    y = layers.LSTM(3)(layers.TimeDistributed(layers.Flatten())(layers.TimeDistributed(layers.Embedding(9, 2))(x)))
    model = random_weights(keras.Model(x, layers.Dense(2)(y)))
    X = np.random.default_rng(1).integers(0, 9, (3, 4, 3))
    R = RAP(model).analyze(X)
    assert R.shape == X.shape
    np.testing.assert_allclose(R.sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-7)


@pytest.mark.skipif(not hasattr(layers, "SpectralNormalization"), reason="this Keras has none")
def test_spectral_normalization_is_the_layer_within():
    x = keras.Input((6, 6, 2))
    inner = layers.Conv2D(3, 3, name="conv")
    model = random_weights(keras.Model(x, layers.SpectralNormalization(inner, name="wrapped")(x)))
    R = np.random.default_rng(2).normal(size=(3, 4, 4, 3))
    X = frames(shape=(6, 6, 2))
    plain = keras.Model(x, inner(x))
    np.testing.assert_allclose(model.predict_on_batch(X), plain.predict_on_batch(X), rtol=1e-10)
    np.testing.assert_allclose(back(model, [X], R), back(plain, [X], R), rtol=1e-10)


def test_a_mask_or_a_state_is_refused_and_without_it_the_network_is_explained():
    x, state = keras.Input((5, 4)), keras.Input((3,))
    wrapper = layers.Bidirectional(layers.GRU(3), name="both")
    with_state = keras.Model([x, state], layers.Dense(2)(wrapper(x, initial_state=[state, state])))
    with pytest.raises(NotAnalyzeableModelException, match=r"'both'.*more than one tensor.*sequences alone"):
        RAP(with_state)
    X = frames(shape=(5, 4))
    model = random_weights(keras.Model(x, layers.Dense(2)(wrapper(x))))
    np.testing.assert_allclose(RAP(model).analyze(X).sum((1, 2)), model.predict_on_batch(X).max(1), rtol=1e-8)
