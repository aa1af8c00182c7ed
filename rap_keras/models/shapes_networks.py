"""Two small networks that tell the shapes apart, and their trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tensorflow import keras

layers = keras.layers

SIZE = 96
"""Height and width of their images, in pixels."""

_CLASSES = 10

NETWORKS = ("vgg", "resnet")
"""Names of the networks."""

_WEIGHTS = Path(__file__).parent / "weights"


def build_network(name: str) -> Any:
    """An untrained network, with the layout and the layer names of VGG or of ResNet.

    "vgg": eight layers with weights; six 3 x 3 convolutions with ReLU, four max poolings (a last map of 6 x 6),
    two dense layers. "resnet": a stem with BatchNormalization, four residual blocks of two 3 x 3 convolutions each
    (a last map of 12 x 12), the global average, a dense layer.

    Returns:
        A Keras model from float32 (N, 96, 96, 3), see `preprocess`, to the softmax probabilities of
        `rap_keras.shapes.CLASSES`, (N, 10).

    Raises:
        ValueError: there is no network `name`.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}: choose one of {', '.join(NETWORKS)}")
    return _vgg() if name == "vgg" else _resnet()


def load_network(name: str) -> Any:
    """The network `name`, see `build_network`, with the trained weights of the package.

    Raises:
        ValueError: there is no network `name`.
    """
    network = build_network(name)
    network.load_weights(str(weights_path(name)))
    return network


def weights_path(name: str) -> Path:
    """The package's file of trained weights, in Keras HDF5."""
    return _WEIGHTS / f"{name}.h5"


def patterns_path(name: str) -> Path:
    """The file of the network's patterns, made by `python docs/make_patterns.py`; see `rap_keras.patterns`."""
    return _WEIGHTS / f"{name}-patterns.npz"


def preprocess(images: np.ndarray) -> np.ndarray:
    """The networks' input: RGB images of 0 to 255, (96, 96, 3) or (N, 96, 96, 3), as float32 of -1 to 1.

    Raises:
        ValueError: the images have another size.
    """
    if images.shape[-3:] != (SIZE, SIZE, 3):
        raise ValueError(f"images have the shape {images.shape}: resize them to ({SIZE}, {SIZE}, 3) first")
    return (images.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def _vgg() -> Any:
    inputs = x = keras.Input((SIZE, SIZE, 3), name="input_1")
    for block, widths in enumerate(((16,), (32,), (48, 48), (64, 64)), start=1):
        for index, width in enumerate(widths, start=1):
            options = {"activation": "relu", "kernel_initializer": "he_uniform"}
            x = layers.Conv2D(width, 3, padding="same", name=f"block{block}_conv{index}", **options)(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(64, activation="relu", name="fc1")(x)
    outputs = layers.Dense(_CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="shapes_vgg")


def _resnet() -> Any:
    inputs = keras.Input((SIZE, SIZE, 3), name="input_1")
    x = _convolution(inputs, 24, "conv1", size=5, strides=2)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(name="pool1_pool")(x)
    x = _block(x, 32, "conv2_block1", strides=1)
    x = _block(x, 64, "conv3_block1", strides=2)
    x = _block(x, 64, "conv3_block2", strides=1)
    x = _block(x, 64, "conv3_block3", strides=1)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    outputs = layers.Dense(_CLASSES, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, outputs, name="shapes_resnet")


def _block(x: Any, width: int, name: str, strides: int) -> Any:
    """A residual block; its shortcut is a projection where it changes the shape."""
    shortcut = x
    if strides != 1 or x.shape[-1] != width:
        shortcut = _convolution(x, width, f"{name}_0", size=1, strides=strides)
    x = _convolution(x, width, f"{name}_1", size=3, strides=strides)
    x = layers.Activation("relu", name=f"{name}_1_relu")(x)
    x = _convolution(x, width, f"{name}_2", size=3, strides=1)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _convolution(x: Any, width: int, name: str, size: int, strides: int) -> Any:
    x = layers.Conv2D(width, size, strides=strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)
