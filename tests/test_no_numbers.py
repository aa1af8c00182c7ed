"""Samples that are no arrays of numbers are refused, and the way out that the message names works."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from host import KERAS_3, PLUGIN, NotAnalyzeableModelException, create_analyzer
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP
from rap_keras.engine.checks.conservation import lively_weights


def test_sparse_samples():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    analyzer = create_analyzer("rap", model)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    with pytest.raises(TypeError, match=r"the samples are a SparseTensor: .*sparse\.to_dense\("):
        analyzer.analyze(tf.sparse.from_dense(x))
    if tf.executing_eagerly():
        np.testing.assert_array_equal(
            analyzer.analyze(tf.sparse.to_dense(tf.sparse.from_dense(x))), analyzer.analyze(x)
        )


def test_ragged_samples_are_explained_one_by_one():
    def built(**options):
        inputs = keras.Input((None,), dtype="int32", **options)
        return keras.Model(inputs, layers.Dense(2)(layers.LSTM(3)(layers.Embedding(9, 4)(inputs))))

    model = lively_weights(built(**({} if KERAS_3 or PLUGIN else {"ragged": True})))
    if PLUGIN:
        with pytest.raises(
            NotAnalyzeableModelException, match=r"takes a RaggedTensor: build it with keras\.Input"
        ):
            RAP(built(ragged=True))
    rows = [[1, 2, 3, 5], [4, 5]]
    ragged = tf.compat.v1.ragged.constant_value(rows)  # a tensor has no list while eager execution is off
    analyzer = RAP(model, neuron_selection_mode="index")
    for given in (ragged, tf.ragged.constant(rows)):
        with pytest.raises(TypeError, match=r"each on its own, numpy\.array\(\[row\]\) for row in x\.to_list\(\)"):
            analyzer.analyze(given, 1)
    for row in ragged.to_list():
        logit = model.predict_on_batch(np.array([row]) if KERAS_3 or PLUGIN else tf.ragged.constant([row]))[0, 1]
        assert analyzer.analyze(np.array([row]), 1).sum() == pytest.approx(logit, rel=1e-3, abs=1e-5)


class Tensor:
    """A tensor of another library that is part of its graph."""

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return np.ones((1, 4))

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


NO_NUMBERS = {
    "texts": (np.array([["a", "b", "c", "d"]]), ValueError, "such as StringLookup or TextVectorization"),
    "categories": (pd.DataFrame([["a", 1, 2, 3]]), ValueError, "encoded as in the network's training"),
    "mixed": (np.array([[[], 1, 2, 3]], object), ValueError, "encoded as in the network's training"),
    "dates": (np.array([["2026-01-01"] * 4], "M8[D]"), ValueError, r"such as x\.astype\('int64'\)"),
    "complex": (np.ones((1, 4), complex), ValueError, r"such as numpy\.abs\(x\)"),
    "records": (np.zeros((1, 4), [("a", "f4")]), ValueError, "one array of real numbers"),
    "objects": (np.ones((1, 4), object), ValueError, r"x\.astype\('float32'\)"),
    "of a graph": (Tensor(), TypeError, r"x\.detach\(\)\.cpu\(\)\.numpy\(\)"),
    "lengths": ([[1, 2], [3]], TypeError, "of one shape each"),
    "nothing": (None, TypeError, "give an array of numbers"),
    "a function": (np.sum, TypeError, "give an array of numbers"),
    "a symbol": (keras.Input((4,)), TypeError, "give arrays"),
}
WAYS_OUT = {
    "dates": lambda x: x.astype("int64"),
    "complex": np.abs,
    "objects": lambda x: x.astype("float32"),
    "of a graph": lambda x: x.detach().cpu().numpy(),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_is_no_array_of_numbers(name):
    given, kind, message = NO_NUMBERS[name]
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    analyzer = RAP(model)
    for explain in (analyzer.analyze, lambda x: rap_keras.explain(model, x)):
        with pytest.raises(kind, match=message):
            explain(given)
    if name in WAYS_OUT:
        assert analyzer.analyze(WAYS_OUT[name](given)).shape == (1, 4)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 looks strings up only with eager execution on")
def test_a_network_of_texts_is_explained_behind_the_layer_that_looks_them_up():
    texts, numbers = keras.Input((1,), dtype="string", name="texts"), keras.Input((2,), name="numbers")
    lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    found = lookup(texts)
    model = keras.Model([texts, numbers], layers.Dense(3)(layers.Concatenate()([found, numbers])))
    given = {"texts": np.array([["a"]]), "numbers": np.ones((1, 2), np.float32)}
    with pytest.raises(ValueError, match=r"StringLookup.*keras\.Model\(layer\.output, model\.output\)"):
        rap_keras.explain(model, given)
    behind = keras.Model([lookup.output, numbers], model.output)
    explanation = rap_keras.explain(behind, [lookup(tf.constant(given["texts"])).numpy(), given["numbers"]])
    right = model([tf.constant(given["texts"]), tf.constant(given["numbers"])]).numpy().max()
    assert sum(map(np.sum, explanation.relevance.values())) == pytest.approx(right, rel=1e-4)
