"""The command `rap-keras`."""

from __future__ import annotations

from typing import Any

import click

from rap_keras import __version__
from rap_keras.cli.benchmark import benchmark
from rap_keras.cli.check import check
from rap_keras.cli.explain import explain
from rap_keras.cli.fit_patterns import fit_patterns
from rap_keras.cli.grouped_help import WithExamples
from rap_keras.cli.speed import speed
from rap_keras.cli.train_shapes import train_shapes
from rap_keras.hosts import startup


class _Commands(WithExamples, click.Group):
    """Commands that end without a traceback when they are interrupted or a file cannot be read or written."""

    def invoke(self, ctx: click.Context) -> Any:
        startup.imported()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click's own exit status would be 1, which means something else
            click.echo(f"\n{str(error) or 'interrupted'}", err=True)
            ctx.exit(startup.INTERRUPTED)
        except BrokenPipeError:  # click exits quietly: the reader of our output is gone
            raise
        except OSError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    rap-keras explain
    rap-keras explain photo.jpg --model vgg16
    rap-keras benchmark --help
    """,
)
@click.version_option(__version__, prog_name="rap-keras")
def main() -> None:
    """Explain which parts of a photo a network's decision rests on.

    The method is Relative Attributing Propagation (RAP). An interrupted command has exit status 130.
    """


main.add_command(explain)
main.add_command(benchmark)
main.add_command(check)
main.add_command(fit_patterns)
main.add_command(speed)
main.add_command(train_shapes)
