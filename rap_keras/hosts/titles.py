"""The names of methods, which must be known, and their titles in pictures and tables."""

from __future__ import annotations

import difflib
from collections.abc import Collection

TITLES = {
    "rap": "RAP",
    "rap.contrastive": "Contrastive RAP",
    "gradient": "Gradient",
    "input_t_gradient": "Input*Gradient",
    "integrated_gradients": "Integrated Gradients",
    "pattern.attribution": "PatternAttribution",
    "guided_backprop": "Guided Backprop",
    "lrp.alpha_1_beta_0": "LRP \N{GREEK SMALL LETTER ALPHA}1\N{GREEK SMALL LETTER BETA}0",
    "lrp.alpha_2_beta_1": "LRP \N{GREEK SMALL LETTER ALPHA}2\N{GREEK SMALL LETTER BETA}1",
}
"""The titles of the methods that are compared by default."""

_CONTROLS = {
    "input_t_gradient.contrastive": "Contrastive Input*Gradient",
    "lrp.alpha_1_beta_0.contrastive": "Contrastive " + TITLES["lrp.alpha_1_beta_0"],
    "lrp.alpha_2_beta_1.contrastive": "Contrastive " + TITLES["lrp.alpha_2_beta_1"],
    "grad_cam": "Grad-CAM",
    "grad_cam.contrastive": "Contrastive Grad-CAM",
}

RAP_METHODS = ("rap", "rap.contrastive")
"""Our own methods, the same in both hosts."""


def title(name: str) -> str:
    """The title of a method in pictures; its name if it has none."""
    return TITLES.get(name) or _CONTROLS.get(name, name)


def require_known(name: str, known: Collection[str]) -> None:
    """Raises ValueError unless `name` is one of the known methods; the message lists them all."""
    if name in known:
        return
    if "," in str(name):
        several = [one.strip() for one in str(name).split(",")]
        raise ValueError(f"unknown method {name!r}: give several methods as a list, {several}")
    wanted = str(name).lower()
    close = [wanted] if wanted in known else difflib.get_close_matches(wanted, known, n=2, cutoff=0.7)
    raise ValueError(
        f"unknown method {name!r}"
        + (f", did you mean {' or '.join(close)}?" if close else ".")
        + f" There are: {', '.join(known)}"
    )
