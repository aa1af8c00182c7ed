"""The kinds of heatmaps that are compared: a method's own, the absolute one of gradients, and a random one.

Results name them: a method's own by the method, such as "gradient", its absolute one "gradient.absolute", and the
random one, the control, "random_heatmap".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rap_keras.hosts import titles

CONTROL = "random_heatmap"
"""The random heatmap."""

_ABSOLUTE = ".absolute"
_GRADIENTS = "gradient input_t_gradient integrated_gradients smoothgrad guided_backprop deconvnet".split()
_OF_NEGATIVE = ("all", "signed")  # the cases of metrics in which negative relevance has a meaning of its own
_SEED = 0


def absolute_of(method: str) -> str | None:
    """The name of the absolute heatmap that is compared beside the method's own; None if there is none.

    Gradients and their relatives have one, as their heatmaps are usually shown without the sign.
    """
    return f"{method}{_ABSOLUTE}" if method in _GRADIENTS else None


def signed_of(name: str) -> str:
    """The method whose heatmap it is, with the sign or without."""
    return name[: -len(_ABSOLUTE)] if is_absolute(name) else name


def is_absolute(name: str) -> bool:
    """Whether this is the name of an absolute heatmap."""
    return name in map(absolute_of, _GRADIENTS)


def added(methods: Iterable[str]) -> list[str]:
    """The names of the heatmaps that are compared beside the methods' own."""
    return [*filter(None, map(absolute_of, methods)), CONTROL]


def has_case(name: str, case: str) -> bool:
    """Whether a metric's case means something for the heatmaps of this name.

    Without negative relevance "all" would be the same as "pos", and "signed" would mark every pixel.
    """
    return not (is_absolute(name) and case in _OF_NEGATIVE)


def random_heatmaps(numbers: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The control: a normally distributed number for each pixel, (N, H, W).

    Args:
        numbers: of the images in the data set; an image's heatmap depends on its number alone.
        size: height and width.
    """
    return np.stack([np.random.default_rng((_SEED, number)).standard_normal(size) for number in numbers])


def title(name: str) -> str:
    """What tables and pictures call the heatmaps of this name."""
    if name == CONTROL:
        return "Random heatmap (control)"
    if is_absolute(name):
        return f"{titles.title(signed_of(name))}, absolute"
    return titles.title(name)


def in_order(names: Iterable[str]) -> list[str]:
    """The names in the order of tables: methods as in `TITLES`, then others by name; the control comes last."""
    known = list(titles.TITLES)

    def place(name: str) -> tuple[bool, int, str, bool]:
        method = signed_of(name)
        return name == CONTROL, known.index(method) if method in known else len(known), method, is_absolute(name)

    return sorted(names, key=place)


def explained(names: Iterable[str]) -> list[str]:
    """How each kind of heatmap that is compared was made, a sentence or two each."""
    names = list(names)
    found = []
    if any(name != CONTROL for name in names):
        found.append(
            "Each heatmap is the relevance of every pixel, summed over the colour channels, with its sign."
        )
    if any(map(is_absolute, names)):
        found.append(
            "Absolute: the absolute value of that sum, as gradients are usually shown. The sign is lost, so ALL "
            "and signed, which are about negative relevance, have no value."
        )
    if CONTROL in names:
        found.append(
            "Random heatmap, the control: a normally distributed random number for each pixel, with a fixed seed "
            "for each image. It shows what chance gives, and is never marked as the best."
        )
    return found
