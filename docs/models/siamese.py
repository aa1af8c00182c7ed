"""A siamese network: one encoder for two images, which are of the same scene or differ in one place.

Source of the architecture: Koch et al., Siamese neural networks for one-shot image recognition, ICML deep learning
workshop 2015.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from tensorflow import keras
from tensorflow.keras import layers

NAME = "Siamese network"
TEXT = """\
Two images of 32 x 32 pixels of one random scene, each with noise of its own. In class 2 a disc of one of them,
the first or the second, is brighter. Truth: the pixels of the disc, in both images; class 1 has none and is not
explained. The ratio is that of both heatmaps together. The network has one encoder for both images, takes the
square of the difference of their feature maps, and ends in two Dense layers, the last with one unit: the logit
of class 2.
"""
REMARK = """\
A trial with two units and a softmax, `build(units=2)`, trained in the same way (held-out accuracy 0.993): the
logit of class 2 is the higher one but below 0 in 59 of the 100 explained samples. RAP starts with this logit, so
in these 59 its heatmap is blue where it should be red, and has no positive relevance in the disc. Contrastive RAP
starts with a score of both logits and is not affected: its ratio is 0.067, with $z^B$ at the input.
"""
SIDE = 32
CLASSES, WITH_TRUTH = 2, (1,)
TRAINING = {"count": 1500, "epochs": 12}


def background(count: int, seed: int) -> list[np.ndarray]:
    """Two images of the same scene for each sample, float32, (N, side, side, 1) each."""
    random = np.random.default_rng([seed, 0])
    scene = gaussian_filter(random.normal(0, 8, (count, SIDE, SIDE, 1)), (0, 3, 3, 0))
    return [(scene + random.normal(0, 0.2, scene.shape)).astype(np.float32) for _ in range(2)]


def data(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Pairs of inputs, labels, and the place of the difference in both, see `models`."""
    random = np.random.default_rng([seed, 1])
    inputs, labels = background(count, seed), np.arange(count) % CLASSES
    rows, columns = np.mgrid[:SIDE, :SIDE]
    truth = np.zeros((count, SIDE, SIDE), bool)
    for number in np.flatnonzero(labels):
        radius = random.uniform(4, 6)
        top, left = random.uniform(radius, SIDE - 1 - radius, 2)
        truth[number] = (rows - top) ** 2 + (columns - left) ** 2 <= radius**2
        inputs[random.integers(2)][number, ..., 0] += truth[number]
    return inputs, labels, [truth, truth]


def build(units: int = 1) -> keras.Model:
    """Three convolutions for each image, then layers on their squared difference; 2 units are for a softmax."""
    encoder = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            layers.Conv2D(12, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
        ]
    )
    first, second = keras.Input((SIDE, SIDE, 1)), keras.Input((SIDE, SIDE, 1))
    difference = layers.Subtract()([encoder(first), encoder(second)])
    y = layers.GlobalAveragePooling2D()(layers.Multiply()([difference, difference]))
    y = layers.Dense(16, activation="relu")(y)
    return keras.Model([first, second], layers.Dense(units)(y))
