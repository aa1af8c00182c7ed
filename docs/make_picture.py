"""Makes the pictures of a cat and a person: that at the top of the README, and all methods side by side.

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
# Without PatternAttribution, whose patterns would need thousands of photos of VOC.
ALL = [name for name in rap_keras.methods.TITLES if not rap_keras.methods.needs_patterns(name)]


def two_objects() -> np.ndarray:
    """A cat beside a person, RGB, uint8, (224, 336, 3)."""
    cat, person = skimage.data.chelsea()[:, 100:325], skimage.data.astronaut()[:456, 100:442]
    return np.concatenate([images.fit(half, (224, 168)) for half in (cat, person)], axis=1)


def main(model_path: str, folder: str) -> None:
    """Explains the photos and writes the figures."""
    model = models.load_model(model_path)

    def explained(photo: np.ndarray, methods: list[str], targets: list[str | None]) -> rap_keras.Explanations:
        found = rap_keras.explain(model, photo, methods, targets, preprocessing="caffe", classes=VOC.split())
        print(found, flush=True)
        return found

    two = explained(two_objects(), list(TWO_OBJECTS), ["cat", "person"])
    two.save(Path(folder, "two_objects.png"), dpi=110)
    two.save(Path(folder, "two_objects.pdf"), width=7)
    for name, photo in (("cat", skimage.data.chelsea()), ("person", skimage.data.astronaut())):
        explained(photo, ALL, [None]).save(Path(folder, f"methods_{name}.png"), dpi=110, width=9)
    explained(skimage.data.chelsea(), ["rap"], [None])[0].save(Path(folder, "column.png"), width=3.3, dpi=200)


if __name__ == "__main__":
    main(*sys.argv[1:])
