"""What must hold for every network, on random ones."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sums
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from ops import ops
from random_networks import RandomNetwork
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP

# Float32 rounds by the size of the batch and the place of the arrays in memory, in steps of 1e-7.
ROUNDING = 1e-3


def described(model):
    lines = []
    model.summary(print_fn=lambda line, line_break=False: lines.append(line), line_length=110)
    return "\n".join(lines)


def largest(R):
    return np.abs(R).reshape(len(R), -1).max(1)


@pytest.mark.slow
def test_any_network():
    checked = []

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def holds(data):
        keras.backend.clear_session()
        network = RandomNetwork(lambda options: data.draw(st.sampled_from(options)))
        note(described(network.model))
        checked.append(properties_hold(network))

    holds()
    # Samples whose relevance must be lost are rare.
    assert np.mean(checked) > 0.8


def properties_hold(network):
    """Asserts all properties; returns whether each sample could be checked for conservation."""
    model, x = network.model, network.x
    weights, output = model.get_weights(), model.predict_on_batch(x)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "batch_norm='fold': ")
        analyzer, again = RAP(model, **network.options), RAP(model, **network.options)
    R = analyzer.analyze(x)

    assert R.shape == x.shape
    assert np.isfinite(R).all()
    # Conserved: the relevance of each sample adds up to its logit.
    excess = sums.excess(R, output.max(1))
    lost = excess > 1
    if lost.any():
        lost = sums.without_contributions(analyzer, x)
    assert excess[~lost].max(initial=0) <= 1
    # No sample depends on those beside it.
    alone = np.concatenate([analyzer.analyze(x[i : i + 1]) for i in range(len(x))])
    assert (largest(R - alone) <= ROUNDING * largest(R)).all()
    # The same each time, and from another analyzer of the same model.
    assert (largest(R - analyzer.analyze(x)) <= 1e-6 * largest(R)).all()
    assert (largest(R - again.analyze(x)) <= ROUNDING * largest(R)).all()
    # The model is as it was.
    assert all((a == b).all() for a, b in zip(weights, model.get_weights()))
    assert model.predict_on_batch(x) == pytest.approx(output, rel=1e-5, abs=1e-6)
    return ~lost


def with_random_weights(model):
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    return model


def test_an_operation_with_several_outputs_gets_the_relevance_of_all():
    def network(swap):
        x = keras.Input((4,))
        y = layers.Dense(4, activation="relu", name="first")(x)
        if swap:
            a, b = ops.split(y, 2, axis=-1)
            y = ops.concatenate([b, a], axis=-1)
        return keras.Model(x, layers.Dense(3, name="last")(y))

    model, plain = with_random_weights(network(swap=True)), network(swap=False)
    kernel, bias = model.get_layer("last").get_weights()
    plain.get_layer("first").set_weights(model.get_layer("first").get_weights())
    plain.get_layer("last").set_weights([kernel[[2, 3, 0, 1]], bias])
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    assert RAP(model).analyze(x) == pytest.approx(RAP(plain).analyze(x), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    "beginning",
    [
        lambda x: layers.Conv2D(3, 1)(layers.ZeroPadding2D(1)(x)),
        lambda x: layers.Conv2D(3, 2, strides=2)(layers.ZeroPadding2D(2)(x)),
        lambda x: layers.Dense(3)(layers.ZeroPadding2D(1)(x)),
        lambda x: layers.Conv2DTranspose(3, 1, strides=2)(x),
    ],
)
def test_outputs_of_the_first_layer_that_see_no_pixel_lose_no_relevance(beginning):
    # They consist of their bias only, which later layers treat like any other value.
    x = keras.Input((4, 4, 2))
    y = layers.Activation("tanh")(beginning(x))
    model = with_random_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(y))))
    X = np.random.default_rng(1).normal(size=(3, 4, 4, 2)).astype(np.float32)
    for input_rule in ("auto", (-4.0, 4.0), None):
        R = RAP(model, input_rule=input_rule).analyze(X)
        assert sums.excess(R, model.predict_on_batch(X).max(1)).max() <= 1


@pytest.mark.parametrize(
    "padding",
    [
        lambda y: layers.ZeroPadding2D(1)(y),
        lambda y: layers.ZeroPadding2D(3)(y),  # wider than the padded image
        lambda y: ops.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]]),
    ],
)
def test_padding_that_takes_part_loses_no_relevance(padding):
    # After a sigmoid the padding is no longer 0, and later layers treat it like any other value.
    x = keras.Input((2, 2, 2))
    y = layers.Activation("sigmoid")(padding(layers.Conv2D(3, 1)(x)))
    model = with_random_weights(keras.Model(x, layers.Dense(3)(layers.Flatten()(y))))
    X = np.random.default_rng(1).normal(size=(3, 2, 2, 2)).astype(np.float32)
    assert sums.excess(RAP(model).analyze(X), model.predict_on_batch(X).max(1)).max() <= 1
