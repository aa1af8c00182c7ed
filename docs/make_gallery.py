"""Makes the pictures of docs/gallery.md and of the pages that show them.

    python docs/make_gallery.py MODEL.h5

MODEL and the photos are those of docs/make_picture.py. The networks of other kinds are those of docs/models.md,
which are trained first. All of it takes some minutes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import make_models
import models as kinds
import numpy as np
import skimage.data
from make_picture import VOC
from matplotlib.figure import Figure
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras import shapes, visualization

FOLDER = Path(__file__).parent / "images" / "gallery"
METHODS = ("rap", "rap.contrastive", "lrp.alpha_1_beta_0", "integrated_gradients", "guided_backprop", "gradient")
SAMPLE_SEED = 5
DPI = 110


def save_jpeg(figure: Figure, name: str) -> None:
    """Writes a grid of noisy heatmaps, which would be a large PNG."""
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=DPI)
    Image.open(written).convert("RGB").save(FOLDER / name, quality=88, subsampling=0, optimize=True)


def photos(path: str) -> None:
    """A cat and a person by several methods, and the ways to draw a heatmap."""
    model = rap_keras.models.load_model(path)

    def explained(photo, methods):
        return rap_keras.explain(model, photo, methods, preprocessing="caffe", classes=VOC.split())

    found = [explained(photo, METHODS) for photo in (skimage.data.chelsea(), skimage.data.astronaut())]
    figure = visualization.picture(
        {rap_keras.methods.TITLES[name]: [one[n].relevance for one in found] for n, name in enumerate(METHODS)},
        [one[0].sample.photo for one in found],
        titles=[one[0].label for one in found],
    )
    save_jpeg(figure, "methods.jpg")

    cat, gradient = found[0][0], explained(skimage.data.chelsea(), "gradient")
    cat.save(FOLDER / "overlay.png", 200, width=3.3, overlay=0.8)
    cat.save(FOLDER / "max.png", 200, width=3.3, scale="max")
    cat.save(FOLDER / "colormap.png", 200, width=3.3, colormap="PuOr_r")
    gradient.save(FOLDER / "absolute.png", 200, width=3.3, absolute=True)

    analyzer = rap_keras.create_analyzer("rap", rap_keras.to_logits(model))
    of_layers = analyzer.analyze_layers(rap_keras.images.preprocess([cat.sample.photo], "caffe"))
    shown = {name: values[0] for name, values in of_layers.items() if "conv1" in name or "fc" in name}
    visualization.save(visualization.layer_strip(shown, cat.sample.photo), FOLDER / "layers.png", 170)


def embedded() -> None:
    """Images of the package, whose truth is known."""
    model = rap_keras.models.load_model("shapes-vgg")
    samples = shapes.generate(3, SAMPLE_SEED)
    found = [rap_keras.explain(model, image, METHODS, preprocessing=shapes.preprocess) for image in samples.images]
    figure = visualization.picture(
        {rap_keras.methods.TITLES[name]: [one[n].relevance for one in found] for n, name in enumerate(METHODS)},
        list(samples.images),
        titles=[shapes.CLASSES[label] for label in samples.labels],
    )
    save_jpeg(figure, "shapes.jpg")


def other_kinds() -> None:
    """A sample of each network of docs/models.md, and of a table of features."""
    for name in ("ecg_resnet", "unet_3d", "video", "vit", "siamese"):
        module = kinds.ALL[name]
        keras.utils.set_random_seed(0)
        model = module.build()
        make_models.train(model, module)
        if len(model.inputs) > 1:
            inputs = [keras.Input(part.shape[1:], name=f"image_{n}") for n, part in enumerate(model.inputs, 1)]
            model = keras.Model(inputs, model(inputs))
        x, labels, _ = module.data(20, SAMPLE_SEED)
        which = int(np.flatnonzero(np.isin(labels, module.WITH_TRUTH))[0])
        sample = [part[which] for part in x] if isinstance(x, list) else x[which]
        rap_keras.explain(model, sample, ["rap"]).save(FOLDER / f"{name}.png", DPI)

    random = np.random.default_rng(0)
    features = random.normal(size=(5000, 10)).astype("float32")
    table = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    table.compile("adam", "binary_crossentropy")
    table.fit(features, features[:, 0] + features[:, 1] > features[:, 2], epochs=20, verbose=0)
    rap_keras.explain(table, features[0], ["rap.contrastive"]).save(FOLDER / "vector.png", DPI)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    photos(sys.argv[1])
    embedded()
    other_kinds()
