"""What `rap-keras explain` prints and writes about a photo or another sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.basics import whole_file

if TYPE_CHECKING:
    import numpy as np

    from rap_keras.explanation.answers import Explanation, Explanations


class Look(NamedTuple):
    """How figures are written: `format` is their suffix, and `options` are those of `Explanation.save`."""

    format: str
    dpi: int
    options: dict[str, Any]


def lines(answers: Explanations) -> Iterator[str]:
    """What is printed of a sample: a line for each class and method."""
    for answer in answers:
        label = answer.label if answer.against is None else f"{answer.label} against {answer.against}"
        places = f"{answer.of_places()}  " if answer.of_places() else ""
        logit = f"sum of {answer.quantity}s" if places else answer.quantity
        probability = "" if answer.probability is None else f"probability {answer.probability:.4g}  "
        score = f"score {answer.own_score()}  " if answer.own_score() else ""
        yield (
            f"{answer.sample.name}  {answer.method}  {label}  {places}{probability}{logit} {answer.logit:.6g}  "
            f"{score}sum {answer.sum:.6g}  {answer.milliseconds:.0f} ms"
        )


def write(
    answers: Explanations, layers: Mapping[int, Mapping[str, Any]], output: Path, name: str, look: Look
) -> None:
    """Writes what was found out about a sample into the folder `output`.

    That is one figure, with a row for each target; and for each target the numbers, and a strip of its layers if
    there are any. `layers` has the relevance layer by layer for each target, as `analyze_layers` gives it.
    The names of the files begin with `name`.
    """
    from rap_keras import visualization
    from rap_keras.explanation.answers import by_target

    answers.save(output / f"{name}.{look.format}", look.dpi, **look.options)
    rows = by_target(answers)
    for row in rows:
        own = name if len(rows) == 1 else f"{name}-{row[0].target}"
        _write_numbers(row, output / f"{own}.npz")
        shown = layers.get(row[0].target)
        if shown:
            negative, scale = row[0].logit < 0, look.options["scale"]
            strip = visualization.layer_strip(_without_batch(shown), row[0].sample.photo, negative, scale)
            visualization.save(strip, output / f"{own}-layers.{look.format}", look.dpi)


def _write_numbers(row: Sequence[Explanation], file: Path) -> None:
    """Writes the relevance of one class by every method."""
    import numpy as np

    first = row[0]
    several, photo = len(first.sample.inputs) > 1, first.sample.photo
    arrays: dict[str, Any] = {
        f"{answer.method}/{name}" if several else answer.method: relevance
        for answer in row
        for name, relevance in answer.relevances.items()
    }
    if photo is not None:
        arrays["input_size"] = np.array(photo.shape[:2])
    arrays |= {
        "target": np.array(first.target),
        "logit": np.array(first.logit),
        "methods": np.array([answer.method for answer in row]),
    }
    if first.sample.sentence is not None:
        arrays["tokens"] = np.array(first.sample.sentence.tokens)
    if first.places is not None:
        arrays["region"] = first.places
    if first.probability is not None:
        arrays["probability"] = np.array(first.probability)
    whole_file.write_npz(file, arrays, compressed=True)


def _without_batch(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The relevance of layers without its batch axis; it is a list for layers with several inputs."""
    return {
        layer: [_shown(part[0]) for part in value] if isinstance(value, list) else _shown(value[0])
        for layer, value in layers.items()
    }


def _shown(relevance: np.ndarray) -> np.ndarray:
    """Relevance of a kind that figures can show: nothing where it is not finite, 1 or 3 axes."""
    import numpy as np

    values = relevance if np.isfinite(relevance).all() else np.zeros_like(relevance)
    return values if values.ndim in (1, 3) else values.ravel()


def free_name(stem: str, taken: set[str]) -> str:
    """The stem, or stem-2, stem-3 and so on where its files are taken; they are added to `taken`.

    On some systems file names must differ by more than upper and lower case.
    """
    name, number = stem, 1
    while taken & (files := {name.casefold(), f"{name}-layers".casefold()}):
        number += 1
        name = f"{stem}-{number}"
    taken |= files
    return name
