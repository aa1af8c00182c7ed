"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable

import click

from rap_keras.cli import completion

output_option = click.option(
    "--output-layer",
    metavar="NAME|NUMBER",
    help="Output to use if the model has several: its name, or its number, counted from 0.",
)
"""Which output of a model is explained."""
custom_objects_option = click.option(
    "--custom-objects",
    metavar="MODULE",
    help="Your Python module with the layers, losses and functions that the model file needs: an installed "
    "module, or a file in the current folder. Its code is run. It may also call "
    "rap_keras.register_rule or rap_keras.metrics.register.",
)


def names_in(*given: str) -> tuple[str, ...]:
    """The names in texts that separate them by commas, each once."""
    return tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",")))


def separated(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """What click makes of an option that may be given several times, with several names each."""
    return names_in(*given)


def finite(_context: click.Context, _option: click.Parameter, given: float | None) -> float | None:
    """Refuses NaN and infinity, which click takes for numbers in any range; raises click.BadParameter."""
    if given is not None and not math.isfinite(given):
        raise click.BadParameter(f"{given} is not a finite number.")
    return given


def count_option(*names: str, default: Any = None, least: int = 1, **settings: Any) -> Callable[..., Any]:
    """An option for a number, or several with multiple=True, each at least `least`; its default is shown."""
    shown = default is not None
    return click.option(
        *names, type=click.IntRange(least), metavar="N", default=default, show_default=shown, **settings
    )


def methods_option(*names: str, **settings: Any) -> Callable[..., Any]:
    """An option for names of methods, separated by commas, that may be given several times."""
    settings.update(multiple=True, metavar="NAME", callback=separated, shell_complete=completion.methods)
    return click.option(*names, show_default="default" in settings, **settings)


def folder_option(default: str, help: str) -> Callable[..., Any]:
    """--output, a folder that need not exist."""
    kind = click.Path(file_okay=False, path_type=Path)
    return click.option("--output", type=kind, default=Path(default), show_default=True, metavar="DIR", help=help)


def photo_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How photos become a network's input: --preprocessing, --resize and --crop."""
    for option in (
        click.option(
            "--crop",
            type=click.IntRange(1),
            metavar="N",
            help="Cut N x N pixels out of the centre. Without --crop the photo is resized to the network's "
            "input, which changes its aspect ratio.",
        ),
        click.option(
            "--resize",
            type=click.IntRange(1),
            metavar="N",
            help="With --crop: first resize the short side to N pixels. Without --crop: resize to N x N, for "
            "networks that take any size. Default: the network's size, or else the photo's own.",
        ),
        click.option(
            "--preprocessing",
            metavar="caffe|tf|torch|unit|raw|MODULE:FUNCTION",
            help="How photos were preprocessed in training. Required with a model file; a network given by "
            "name has its own. unit is 0 to 1; raw is 0 to 255, for networks that scale photos themselves. A "
            "function gets RGB, float32, (N, H, W, 3), 0 to 255.",
        ),
    ):
        command = option(command)
    return command


def figure_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How figures are drawn and written: --format, --dpi, --width, --overlay and --scale."""
    for option in (
        click.option(
            "--scale",
            type=click.Choice(["percentile", "max"]),
            default="percentile",
            show_default=True,
            help="What gets the darkest colour: the 99th percentile of the absolute relevance, or its maximum. "
            "The figure says which.",
        ),
        click.option("--overlay", is_flag=True, help="Draw each heatmap over the photo in grey, not beside it."),
        click.option(
            "--width",
            type=click.FloatRange(0.5, 100),
            callback=finite,
            metavar="INCHES",
            help="Width of the figures, for example 3.3 for one column of a two-column paper. Default: depends on "
            "the number of methods.",
        ),
        click.option(
            "--dpi",
            type=click.IntRange(30, 2400),
            default=300,
            show_default=True,
            metavar="N",
            help="Dots per inch of the pictures in the figures.",
        ),
        click.option(
            "--format",
            "file_format",
            type=click.Choice(["png", "pdf", "svg"]),
            default="png",
            show_default=True,
            help="File format of the figures. A PDF has its fonts embedded.",
        ),
    ):
        command = option(command)
    return command
