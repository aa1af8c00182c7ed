"""Contrastive RAP on photos of Pascal VOC whose predicted class has a negative logit."""

from __future__ import annotations

import numpy as np
import pytest
from host import create_analyzer

import rap_keras
from rap_keras import images
from rap_keras.datasets import truth
from rap_keras.datasets.pascal_voc import voc2012
from rap_keras.engine.network import predictor

PHOTOS = (
    *("2007_005759", "2007_007341", "2007_008964", "2008_000911", "2008_006036", "2009_000840", "2009_001663"),
    *("2009_003773", "2009_004033", "2009_004099", "2010_002939", "2010_005922", "2011_000598", "2011_000807"),
)
"""All photos here that VGG-16 classifies correctly by a logit below 0."""


@pytest.mark.realdata
@pytest.mark.slow
def test_red_lies_on_the_object_where_the_logit_is_negative(shared):
    """Positive relevance per pixel is higher on the object than elsewhere; by RAP the colours are turned round.

    On three photos the object has less than 2.5 % of the pixels, and the network looks elsewhere.
    """
    model = rap_keras.to_logits(rap_keras.models.load_model(shared / "models/vgg16_voc.h5"))
    photos = voc2012(shared / "data")
    examples = [photos.read(name) for name in PHOTOS]
    x = images.preprocess([images.fit(example.photo, (224, 224)) for example in examples], "caffe")
    logits = predictor(model)(x)
    targets = logits.argmax(axis=1)
    assert all(target in example.labels for target, example in zip(targets, examples))
    assert (logits.max(axis=1) < 0).all()
    on_object = {"rap": 0, "rap.contrastive": 0}
    for name in on_object:
        maps = np.maximum(create_analyzer(name, model).analyze(x).sum(axis=-1), 0)
        for positive, example, target in zip(maps, examples, targets):
            where = truth(example, (224, 224), None, int(target))
            outside = ~where.mask & ~where.void
            on_object[name] += positive[where.mask & ~where.void].mean() > positive[outside].mean()
    assert on_object["rap"] == 0
    assert on_object["rap.contrastive"] >= 11
