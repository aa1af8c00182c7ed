"""A residual network over time, on series of beats of which one may be abnormal."""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

NAME = "1-D ResNet"
TEXT = """\
Series of 256 steps with five beats, each a sum of five bumps as in an electrocardiogram (P, Q, R, S, T), of
random size and at slightly irregular times, in noise. In class 2 one of the beats is abnormal: without P, with a
wide R and T upside down. Truth: the 40 steps of this beat; class 1 has none and is not explained. The network is
a 1-D ResNet with three residual blocks.
"""
TIMES, BEATS, SPAN = 256, 5, 40
CLASSES, WITH_TRUTH = 2, (1,)
TRAINING = {"count": 1200, "epochs": 10}

# Height, place in steps from R, and width of P, Q, R, S and T.
NORMAL = ((0.15, -12, 2.5), (-0.15, -3, 1.0), (1.0, 0, 1.2), (-0.25, 3, 1.2), (0.3, 12, 3.5))
ABNORMAL = ((0.0, -12, 2.5), (-0.1, -7, 2.0), (0.9, 0, 4.0), (-0.3, 7, 3.0), (-0.3, 14, 3.5))


def beat(bumps: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    """A beat of `SPAN` steps with R in its middle."""
    time = np.arange(SPAN) - SPAN // 2
    return sum(height * np.exp(-(((time - place) / width) ** 2) / 2) for height, place, width in bumps)


def background(count: int, seed: int) -> np.ndarray:
    """Series of normal beats, float32, (N, times, 1)."""
    return _series(count, seed)[0]


def _series(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series of normal beats, and the starts and sizes of the beats, (N, beats)."""
    random = np.random.default_rng([seed, 0])
    inputs = random.normal(0, 0.05, (count, TIMES, 1))
    # Each beat has 51 steps to itself and takes 40 of them, so two never overlap.
    starts = random.integers(0, TIMES // BEATS - SPAN, (count, BEATS)) + TIMES // BEATS * np.arange(BEATS)
    sizes = random.uniform(0.8, 1.2, (count, BEATS))
    for series, start, size in zip(inputs, starts, sizes):
        for first, height in zip(start, size):
            series[first : first + SPAN, 0] += height * beat(NORMAL)
    return inputs.astype(np.float32), starts, sizes


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels, and the times of the abnormal beat, see `models`."""
    random = np.random.default_rng([seed, 1])
    (inputs, starts, sizes), labels = _series(count, seed), np.arange(count) % CLASSES
    truth = np.zeros(inputs.shape[:-1], bool)
    for number in np.flatnonzero(labels):
        which = random.integers(BEATS)
        place = number, slice(starts[number, which], starts[number, which] + SPAN)
        change = sizes[number, which] * (beat(ABNORMAL) - beat(NORMAL))
        inputs[(*place, 0)] += change.astype(np.float32)
        truth[place] = True
    return inputs, labels, truth


def _block(x, filters: int, strides: int):
    """Two convolutions and the shortcut past them."""
    y = layers.Conv1D(filters, 5, strides=strides, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(momentum=0.9)(y)
    y = layers.Activation("relu")(y)
    y = layers.Conv1D(filters, 5, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(momentum=0.9)(y)
    if strides > 1 or x.shape[-1] != filters:
        x = layers.Conv1D(filters, 1, strides=strides, use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation("relu")(layers.Add()([x, y]))


def build() -> keras.Model:
    """A ResNet with three blocks of 16, 32 and 32 channels."""
    x = keras.Input((TIMES, 1))
    y = layers.Conv1D(16, 7, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(momentum=0.9)(y)
    y = layers.Activation("relu")(y)
    for filters, strides in ((16, 1), (32, 2), (32, 2)):
        y = _block(y, filters, strides)
    return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(y)))
