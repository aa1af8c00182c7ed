"""Compares heatmaps of RAP and contrastive RAP in two environments, for example with iNNvestigate and on Keras 3.

    python docs/compare_hosts.py run SHARED here.npz     # in each environment
    python docs/compare_hosts.py compare a.npz b.npz     # the distances, in a table

SHARED is the folder of trained networks and photos, `RAP_KERAS_SHARED` in docs/contributing.md. Each network is
explained for 40 photos. ResNet-50 has random weights, the same in both environments, and runs in float64.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from rap_keras.hosts import choice

METHODS = ("rap", "rap.contrastive")
PHOTOS, BATCH = 40, 8
VOC, IMAGENET = "data/VOCdevkit/VOC2012/JPEGImages/*.jpg", "data/ILSVRC/Data/CLS-LOC/val/*.JPEG"


def efficientnet(x: np.ndarray) -> np.ndarray:
    """The scaling of the Lite networks."""
    return (x - 127) / 128


NETWORKS = {
    "vgg16_voc": (VOC, "caffe"),
    "squeezenet1_1": (IMAGENET, "torch"),
    "efficientnet_lite0": (IMAGENET, efficientnet),
}


def run(shared: Path, result: Path) -> None:
    """Writes the heatmaps of all networks, made by the environment's own host, to a file."""
    choice.begin()
    from rap_keras import images, methods, models, to_logits

    found = {}
    for name, (photos, preprocessing) in NETWORKS.items():
        model = to_logits(models.load_model(str(shared / "models" / f"{name}.h5")))
        paths = sorted(shared.glob(photos))[:PHOTOS]
        x = images.preprocess([images.fit(images.load_photo(p), (224, 224)) for p in paths], preprocessing)
        for method in METHODS:
            found[f"{name}, {method}"] = heatmaps(methods.create(method, model), x)
    model, x = resnet50()
    for method in METHODS:
        found[f"resnet50 in float64, {method}"] = heatmaps(methods.create(method, model), x)
    np.savez(result, **found)


def resnet50():
    """A ResNet-50 of float64 with random weights, and photos of noise."""
    from tensorflow import keras

    keras.backend.clear_session()  # else Keras 3 keeps the data type of the first layer that was made
    keras.backend.set_floatx("float64")
    model = keras.applications.ResNet50(
        weights=None, classes=10, classifier_activation=None, input_shape=(64, 64, 3)
    )
    random = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([drawn(random, weight) for weight in layer.get_weights()])
    return model, random.uniform(-120, 130, (PHOTOS, 64, 64, 3))


def drawn(random: np.random.Generator, weight: np.ndarray) -> np.ndarray:
    """A random kernel that keeps the size of values, or a random vector around 1, as it may be a variance."""
    if weight.ndim == 1:
        return random.uniform(0.5, 1.5, weight.shape)
    return random.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape)


def heatmaps(analyzer, x: np.ndarray) -> np.ndarray:
    """The relevance of all photos."""
    return np.concatenate([analyzer.analyze(x[start : start + BATCH]) for start in range(0, len(x), BATCH)])


def compare(one: Path, other: Path) -> None:
    """Prints the relative L2 distance of each network's heatmaps."""
    with np.load(one) as a, np.load(other) as b:
        print("| network | median | largest | photos above 1e-4 |\n|---|---|---|---|")
        for name in a.files:
            A, B = (array[name].reshape(len(array[name]), -1).astype(float) for array in (a, b))
            distances = np.linalg.norm(A - B, axis=1) / np.linalg.norm(A, axis=1)
            above = ", ".join(str(number) for number in np.flatnonzero(distances > 1e-4)) or "none"
            print(f"| {name} | {np.median(distances):.1e} | {distances.max():.1e} | {above} |")


if __name__ == "__main__":
    action, first, second = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if action == "run":
        run(first, second)
    else:
        compare(first, second)
