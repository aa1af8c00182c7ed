"""A convolutional network on every frame and an LSTM over the frames, on films with a shape in one frame."""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

NAME = "TimeDistributed CNN + LSTM"
TEXT = """\
Films of 8 frames of noise, 20 x 20 pixels. In one frame a bright shape appears: a square frame, a plus or a
cross, which are the classes. Truth: the pixels of the shape in this frame. The network applies a small CNN to
each frame (`TimeDistributed`) and an LSTM to the results.
"""
FRAMES, SIDE, SHAPE = 8, 20, 7
CLASSES, WITH_TRUTH = 3, (0, 1, 2)
TRAINING = {"count": 1500, "epochs": 10}


def shapes() -> np.ndarray:
    """The pixels of the shapes, bool, (classes, 7, 7)."""
    square, plus = np.ones((2, SHAPE, SHAPE), bool)
    square[2:-2, 2:-2] = False
    plus[:] = False
    plus[2:-2] = plus[:, 2:-2] = True
    down = np.abs(np.subtract.outer(np.arange(SHAPE), np.arange(SHAPE))) <= 1
    return np.stack([square, plus, down | down[::-1]])


def background(count: int, seed: int) -> np.ndarray:
    """Noise, float32, (N, frames, side, side, 1)."""
    random = np.random.default_rng([seed, 0])
    return random.normal(0, 0.4, (count, FRAMES, SIDE, SIDE, 1)).astype(np.float32)


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels, and the pixels of the shape in its frame, see `models`."""
    random = np.random.default_rng([seed, 1])
    inputs, labels = background(count, seed), np.arange(count) % CLASSES
    truth = np.zeros(inputs.shape[:-1], bool)
    for number, label in enumerate(labels):
        frame, (top, left) = random.integers(FRAMES), random.integers(0, SIDE - SHAPE + 1, 2)
        truth[number, frame, top : top + SHAPE, left : left + SHAPE] = shapes()[label]
    inputs[..., 0] += truth
    return inputs, labels, truth


def build() -> keras.Model:
    """Two convolutions and a Dense layer for each frame, then an LSTM."""
    frame = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Conv2D(12, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(24, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(24, activation="relu"),
        ]
    )
    x = keras.Input((FRAMES, SIDE, SIDE, 1))
    y = layers.LSTM(24)(layers.TimeDistributed(frame)(x))
    return keras.Model(x, layers.Dense(CLASSES)(y))
