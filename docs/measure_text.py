"""Measures the time and the memory that a text of 512 tokens takes on a BERT of 12 layers, for docs/guide/text.md.

    python docs/measure_text.py METHOD

Needs keras_hub. The network has BERT's usual size, 768 channels and 12 heads, and random weights. Memory is the
largest that the process ever had, so each method needs a process of its own.
"""

from __future__ import annotations

import resource
import sys
import time

import keras_hub
import numpy as np

import rap_keras

LENGTH, SPECIAL = 512, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def memory() -> float:
    """The most memory that this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(method: str) -> None:
    """Prints the seconds of the first two calls, and the memory before and after."""
    words = [f"w{number}" for number in range(1000)]
    tokenizer = keras_hub.models.BertTokenizer([*SPECIAL, *words])
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(words) + len(SPECIAL), num_layers=12, num_heads=12, hidden_dim=768,
        intermediate_dim=3072, max_sequence_length=LENGTH,
    )  # fmt: skip
    own = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=LENGTH)
    model = keras_hub.models.BertTextClassifier(backbone, num_classes=2, preprocessor=own)
    text = " ".join(np.random.default_rng(0).choice(words, LENGTH - 2))
    model.predict([text], verbose=0)
    told, steps = [f"predicted: {memory():.1f} GiB"], 16 if method == "integrated_gradients" else None
    for call in ("first", "second"):
        start = time.perf_counter()
        rap_keras.explain(model, text, method, steps=steps)
        told.append(f"{call} call: {time.perf_counter() - start:.1f} s")
    print(method, *told, f"explained: {memory():.1f} GiB", sep=", ")


if __name__ == "__main__":
    main(*sys.argv[1:])
