"""Trained networks on real photos: relevance is finite, and conserved at every layer."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras import to_logits as model_wo_softmax
from rap_keras.engine.checks.conservation import check, excess

PHOTOS = 8
BATCH = 4


def voc(shared):
    paths = sorted((shared / "data/VOCdevkit/VOC2012/JPEGImages").glob("*.jpg"))[:PHOTOS]
    for path in paths:
        photo = Image.open(path).convert("RGB").resize((224, 224), Image.BILINEAR)
        yield keras.applications.vgg16.preprocess_input(np.asarray(photo, np.float32))


def imagenet(shared):
    for path in sorted((shared / "data/ILSVRC/Data/CLS-LOC/val").glob("*.JPEG"))[:PHOTOS]:
        yield Image.open(path).convert("RGB")


def squeezenet(shared):
    for photo in imagenet(shared):
        scale = 256 / min(photo.size)
        photo = photo.resize([round(side * scale) for side in photo.size], Image.BILINEAR)
        left, top = (photo.width - 224) // 2, (photo.height - 224) // 2
        x = np.asarray(photo.crop((left, top, left + 224, top + 224)), np.float32) / 255
        yield ((x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)


def efficientnet(shared):
    for photo in imagenet(shared):
        side = round(min(photo.size) * 224 / 256)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        square = photo.crop((left, top, left + side, top + side)).resize((224, 224), Image.BICUBIC)
        yield (np.asarray(square, np.float32) - 127) / 128


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "photos", "options"),
    [
        ("vgg16_voc", voc, {}),
        ("squeezenet1_1", squeezenet, {}),
        ("efficientnet_lite0", efficientnet, {}),
        ("efficientnet_lite0", efficientnet, {"batch_norm": "fold"}),
    ],
)
def test_conserved_on_photos(shared, name, photos, options):
    model = rap_keras.models.load_model(shared / "models" / f"{name}.h5")
    model = model_wo_softmax(model)
    analyzer = rap_keras.RAP(model, **options)
    x = np.stack(list(photos(shared)))
    assert len(x) == PHOTOS
    for start in range(0, PHOTOS, BATCH):
        batch = x[start : start + BATCH]
        found = check(analyzer, batch)
        assert found.not_finite() == found.not_conserved() == []
        assert found.excess <= 1
        np.testing.assert_allclose(found.seed, model.predict_on_batch(batch).max(axis=1), rtol=1e-3)
    relevance = analyzer.analyze(batch)
    assert np.isfinite(relevance).all()
    assert excess(relevance, found.seed, found.seed) <= 1
