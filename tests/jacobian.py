"""RAP's equations a second time, in plain numpy on a layer's Jacobian: written from the paper, not the package.

`J[i, j]` is d output j / d input i of a layer without bias, everything flattened; `x` is (N, inputs), `R`
(N, outputs). z_ij = x_i J_ij.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def jacobian(layer: tf.keras.layers.Layer, shape: tuple[int, ...]) -> np.ndarray:
    """The result of a linear layer's own `call` for every unit vector, minus its result for 0."""
    size = int(np.prod(shape))
    x = tf.keras.Input(shape)
    model = tf.keras.Model(x, layer(x))
    units = np.concatenate([np.zeros((1, *shape)), np.eye(size).reshape(size, *shape)])
    outputs = model.predict_on_batch(units).reshape(size + 1, -1)
    return outputs[1:] - outputs[0]


def output_shape(layer: tf.keras.layers.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the layer's output for one sample."""
    return tuple(layer(tf.keras.Input(shape)).shape[1:])


def absolute_influence(x: np.ndarray, J: np.ndarray, R: np.ndarray) -> np.ndarray:
    rows = []
    for sample, relevance in zip(x, R):
        z = sample[:, None] * J
        c = (z * _over(relevance, z.sum(0))).sum(1)
        rows.append(np.abs(c) / np.abs(c).sum() * relevance.sum())
    return np.array(rows)


def relative_attribution(x: np.ndarray, J: np.ndarray, R: np.ndarray, signed: bool) -> np.ndarray:
    rows = []
    for sample, relevance in zip(x, R):
        z = sample[:, None] * J
        positive, negative = np.maximum(z, 0), np.maximum(-z, 0)
        share_positive = positive * _over(1, positive.sum(0))
        share_negative = negative * _over(1, negative.sum(0))
        q = negative.sum(0) * _over(1, positive.sum(0) + negative.sum(0))
        first = np.where(relevance < 0, share_negative, share_positive) if signed else share_positive
        C = ((first + q * share_negative) * relevance).sum(1)
        units = C != 0
        rows.append(C - units * (C.sum() - relevance.sum()) / units.sum())
    return np.array(rows)


def shares(x: np.ndarray, J: np.ndarray, R: np.ndarray) -> np.ndarray:
    rows = []
    for sample, relevance in zip(x, R):
        z = np.abs(sample[:, None] * J)
        rows.append((z * _over(relevance, z.sum(0))).sum(1))
    return np.array(rows)


def z_b(x: np.ndarray, J: np.ndarray, R: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    rows = []
    for sample, relevance, bottom, top in zip(x, R, low, high):
        z = sample[:, None] * J - bottom[:, None] * np.maximum(J, 0) - top[:, None] * np.minimum(J, 0)
        rows.append((z * _over(relevance, z.sum(0))).sum(1))
    return np.array(rows)


def _over(a: np.ndarray | float, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.zeros_like(b), where=b != 0)
