"""Makes the picture at the top of the README, of a cat and a person, and the figure for one column of a paper.

    python docs/make_picture.py MODEL.h5 docs/images

MODEL is a VGG-16 for the 20 classes of Pascal VOC, in alphabetical order, on 224 x 224 pixels and with the
preprocessing of keras.applications.vgg16. The photos come with scikit-image and are in the public domain (Chelsea
the cat: CC0, Stefan van der Walt; Eileen Collins: NASA).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import skimage.data

import rap_keras
from rap_keras import images, models

VOC = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor"
)
TWO_OBJECTS = ("rap.contrastive", "rap", "lrp.alpha_1_beta_0", "integrated_gradients", "grad_cam")


def two_objects() -> np.ndarray:
    """A cat beside a person, RGB, uint8, (224, 336, 3)."""
    cat, person = skimage.data.chelsea()[:, 100:325], skimage.data.astronaut()[:456, 100:442]
    return np.concatenate([images.fit(half, (224, 168)) for half in (cat, person)], axis=1)


def main(model_path: str, folder: str) -> None:
    """Explains the photos and writes the figures."""
    model, classes = models.load_model(model_path), VOC.split()
    two = rap_keras.explain(
        model, two_objects(), TWO_OBJECTS, ["cat", "person"], preprocessing="caffe", classes=classes
    )
    two.save(Path(folder, "two_objects.png"), dpi=110)
    one = rap_keras.explain(model, skimage.data.chelsea(), preprocessing="caffe", classes=classes)
    one.save(Path(folder, "column.png"), width=3.3, dpi=200)
    print(two, one, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
