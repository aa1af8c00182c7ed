"""The start of the command: the import of TensorFlow prints nothing, and an interrupt ends it at once."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""The exit status of an interrupted command: 128 + the number of the signal, as in shells."""


def begin() -> None:
    """Prepares the import of TensorFlow. For our command only: other programs decide for themselves."""
    # TensorFlow reads this when it is first imported. Its notes on GPUs and memory do not belong in our output.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Keras 3 reads this when it is first imported. Networks of other backends can be loaded with this one.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # Where in our code a warning was given does not help users of the command.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # During an import there is nothing to clean up, and nothing would catch a KeyboardInterrupt.
        signal.signal(signal.SIGINT, _leave)


def imported() -> None:
    """Makes an interrupt raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Hides TensorFlow's notes on stderr while it is imported. Everything else is written to stderr afterwards.

    TensorFlow 2.17 and later write notes on GPUs before they look at TF_CPP_MIN_LOG_LEVEL.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3" or not _is_open(2):
        yield
        return
    import tempfile

    own = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            written.seek(0)
            for line in written:
                if not _NOTE.match(line):
                    os.write(2, line)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


_NOTE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IWE]\d{4} \d\d")


def is_command() -> bool:
    """Whether this program is `rap-keras` or `python -m rap_keras`."""
    name = sys.argv[0] if sys.argv else ""
    if name == "-m":  # Python is still looking for the module, and Python 3.9 does not say which one
        return "rap_keras" in getattr(sys, "orig_argv", ["rap_keras"])
    return Path(name).stem == "rap-keras"


def _leave(*_: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
