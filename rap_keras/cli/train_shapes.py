"""`rap-keras train-shapes`: trains the networks of this package anew."""

from __future__ import annotations

from pathlib import Path

import click

from rap_keras.cli.explain import start_tensorflow
from rap_keras.cli.grouped_help import GroupedCommand
from rap_keras.cli.inputs import blaming


@click.command(
    "train-shapes",
    cls=GroupedCommand,
    groups={"Training": ["--epochs", "--images"], "Output": ["--output"]},
    epilog="rap-keras train-shapes vgg --output shapes-vgg.h5",
)
@click.argument("network", type=click.Choice(["vgg", "resnet"]))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File for the weights, .h5. Default: shapes-NETWORK.h5 in the current folder.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Number of passes over the images. Default: as for the weights in this package.",
)
@click.option(
    "--images",
    type=click.IntRange(16),
    default=24_000,
    show_default=True,
    metavar="N",
    help="Number of training images.",
)
def train_shapes(network: str, output: Path | None, epochs: int | None, images: int) -> None:
    """Train NETWORK on generated images of shapes.

    The weights in this package were trained in this way. Training takes some minutes on two cores and shows its
    progress. At the end, the command prints the accuracy on unseen images.
    """
    start_tensorflow()
    from rap_keras.shapes import train

    file = output or Path(f"shapes-{network}.h5")
    with blaming("--output", "--epochs", "--images"):
        accuracy = train(network, file, epochs=epochs, images=images)
    click.echo(f"accuracy on 1,000 unseen images: {accuracy:.3f}; weights saved in {file}")
