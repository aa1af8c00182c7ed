"""A 3-D U-Net on volumes with a ball, solid or hollow, and a box that tells nothing about the class.

Source of the architecture: Çiçek et al., 3D U-Net: learning dense volumetric segmentation from sparse annotation,
MICCAI 2016.
"""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

NAME = "3-D U-Net"
TEXT = """\
Volumes of 16 x 16 x 16 voxels of noise with a bright box, which is in every volume, and a bright ball apart from
it, solid in class 1 and hollow in class 2. Truth: the voxels of the ball; the hollow inside is not among them.
The network is a 3-D U-Net with two steps down and up; it makes a map of scores for each class, whose mean over
the volume is the logit.
"""
SIDE, LARGEST = 16, 3.5
CLASSES, WITH_TRUTH = 2, (0, 1)
TRAINING = {"count": 600, "epochs": 8}


def _volumes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with a box, and the centre and the radius of a ball that does not touch it."""
    random = np.random.default_rng([seed, 0])
    inputs = random.normal(0, 0.25, (count, SIDE, SIDE, SIDE, 1)).astype(np.float32)
    centres, radii = np.zeros((count, 3)), random.uniform(3.0, LARGEST, count)
    for number in range(count):
        # One axis keeps them apart: the box is in one half of it, the ball in the other.
        low = random.integers(1, SIDE - 5, 3)
        high = low + random.integers(3, 6, 3)
        centre = random.uniform(LARGEST + 0.5, SIDE - 1.5 - LARGEST, 3)
        axis, turned = random.integers(3), random.integers(2)
        low[axis], high[axis], centre[axis] = (1, 6, 11.0) if turned else (10, 15, 4.5)
        inputs[(number, *map(slice, low, high))] += 1
        centres[number] = centre
    return inputs, centres, radii


def background(count: int, seed: int) -> np.ndarray:
    """Volumes of noise with a box, float32, (N, side, side, side, 1)."""
    return _volumes(count, seed)[0]


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, labels, and the voxels of the ball, see `models`."""
    (inputs, centres, radii), labels = _volumes(count, seed), np.arange(count) % CLASSES
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1)
    distance = np.linalg.norm(grid - centres[:, None, None, None], axis=-1)
    radii = radii[:, None, None, None]
    hollow = (labels == 1)[:, None, None, None]
    truth = (distance <= radii) & ~(hollow & (distance < radii - 1.4))
    inputs[..., 0] += truth
    return inputs, labels, truth


def _two(y, filters: int):
    """Two convolutions, each with BatchNormalization and ReLU."""
    for _ in range(2):
        y = layers.Conv3D(filters, 3, padding="same", use_bias=False)(y)
        y = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(y))
    return y


def build() -> keras.Model:
    """A U-Net with 8, 16 and 32 channels and a map of scores for each class."""
    x = keras.Input((SIDE, SIDE, SIDE, 1))
    fine = _two(x, 8)
    middle = _two(layers.MaxPooling3D(2)(fine), 16)
    coarse = _two(layers.MaxPooling3D(2)(middle), 32)
    y = layers.Concatenate()([middle, layers.Conv3DTranspose(16, 2, strides=2)(coarse)])
    y = layers.Concatenate()([fine, layers.Conv3DTranspose(8, 2, strides=2)(_two(y, 16))])
    y = layers.Conv3D(CLASSES, 1)(_two(y, 8))
    return keras.Model(x, layers.GlobalAveragePooling3D()(y))
