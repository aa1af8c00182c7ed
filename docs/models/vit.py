"""A Vision Transformer on images of noise with a disc, whose pattern is the class.

Source of the architecture: Dosovitskiy et al., An image is worth 16x16 words, ICLR 2021, arXiv 2010.11929. The
positions are those of Vaswani et al., Attention is all you need, 2017, arXiv 1706.03762.
"""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

NAME = "Vision Transformer"
TEXT = """\
Images of 32 x 32 pixels of noise in three colours, with a disc that is striped upright, striped across or
chequered: these are the classes. Truth: the pixels of the disc. The network is a Vision Transformer: patches of
4 x 4 pixels, a constant for each position, two blocks of attention and MLP, the mean over all patches.
"""
SIDE, PATCH, WIDTH, HEADS, BLOCKS = 32, 4, 32, 2, 2
CLASSES, WITH_TRUTH = 3, (0, 1, 2)
TRAINING = {"count": 2000, "epochs": 12}


def background(count: int, seed: int) -> np.ndarray:
    """Noise, float32, (N, side, side, 3)."""
    return np.random.default_rng([seed, 0]).normal(0, 0.5, (count, SIDE, SIDE, 3)).astype(np.float32)


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels, and the pixels of the disc, see `models`."""
    random = np.random.default_rng([seed, 1])
    inputs, labels = background(count, seed), np.arange(count) % CLASSES
    rows, columns = np.mgrid[:SIDE, :SIDE]
    truth = np.zeros(inputs.shape[:-1], bool)
    for number, label in enumerate(labels):
        radius = random.uniform(6, 8)
        top, left = random.uniform(radius, SIDE - 1 - radius, 2)
        truth[number] = (rows - top) ** 2 + (columns - left) ** 2 <= radius**2
        up, across = (np.where((at + random.integers(4)) // 2 % 2, 1.0, -1.0) for at in (columns, rows))
        pattern = (up, across, up * across)[label]
        colour = random.uniform(0.5, 1.0, 3)
        inputs[number] += (pattern * truth[number])[..., np.newaxis] * colour
    return inputs, labels, truth


def positions() -> np.ndarray:
    """Sines and cosines of each patch's number, float32, (1, patches, width)."""
    number, pair = np.arange((SIDE // PATCH) ** 2)[:, np.newaxis], np.arange(WIDTH // 2)
    angle = number / 10000 ** (2 * pair / WIDTH)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)[np.newaxis].astype(np.float32)


def build() -> keras.Model:
    """Two blocks with 2 heads, 32 values per patch."""
    x = keras.Input((SIDE, SIDE, 3))
    y = layers.Conv2D(WIDTH, PATCH, strides=PATCH)(x)
    y = layers.Reshape((-1, WIDTH))(y) + positions()
    for _ in range(BLOCKS):
        z = layers.LayerNormalization()(y)
        y = layers.Add()([y, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(z, z)])
        z = layers.LayerNormalization()(y)
        z = layers.Dense(2 * WIDTH, activation="gelu")(z)
        y = layers.Add()([y, layers.Dense(WIDTH)(z)])
    y = layers.LayerNormalization()(y)
    return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(y)))
