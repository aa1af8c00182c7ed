"""`rap-keras explain --layers`: which layers are shown, by which method, and their relevance."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rap_keras.explanation.explainer import Explainer
    from rap_keras.explanation.photos_and_arrays import Sample


def chosen(explainer: Explainer, pattern: str) -> tuple[str, set[str]]:
    """The method whose relevance is shown, RAP or else the first, and the names of the layers that match.

    Raises:
        click.UsageError: the method has no relevance at layers.
        click.BadParameter: no layer matches.
    """
    from rap_keras.engine.reading.flattening import flatten

    method = "rap" if "rap" in explainer.analyzers else next(iter(explainer.analyzers))
    if not hasattr(explainer.analyzers[method], "analyze_layers"):
        raise click.UsageError(
            f"--layers: {method} gives no relevance at layers here. Leave --layers out, or add --method rap."
        )
    names = [call.name for call in flatten(explainer.classifier.scores).calls]
    found = {name for name in names if fnmatchcase(name, pattern)}
    if not found:
        shown = ", ".join(names[:8]) + ", ..." * (len(names) > 8)
        raise click.BadParameter(f"no layer matches {pattern!r}: there are {shown}", param_hint=["--layers"])
    return method, found


def of_sample(explainer: Explainer, sample: Sample, method: str, names: set[str]) -> dict[int, dict[str, Any]]:
    """For each target the relevance of a method at the layers of these names."""
    found = {}
    for question in explainer.questions(sample):
        of_all = explainer.analyzers[method].analyze_layers(sample.x, **explainer.choice(question))
        found[question.target] = {name: value for name, value in of_all.items() if name in names}
    return found
