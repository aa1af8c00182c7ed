"""`rap-keras train-shapes`: the embedded networks, trained anew."""

from __future__ import annotations

from pathlib import Path

import click

from rap_keras.cli.explain import start_tensorflow
from rap_keras.cli.inputs import blaming


@click.command("train-shapes")
@click.argument("network", type=click.Choice(["vgg", "resnet"]))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the weights go, a .h5 file. Default: shapes-NETWORK.h5 in the current folder.",
)
@click.option(
    "--epochs", type=click.IntRange(1), help="Passes over the images; default: as for the shipped weights."
)
@click.option("--images", type=click.IntRange(16), default=24_000, show_default=True, help="How many to train on.")
def train_shapes(network: str, output: Path | None, epochs: int | None, images: int) -> None:
    """Train NETWORK on generated images of shapes, as the weights in this package were.

    Takes some minutes on two cores, and shows its progress. Prints the accuracy on unseen images.
    """
    start_tensorflow()
    from rap_keras.shapes import train

    file = output or Path(f"shapes-{network}.h5")
    with blaming("--output", "--epochs", "--images"):
        accuracy = train(network, file, epochs=epochs, images=images)
    click.echo(f"accuracy on 1,000 unseen images: {accuracy:.3f}; weights in {file}")
