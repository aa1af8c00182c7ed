"""Operations on tensors of a model that is being built, with the names of `keras.ops`, which Keras 2 lacks."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras


def _pad(x: Any, widths: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    return tf.pad(x, widths, mode, **({"constant_values": constant_values} if constant_values else {}))


def _split(x: Any, parts: int | Sequence[int], axis: int = 0) -> Any:
    """Keras 3 takes the positions of the cuts, TensorFlow the sizes."""
    if not isinstance(parts, int):
        parts = np.diff([0, *parts, x.shape[axis]]).tolist()
    return tf.split(x, parts, axis)


def _average_pool(x: Any, size: int, strides: int, padding: str = "valid") -> Any:
    return tf.nn.avg_pool(x, size, strides, padding.upper())


def _max_pool(x: Any, size: int, strides: int, padding: str = "valid") -> Any:
    return tf.nn.max_pool(x, size, strides, padding.upper())


def _flip(x: Any, axis: Any = None) -> Any:
    return tf.reverse(x, np.ravel(range(len(x.shape)) if axis is None else axis).tolist())


def _sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return tf.reduce_sum(x, axis, keepdims)


_OF_KERAS_2 = SimpleNamespace(
    abs=tf.abs,
    average_pool=_average_pool,
    cast=tf.cast,
    clip=tf.clip_by_value,
    concatenate=tf.concat,
    einsum=tf.einsum,
    elu=tf.nn.elu,
    exp=tf.exp,
    expand_dims=tf.expand_dims,
    leaky_relu=tf.nn.leaky_relu,
    flip=_flip,
    log_softmax=tf.nn.log_softmax,
    matmul=tf.matmul,
    max=tf.reduce_max,
    max_pool=_max_pool,
    maximum=tf.maximum,
    mean=tf.reduce_mean,
    minimum=tf.minimum,
    pad=_pad,
    relu=tf.nn.relu,
    relu6=tf.nn.relu6,
    reshape=tf.reshape,
    sigmoid=tf.sigmoid,
    silu=tf.nn.swish,
    roll=tf.roll,
    softmax=tf.nn.softmax,
    softplus=tf.nn.softplus,
    sin=tf.sin,
    split=_split,
    sqrt=tf.sqrt,
    square=tf.square,
    squeeze=tf.squeeze,
    stop_gradient=tf.stop_gradient,
    sum=_sum,
    tile=tf.tile,
    transpose=tf.transpose,
)
ops: Any = getattr(keras, "ops", _OF_KERAS_2)
