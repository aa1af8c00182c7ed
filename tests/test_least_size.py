"""Models for samples of any size: what is too small for a layer is refused, on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from host import create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine.checks import least_size
from rap_keras.engine.checks.conservation import lively_weights


def classifier(inputs, y) -> keras.Model:
    pooled = {3: layers.GlobalAveragePooling1D, 4: layers.GlobalAveragePooling2D}[len(y.shape)]()(y)
    return lively_weights(keras.Model(inputs, layers.Dense(2)(pooled)))


def series() -> keras.Model:
    inputs = keras.Input((None, 3))
    return classifier(inputs, layers.Conv1D(4, 7, activation="relu", name="window")(inputs))


def photos() -> keras.Model:
    y = inputs = keras.Input((None, None, 3))
    for number in range(3):
        y = layers.Conv2D(4, 3, padding="same", activation="relu")(y)
        y = layers.MaxPooling2D(name=f"pool_{number}")(y)
    return classifier(inputs, y)


def cut() -> keras.Model:
    inputs = keras.Input((None, 3))
    return classifier(inputs, layers.Dense(4)(inputs[:, 2:-2]))


def x_of(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("build", "layer", "small", "enough"),
    [
        (series, "'window'", (6, 3), (7, 3)),
        (photos, "'pool_2'", (8, 7, 3), (8, 8, 3)),
        (photos, "'pool_0'", (1, 90, 3), (8, 90, 3)),
        (cut, "", (4, 3), (5, 3)),
    ],
)
@pytest.mark.parametrize("method", ["rap", "rap.contrastive"])
def test_the_layer_that_has_nothing_left_is_named(build, layer, small, enough, method):
    model = build()
    analyzer = create_analyzer(method, model)
    with pytest.raises(ValueError, match=rf"samples of shape .* do not fit layer {layer}.*Give larger samples"):
        analyzer.analyze(x_of(2, *small))
    assert np.isfinite(analyzer.analyze(x_of(2, *enough))).all()
    with pytest.raises(ValueError, match="Give larger samples"):  # also after one that was large enough
        analyzer.analyze(x_of(2, *small))
    with pytest.raises(ValueError, match="Give larger samples"):
        rap_keras.explain(model, x_of(*small), method)


def test_the_relevance_of_the_smallest_sample_is_conserved():
    for model, shape in ((series(), (1, 7, 3)), (photos(), (1, 8, 8, 3)), (cut(), (1, 5, 3))):
        x = x_of(*shape)
        explanation = rap_keras.explain(model, x)
        assert explanation.sum == pytest.approx(explanation.logit, rel=1e-4)


def test_a_larger_sample_is_not_examined_again(monkeypatch):
    model, examined = photos(), []
    build = least_size._build
    monkeypatch.setattr(least_size, "_build", lambda *given: (examined.append(given), build(*given)))
    for size in ((16, 16), (16, 16), (40, 17), (15, 40), (14, 60), (15, 50)):
        RAP(model).analyze(x_of(1, *size, 3))
    assert [tuple(inputs[0].shape) for _, inputs in examined] == [(1, 16, 16, 3), (1, 15, 40, 3), (1, 14, 60, 3)]


def test_sizes_that_do_not_fit_together_are_refused():
    inputs = keras.Input((None, None, 3))
    wide = layers.Conv2D(4, 3, padding="same")(inputs)
    narrow = layers.UpSampling2D(2)(layers.MaxPooling2D(2)(wide))
    analyzer = RAP(classifier(inputs, layers.Add(name="skip")([wide, narrow])))
    with pytest.raises(
        ValueError, match=r"do not fit layer 'skip'.*samples of a size that the model was trained on"
    ):
        analyzer.analyze(x_of(1, 9, 9, 3))
    assert analyzer.analyze(x_of(1, 8, 8, 3)).any()
    # Larger than what was examined, so TensorFlow finds it when it computes.
    with pytest.raises(
        ValueError, match=r"cannot compute the model for inputs of shape \(1, 9, 9, 3\).*\[1,9,9,4\]"
    ):
        analyzer.analyze(x_of(1, 9, 9, 3))


def test_several_inputs():
    first, second = keras.Input((None, 2)), keras.Input((None, 3))
    pooled = [
        layers.GlobalAveragePooling1D()(layers.Conv1D(4, size, name=f"window_{size}")(x))
        for x, size in ((first, 3), (second, 5))
    ]
    analyzer = RAP(keras.Model([first, second], layers.Dense(2)(layers.Concatenate()(pooled))))
    with pytest.raises(ValueError, match=r"samples of shape \(3, 2\), \(4, 3\) do not fit layer 'window_5'"):
        analyzer.analyze([x_of(1, 3, 2), x_of(1, 4, 3)])
    assert len(analyzer.analyze([x_of(1, 3, 2), x_of(1, 5, 3)])) == 2
