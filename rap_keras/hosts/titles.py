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

_OTHERS = {
    "input_t_gradient.contrastive": "Contrastive Input*Gradient",
    "lrp.alpha_1_beta_0.contrastive": "Contrastive " + TITLES["lrp.alpha_1_beta_0"],
    "lrp.alpha_2_beta_1.contrastive": "Contrastive " + TITLES["lrp.alpha_2_beta_1"],
    "grad_cam": "Grad-CAM",
    "grad_cam.contrastive": "Contrastive Grad-CAM",
    "smoothgrad": "SmoothGrad",
    "deconvnet": "Deconvnet",
    "deep_taylor": "Deep Taylor",
    "pattern.net": "PatternNet",
    "lrp.z": "LRP z",
    "lrp.epsilon": "LRP \N{GREEK SMALL LETTER EPSILON}",
    "lrp.gamma": "LRP \N{GREEK SMALL LETTER GAMMA}",
    "lrp.epsilon_gamma_box": "LRP \N{GREEK SMALL LETTER EPSILON}\N{GREEK SMALL LETTER GAMMA} box",
    "lrp.attn": "AttnLRP",
    "lrp.flat": "LRP flat",
    "lrp.w_square": "LRP w\N{SUPERSCRIPT TWO}",
    "lrp.alpha_1_beta_0_IB": TITLES["lrp.alpha_1_beta_0"] + " without biases",
    "lrp.alpha_2_beta_1_IB": TITLES["lrp.alpha_2_beta_1"] + " without biases",
    "lrp.sequential_preset_a": "LRP preset a",
    "lrp.sequential_preset_b": "LRP preset b",
    "lrp.sequential_preset_a_flat": "LRP preset a flat",
    "lrp.sequential_preset_b_flat": "LRP preset b flat",
    "input": "Input",
    "random": "Random",
}

ONLY_INNVESTIGATE = (
    "gradient.baseline",
    "lrp.z_plus",
    "lrp.z_plus_fast",
    "lrp.sequential_preset_b_flat_until_idx",
)
"""The methods that need iNNvestigate, with eager execution off."""

RAP_METHODS = ("rap", "rap.contrastive")
"""Our own methods, the same in both hosts."""


def names() -> tuple[str, ...]:
    """The names of all methods that need no options of their own and exist in both hosts."""
    return (*TITLES, *_OTHERS)


def title(name: str) -> str:
    """The title of a method in pictures; its name if it has none."""
    return TITLES.get(name) or _OTHERS.get(name, name)


def name_method(name: str, title: str) -> None:
    """Gives a method its title."""
    _OTHERS[name] = title


def require_known(name: str, known: Collection[str]) -> None:
    """Raises ValueError unless `name` is one of the known methods; the message lists them all."""
    if name in known:
        return
    if "," in str(name):
        several = [one.strip() for one in str(name).split(",")]
        raise ValueError(f"unknown method {name!r}: give several methods as a list, {several}")
    if name in ONLY_INNVESTIGATE:
        raise ValueError(
            f"{name} exists only with iNNvestigate, while eager execution is off: call "
            "tf.compat.v1.disable_eager_execution() first in the program"
        )
    wanted = str(name).lower()
    begun = [one for one in known if one.startswith(wanted)] if wanted else []
    close = [wanted] if wanted in known else begun or difflib.get_close_matches(wanted, known, cutoff=0.7)
    close = close[:2]
    raise ValueError(
        f"unknown method {name!r}"
        + (f", did you mean {' or '.join(close)}?" if close else ".")
        + f" There are: {', '.join(known)}"
    )
