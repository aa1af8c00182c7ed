"""Texts, tokenizers and baselines that do not fit are refused, and the ways out work."""

from __future__ import annotations

import re

import host  # noqa: F401  switches eager execution off in the plugin, before any model is built
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow import keras
from text_networks import WORDS, Words, small

import rap_keras
from rap_keras.engine.checks.conservation import lively_weights

layers = keras.layers
pytestmark = pytest.mark.usefixtures("as_built")
eager = pytest.mark.skipif(not tf.executing_eagerly(), reason="TextVectorization needs eager execution")


def test_bad_texts_are_refused():
    model = small()

    def explain(text, **options):
        return rap_keras.explain(model, text, preprocessing=options.pop("preprocessing", Words()), **options)

    for text in ("", "  \n", ["the film", ""]):
        with pytest.raises(ValueError, match="the text is empty: give a text that has words"):
            explain(text)
    with pytest.raises(ValueError, match=r"the tokenizer finds no word in '\.\.\.': give a text that has words"):
        explain("...", preprocessing=lambda texts: [[0, 0]])
    with pytest.raises(ValueError, match="text is given, and the network takes token numbers: give what made"):
        rap_keras.explain(model, "the film")
    with pytest.raises(ValueError, match=r"the preprocessing makes float64 of shape .* whole numbers"):
        explain("the film", preprocessing=lambda texts: np.array([[0.5, 1]]))
    with pytest.raises(ValueError, match="'caffe' as the preprocessing of text: give a tokenizer"):
        explain("the film", preprocessing="caffe")
    with pytest.raises(ValueError, match="makes 'ids' of a text, and the network takes 'tokens': name the inputs"):
        explain("the film", preprocessing=lambda texts: {"ids": [[2, 3]]})
    with pytest.raises(ValueError, match=r"of shape \(2,\) of a text for input 'tokens', which takes \(5,\)"):
        explain("the film", preprocessing=lambda texts: {"tokens": [[2, 3]]})
    with pytest.raises(ValueError, match="region is given with text: give the token numbers as an array"):
        explain("the film", region=np.ones(5, bool))


def test_a_tokenizer_that_does_not_fit_is_refused():
    model = small(rows=20)
    with pytest.raises(ValueError, match=r"makes token 22 \(dull\), and the network's embedding has rows 0 to 19"):
        rap_keras.explain(model, "the dull film", preprocessing=Words())
    size = len(WORDS)
    with pytest.raises(ValueError, match=f"the tokenizer has {size} tokens, and the network's embedding 20 rows"):
        rap_keras.explain(model, "the film", preprocessing=Words())
    assert rap_keras.explain(model, "the film", preprocessing=Words(WORDS[:20])).words


def test_baselines_that_do_not_fit_are_refused():
    def explain(baseline, method="integrated_gradients", text="the film"):
        return rap_keras.explain(small(), text, method, preprocessing=Words(), baseline=baseline)

    with pytest.raises(ValueError, match="baseline is that of integrated_gradients, and rap has none"):
        explain("padding", "rap")
    with pytest.raises(ValueError, match="the tokenizer has no mask token: give the number of a token"):
        explain("mask")
    with pytest.raises(ValueError, match="'zero' as the baseline: give 'padding', 'mask' or the number"):
        explain("zero")
    with pytest.raises(ValueError, match=f"token 99 as the baseline: .* tokens 0 to {len(WORDS) - 1}"):
        explain(99)
    with pytest.raises(ValueError, match="baseline is for texts, and the sample is none: leave baseline out"):
        rap_keras.explain(small(), np.array([[1, 2, 3, 4, 5]]), "integrated_gradients", baseline="padding")
    assert explain(len(WORDS) - 1).words


def test_photos_and_texts_for_the_wrong_networks(tmp_path):
    x = keras.Input((8, 8, 3))
    of_photos = lively_weights(keras.Model(x, layers.Dense(2)(layers.Flatten()(x))))
    with pytest.raises(ValueError, match=r"takes no text but \(None, 8, 8, 3\): give the path of a photo"):
        rap_keras.explain(of_photos, "a fine film", preprocessing="unit")
    photo = Image.fromarray(np.full((8, 8, 3), 9, np.uint8))
    photo.save(tmp_path / "photo.png")
    assert rap_keras.explain(of_photos, str(tmp_path / "photo.png"), preprocessing="unit").relevance.shape
    way_out = r"the network takes text: give the text itself, such as (pathlib.*)"
    for given in (photo, tmp_path / "photo.png", str(tmp_path / "photo.png")):
        with pytest.raises(ValueError, match=way_out):
            rap_keras.explain(small(), given, preprocessing=Words())
    (tmp_path / "review.txt").write_text("the film")
    with pytest.raises(ValueError, match=way_out) as refusal:
        rap_keras.explain(small(), tmp_path / "review.txt", preprocessing=Words())
    (call,) = re.findall(way_out, str(refusal.value))
    import pathlib

    text = eval(call.replace("'review.txt'", repr(str(tmp_path / "review.txt"))), {"pathlib": pathlib})
    assert rap_keras.explain(small(), text, preprocessing=Words()).words
