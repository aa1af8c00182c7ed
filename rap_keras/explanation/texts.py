"""Texts for networks that take tokens: who takes them, what is refused, and the answers about each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tensorflow import keras

from rap_keras.basics.wording import listed
from rap_keras.datasets.array_files import is_array_file
from rap_keras.datasets.images import find_function
from rap_keras.engine import keras_graph
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.way_back.real_inputs import real_inputs
from rap_keras.explanation import tokenizers
from rap_keras.explanation.token_reader import OF_TOKENS, Reader, shortened
from rap_keras.models.outputs import loss_of, remember_loss

if TYPE_CHECKING:
    from rap_keras.explanation.answers import Explanations
    from rap_keras.explanation.explainer import Asked, Explainer


def of_sample(loaded: keras.Model, model: keras.Model, given: Any) -> list[str] | None:
    """The texts, if a text or a list of texts is given for a network that takes texts; None for other samples.

    Args:
        loaded: the model as it was given, which may be a task of keras_hub with a preprocessor.
        model: the same with the output that is explained.
        given: the sample.

    Raises:
        ValueError: a text is given to a network that takes none, or a photo or a file to one that takes text.
    """
    found, is_photo = _texts(given), hasattr(given, "getbands")  # an image of Pillow
    if found is None and not (is_photo or (isinstance(given, Path) and not is_array_file(given))):
        return None
    if not _takes_texts(loaded, model):
        if found and all(" " in text.strip() and not Path(text).suffix for text in found):
            takes = listed(str(tuple(x.shape)) for x in model.inputs)
            instead = "the path of a photo" if len(model.inputs[0].shape) == 4 else "an array"
            raise ValueError(
                f"the text {shortened(found[0])!r} is given, and the network takes no text but {takes}: give "
                f"{instead}"
            )
        return None
    is_file = found is None or (len(found) == 1 and len(found[0]) < 256 and Path(found[0]).is_file())
    if is_photo or is_file:
        what = "a photo is given" if is_photo else f"{given} is a file"
        raise ValueError(
            f"{what}, and the network takes text: give the text itself, such as pathlib.Path('review.txt')"
            ".read_text()"
        )
    return found


def _texts(given: Any) -> list[str] | None:
    is_array = isinstance(given, np.ndarray) and given.dtype.kind in "USO"
    found = given.ravel().tolist() if is_array else [given] if isinstance(given, (str, bytes)) else given
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(t, (str, bytes)) for t in found):
        return None
    texts = [text.decode() if isinstance(text, bytes) else text for text in found]
    return None if len(texts) == 1 and is_array_file(Path(texts[0])) else texts


def are_several(given: Any) -> bool:
    """Whether a list of texts is given, which has an answer for each, also if it has one text."""
    return isinstance(given, (list, tuple)) and _texts(given) is not None


def _takes_texts(loaded: keras.Model, model: keras.Model) -> bool:
    """Whether a network's samples are texts, or the tokens of texts."""
    if getattr(getattr(loaded, "preprocessor", None), "tokenizer", None) is not None:
        return True
    if any(keras_graph.dtype(x).name == "string" for x in model.inputs):
        return True
    if any(len(x.shape) > 2 for x in model.inputs):
        return False
    is_integer = all(keras_graph.dtype(x).is_integer for x in model.inputs)
    return is_integer or any(call.looks_up for call in flatten(model).calls)


def reader(loaded: keras.Model, model: keras.Model, preprocessing: Any) -> Reader:
    """A network that takes texts or tokens, with its own tokenizer or the one that is given.

    Args:
        loaded: the model as it was given, which may be a task of keras_hub with a preprocessor.
        model: the same with the output that is explained.
        preprocessing: what was given, None for the model's own.

    Raises:
        NotAnalyzeableModelException: what is in front of an embedding cannot be followed.
        ValueError: there is no tokenizer, or it cannot be used.
    """
    own = getattr(loaded, "preprocessor", None)
    texts = [x for x in model.inputs if keras_graph.dtype(x).name == "string"]
    if texts:
        layer, tokens = _vectorized(model)
        if preprocessing is not None:
            raise ValueError(f"layer '{layer.name}' makes tokens of the text itself: leave preprocessing out")
        tokenizer = tokenizers.of_layer(layer)
        behind = keras.Model(tokens, model.outputs[0], name=model.name)
        model = remember_loss(behind, loss_of(model, 0))
    else:
        if preprocessing is None and getattr(own, "tokenizer", None) is None:
            raise ValueError(
                "text is given, and the network takes token numbers: give what made them in training as "
                "preprocessing, a tokenizer, a TextVectorization layer, or a function from a list of texts to "
                "token numbers"
            )
        named = isinstance(preprocessing, str) and ":" in preprocessing
        given = find_function(preprocessing) if named else preprocessing
        tokenizer = tokenizers.of_given(own if given is None else given)
    return Reader(model, tokenizer, *_input_of_tokens(model))


def answers(
    reader: Reader,
    asked: Asked,
    texts: Sequence[str],
    baseline: str | int | None,
    explainer_of: Callable[..., Explainer],
) -> Iterator[Explanations]:
    """What every method answers about each text.

    Args:
        reader: of the network.
        asked: what is asked of it.
        texts: the texts.
        baseline: as `explain` takes it.
        explainer_of: makes what answers what is asked; it gets a function that makes the `network`, and in
            `made_of` what the network depends on besides the model.

    Yields:
        The answers about one text after the other.

    Raises:
        ValueError: as `Reader.sample`, or an option does not fit.
    """
    if baseline is not None and "integrated_gradients" not in asked.methods:
        raise ValueError(
            f"baseline is that of integrated_gradients, and {', '.join(asked.methods)} has none: leave baseline "
            "out, or give integrated_gradients as a method"
        )
    with asked.spelling.blaming("baseline"):
        asked = asked._replace(references=reader.references(baseline))
    before, explainer = None, None
    for number, text in enumerate(texts):
        name = "the text" if len(texts) == 1 else f"text {number + 1}"
        sample = reader.sample(text, name, baseline)
        shapes = [array.shape for array in sample.inputs.values()]
        if explainer is None or shapes != before:
            of_shape = partial(reader.of_shape, sample)
            before, explainer = shapes, explainer_of(asked, network=of_shape, made_of=shapes)
        with warnings.catch_warnings():
            # Padding masks and the like, which are no part of the text.
            others = "|".join(re.escape(name) for name in sample.inputs if name != reader.input)
            warnings.filterwarnings("ignore", message=f"input '({others})' has no gradient")
            found = explainer.answers(sample)
        yield found


def _vectorized(model: keras.Model) -> tuple[Any, Any]:
    """The layer TextVectorization that takes a model's input, and the symbolic tensor that it gives."""
    found = [
        node for node in keras_graph.nodes(model) or [] if isinstance(node.layer, keras.layers.TextVectorization)
    ]
    if len(model.inputs) != 1 or len(found) != 1:
        raise ValueError(
            f"the model takes texts at {listed(map(repr, keras_graph.input_names(model)))}, and text is explained "
            "for one input that a layer TextVectorization of the model itself makes tokens of: explain what comes "
            "behind the layers that look texts up, keras.Model(layer.output, model.output), and give their output"
        )
    return found[0].layer, found[0].outputs[0]


def _input_of_tokens(model: keras.Model) -> tuple[str, int | None]:
    """The name of the input that takes tokens, and how many the embedding knows."""
    network, names = flatten(model), keras_graph.input_names(model)
    numbers = dict(zip(network.inputs, names))
    found: dict[str, int] = {}
    real = real_inputs(network)
    for call in real.lookups:
        origins = [o for number, o in zip(real.numbers, real.origins) if number in call.outputs]
        for name in {numbers[number] for origin in origins for number in origin}:
            found[name] = min(int(call.layer.input_dim), found.get(name, int(call.layer.input_dim)))
    named = [name for name in names if name in OF_TOKENS]
    if named or not found:
        return (named or names)[0], found.get((named or names)[0])
    name = max(found, key=found.__getitem__)
    return name, found[name]
