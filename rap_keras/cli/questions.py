"""What `rap-keras explain` asks of a sample: why this class, and of a map at which places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.cli.classes import name_of
from rap_keras.cli.given import Sample
from rap_keras.cli.inputs import Job

if TYPE_CHECKING:
    import numpy as np


class Question(NamedTuple):
    """A class to explain.

    `logit` is its logit, of a map the sum of those at `places`, boolean, which is None for other networks;
    `choice` is what the analyzers are told.
    """

    target: int
    logit: float
    places: np.ndarray | None
    choice: dict[str, Any]


def questions(job: Job, sample: Sample) -> list[Question]:
    """What is asked of a sample, each class once.

    Args:
        job: what is the same for all samples.
        sample: what is asked about, at the places of its region, or where the network says if it has none.

    Raises:
        ValueError: a class is to be compared with itself, or there is no place to explain it at.
    """
    import numpy as np

    if job.network.map is not None:
        return _of_map(job, job.logits(sample.x)[0], sample.region, sample.name)
    logits = np.ravel(job.logits(sample.x))
    return [_of_class(job, logits, target) for target in _targets(job, logits, sample.name)]


def _targets(job: Job, logits: np.ndarray, sample: str) -> list[int]:
    first = int(logits.argmax())
    targets = list(dict.fromkeys(first if target is None else target for target in job.targets))
    if job.against in targets:
        name = name_of(first, job.names)
        raise ValueError(
            f"{sample}: the first choice is {name} itself: with --against {name} give another --target"
        )
    return targets


def _of_class(job: Job, logits: np.ndarray, target: int) -> Question:
    choice = {"neuron_selection": target} if job.by_index else {}
    if job.against is not None:
        choice["against"] = job.against
    return Question(target, float(logits[target]), None, choice)


def _of_map(job: Job, logits: np.ndarray, region: np.ndarray | None, sample: str) -> list[Question]:
    """Each class where it is the highest of all, or in the region."""
    import numpy as np

    from rap_keras.engine.regions import class_axis, resized

    axis = 0 if class_axis(logits.ndim + 1) == 1 else -1
    z = np.moveaxis(logits, axis, -1)
    highest, numbers = z.argmax(axis=-1), np.arange(z.shape[-1])
    within = np.ones(highest.shape, bool) if region is None else resized(region, highest.shape)
    if not within.any():
        raise ValueError(
            f"{sample}: no place of the network's map, {' x '.join(map(str, within.shape))}, lies in the region, "
            "or the network does not see it: make the region larger"
        )
    first = int(np.bincount(highest[within]).argmax())
    found = []
    for target in dict.fromkeys(first if given is None else given for given in job.targets):
        places = within if region is not None else highest == target
        if not places.any():
            raise ValueError(
                f"{sample}: {name_of(target, job.names)} is the highest of all classes nowhere: say by "
                "--region mask.png where to explain it"
            )
        neurons = np.moveaxis(places[..., np.newaxis] & (numbers == target), -1, axis)
        logit = float(z[places, target].sum(dtype=float))
        found.append(Question(target, logit, places, {"neuron_selection": neurons}))
    return found
