"""A text as a network takes it: its tokens, the words that they are pieces of, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow import keras

from rap_keras.basics.wording import counted, listed
from rap_keras.engine import keras_graph
from rap_keras.explanation import tokenizers
from rap_keras.explanation.photos_and_arrays import Sample, arrays_of
from rap_keras.explanation.tokenizers import UNKNOWN, Tokenizer
from rap_keras.explanation.words import PADDING, Part, Sentence, as_written, joined
from rap_keras.hosts.native.integrated_gradients import SAMPLE
from rap_keras.models.outputs import loss_of, remember_loss

OF_TOKENS = ("token_ids", "input_ids", "tokens")
"""Names of inputs that take tokens, where a network has several inputs."""

_OF_PADDING = ("padding_mask", "attention_mask")
_MOST_SHOWN = 40  # characters of a text in messages


@dataclass(frozen=True)
class Reader:
    """A network that takes tokens, and what makes them of a text.

    `input` is the name of its input that takes the tokens, and `rows` the number of tokens that it knows, or None
    where no embedding looks them up.
    """

    model: keras.Model
    tokenizer: Tokenizer
    input: str
    rows: int | None

    def sample(self, text: str, name: str, baseline: str | int | None) -> Sample:
        """A text as the network takes it.

        Raises:
            ValueError: it has no words, or the tokenizer does not fit the network.
        """
        if not text.strip():
            raise ValueError("the text is empty: give a text that has words")
        made, cut = self._made(text)
        arrays, _ = arrays_of(made if len(self.model.inputs) > 1 else made[self.input], self.model)
        ids = arrays[self.input][0].astype(int)
        self._require_known(ids)
        self._require_short(len(ids))
        sentence, notes = self._sentence(text, ids, arrays, cut, baseline)
        return Sample(name, "text", arrays, None, "", None, "; ".join(notes), sentence)

    def of_shape(self, sample: Sample) -> keras.Model:
        """The model, or one around it where its inputs have axes of unknown length, with those of the sample."""
        if all(None not in tuple(x.shape)[1:] for x in self.model.inputs):
            return self.model
        names = keras_graph.input_names(self.model)
        inputs = [
            keras.Input(sample.inputs[name].shape[1:], dtype=keras_graph.dtype(x).name, name=name)
            for name, x in zip(names, self.model.inputs)
        ]
        output = keras_graph.called_with(self.model, inputs)
        return remember_loss(keras.Model(inputs, output, name=self.model.name), loss_of(self.model, 0))

    def references(self, baseline: str | int | None) -> list[Any]:
        """What Integrated Gradients begin with: the baseline's token, and all other inputs as they are."""
        token = self.baseline(baseline)
        return [token if name == self.input else SAMPLE for name in keras_graph.input_names(self.model)]

    def baseline(self, given: str | int | None) -> int:
        """The number of the baseline's token; raises ValueError if there is none."""
        if given in (None, "padding"):
            return self.tokenizer.padding
        if given == "mask":
            if self.tokenizer.mask is None:
                raise ValueError("the tokenizer has no mask token: give the number of a token as the baseline")
            return self.tokenizer.mask
        if isinstance(given, (bool, np.bool_)) or not isinstance(given, (int, np.integer)):
            raise ValueError(f"{given!r} as the baseline: give 'padding', 'mask' or the number of a token")
        if not 0 <= given < (self.rows or self.tokenizer.size or given + 1):
            raise ValueError(f"token {given} as the baseline: the network has tokens 0 to {(self.rows or 1) - 1}")
        return int(given)

    def _made(self, text: str) -> tuple[dict[str, Any], list[int]]:
        """Arrays with a batch of one by the names of the inputs, and the tokens that were cut off."""
        made, names = self.tokenizer.encode(text), keras_graph.input_names(self.model)
        if isinstance(made, Mapping) or hasattr(made, "keys"):
            found = {name: made[name] for name in names if name in made}
            if not found and len(names) == 1:
                found = next(({names[0]: made[key]} for key in OF_TOKENS if key in made), {})
            if set(found) != set(names):
                raise ValueError(
                    f"the preprocessing makes {listed(map(repr, made.keys()))} of a text, and the network takes "
                    f"{listed(map(repr, names))}: name the inputs alike, or give a function that makes these"
                )
            return {name: tokenizers.first_row(one)[np.newaxis] for name, one in found.items()}, []
        ids = tokenizers.first_row(made)
        length = dict(zip(names, self.model.inputs))[self.input].shape[1]
        cut = [] if length is None else ids[length:].tolist()
        kept = ids[: len(ids) - len(cut)]
        padded = np.pad(kept, (0, max(0, (length or 0) - len(kept))), constant_values=self.tokenizer.padding)
        return {self.input: padded[np.newaxis]}, cut

    def _require_known(self, ids: np.ndarray) -> None:
        """Raises ValueError if the embedding has fewer rows than the tokenizer has tokens."""
        rows, size = self.rows, self.tokenizer.size
        if rows is None:
            return
        fit = "give the tokenizer that the network was trained with"
        if not 0 <= ids.min(initial=0) <= ids.max(initial=0) < rows:
            wrong = int(next(number for number in ids if not 0 <= number < rows))
            raise ValueError(
                f"the tokenizer makes token {wrong}{self._called(wrong)}, and the network's embedding has rows 0 "
                f"to {rows - 1}: {fit}"
            )
        if size is not None and size > rows:
            raise ValueError(
                f"the tokenizer has {size} tokens, and the network's embedding {counted(rows, 'row')}: {fit}"
            )

    def _require_short(self, length: int) -> None:
        """Raises ValueError if a layer has positions for fewer tokens."""
        layers = [layer for layer in self.model._flatten_layers() if type(layer).__name__ == "PositionEmbedding"]
        longest = min((int(layer.sequence_length) for layer in layers), default=length)
        if length > longest:
            raise ValueError(
                f"the tokenizer makes {length} tokens, and the network has positions for {longest}: let the "
                f"tokenizer cut texts, for tasks of keras_hub by model.preprocessor.sequence_length = {longest}"
            )

    def _sentence(
        self,
        text: str,
        ids: np.ndarray,
        arrays: dict[str, np.ndarray],
        cut: list[int],
        baseline: str | int | None,
    ) -> tuple[Sentence, list[str]]:
        """The words of a text, and what is told of it."""
        mask = next((arrays[name][0] > 0 for name in _OF_PADDING if name in arrays), ids != self.tokenizer.padding)
        special = [number in self.tokenizer.special for number in ids.tolist()]
        content = [n for n in range(len(ids)) if mask[n] and not special[n]]
        if not content:
            raise ValueError(f"the tokenizer finds no word in {shortened(text)!r}: give a text that has words")
        spelled = self._spelled(text, ids, content, cut)
        if not cut and self.tokenizer.whole is not None:
            whole = [number for number in self.tokenizer.whole(text) if number not in self.tokenizer.special]
            cut = whole[len(content) :]
        behind = [(len(ids) + n, self._name(number)) for n, number in enumerate(cut)]
        marker, kept = self.tokenizer.marker, [(n, spelled[n]) for n in content]
        parts = as_written([*joined(kept, marker), *joined(behind, marker)], text, UNKNOWN)
        rest = " ".join(part.text for part in parts if part.positions[0] >= len(ids))
        parts = [part for part in parts if part.positions[0] < len(ids)]
        padding = tuple(n for n in range(len(ids)) if not mask[n])
        apart = [Part(spelled[n], (n,)) for n in range(len(ids)) if mask[n] and special[n]]
        apart += [Part(f"{PADDING} ({counted(len(padding), 'token')})", padding)] * bool(padding)
        notes = []
        if cut:
            notes.append(f"cut off after {counted(len(content), 'token')}: {shortened(rest)!r}")
        unknown = sum(spelled[n] in UNKNOWN for n in content)
        if unknown:
            notes.append(f"{unknown} of {counted(len(content), 'token')} unknown to the tokenizer")
        token = self.baseline(baseline)
        word = PADDING if baseline is None else baseline if isinstance(baseline, str) else ""
        told = f"baseline: {word}{', ' * bool(word)}token {token}{self._called(token)}"
        return Sentence(text, self.input, tuple(spelled), tuple(parts), tuple(apart), told), notes

    def _spelled(self, text: str, ids: np.ndarray, content: list[int], cut: list[int]) -> list[str]:
        """The spelling of each token; those of an unknown tokenizer are the text's words, if as many."""
        words = text.split()
        if self.tokenizer.spelled is None and len(words) == len(content) + len(cut):
            own = dict(zip(content, words))
            return [own.get(n, self._name(number)) for n, number in enumerate(ids.tolist())]
        return [self._name(number) for number in ids.tolist()]

    def _name(self, number: int) -> str:
        return f"#{number}" if self.tokenizer.spelled is None else self.tokenizer.spelled(number)

    def _called(self, number: int) -> str:
        """The spelling of a token in brackets, if it has one."""
        size = self.tokenizer.size
        has_name = self.tokenizer.spelled is not None and (size is None or number < size)
        name = self._name(number) if has_name else ""
        return f" ({name})" if name else ""


def shortened(text: str) -> str:
    """A text, or its beginning, for a message."""
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 4] + " ..."
