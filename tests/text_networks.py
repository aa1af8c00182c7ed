"""Small networks of tokens, their words, and sentences whose decisive word is known."""

from __future__ import annotations

import host  # noqa: F401  switches eager execution off in the plugin, before any model is built
import numpy as np
from host import KERAS_3
from tensorflow import keras

from rap_keras.engine.checks.conservation import lively_weights

layers = keras.layers

LENGTH = 10
FILLERS = "the a this that film book song meal we saw it at home with friends then left early quite late".split()
DECISIVE = (["dull", "stale", "awful", "weak"], ["bright", "superb", "moving", "witty"])
WORDS = ["", "[UNK]", *FILLERS, *DECISIVE[0], *DECISIVE[1]]
CLASSES = ["against", "for"]


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
