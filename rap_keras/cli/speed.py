"""`rap-keras speed`: how long RAP takes, beside a gradient and other methods."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from rap_keras.cli.inputs import blaming

_METHODS = ("rap", "gradient", "input_t_gradient", "guided_backprop", "lrp.alpha_1_beta_0")


@click.command()
@click.option(
    "--network",
    "networks",
    multiple=True,
    default=("vgg16", "resnet50"),
    show_default=True,
    help="Of keras.applications; its weights are random. Repeatable, as are the next four.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=_METHODS,
    show_default=True,
    help="rap, or any other method.",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1),
    default=(1, 8, 32),
    show_default=True,
    help="Batch sizes to time.",
)
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=click.IntRange(32),
    default=(224,),
    show_default=True,
    help="Side of the photos in pixels.",
)
@click.option(
    "--slow",
    multiple=True,
    metavar="METHOD",
    help="Time this method also as iNNvestigate builds it, its first heatmap and every batch size; on a deep "
    "network each of them takes minutes to build.",
)
@click.option(
    "--native",
    multiple=True,
    metavar="METHOD",
    help="Time this method also as it runs without iNNvestigate. This option and --slow are for comparing, where "
    "iNNvestigate is installed.",
)
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Runs of each, in turns.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("rap-keras-speed"),
    show_default=True,
    metavar="DIR",
    help="Folder of the tables and the plot.",
)
def speed(
    networks: tuple[str, ...],
    methods: tuple[str, ...],
    batches: tuple[int, ...],
    sizes: tuple[int, ...],
    slow: tuple[str, ...],
    native: tuple[str, ...],
    repeats: int,
    output: Path,
) -> None:
    """Time RAP beside a forward pass, a gradient and other methods.

    Each measurement has a process of its own. The runs of a batch size are taken in turns, and reported as
    medians and as ratios to the gradient. The first heatmap counts from the finished model, with all that is
    built for it; memory is the peak at a batch of 8. On a GPU everything is measured with and without TF32.

    Writes speed.md, speed.csv, first-heatmap.csv and speed.png into DIR, anew after every measurement.
    """
    from rap_keras.benchmark.speed import suite, timings

    _require_known(networks, methods, {"--slow": slow, "--native": native})
    with blaming("--output"):
        output.mkdir(parents=True, exist_ok=True)
    plan = suite.Plan(networks, methods, sizes, batches, repeats, slow=slow, native=native)
    command = shlex.join(["rap-keras", *sys.argv[1:]])
    count = len(networks) * len(sizes) * (len(plan.names) + len(batches))
    click.echo(f"{count} measurements (with a GPU twice), each in a process of its own", err=True)
    found = None
    for number, (done, found) in enumerate(suite.run(plan), start=1):
        click.echo(f"{number}/{count if found.device == 'CPU' else 2 * count} {done}", err=True)
        timings.write(found, output, command)
    click.echo((output / "speed.md").read_text(encoding="utf-8"))
    if found is None or found.failed:
        raise SystemExit(1)


def _require_known(
    networks: tuple[str, ...], names: tuple[str, ...], comparing: dict[str, tuple[str, ...]]
) -> None:
    from rap_keras import models
    from rap_keras.hosts import choice
    from rap_keras.hosts.methods import find

    with blaming("--network"):
        for network in networks:
            if network.lower() not in models.applications():
                raise ValueError(f"{network!r} is no network of keras.applications")
    with blaming("--method", *comparing):
        for name in [*names, *(name for given in comparing.values() for name in given)]:
            find(name)
    for option, given in comparing.items():
        if given and not choice.has_innvestigate():
            raise click.UsageError(
                f"{option} compares with iNNvestigate, which is not installed: leave it out, or use a Python from "
                "3.9 to 3.11 with iNNvestigate"
            )
