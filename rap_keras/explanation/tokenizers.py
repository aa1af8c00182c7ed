"""What makes tokens of a text: a task of keras_hub, a layer TextVectorization, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.execution import compiled
from rap_keras.explanation.words import marker_of

UNKNOWN = ("[UNK]", "<unk>")
_LENGTH = "_output_sequence_length"  # of TextVectorization, in Keras 2 and 3


@dataclass(frozen=True)
class Tokenizer:
    """What makes tokens of a text, and what is known of its vocabulary.

    Attributes:
        encode: From a text to what the network takes: token numbers, or a dict by the names of the inputs.
        whole: From a text to all of its token numbers, without those that only `encode` adds; None if `encode`
            cuts nothing off.
        spelled: The spelling of a token by its number; None where it is not known.
        special: The numbers of tokens that stand for no word.
        padding: The number of the padding token.
        mask: That of the mask token, or None.
        size: The number of tokens in the vocabulary, or None.
        marker: As `words.marker_of` has it.
    """

    encode: Callable[[str], Any]
    whole: Callable[[str], list[int]] | None
    spelled: Callable[[int], str] | None
    special: frozenset[int] = frozenset()
    padding: int = 0
    mask: int | None = None
    size: int | None = None
    marker: str = ""


def of_given(preprocessing: Any) -> Tokenizer:
    """A tokenizer from what is given as preprocessing.

    That is a layer TextVectorization, a tokenizer or preprocessor of keras_hub, or any function from a list of
    texts to token numbers, or to a dict of them by the names of the inputs.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(preprocessing, keras.layers.TextVectorization):
        return of_layer(preprocessing)
    if not callable(preprocessing):
        raise ValueError(
            f"{preprocessing!r} as the preprocessing of text: give a tokenizer, a preprocessor of keras_hub, a "
            "TextVectorization layer, or a function from a list of texts to token numbers, (N, length)"
        )
    own = getattr(preprocessing, "tokenizer", None)
    tokenizer = preprocessing if own is None else own
    spelled, names = _spelling(tokenizer)
    specials = getattr(tokenizer, "all_special_ids", None) or getattr(tokenizer, "special_token_ids", None) or ()
    unknown = () if spelled is None else [number for number in specials if spelled(int(number)) in UNKNOWN]
    return Tokenizer(
        encode=lambda text: preprocessing([text]),
        whole=None if own is None else lambda text: first_row(own([text])).tolist(),
        spelled=spelled,
        special=frozenset(int(number) for number in specials) - frozenset(map(int, unknown)),
        padding=_number(tokenizer, "pad_token_id") or 0,
        mask=_number(tokenizer, "mask_token_id"),
        size=_size(tokenizer),
        marker=marker_of(names),
    )


def of_layer(layer: Any) -> Tokenizer:
    """A tokenizer from a layer TextVectorization.

    Raises:
        ValueError: it gives no token numbers; or eager execution is off, and its vocabulary cannot be read.
    """
    if layer.get_config()["output_mode"] != "int":
        raise ValueError(
            f"layer '{layer.name}' makes a vector of each text, with one number for each word of its vocabulary: "
            f"explain the layers behind it, keras.Model(layer.output, model.output), and give that layer's output "
            "as the sample"
        )
    if not tf.executing_eagerly():
        raise ValueError(
            f"layer '{layer.name}' (TextVectorization) needs eager execution, which is off: give a model that "
            "takes token numbers, and as preprocessing a function from a list of texts to token numbers"
        )
    names = [str(name) for name in layer.get_vocabulary()]
    shared = keras_graph.twin(layer, **{_LENGTH: None})

    def encoded(function: Any) -> Callable[[str], Any]:
        run = compiled(function, [tf.TensorSpec((None,), tf.string)])
        return lambda text: run([np.array([text], object)])

    whole = encoded(shared.call)
    return Tokenizer(
        encode=encoded(layer.call),
        whole=lambda text: first_row(whole(text)).tolist(),
        spelled=lambda number: names[number],
        size=len(names),
        mask=names.index("[MASK]") if "[MASK]" in names else None,
    )


def first_row(made: Any) -> np.ndarray:
    """The numbers of the first text: from a tensor, a RaggedTensor, an array or lists, with or without a batch.

    Raises:
        ValueError: they are no whole numbers in one row.
    """
    rows = made.to_list() if hasattr(made, "to_list") else made
    row = rows[0] if len(rows) and np.ndim(rows[0]) else rows
    found = np.asarray(row)
    if found.ndim != 1 or not (found.dtype.kind in "biu" or np.array_equal(found, np.round(found))):
        raise ValueError(
            f"the preprocessing makes {found.dtype} of shape {found.shape} of a text, and the network takes the "
            "numbers of tokens: give a function from a list of texts to whole numbers, (N, length)"
        )
    return found


def _spelling(tokenizer: Any) -> tuple[Callable[[int], str] | None, Iterable[str]]:
    """How a tokenizer spells its tokens, and all spellings if they can be told."""
    by_name = getattr(tokenizer, "get_vocabulary", None) or getattr(tokenizer, "get_vocab", None)
    vocabulary = by_name() if callable(by_name) else ()
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in vocabulary]
    by_number = getattr(tokenizer, "id_to_token", None) or getattr(tokenizer, "convert_ids_to_tokens", None)
    if callable(by_number):
        return lambda number: str(by_number(number)), names
    return (names.__getitem__ if names and not isinstance(vocabulary, dict) else None), names


def _number(tokenizer: Any, name: str) -> int | None:
    found = getattr(tokenizer, name, None)
    return found if found is None else int(found)


def _size(tokenizer: Any) -> int | None:
    size = getattr(tokenizer, "vocabulary_size", None)
    return int(size()) if callable(size) else None
