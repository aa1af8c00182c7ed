"""Options that several commands share."""

from __future__ import annotations

from typing import Any, Callable

import click

output_option = click.option(
    "--output-layer",
    metavar="NAME|NUMBER",
    help="Of a model with several outputs the one to use, by its name or its number from 0.",
)
"""Which output of a model is explained."""
custom_objects_option = click.option(
    "--custom-objects",
    metavar="MODULE",
    help="A module of yours, installed or a file in the current folder, with the layers, losses and functions "
    "that the model file needs. It is run; it may also call rap_keras.register_rule.",
)


def photo_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How photos become a network's input: --preprocessing, --resize and --crop."""
    for option in (
        click.option(
            "--crop",
            type=click.IntRange(1),
            metavar="N",
            help="Cut N x N pixels out of the centre, instead of resizing the photo straight to the "
            "network's input, which changes its aspect.",
        ),
        click.option(
            "--resize",
            type=click.IntRange(1),
            metavar="N",
            help="With --crop: resize the short side to N pixels first. Without: for networks that take "
            "any size, resize to N x N.",
        ),
        click.option(
            "--preprocessing",
            metavar="caffe|tf|torch|MODULE:FUNCTION",
            help="What the network was trained with; needed with a model file. A function takes RGB, "
            "float32, (N, H, W, 3), 0 to 255; for a network that takes just that it is "
            "keras.applications.efficientnet:preprocess_input. Default for NAME: its own.",
        ),
    ):
        command = option(command)
    return command
