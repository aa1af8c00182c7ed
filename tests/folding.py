"""Networks with BatchNormalization, and the check of folding against a twin that is folded by hand."""

from __future__ import annotations

import contextlib
import re
import warnings

import numpy as np
import pytest
from sums import excess
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP

IMAGE = (7, 6, 4)


def layer_of(kind, **options):
    """What makes a layer of this kind, named "linear"."""
    return lambda: kind(name="linear", **options)


def chain(shape, *parts):
    """A network of parts in a row, each a layer or a function, and three logits."""
    y = inputs = keras.Input(shape)
    for part in parts:
        y = part(y)
    y = layers.Flatten(name="flatten")(y) if len(y.shape) > 2 else y
    return keras.Model(inputs, layers.Dense(3, name="logits")(y))


def trained(model):
    """The model with random weights and statistics as after training; some gamma are negative."""
    random = np.random.default_rng(5)

    def value(variable):
        shape = tuple(variable.shape)
        if "variance" in variable.name:
            return random.uniform(0.3, 2, shape)
        if "gamma" in variable.name:
            return random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape)
        return random.normal(0, 0.5, shape)

    model.set_weights([value(variable) for variable in model.weights])
    return model


def samples(model):
    return np.random.default_rng(6).normal(size=(3, *model.input_shape[1:]))


def scale_and_offset(bn):
    """BatchNormalization as x * scale + offset."""
    gamma, beta, mean, variance = (
        None if v is None else keras.backend.get_value(v)
        for v in (bn.gamma, bn.beta, bn.moving_mean, bn.moving_variance)
    )
    scale = (1 if gamma is None else gamma) / np.sqrt(variance + bn.epsilon)
    return scale, (0 if beta is None else beta) - mean * scale


def with_weights_of(model, copy, **others):
    """`copy` with the weights of the layers of the same name in `model`, or with those given by layer name."""
    for layer in copy.layers:
        if layer.weights:
            given = others.get(layer.name)
            layer.set_weights(model.get_layer(layer.name).get_weights() if given is None else given)
    return copy


@contextlib.contextmanager
def staying(*names):
    """Expects one warning, which names exactly the layers that stay; no warning if no layer stays."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    messages = [str(w.message) for w in caught if "batch_norm" in str(w.message)]
    if not names:
        assert messages == []
        return
    (message,) = messages
    count, listed = re.fullmatch(r"batch_norm='fold': (\d+) layers? .*: (.*)", message).groups()
    assert int(count) == len(names)
    assert listed.split(", ") == list(names)


def check(model, by_hand, stays=(), **options):
    """Folding `model` gives the same as its twin, folded by hand, with only the BatchNormalizations that stay."""
    x = samples(model)
    weights, logits = model.get_weights(), model.predict_on_batch(x)
    assert by_hand.predict_on_batch(x) == pytest.approx(logits, rel=1e-9, abs=1e-9)  # the twin is right
    expected = RAP(by_hand, **options).analyze(x)
    with staying(*stays):
        analyzer = RAP(model, batch_norm="fold", **options)
    found = analyzer.analyze(x)
    assert np.abs(found - expected).max() <= 1e-9 * np.abs(expected).max()
    assert excess(found, logits.max(1)).max() <= 1e-3  # a thousand times what float32 may be off
    assert all((a == b).all() for a, b in zip(weights, model.get_weights()))
    assert (model.predict_on_batch(x) == logits).all()
    return expected
