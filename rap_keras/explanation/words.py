"""The words of a sentence, and the tokens that they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

PADDING = "padding"
_WORDPIECE, _BYTES, _SENTENCEPIECE = "##", "\u0120", "\u2581"


class Part(NamedTuple):
    """A word, or what is shown apart from the words, and the positions of its tokens."""

    text: str
    positions: tuple[int, ...]


class Word(NamedTuple):
    """A word, or what is shown apart from the words, and the sum of its tokens' relevance."""

    text: str
    relevance: float


class Sentence(NamedTuple):
    """A text as a network takes it.

    Attributes:
        text: what was given.
        input: the name of the network's input that takes the tokens.
        tokens: the tokens in the tokenizer's spelling, one for each position of that input.
        words: the words, in their order.
        apart: special tokens, and the padding as one part.
        baseline: what Integrated Gradients compare the tokens with, as text.
    """

    text: str
    input: str
    tokens: tuple[str, ...]
    words: tuple[Part, ...]
    apart: tuple[Part, ...]
    baseline: str


def summed(parts: Iterable[Part], relevance: np.ndarray) -> list[Word]:
    """The parts with the sums of the relevance at their positions, of (positions,)."""
    return [Word(part.text, float(relevance[list(part.positions)].sum(dtype=float))) for part in parts]


def marker_of(vocabulary: Iterable[str]) -> str:
    """How a vocabulary tells words from pieces of words, by the mark that most tokens begin with; "" for no mark.

    WordPiece marks pieces that continue a word by "##". SentencePiece marks pieces that begin a word by U+2581,
    and byte-level BPE by the letter U+0120.
    """
    marks = (_WORDPIECE, _BYTES, _SENTENCEPIECE)
    counts = Counter(mark for token in vocabulary for mark in marks if token.startswith(mark))
    return counts.most_common(1)[0][0] if counts else ""


def joined(tokens: Sequence[tuple[int, str]], marker: str) -> list[Part]:
    """Puts the pieces of words together.

    Args:
        tokens: the position and the spelling of each token of a word.
        marker: as `marker_of` gives it.
    """
    words: list[tuple[str, list[int]]] = []
    for position, token in tokens:
        begins = not token.startswith(marker) if marker == _WORDPIECE else token.startswith(marker)
        follows = bool(words) and words[-1][1][-1] == position - 1  # a special token between ends a word
        if begins or not follows:
            words.append((token, [position]))
        else:
            text, positions = words[-1]
            words[-1] = text + token.removeprefix(marker), [*positions, position]
    return [Part(_plain(text, marker) or text, tuple(positions)) for text, positions in words]


def as_written(parts: Sequence[Part], text: str, unknown: Iterable[str]) -> list[Part]:
    """The words as they stand in the text where they can be told there; `unknown` are spellings of unknown words.

    Tokenizers may change letters to lower case, leave out punctuation, and have one token for all unknown words.
    """
    written = [word for word in text.split() if _letters(word)]
    fits = len(written) == len(parts) and all(
        part.text in unknown or _letters(part.text) == _letters(word) for part, word in zip(parts, written)
    )
    return [Part(word, part.positions) for part, word in zip(parts, written)] if fits else list(parts)


def _letters(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()


def _plain(word: str, marker: str) -> str:
    """A word without the marks of its tokenizer."""
    if marker == _BYTES:
        known = _characters_of_bytes()
        if all(character in known for character in word):
            return bytes(known[character] for character in word).decode("utf-8", "replace").strip()
    return word.replace(marker, " ").strip() if marker == _SENTENCEPIECE else word


def _characters_of_bytes() -> dict[str, int]:
    """The byte that each character stands for in byte-level BPE: those that cannot be printed follow U+00FF.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, and its program.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}
