"""The README's table: all methods on 200 unseen images of the embedded data set, by an embedded network.

`python docs/compare_methods.py vgg` or `resnet` prints it.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf
from innvestigate import NotAnalyzeableModelException

from rap_keras import methods, models, shapes
from rap_keras.metrics import mean_iou, outside_inside_ratio
from rap_keras.visualization import heatmap

IMAGES, BATCH = 200, 10

tf.compat.v1.disable_eager_execution()


def main(network: str) -> None:
    """Prints the table in Markdown: correctly classified images, and of these the finite heatmaps."""
    samples = shapes.generate(IMAGES, shapes.TEST_SEED)
    x = shapes.preprocess(samples.images)
    inside = np.zeros(samples.masks.shape, bool)
    for box, (left, top, right, bottom) in zip(inside, samples.boxes):
        box[top:bottom, left:right] = True
    model = models.without_softmax(shapes.load_network(network))
    correct = model.predict_on_batch(x).argmax(axis=1) == samples.labels
    print(f"{network}: {correct.sum()} of {IMAGES} images correctly classified\n")
    print("| method | POS outside-inside ratio, median | mIOU, mean |\n|---|---|---|")
    for name, title in methods.TITLES.items():
        try:
            analyzer = methods.create(name, model, patterns=shapes.patterns_path(network))
        except NotAnalyzeableModelException as error:
            print(f"| {title} | {error} | |", flush=True)
            continue
        maps = np.concatenate([heatmap(analyzer.analyze(x[i : i + BATCH])) for i in range(0, IMAGES, BATCH)])
        finite = np.isfinite(maps).all(axis=(1, 2))
        chosen = np.flatnonzero(correct & finite)
        ratio = np.nanmedian([outside_inside_ratio(maps[i], inside[i]) for i in chosen])
        iou = np.mean([mean_iou(maps[i], samples.masks[i]) for i in chosen])
        lost = "" if finite.all() else f" ({np.sum(~finite)} heatmaps not finite)"
        print(f"| {title} | {ratio:.3f}{lost} | {iou:.2f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
