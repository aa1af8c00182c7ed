"""`rap-keras explain --text`: texts in, coloured words out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rap_keras.cli.inputs import blaming, chosen_output
from rap_keras.cli.results import Look, free_name, write

if TYPE_CHECKING:
    from tensorflow import keras

    from rap_keras.explanation.answers import Explanations
    from rap_keras.explanation.explainer import Asked, Explainer

_OF_OTHERS = ("region", "resize", "crop", "layers", "overlay")


def text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which texts are explained, and what Integrated Gradients compare them with: --text and --baseline."""
    for option in (
        click.option(
            "--baseline",
            metavar="padding|mask|TOKEN",
            help="With --text, the token that --method integrated_gradients compares all tokens with: padding, "
            "which is the default, mask, or the number of a token.",
        ),
        click.option(
            "--text",
            "texts",
            multiple=True,
            metavar="TEXT",
            help="A text to explain, for networks that take tokens. May be given several times. --preprocessing "
            "is then MODULE:FUNCTION, which makes token numbers of a list of texts; tasks of keras_hub and "
            "networks that begin with a TextVectorization need none.",
        ),
    ):
        command = option(command)
    return command


def require_text_alone(images: tuple[Path, ...], given: dict[str, Any]) -> None:
    """Raises click.UsageError if --text is given with images or their options, without a network, or missing."""
    if not given["texts"]:
        if given["baseline"] is not None:
            raise click.UsageError("--baseline is for --text: leave --baseline out.")
        return
    if given["model_name"] is None or images:
        raise click.UsageError("Give the network of --text with --model, and no IMAGE.")
    for name in _OF_OTHERS:
        if given[name]:
            raise click.UsageError(f"--{name} is not for --text: leave --{name} out.")


def run(
    asked: Asked,
    given: dict[str, Any],
    look: Look,
    make: Callable[[tuple[Any, ...], Callable[[], Any]], Any],
    tell: Callable[[Explanations], int],
) -> int:
    """Explains all texts, writes their files and tells about them.

    Args:
        asked: what is asked of the network.
        given: the options by their names.
        look: of the figures.
        make: builds an analyzer, and says so.
        tell: prints what was found out about a text, and gives how many of its heatmaps are not finite.

    Returns:
        The exit status.

    Raises:
        click.UsageError: an option is wrong.
    """
    from rap_keras import models
    from rap_keras.explanation import texts
    from rap_keras.explanation.classifiers import classifier_of

    name, output = given["model_name"], given["output"]
    with blaming("--model"):
        loaded = models.load_model(name)
    whole = chosen_output(loaded, given["output_layer"])
    with blaming("--text"):
        found = texts.of_sample(loaded, whole, list(given["texts"]))
    if found is None:
        raise click.UsageError(f"--text is for networks that take tokens, and {name} takes none: give an IMAGE.")
    with blaming("--preprocessing"):
        reader = texts.reader(loaded, whole, given["preprocessing"])

    def explainer_of(asked: Asked, network: Callable[[], keras.Model], made_of: Any) -> Explainer:
        with blaming("--model"):
            classifier = classifier_of(network())
        return asked.explainer(classifier, name, make)

    spoilt, taken = 0, set[str]()
    baseline = given["baseline"]
    number = int(baseline) if baseline is not None and baseline.isdecimal() else baseline
    with blaming("--text"):
        for answers in texts.answers(reader, asked, found, number, explainer_of):
            with blaming("--width", "--dpi"):
                write(answers, {}, output, free_name(answers[0].sample.stem, taken), look)
            spoilt += tell(answers)
    click.echo(f"{len(found)} explained; files in {output}")
    return 1 if spoilt else 0
