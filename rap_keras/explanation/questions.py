"""What is asked of a sample: why this class, and for a map, at which places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.explanation.class_names import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


class Question(NamedTuple):
    """A class to explain.

    `logit` is its logit, and `score` what contrastive methods explain in place of it. For a map both are sums over
    `places`, boolean in the shape of the places, which is None for other networks. `choice` is what the analyzers
    are told.
    """

    target: int
    logit: float
    score: float
    places: np.ndarray | None
    choice: dict[str, Any]


def of_classes(
    logits: np.ndarray,
    targets: Sequence[int | None],
    against: int | None,
    names: Sequence[str] | None,
    sample: str,
) -> list[Question]:
    """Questions about the logits of a sample, (classes,), each class once; None is the class of the largest.

    Raises:
        ValueError: a class is to be compared with itself.
    """
    first = int(logits.argmax())
    found = []
    for target in dict.fromkeys(first if target is None else target for target in targets):
        if target == against:
            raise ValueError(f"{sample}: {of_itself(target, names)}")
        choice: dict[str, Any] = {"neuron_selection": target}
        if against is not None:
            choice["against"] = against
        score = _log_odds(logits, target) if against is None else float(logits[target]) - float(logits[against])
        found.append(Question(target, float(logits[target]), score, None, choice))
    return found


def of_itself(target: int, names: Sequence[str] | None) -> str:
    """Why a class cannot be compared with itself."""
    name = name_of(target, names)
    return f"{name} is explained, and cannot be compared with itself: give another class to compare with"


def of_places(
    logits: np.ndarray,
    targets: Sequence[int | None],
    region: np.ndarray | None,
    names: Sequence[str] | None,
    sample: str,
) -> list[Question]:
    """Questions about a map: each class in the region, or where it is the highest of all.

    The logits of the sample are in the shape of the network's output. A target of None is the class that is the
    highest at most places. The region is boolean, with an axis for each of the map's, such as (H, W), in any size.

    Raises:
        ValueError: there is no place to explain a class at.
    """
    import numpy as np

    from rap_keras.engine.checks.regions import class_axis, resized

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
    for target in dict.fromkeys(first if given is None else given for given in targets):
        places = within if region is not None else highest == target
        if not places.any():
            file = "--region mask.png or " if within.ndim == 2 else ""
            raise ValueError(
                f"{sample}: {name_of(target, names)} is the highest of all classes nowhere: give the "
                f"region to explain it in, {file}in Python region=mask, booleans of shape {within.shape}"
            )
        neurons = np.moveaxis(places[..., np.newaxis] & (numbers == target), -1, axis)
        logit = float(z[places, target].sum(dtype=float))
        score = sum(_log_odds(of_place, target) for of_place in z[places])
        found.append(Question(target, logit, score, places, {"neuron_selection": neurons}))
    return found


def _log_odds(logits: np.ndarray, target: int) -> float:
    """The score that `engine.equations.contrast.log_odds` gives the weights of, in float64."""
    import numpy as np

    z = logits.astype(np.float64)
    others = np.delete(z, target)
    if others.size == 0:
        return float(z[target])
    weights = np.exp(others - others.max())
    return float(z[target] - (weights * others).sum() / weights.sum())
