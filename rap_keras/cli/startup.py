"""The start of the command: while TensorFlow is imported it is quiet, and an interrupt ends it at once."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""The exit status of a command that was interrupted, 128 + the number of the signal, as shells have it."""


def begin() -> None:
    """Sets what must be set before TensorFlow is imported; only if this program is our command."""
    # TensorFlow reads this when it is first imported, and our command's output is no place for its notes on GPUs
    # and memory. In other programs that is not for us to decide.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Within an import there is nothing to tidy up, and nobody who would catch a KeyboardInterrupt.
        signal.signal(signal.SIGINT, _leave)


def imported() -> None:
    """From here on an interrupt is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_command() -> bool:
    """Whether this program is `rap-keras` or `python -m rap_keras`."""
    name = sys.argv[0] if sys.argv else ""
    if name == "-m":  # Python is still looking for the module, and Python 3.9 does not tell for which
        return "rap_keras" in getattr(sys, "orig_argv", ["rap_keras"])
    return Path(name).stem == "rap-keras"


def _leave(*_: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
