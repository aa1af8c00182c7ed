"""`python -m rap_keras` runs the command `rap-keras`."""

from __future__ import annotations

from rap_keras.cli.commands import main

main(prog_name="rap-keras")
