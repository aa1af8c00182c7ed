"""What pictures and tables call the methods."""

from __future__ import annotations

TITLES = {
    "rap": "RAP",
    "gradient": "Gradient",
    "input_t_gradient": "Input*Gradient",
    "integrated_gradients": "Integrated Gradients",
    "pattern.attribution": "PatternAttribution",
    "guided_backprop": "Guided Backprop",
    "lrp.alpha_1_beta_0": "LRP \N{GREEK SMALL LETTER ALPHA}1\N{GREEK SMALL LETTER BETA}0",
    "lrp.alpha_2_beta_1": "LRP \N{GREEK SMALL LETTER ALPHA}2\N{GREEK SMALL LETTER BETA}1",
}
"""What pictures call the methods that the paper's figures compare; others go by their names."""


def title(name: str) -> str:
    """What a picture calls a method."""
    return TITLES.get(name, name)
