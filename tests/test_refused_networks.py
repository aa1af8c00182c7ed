"""Networks that RAP refuses, by name, with the way out."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from innvestigate import NotAnalyzeableModelException
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP


def test_unknown_layers_are_all_named():
    x = keras.Input((4, 3))
    y = layers.Dense(2)(layers.GRU(5, name="memory")(layers.LSTM(5, return_sequences=True, name="recall")(x)))
    with pytest.raises(NotAnalyzeableModelException, match=r"'recall' \(LSTM\), 'memory' \(GRU\)"):
        RAP(keras.Model(x, y))


def test_lambda_layers_need_permission():
    x = keras.Input((4,))
    y = layers.Dense(3)(x)
    model = keras.Model(x, layers.Dense(2)(layers.Lambda(lambda t: 2 * t, name="twice")(y)))
    with pytest.raises(NotAnalyzeableModelException, match=r"'twice'.*allow_lambda_layers=True"):
        RAP(model)
    X = np.random.default_rng(0).normal(size=(2, 4))
    relevance = RAP(model, allow_lambda_layers=True).analyze(X)
    assert relevance.sum(1) == pytest.approx(model.predict_on_batch(X).max(1), rel=1e-4)


def test_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(NotAnalyzeableModelException, match="no graph of layers"):
        RAP(Own(name="own"))


def test_half_precision_is_refused():
    x = keras.Input((4,), dtype="float16")
    with pytest.raises(NotAnalyzeableModelException, match=r"'tf_op_layer.*\(Mul\) calculates in half precision"):
        RAP(keras.Model(x, layers.Dense(2, dtype="mixed_float16")(x * 2)))
    with pytest.raises(NotAnalyzeableModelException, match=r"'dense'.*float16.*mixed_float16"):
        RAP(keras.Model(x, layers.Dense(2, dtype="float16", name="dense")(x)))


@pytest.mark.parametrize("make", [lambda: layers.Masking(), lambda: layers.Embedding(5, 3, mask_zero=True)])
def test_masks_are_refused(make):
    layer = make()
    x = keras.Input((4,) if isinstance(layer, layers.Embedding) else (4, 2))
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(layer(x))))
    with pytest.raises(NotAnalyzeableModelException, match="masks time steps"):
        RAP(model)


def test_unknown_operations_are_refused_by_name():
    x = keras.Input((4,))
    with pytest.raises(NotAnalyzeableModelException, match="TensorFlowOpLayer Square"):
        RAP(keras.Model(x, layers.Dense(2)(tf.square(x))))
    with pytest.raises(NotAnalyzeableModelException, match="RealDiv"):
        RAP(keras.Model(x, layers.Dense(2)(1.0 / x)))
