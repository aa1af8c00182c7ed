"""Texts: tokens become words, and the decisive word is found, whatever makes the tokens."""

from __future__ import annotations

import re
from pathlib import Path

import host  # noqa: F401  switches eager execution off in the plugin, before any model is built
import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3
from tensorflow import keras
from text_networks import CLASSES, WORDS, Words, sentences, small, trained

import rap_keras
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.reading.flattening import predictor
from rap_keras.explanation.words import Part, as_written, joined, marker_of

layers = keras.layers
pytestmark = pytest.mark.usefixtures("as_built")
eager = pytest.mark.skipif(not tf.executing_eagerly(), reason="TextVectorization needs eager execution")

METHODS = ["lrp.epsilon", "rap.contrastive", "integrated_gradients"]


def test_the_decisive_word_is_found():
    model, unseen = trained(), list(sentences(60, seed=1))
    texts = [text for text, _, _ in unseen]
    found = rap_keras.explain(model, texts, METHODS, preprocessing=Words(), classes=CLASSES)
    assert len(found) == len(texts) * len(METHODS)
    right = dict.fromkeys(METHODS, 0)
    for number, (text, label, place) in enumerate(unseen):
        for answer in found[number * len(METHODS) : (number + 1) * len(METHODS)]:
            assert [word.text for word in answer.words] == text.split()
            assert answer.label == CLASSES[label]
            total = sum(word.relevance for word in [*answer.words, *answer.apart])
            assert total == pytest.approx(answer.sum, rel=1e-4, abs=1e-5)
            right[answer.method] += int(np.argmax([word.relevance for word in answer.words]) == place)
    assert min(right.values()) >= 0.95 * len(texts), right


# The words of each tokenizer, the tokens that it makes, and the positions that make up each word.
SPELLINGS = {
    "##": (["un", "##believ", "##able", "film", ".", "un", "##real"], ["unbelievable", "film", ".", "unreal"]),
    "\u0120": (["un", "bel", "\u0120film", ".", "\u0120caf", "\u00c3", "\u00a9"], ["unbel", "film.", "caf\u00e9"]),
    "\u2581": (["\u2581un", "believ", "able", "\u2581film", ".", "\u2581"], ["unbelievable", "film.", "\u2581"]),
    "": (["un", "film", "."], ["un", "film", "."]),
}


@pytest.mark.parametrize("marker", SPELLINGS)
def test_pieces_of_words_are_put_together(marker):
    tokens, words = SPELLINGS[marker]
    assert marker_of(["[PAD]", *tokens]) == marker
    found = joined(list(enumerate(tokens, 1)), marker)
    assert [part.text for part in found] == words
    assert [n for part in found for n in part.positions] == list(range(1, len(tokens) + 1))


def test_a_special_token_ends_a_word():
    found = joined([(1, "un"), (3, "##real"), (4, "film")], "##")
    assert found == [Part("un", (1,)), Part("##real", (3,)), Part("film", (4,))]


def test_the_mark_of_most_tokens_counts():
    assert marker_of(["\u0120", "##a", "##b", "c"]) == "##"


def test_words_stand_as_they_were_written():
    parts = [Part("the", (0,)), Part("[UNK]", (1,)), Part("film", (2,))]
    written = as_written(parts, "The -- caf\u00e9's Film!", ["[UNK]"])
    assert written == [Part("The", (0,)), Part("caf\u00e9's", (1,)), Part("Film!", (2,))]
    assert as_written(parts, "The caf\u00e9 book", ["[UNK]"]) == parts
    assert as_written(parts, "The film", ["[UNK]"]) == parts


def test_what_is_told_of_a_text():
    model = small()
    found = rap_keras.explain(model, "The film xyz", "rap", 1, preprocessing=Words())
    assert [word.text for word in found.words] == ["The", "film", "xyz"]
    assert [word.text for word in found.apart] == ["padding (2 tokens)"]
    assert repr(found).endswith(", 1 of 3 tokens unknown to the tokenizer>")
    np.testing.assert_allclose([word.relevance for word in found.words], found.relevance[:3], rtol=1e-6)
    assert found.apart[0].relevance == pytest.approx(found.relevance[3:].sum(), rel=1e-5)
    right = rap_keras.explain(model, np.array([[2, 6, 1, 0, 0]]), "rap", 1)
    np.testing.assert_array_equal(found.relevance, right.relevance)
    cut = rap_keras.explain(model, "we saw it at home with Friends", "rap", 1, preprocessing=Words())
    assert "cut off after 5 tokens: 'with Friends'" in repr(cut)
    assert [word.text for word in cut.words] == "we saw it at home".split()
    assert "cut off" in cut.figure().texts[0].get_text()


@pytest.mark.parametrize("kind", ["function", "numbers", "named", "dict", "array"])
def test_kinds_of_preprocessing(kind, tmp_path, monkeypatch):
    """The same tokens from each, with words that can be told."""
    words = Words(length=5)
    given = {
        "function": lambda texts: words(texts),
        "numbers": lambda texts: np.array(words(texts))[0],
        "named": "my_tokens:tokens",
        "dict": lambda texts: {"input_ids": np.array(words(texts)), "unused": 0},
        "array": lambda texts: tf.constant(words(texts)) if tf.executing_eagerly() else np.array(words(texts)),
    }[kind]
    if kind == "named":
        (tmp_path / "my_tokens.py").write_text("def tokens(texts):\n    return [[2, 6, 1, 0, 0]]\n")
        monkeypatch.chdir(tmp_path)
    model = small()
    found = rap_keras.explain(model, "The film xyz", target=1, preprocessing=given)
    assert [word.text for word in found.words] == ["The", "film", "xyz"]
    right = rap_keras.explain(model, "The film xyz", target=1, preprocessing=Words())
    np.testing.assert_array_equal(found.relevance, right.relevance)


def test_words_of_unknown_numbers():
    """Tokens that are no words of the text have their numbers."""
    found = rap_keras.explain(small(), "the film", preprocessing=lambda texts: [[4, 5, 6]])
    assert [word.text for word in found.words] == ["#4", "#5", "#6"]


def test_inputs_of_any_length():
    x = keras.Input((None,), dtype="int32")
    table = layers.Embedding(len(WORDS), 4)
    model = lively_weights(keras.Model(x, layers.Dense(2)(layers.GRU(3)(table(x)))))
    for text in ("the film", "we saw it at home", "the film"):
        found = rap_keras.explain(model, text, "lrp.epsilon", 1, preprocessing=Words())
        analyzer = rap_keras.create_analyzer("lrp.epsilon", model, neuron_selection_mode="index")
        np.testing.assert_allclose([found.relevance], analyzer.analyze(np.array(Words()([text])), 1), rtol=1e-4)


def padded(texts):
    tokens = np.array(Words(length=5)(texts))
    return {"tokens": tokens, "padding_mask": tokens > 0, "kinds": 0 * tokens}


def with_masks():
    """A network of three inputs: tokens, which of them are no padding, and their kinds."""
    tokens, kinds = (keras.Input((5,), dtype="int32", name=name) for name in ("tokens", "kinds"))
    mask = keras.Input((5,), dtype="bool" if KERAS_3 else "int32", name="padding_mask")
    rows = layers.Add()([layers.Embedding(len(WORDS), 4)(tokens), layers.Embedding(2, 4)(kinds)])
    kept = keras.ops.cast(mask, "float32") if KERAS_3 else tf.cast(mask > 0, tf.float32)
    y = layers.GlobalAveragePooling1D()(layers.Multiply()([rows, layers.Reshape((5, 1))(kept)]))
    return lively_weights(keras.Model([tokens, mask, kinds], layers.Dense(2)(layers.Dense(6, "tanh")(y))))


def test_other_inputs_are_apart(recwarn):
    model = with_masks()
    found = rap_keras.explain(model, "the film", "input_t_gradient", 1, preprocessing=padded)
    assert [word.text for word in found.apart] == ["padding (3 tokens)", "kinds"]
    assert found.apart[1].relevance == pytest.approx(found.relevances["kinds"].sum(), rel=1e-5)
    assert sum(word.relevance for word in [*found.words, *found.apart]) == pytest.approx(found.sum, rel=1e-5)
    assert not [warning for warning in recwarn if "no gradient" in str(warning.message)]


def test_the_baseline_of_integrated_gradients():
    """All tokens become the baseline's, and the other inputs stay: the score is the difference of two logits."""
    model, words = with_masks(), Named()
    words.mask_token_id = 4
    arrays = [np.asarray(padded(["the film"])[name]) for name in ("tokens", "padding_mask", "kinds")]
    logits = predictor(model)
    for given, token, told in (
        (None, 0, "padding, token 0"), ("padding", 0, "padding, token 0"), (3, 3, "token 3 (a)"),
        ("mask", 4, "mask, token 4 (this)"),
    ):  # fmt: skip
        found = rap_keras.explain(
            model, "the film", "integrated_gradients", 1, preprocessing=words, baseline=given, steps=256
        )
        at_baseline = logits([np.full((1, 5), token), *arrays[1:]])
        assert found.score == pytest.approx((logits(arrays) - at_baseline)[0, 1], rel=1e-4)
        assert found.lost == pytest.approx(0, abs=0.03 * abs(found.score))
        assert f"baseline: {told}" in repr(found)
        assert f"baseline: {told}" in found.figure().texts[0].get_text()
        assert not found.relevances["kinds"].any()


class Named(Words):
    """A tokenizer that makes all inputs of `with_masks`."""

    def __call__(self, texts):
        return padded(texts)


def test_references_that_are_the_sample():
    model = with_masks()
    x = [np.asarray(padded(["the film"])[name]) for name in ("tokens", "padding_mask", "kinds")]
    same = rap_keras.create_analyzer("integrated_gradients", model, reference_inputs=["sample"] * 3)
    assert same.differences(x).tolist() == [0]
    with pytest.raises(ValueError, match="reference_inputs has the word 'zero': the only one is 'sample'"):
        rap_keras.create_analyzer("integrated_gradients", model, reference_inputs="zero")


# --- TextVectorization ------------------------------------------------------------------------------------------


def vectorizing(**options):
    layer = layers.TextVectorization(vocabulary=WORDS[2:], **options)
    x = keras.Input((1,), dtype="string")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(len(WORDS), 4, mask_zero=True)(layer(x)))
    return lively_weights(keras.Model(x, layers.Dense(2, "softmax")(layers.Dense(6, "relu")(y))))


@eager
def test_a_network_that_begins_with_text_vectorization(tmp_path):
    model = vectorizing(output_sequence_length=5)
    logits = np.log(model(tf.constant([["The film, we saw it at home"]])).numpy()[0])
    given = model
    model.save(tmp_path / "model.keras")
    for given in (model, tmp_path / "model.keras"):
        found = rap_keras.explain(given, "The film, we saw it at home", ["rap", "integrated_gradients"], 1)
        assert [word.text for word in found[0].words] == ["The", "film,", "we", "saw", "it"]
        assert "cut off after 5 tokens: 'at home'" in repr(found[0])
        assert found[0].probability == pytest.approx(np.exp(logits[1]), rel=1e-4)
        assert found[0].sum == pytest.approx(found[0].logit, rel=1e-4)
        assert "baseline: padding, token 0" in repr(found[1])
    with pytest.raises(ValueError, match="makes tokens of the text itself: leave preprocessing out"):
        rap_keras.explain(model, "the film", preprocessing=Words())


@eager
def test_text_vectorization_as_preprocessing():
    model, layer = small(), layers.TextVectorization(vocabulary=WORDS[2:])
    found = rap_keras.explain(model, ["The film.", "we saw"], "rap", 1, preprocessing=layer)
    right = rap_keras.explain(model, ["the film", "we saw"], "rap", 1, preprocessing=Words())
    for one, other in zip(found, right):
        np.testing.assert_array_equal(one.relevance, other.relevance)


@eager
def test_text_vectorization_of_other_kinds():
    layer = layers.TextVectorization(vocabulary=WORDS[2:], output_mode="multi_hot")
    x = keras.Input((1,), dtype="string")
    model = lively_weights(keras.Model(x, layers.Dense(2)(layer(x))))
    with pytest.raises(ValueError, match=r"makes a vector of each text.*explain the layers behind it"):
        rap_keras.explain(model, "the film")
    behind = keras.Model(layer.output, model.output)
    found = rap_keras.explain(behind, np.asarray(layer(tf.constant(["the film"]))), target=1)
    assert found.sum == pytest.approx(found.logit, rel=1e-4)


@pytest.mark.skipif(tf.executing_eagerly(), reason="eager execution is on")
def test_text_vectorization_in_a_graph():
    layer = layers.TextVectorization(vocabulary=WORDS[2:])
    with pytest.raises(ValueError, match=r"needs eager execution, which is off.* a function from a list of texts"):
        rap_keras.explain(small(), "the film", preprocessing=layer)
    assert rap_keras.explain(small(), "the film", preprocessing=Words()).words


@eager
def test_the_page_of_the_documentation(here, capsys):
    """Its example runs as it stands, and gives what the page says of it."""
    page = (Path(__file__).parent.parent / "docs" / "guide" / "text.md").read_text("utf-8")
    (code, *_) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    names = {}
    keras.utils.set_random_seed(0)
    exec(code, names)
    assert (here / "words.png").is_file()
    contrastive, lrp = names["found"][:2]
    for answer in (contrastive, lrp):
        words = [word.text for word in answer.words]
        assert words == names["sentence"].split()
        assert words[np.argmax([word.relevance for word in answer.words])] == "dull,"
        assert words[np.argmin([word.relevance for word in answer.words])] == "superb"
    assert "Contrastive RAP of 'praise'" in capsys.readouterr().out


# --- keras_hub --------------------------------------------------------------------------------------------------


def task():
    hub = pytest.importorskip("keras_hub")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "un", "##real"]
    own = hub.models.BertTextClassifierPreprocessor(hub.models.BertTokenizer(words, lowercase=True), 8)
    backbone = hub.models.BertBackbone(
        vocabulary_size=len(words), num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8,
        max_sequence_length=8,
    )  # fmt: skip
    return lively_weights(hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=own))


@pytest.mark.skipif(not KERAS_3, reason="keras_hub is for Keras 3")
def test_a_task_of_keras_hub():
    model = task()
    found = rap_keras.explain(model, "The film was unreal", "input_t_gradient", target=1)
    right = model.predict(["The film was unreal"], verbose=0)[0, 1]
    assert found.logit == pytest.approx(float(right), rel=1e-4)
    assert [word.text for word in found.words] == ["The", "film", "was", "unreal"]
    assert [word.text for word in found.apart][:3] == ["[CLS]", "[SEP]", "padding (1 token)"]
    assert sum(word.relevance for word in [*found.words, *found.apart]) == pytest.approx(found.sum, rel=1e-4)
    long = rap_keras.explain(model, "the film was the unreal film", "input_t_gradient", target=1)
    assert "cut off after 6 tokens: 'film'" in repr(long)


@pytest.mark.slow
@pytest.mark.skipif(not KERAS_3, reason="keras_hub is for Keras 3")
def test_a_task_of_keras_hub_from_a_file_and_of_other_lengths(tmp_path):
    model = task()
    model.save(tmp_path / "task.keras")
    found = rap_keras.explain(tmp_path / "task.keras", "The film was unreal", "input_t_gradient", target=1)
    right = rap_keras.explain(model, "The film was unreal", "input_t_gradient", target=1)
    assert found.words == right.words
    masked = rap_keras.explain(model, "the film", "integrated_gradients", 1, baseline="mask")
    assert "baseline: mask, token 4 ([MASK])" in repr(masked)
    model.preprocessor.sequence_length = 16
    with pytest.raises(ValueError, match=r"makes 16 tokens, and the network has positions for 8") as refusal:
        rap_keras.explain(model, "the film", "gradient")
    exec(re.findall(r"model\.preprocessor.*", str(refusal.value))[0], {"model": model})
    assert rap_keras.explain(model, "the film", "gradient").relevances["token_ids"].shape == (8,)
    model.preprocessor.sequence_length = 6
    assert rap_keras.explain(model, "the film", "gradient").relevances["token_ids"].shape == (6,)
