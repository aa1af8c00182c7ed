"""What `rap-keras explain` prints and writes of a photo or another sample."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.cli.given import Sample

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


class Explained(NamedTuple):
    """What was found out about one sample.

    `label` is the name of the class explained, `against` that of the class which it is compared with, if any. Of a
    map `places` is where the class was explained, boolean, in the shape of the map's places, and `logit` the sum
    of its logits there; else `places` is None.
    `probability` is None where the network makes none of its logits; `relevances` has for each method the
    relevance at each input by its name, in the shape of the input, `milliseconds` how long it took; `layers` is
    what `RAP.analyze_layers` gave, empty if it was not asked for.
    """

    sample: Sample
    target: int
    label: str
    against: str | None
    logit: float
    places: np.ndarray | None
    probability: float | None
    relevances: dict[str, dict[str, np.ndarray]]
    milliseconds: dict[str, float]
    layers: dict[str, Any]

    def of_places(self) -> str:
        """How many places of a map it is about; nothing for other networks."""
        return "" if self.places is None else f"{self.places.sum()} of {self.places.size} places"

    def not_finite(self) -> list[str]:
        """The methods whose relevance has NaN or infinite values."""
        import numpy as np

        return [
            method
            for method, inputs in self.relevances.items()
            if not all(np.isfinite(values).all() for values in inputs.values())
        ]

    def empty(self) -> list[str]:
        """The methods whose relevance is zero everywhere."""
        return [
            method
            for method, inputs in self.relevances.items()
            if not any(values.any() for values in inputs.values())
        ]


def lines(explained: Explained) -> Iterator[str]:
    """What is printed of a sample: a line per method."""
    label = explained.label if explained.against is None else f"{explained.label} against {explained.against}"
    places = f"{explained.of_places()}  " if explained.of_places() else ""
    logit = "sum of logits" if places else "logit"
    probability = "" if explained.probability is None else f"probability {explained.probability:.4g}  "
    for method, inputs in explained.relevances.items():
        total = sum(relevance.sum(dtype=float) for relevance in inputs.values())
        yield (
            f"{explained.sample.name}  {method}  {label}  {places}{probability}{logit} {explained.logit:.6g}  "
            f"sum {total:.6g}  {explained.milliseconds[method]:.0f} ms"
        )


def write(answers: list[Explained], output: Path, name: str) -> None:
    """Writes what was found out about a sample into the folder `output`.

    That is one picture, with a row for each target (of several inputs, one for each of these); and for each target
    the numbers and, if they were asked for, the layers.
    """
    photo = answers[0].sample.photo
    figure = _array_picture(answers) if photo is None else _image_picture(answers, photo)
    figure.savefig(output / f"{name}.png")
    for answer in answers:
        _write_numbers(answer, output, name if len(answers) == 1 else f"{name}-{answer.target}")


def _image_picture(answers: list[Explained], photo: np.ndarray) -> Figure:
    from rap_keras.hosts.titles import title
    from rap_keras.visualization import grid, heatmap

    heatmaps = {
        title(method): [
            heatmap(_shown(relevance)) for answer in answers for relevance in answer.relevances[method].values()
        ]
        for method in answers[0].relevances
    }
    return grid([photo] * len(answers), heatmaps, [_label(answer) for answer in answers])


def _array_picture(answers: list[Explained]) -> Figure:
    from rap_keras.cli.pictures import Cell, stacked
    from rap_keras.hosts.titles import title

    rows = []
    for answer in answers:
        about = _label(answer).replace(":\n", ": ").replace("\n", ", ")
        for name, batch in answer.sample.inputs.items():
            of_input = [name] if len(answer.sample.inputs) > 1 else []
            rows.append(
                [
                    Cell(", ".join([title(method), *of_input, about]), batch[0], relevance[name])
                    for method, relevance in answer.relevances.items()
                ]
            )
    return stacked(rows)


def _label(explained: Explained) -> str:
    """What stands beside a row of the picture."""
    from rap_keras.hosts.titles import title

    # Of ImageNet's "tench, Tinca tinca" a picture has room for the first.
    names = [name.split(",")[0] for name in (explained.label, explained.against) if name is not None]
    label = "\nagainst ".join(names)
    if explained.places is not None:
        label += f"\n{explained.of_places()}"
    contrastive = [method.endswith(".contrastive") for method in explained.relevances]
    if explained.logit < 0 and not all(contrastive):
        # The sum of RAP's relevance is the logit, so with it all its signs are the other way round.
        label += "\nnegative logit:\nblue is relevant" + "\nunless contrastive" * any(contrastive)
    if explained.sample.note:
        label += f"\n{explained.sample.note}"
    if explained.empty():
        label += "\nno relevance:\n" + "\n".join(map(title, explained.empty()))
    return label


def _write_numbers(explained: Explained, output: Path, name: str) -> None:
    import numpy as np

    from rap_keras.visualization import layer_strip

    photo, several = explained.sample.photo, len(explained.sample.inputs) > 1
    arrays: dict[str, Any] = {
        f"{method}/{name}" if several else method: relevance
        for method, inputs in explained.relevances.items()
        for name, relevance in inputs.items()
    }
    if photo is not None:
        arrays["input_size"] = np.array(photo.shape[:2])
    arrays |= {
        "target": np.array(explained.target),
        "logit": np.array(explained.logit),
        "methods": np.array(list(explained.relevances)),
    }
    if explained.places is not None:
        arrays["region"] = explained.places
    if explained.probability is not None:
        arrays["probability"] = np.array(explained.probability)
    buffer = io.BytesIO()  # on a full disk numpy would leave a half-closed archive, and a traceback when it goes
    np.savez_compressed(buffer, **arrays)
    (output / f"{name}.npz").write_bytes(buffer.getvalue())
    if explained.layers:
        # Lists are relevances of layers with several inputs.
        strip = {
            layer: [_shown(part[0]) for part in value] if isinstance(value, list) else _shown(value[0])
            for layer, value in explained.layers.items()
        }
        layer_strip(strip, photo).savefig(output / f"{name}-layers.png")


def _shown(relevance: np.ndarray) -> np.ndarray:
    """Relevance of a kind that pictures can show: nothing where it is not finite, 1 or 3 axes."""
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
