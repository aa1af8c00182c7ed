"""EEGNet on channels of noise, three of which have an oscillation for a short time.

Source: Lawhern et al., EEGNet: a compact convolutional neural network for EEG-based brain-computer interfaces,
Journal of Neural Engineering 15, 2018.
"""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

NAME = "EEGNet"
TEXT = """\
Nine channels of white noise, 128 time steps. An oscillation of 40 steps is in channels 1 to 3, 4 to 6 or 7 to 9,
and these are the classes; its time and phase are random. Truth: the three channels during these steps. The
network is EEGNet: a convolution over time, a depthwise one over channels with a maximum norm, a separable one,
BatchNormalization, ELU and average pooling.
"""
CHANNELS, TIMES, BURST, PERIOD = 9, 128, 40, 10
CLASSES, WITH_TRUTH = 3, (0, 1, 2)
TRAINING = {"count": 1500, "epochs": 12}


def background(count: int, seed: int) -> np.ndarray:
    """White noise, float32, (N, channels, times, 1)."""
    return np.random.default_rng([seed, 0]).normal(size=(count, CHANNELS, TIMES, 1)).astype(np.float32)


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels, and the channels and times of the oscillation, see `models`."""
    random = np.random.default_rng([seed, 1])
    inputs, labels = background(count, seed), np.arange(count) % CLASSES
    truth = np.zeros(inputs.shape[:-1], bool)
    group = CHANNELS // CLASSES
    envelope = np.hanning(BURST + 2)[1:-1]
    for number, label in enumerate(labels):
        start = random.integers(0, TIMES - BURST + 1)
        wave = envelope * np.sin(2 * np.pi * np.arange(BURST) / PERIOD + random.uniform(0, 2 * np.pi))
        place = number, slice(group * label, group * (label + 1)), slice(start, start + BURST)
        inputs[(*place, 0)] += 2 * wave.astype(np.float32)
        truth[place] = True
    return inputs, labels, truth


def build() -> keras.Model:
    """EEGNet with 8 filters in time and 2 in space for each of them."""
    x = keras.Input((CHANNELS, TIMES, 1))
    y = layers.Conv2D(8, (1, 32), padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(momentum=0.9)(y)
    in_space = keras.constraints.MaxNorm(1.0, axis=0)
    y = layers.DepthwiseConv2D((CHANNELS, 1), depth_multiplier=2, use_bias=False, depthwise_constraint=in_space)(y)
    y = layers.BatchNormalization(momentum=0.9)(y)
    y = layers.Activation("elu")(y)
    y = layers.AveragePooling2D((1, 4))(y)
    y = layers.Dropout(0.25)(y)
    y = layers.SeparableConv2D(16, (1, 16), padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(momentum=0.9)(y)
    y = layers.Activation("elu")(y)
    y = layers.AveragePooling2D((1, 8))(y)
    y = layers.Dropout(0.25)(y)
    y = layers.Flatten()(y)
    return keras.Model(x, layers.Dense(CLASSES, kernel_constraint=keras.constraints.MaxNorm(0.25))(y))
