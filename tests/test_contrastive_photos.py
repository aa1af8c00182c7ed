"""Contrastive RAP on photos of Pascal VOC whose predicted class has a negative logit."""

from __future__ import annotations

import numpy as np
import pytest
from host import create_analyzer
from skimage.filters import gaussian

import rap_keras
from rap_keras import images
from rap_keras.datasets import truth
from rap_keras.datasets.pascal_voc import voc2012
from rap_keras.engine.reading.flattening import predictor

PHOTOS = (
    *("2007_005759", "2007_007341", "2007_008964", "2008_000911", "2008_006036", "2009_000840", "2009_001663"),
    *("2009_003773", "2009_004033", "2009_004099", "2010_002939", "2010_005922", "2011_000598", "2011_000807"),
)
"""All photos here that VGG-16 classifies correctly with a logit below 0."""


@pytest.mark.realdata
@pytest.mark.slow
def test_red_lies_on_the_object_where_the_logit_is_negative(shared):
    """Positive relevance per pixel is higher on the object than elsewhere; RAP inverts the colours.

    Three photos are exceptions. There the object does not speak for the class: hiding it leaves the score as it
    was, or raises it.
    """
    model = rap_keras.to_logits(rap_keras.models.load_model(shared / "models/vgg16_voc.h5"))
    photos = voc2012(shared / "data")
    examples = [photos.read(name) for name in PHOTOS]
    x = images.preprocess([images.fit(example.photo, (224, 224)) for example in examples], "caffe")
    logits = predictor(model)(x)
    targets = logits.argmax(axis=1)
    assert all(target in example.labels for target, example in zip(targets, examples))
    assert (logits.max(axis=1) < 0).all()
    truths = [truth(example, (224, 224), None, int(target)) for example, target in zip(examples, targets)]
    inside = np.stack([where.mask & ~where.void for where in truths])
    outside = np.stack([~where.mask & ~where.void for where in truths])
    on_object = {}
    for name in ("rap", "rap.contrastive"):
        positive = np.maximum(create_analyzer(name, model).analyze(x).sum(axis=-1), 0)
        density_inside, density_outside = mean_where(positive, inside), mean_where(positive, outside)
        on_object[name] = density_inside > density_outside
    assert not on_object["rap"].any()
    blurred = gaussian(x, sigma=(0, 12, 12, 0), preserve_range=True)
    hidden = np.where(np.stack([where.mask for where in truths])[..., None], blurred, x).astype(np.float32)
    speaks_for = log_odds(logits, targets) - log_odds(predictor(model)(hidden), targets)
    assert on_object["rap.contrastive"].sum() == 11
    assert on_object["rap.contrastive"][speaks_for > 0.1].all()
    assert (speaks_for > 0.1).sum() == 10


def mean_where(maps, places):
    return (maps * places).sum((1, 2)) / places.sum((1, 2))


def log_odds(logits, targets):
    """log(p / (1 - p)) of each target, p being its softmax."""
    rows = np.arange(len(logits))
    others = logits.astype(np.float64)
    others[rows, targets] = -np.inf
    return logits[rows, targets] - np.log(np.exp(others).sum(1))
