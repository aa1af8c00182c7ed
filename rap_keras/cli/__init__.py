"""The command `rap-keras`."""

from __future__ import annotations

import click

from rap_keras import __version__
from rap_keras.cli.benchmark import benchmark
from rap_keras.cli.check import check
from rap_keras.cli.explain import explain
from rap_keras.cli.fit_patterns import fit_patterns
from rap_keras.cli.speed import speed
from rap_keras.cli.train_shapes import train_shapes


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rap-keras")
def main() -> None:
    """Relative Attributing Propagation: what in a photo is relevant to a network's decision."""


main.add_command(explain)
main.add_command(benchmark)
main.add_command(check)
main.add_command(fit_patterns)
main.add_command(speed)
main.add_command(train_shapes)
