"""Runs `rap-keras` within the test and returns what it says."""

from __future__ import annotations

from click.testing import CliRunner, Result

from rap_keras.cli.commands import main


def run(*arguments: object) -> Result:
    """The result of a command, which may exit but must not fail with a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def accepted(*arguments: object) -> str:
    """The output of a command, which must succeed."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object, status: int = 2) -> str:
    """The message of a command, which must fail, in one line."""
    result = run(*arguments)
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())
