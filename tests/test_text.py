"""Texts: tokens become words, the decisive word is found, words are drawn, and what does not fit is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import host  # noqa: F401  switches eager execution off in the plugin, before any model is built
import numpy as np
import pytest
import tensorflow as tf
from commands import accepted, refused
from host import KERAS_3
from PIL import Image
from tensorflow import keras

import rap_keras
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.reading.flattening import predictor
from rap_keras.explanation.words import Part, as_written, joined, marker_of
from rap_keras.visualization import coloured_words
from rap_keras.visualization.coloured_words import Line
from rap_keras.visualization.colours import Style

layers = keras.layers
pytestmark = pytest.mark.usefixtures("as_built")
eager = pytest.mark.skipif(not tf.executing_eagerly(), reason="TextVectorization needs eager execution")

LENGTH = 10
FILLERS = "the a this that film book song meal we saw it at home with friends then left early quite late".split()
DECISIVE = (["dull", "stale", "awful", "weak"], ["bright", "superb", "moving", "witty"])
WORDS = ["", "[UNK]", *FILLERS, *DECISIVE[0], *DECISIVE[1]]
CLASSES = ["against", "for"]
METHODS = ["lrp.epsilon", "rap.contrastive", "integrated_gradients"]


class Words:
    """Whole words as tokens, 0 for padding and 1 for unknown words."""

    def __init__(self, words=WORDS, length=None):
        self.words, self.length = words, length

    def __call__(self, texts):
        rows = [[self.words.index(w) if w in self.words else 1 for w in text.lower().split()] for text in texts]
        return [(row + [0] * (self.length or 0))[: self.length] for row in rows]

    def get_vocabulary(self):
        return self.words

    def vocabulary_size(self):
        return len(self.words)


def sentences(count, seed):
    """Sentences of fillers with one decisive word each: the text, the class, and the place of the word."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        label = int(generator.integers(2))
        words = list(generator.choice(FILLERS, generator.integers(4, LENGTH)))
        place = int(generator.integers(len(words) + 1))
        words.insert(place, str(generator.choice(DECISIVE[label])))
        yield " ".join(words), label, place


def trained():
    """A classifier of such sentences, which no word is masked for."""
    x = keras.Input((LENGTH,), dtype="int32")
    rows = layers.Embedding(len(WORDS), 8, embeddings_initializer=keras.initializers.RandomUniform(seed=1))(x)
    kernel = keras.initializers.GlorotUniform(seed=2)
    h = layers.Conv1D(12, 2, padding="same", activation="relu", kernel_initializer=kernel)(rows)
    last = layers.Dense(2, "softmax", kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    model = keras.Model(x, last(layers.GlobalMaxPooling1D()(h)))
    texts, labels, _ = zip(*sentences(1000, seed=0))
    model.compile(keras.optimizers.legacy.Adam(0.01) if not KERAS_3 else keras.optimizers.Adam(0.01),
                  "sparse_categorical_crossentropy")  # fmt: skip
    tokens = np.array(Words(length=LENGTH)(texts))
    model.fit(tokens, np.array(labels), epochs=8, verbose=0, shuffle=False)
    return model


def small(rows=None):
    x = keras.Input((5,), dtype="int32", name="tokens")
    y = layers.GlobalAveragePooling1D()(layers.Embedding(rows or len(WORDS), 4)(x))
    return lively_weights(keras.Model(x, layers.Dense(2)(layers.Dense(6, "relu")(y))))


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


# --- refused ----------------------------------------------------------------------------------------------------


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


# --- drawn ------------------------------------------------------------------------------------------------------

LINE = Line("RAP, for", [("good", 2.0), ("<b>", -1.0), ("film", 0.0)], [("[CLS]", 0.5)])
SIGNS = ("negative", "positive")


def test_words_with_numbers():
    text = coloured_words.as_text([LINE], Style(), coloured=False)
    assert text == "RAP, for\n  good +2  <b> -1  film +0\n  apart: [CLS] +0.5"


def test_words_in_the_colours_of_a_terminal():
    text = coloured_words.as_text([LINE], Style(), coloured=True).splitlines()[1]
    colours = re.findall(r"\x1b\[48;5;(\d+);38;5;(\d+)m(.*?)\x1b\[0m", text)
    # 88 is dark red, 21 is blue, 231 is white; the letters are white (231) or black (16).
    assert colours == [("88", "231", "good"), ("21", "231", "<b>"), ("231", "16", "film")]
    hostile = coloured_words.as_text([Line("t", [("a\x1b[2J", 1.0)], [])], Style(), coloured=True)
    assert "\x1b[2J" not in hostile


def test_long_texts_are_wrapped():
    line = Line("t", [("word", 1.0)] * 60, [])
    for coloured in (False, True):
        plain = re.sub(r"\x1b\[[\d;]*m", "", coloured_words.as_text([line], Style(), coloured))
        assert max(map(len, plain.splitlines())) <= 100
        assert plain.count("word") == 60


def test_colours_only_in_a_terminal(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured_words.has_colours(Terminal())
    assert not coloured_words.has_colours(open(Path(__file__), encoding="utf-8"))  # noqa: SIM115
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured_words.has_colours(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured_words.has_colours(Terminal())


def test_html_is_escaped_and_has_the_colours():
    page = coloured_words.as_html([LINE._replace(title="<RAP>")], Style(), SIGNS)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;RAP&gt;" in page
    spans = re.findall(r'<span title="(\S+)" style="background:rgba\((.*?)\);color:inherit', page)
    assert spans == [
        ("+2", "255,40,40,0.60"), ("-1", "70,110,255,0.30"), ("+0", "70,110,255,0.00"), ("+0.5", "255,40,40,0.15"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="colormap is 'viridis', and HTML has red and blue only"):
        coloured_words.as_html([LINE], Style(colormap="viridis"), SIGNS)


@pytest.mark.parametrize("page", [(255, 255, 255), (17, 17, 17)], ids=["light", "dark"])
@pytest.mark.parametrize("colour", [coloured_words._POSITIVE, coloured_words._NEGATIVE])
def test_text_is_readable_on_light_and_dark_pages(page, colour):
    """A contrast of 4.5 at least, as WCAG 2.1 asks for, of black or white letters on the strongest colour."""

    def luminance(rgb):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return np.dot(parts, [0.2126, 0.7152, 0.0722])

    part = coloured_words._OPACITY
    behind = part * np.array(list(map(int, colour.split(",")))) + (1 - part) * np.array(page)
    letters = (0, 0, 0) if page[0] > 128 else (255, 255, 255)
    high, low = sorted([luminance(behind), luminance(letters)], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_figure_of_words():
    figure = coloured_words.figure([LINE, LINE], Style(), SIGNS)
    shown = {text.get_text(): text.get_bbox_patch() for text in figure.texts}
    assert shown["good"].get_facecolor()[:3] == pytest.approx((128 / 255, 0, 0), abs=0.01)
    assert shown["<b>"].get_facecolor()[:3] == pytest.approx((0, 0, 1), abs=0.01)
    assert [text.get_text() for text in figure.texts].count("good") == 2
    narrow = coloured_words.figure([Line("a title " * 9, [("word", 1.0)] * 30, [])], Style(width=3.3), SIGNS)
    assert narrow.get_figwidth() == pytest.approx(3.3)
    right = [text.get_window_extent().x1 for text in narrow.texts]
    assert max(right) <= 3.3 * narrow.dpi
    with pytest.raises(ValueError, match="width is 1 inches, and the meaning of the colours needs"):
        coloured_words.figure([LINE], Style(width=1), SIGNS)


def test_explanations_of_texts_are_shown(tmp_path, capsys):
    found = rap_keras.explain(
        small(), ["the <b> film", "we saw"], ["rap", "rap.contrastive"], 1, against=None, preprocessing=Words()
    )
    assert len(found) == 4
    print(found)
    found.show()
    once, twice = capsys.readouterr().out, str(found)
    assert once == f"{twice}\n" * 2
    assert twice.startswith("text 1: RAP of 'class 1': logit ")
    assert "text 2: Contrastive RAP of 'class 1'" in twice
    assert "&lt;b&gt;" in found._repr_html_()
    assert "<img" not in found._repr_html_()
    for name in ("words.html", "words.pdf", "words.png"):
        found.save(tmp_path / name)
    page = (tmp_path / "words.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert '"light dark"' in page
    assert "&lt;b&gt;" in page
    assert (tmp_path / "words.pdf").read_bytes().startswith(b"%PDF")
    assert Image.open(tmp_path / "words.png").size[0] == 1800
    with pytest.raises(ValueError, match="overlay is for images"):
        found.save(tmp_path / "x.png", overlay=0.5)
    one = rap_keras.explain(small(), "the film", "rap.contrastive", 1, against=0, preprocessing=Words())
    assert "'class 1' against 'class 0'" in str(one)
    assert isinstance(rap_keras.explain(small(), ["the film"], preprocessing=Words()), rap_keras.Explanations)


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small().save("model.keras" if KERAS_3 else "model.h5")
    (tmp_path / "my_words.py").write_text(f"WORDS = {WORDS!r}\n\n\ndef tokens(texts):\n"
        "    return [[WORDS.index(word) if word in WORDS else 1 for word in text.split()] for text in texts]\n"
    )  # fmt: skip
    yield "model.keras" if KERAS_3 else "model.h5"
    sys.modules.pop("my_words", None)


def test_the_command(in_folder, tmp_path):
    own = ["--model", in_folder, "--preprocessing", "my_words:tokens"]
    said = accepted(
        "explain", "--text", "the film", "--text", "we saw it", *own, "--method", "rap,integrated_gradients",
        "--baseline", "3", "--target", 1,
    )  # fmt: skip
    assert "RAP of 'class 1'" in said
    assert "baseline: token 3" in said
    assert "2 explained; files in" in said
    folder = tmp_path / "rap-keras-output"
    assert {path.name for path in folder.iterdir()} == {f"text{n}.{e}" for n in ("", "-2") for e in ("png", "npz")}
    arrays = np.load(folder / "text.npz")
    right = rap_keras.explain(in_folder, "the film", "rap", 1, preprocessing=Words())
    np.testing.assert_allclose(arrays["rap"], right.relevance, rtol=1e-5)
    assert arrays["tokens"].shape == (5,)


def test_refusals_of_the_command(in_folder, tmp_path):
    own = ["--model", in_folder, "--preprocessing", "my_words:tokens"]
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    assert "--baseline is for --text" in refused("explain", "photo.png", "--model", "vgg16", "--baseline", "mask")
    assert "with --model, and no IMAGE" in refused("explain", "photo.png", *own, "--text", "the film")
    assert "with --model, and no IMAGE" in refused("explain", "--text", "the film")
    assert "--layers is not for --text" in refused("explain", *own, "--text", "the film", "--layers", "*")
    assert "the text is empty" in refused("explain", *own, "--text", "")
    assert "takes token numbers: give what made" in refused("explain", "--model", in_folder, "--text", "the film")
    assert "takes no text" in refused("explain", "--model", "shapes-vgg", "--text", "the film")
    said = refused("explain", "--model", "shapes-vgg", "--text", "film")
    assert "networks that take tokens, and shapes-vgg takes none: give an IMAGE" in said
