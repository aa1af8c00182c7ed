"""The picture at the top of the README: photos of scikit-image, all methods side by side.

    python docs/make_picture.py MODEL.h5 docs/images/methods.png

MODEL is a VGG-16 for the 20 classes of Pascal VOC, in alphabetical order, on 224 x 224 pixels and with the
preprocessing of keras.applications.vgg16. The photos are in the public domain (Chelsea the cat: CC0, Stefan van
der Walt; Eileen Collins: NASA).
"""

from __future__ import annotations

import sys

import numpy as np
import skimage.data
import tensorflow as tf

from rap_keras import models
from rap_keras.datasets import images
from rap_keras.hosts import methods
from rap_keras.visualization import grid, heatmap

tf.compat.v1.disable_eager_execution()

CLASSES = {7: "cat", 14: "person"}


def main(model_path: str, picture: str) -> None:
    """Explains the highest class of each photo by every method, and writes the figure."""
    model = models.to_logits(models.load_model(model_path))
    photos = [images.fit(photo, (224, 224)) for photo in (skimage.data.chelsea(), skimage.data.astronaut())]
    batch = images.preprocess(photos, "caffe")
    logits = model.predict_on_batch(batch)
    labels = [f"{CLASSES[int(row.argmax())]}\nlogit {row.max():.1f}" for row in logits]
    heatmaps = {}
    for name, title in methods.TITLES.items():
        if methods.needs_patterns(name):  # thousands of VOC photos would have to be at hand
            continue
        heatmaps[title] = heatmap(methods.create(name, model).analyze(batch))
        print(title, np.abs(heatmaps[title]).max(), flush=True)
    grid(photos, heatmaps, labels).savefig(picture, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
