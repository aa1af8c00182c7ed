"""`rap-keras speed`: how long RAP, a gradient and other methods take."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from rap_keras.cli import completion
from rap_keras.cli.grouped_help import GroupedCommand
from rap_keras.cli.inputs import blaming
from rap_keras.cli.options import count_option, folder_option, methods_option


@click.command(
    cls=GroupedCommand,
    groups={
        "What is timed": ["--network", "--method", "--batch", "--size", "--repeats"],
        "Comparison with iNNvestigate": ["--slow", "--native"],
        "Output": ["--output"],
    },
    epilog="""
    rap-keras speed
    rap-keras speed --network mobilenet --method rap,gradient --batch 8
    """,
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    default=("vgg16", "resnet50"),
    show_default=True,
    metavar="NAME",
    shell_complete=completion.application,
    help="Network of keras.applications. Its weights are random. May be given several times.",
)
@methods_option(
    "--method",
    "methods",
    default=("rap", "gradient", "input_t_gradient", "guided_backprop", "lrp.alpha_1_beta_0"),
    help="Methods to time, as in `rap-keras explain`, separated by commas.",
)
@count_option(
    "--batch", "batches", multiple=True, default=(1, 8, 32), help="Batch size to time. May be given several times."
)
@count_option(
    "--size",
    "sizes",
    multiple=True,
    least=32,
    default=(224,),
    help="Side of the photos, in pixels. May be given several times.",
)
@methods_option(
    "--slow",
    help="Also time these methods as iNNvestigate itself builds them: the first heatmap and every batch size. On "
    "a deep network every build takes minutes.",
)
@methods_option(
    "--native",
    help="Also time these methods as they run without iNNvestigate. --slow and --native need iNNvestigate.",
)
@count_option("--repeats", default=5, help="Number of runs of each method.")
@folder_option(default="rap-keras-speed", help="Folder for the tables and the plot.")
def speed(
    networks: tuple[str, ...],
    methods: tuple[str, ...],
    slow: tuple[str, ...],
    native: tuple[str, ...],
    output: Path,
    **given: Any,
) -> None:
    """Time RAP, a forward pass, a gradient and other methods.

    Each measurement runs in its own process. At each batch size the methods take turns; the tables have the
    median times and their ratios to the gradient. The first heatmap is timed from the finished model on and
    includes everything that is built for the method. Memory is the peak at batch size 8. On a GPU, everything is
    measured with and without TF32.

    DIR gets speed.md, speed.csv, first-heatmap.csv and speed.png. They are updated after every measurement.

    Exit status: 0 if all measurements succeeded; 1 if some failed; 2 for wrong usage.
    """
    from rap_keras.basics import whole_file
    from rap_keras.basics.wording import counted
    from rap_keras.benchmark import timings

    _require_known(networks, methods, {"--slow": slow, "--native": native})
    with blaming("--output"):
        whole_file.require_writable(output)
    plan = timings.Plan(networks, methods, **given, slow=slow, native=native)
    command = shlex.join(["rap-keras", *sys.argv[1:]])
    count = len(networks) * len(plan.sizes) * (len(plan.names) + len(plan.batches))
    click.echo(f"{counted(count, 'measurement')} (twice as many with a GPU), each in its own process", err=True)
    found = None
    for number, (done, found) in enumerate(timings.run(plan), start=1):
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
                raise ValueError(f"{network!r} is not a network of keras.applications")
    with blaming("--method", *comparing):
        for name in [*names, *(name for given in comparing.values() for name in given)]:
            find(name)
    for option, given in comparing.items():
        if given and not choice.has_innvestigate():
            raise click.UsageError(
                f"{option} compares with iNNvestigate, which is not installed: leave {option} out, or use a "
                "Python from 3.9 to 3.11 with iNNvestigate"
            )
