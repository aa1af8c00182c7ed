"""Training of the two networks on generated images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow import keras
from tqdm import tqdm

from rap_keras.basics import whole_file
from rap_keras.engine import keras_graph
from rap_keras.models.shapes_networks import build_network, preprocess
from rap_keras.shapes.generator import CLASSES, Samples, generate, sample
from rap_keras.shapes.outlines import SIZE

TRAINING_SEED = 1
"""The series of images that the networks are trained on."""

VALIDATION_SEED = 2
"""The series that `train` reports the accuracy on."""

TEST_SEED = 3
"""The series kept for tests of trained networks: nothing is fitted to it or chosen by it."""

EPOCHS = {"vgg": 14, "resnet": 7}
"""How long the weights of the package were trained, in passes over the images."""

_BATCH = 16
_FIRST_RATE = 8e-4
_VALIDATION_IMAGES = 1000


def train(
    network: str, output: Path, epochs: int | None = None, images: int = 24_000, progress: bool = True
) -> float:
    """Train a network from scratch and save its weights.

    Two thirds of the images hold one object. The rest hold two, each with a target probability
    of one half, so that the network learns to answer for every object it sees.

    Args:
        network: "vgg" or "resnet".
        output: the file of the weights, Keras HDF5, ending in ".h5"; its folder is created.
        epochs: passes over the images; None for as many as the package's weights had, see `EPOCHS`.
        images: how many different images to train on; each takes 27 kB of memory.
        progress: whether to show progress bars.

    Returns:
        The accuracy, 0 to 1, on 1,000 unseen images with one object.

    Raises:
        ValueError: there is no such network, `output` does not end in ".h5", `epochs` is less than
            1 or `images` less than 16.
    """
    if output.suffix != ".h5":
        raise ValueError(f"{output}: the name must end in .h5, from which Keras knows the format HDF5")
    keras.utils.set_random_seed(TRAINING_SEED)
    model = build_network(network)
    epochs = EPOCHS[network] if epochs is None else epochs
    if epochs < 1 or images < _BATCH:
        raise ValueError(f"{epochs} epochs of {images} images: there must be 1 epoch and {_BATCH} images or more")
    whole_file.require_writable(output.parent)
    x, targets = _training_set(images, progress)
    # Given the name, Keras picks an Adam that works with eager execution on or off, as it is now.
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        _batches(x, targets),
        steps_per_epoch=images // _BATCH,
        epochs=epochs,
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: _FIRST_RATE * (1 - epoch / epochs))],
        shuffle=False,  # the batches are shuffled already
        verbose=1 if progress else 0,
    )
    with whole_file.replacing(output) as unfinished:
        if keras_graph.KERAS_3:
            # Keras 2 cannot read what save_weights writes here, but it can read the weights of a whole model.
            model.save(str(unfinished), include_optimizer=False)
        else:
            model.save_weights(str(unfinished))
    return accuracy(model, generate(_VALIDATION_IMAGES, VALIDATION_SEED))


def accuracy(network: Any, samples: Samples) -> float:
    """Share, 0 to 1, of samples whose (first) object has the top-scoring class.

    The network goes from preprocessed images to a score per class.
    """
    scores = network.predict(preprocess(samples.images), verbose=0)
    return float(np.mean(np.argmax(scores, axis=1) == samples.labels))


def _training_set(count: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8, and their target probabilities."""
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    targets = np.zeros((count, len(CLASSES)), dtype=np.float32)
    for index in tqdm(range(count), desc="images", disable=not progress):
        made = sample(index, TRAINING_SEED, second_object=index >= count * 2 // 3)
        images[index] = made.image
        labels = [made.label] if made.second_label is None else [made.label, made.second_label]
        targets[index, labels] = 1 / len(labels)
    return images, targets


def _batches(images: np.ndarray, targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless shuffled batches, every image turned and recoloured anew."""
    rng = np.random.default_rng(TRAINING_SEED)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            chosen = order[start : start + _BATCH]
            batch = np.stack([_vary(images[index], rng) for index in chosen])
            yield preprocess(batch), targets[chosen]


def _vary(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A variant of an image, of the same classes: turned, mirrored, with its colour channels swapped."""
    image = np.rot90(image, int(rng.integers(4)))
    if rng.integers(2):
        image = image[:, ::-1]
    return image[..., rng.permutation(3)]
