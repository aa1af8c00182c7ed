"""The picture of contrastive RAP in the README: two photos of scikit-image side by side, and why each class.

    python docs/make_contrast_picture.py MODEL.h5 docs/images/contrast.png

MODEL, and where the photos are from: see make_picture.py.
"""

from __future__ import annotations

import sys

import numpy as np
import skimage.data

from rap_keras import create_analyzer, images, methods, models
from rap_keras.visualization import grid, heatmap

CLASSES = {"cat": 7, "person": 14}
METHODS = ("rap", "rap.contrastive", "lrp.alpha_1_beta_0", "guided_backprop")


def main(model_path: str, picture: str) -> None:
    """Explains both classes of the one photo by every method, and writes the figure."""
    model = models.to_logits(models.load_model(model_path))
    halves = [images.fit(photo, (224, 224)) for photo in (skimage.data.chelsea(), skimage.data.astronaut())]
    photo = images.fit(np.concatenate(halves, axis=1), (224, 224))
    x = images.preprocess([photo], "caffe")
    maps: dict[str, list[np.ndarray]] = {f"why {name}": [] for name in CLASSES}
    for method in METHODS:
        analyzer = create_analyzer(method, model, neuron_selection_mode="index")
        for name, number in CLASSES.items():
            maps[f"why {name}"].append(heatmap(analyzer.analyze(x, number))[0])
    shown = {name: np.stack(values) for name, values in maps.items()}
    grid([photo] * len(METHODS), shown, [methods.title(method) for method in METHODS]).savefig(picture, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
