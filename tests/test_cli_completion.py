"""Completion in the shell: what is offered, and that nothing heavy is imported for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rap_keras import models
from rap_keras.cli import completion
from rap_keras.hosts import methods, native

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "guide" / "shell_completion.md").read_text("utf-8")
HEAVY = {"tensorflow", "keras", "numpy", "matplotlib", "pandas", "scipy", "PIL", "h5py", "innvestigate", "ray"}


def completed(line: str) -> list[str]:
    """What the command offers for the last word of a line, in a process that must import nothing heavy."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "rap_keras"],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "_RAP_KERAS_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
    )
    imported = {text.rpartition("|")[2].strip() for text in done.stderr.splitlines()}
    assert "rap_keras.cli.commands" in imported
    assert imported & HEAVY == set()
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("rap-keras exp", "plain,explain"),
        ("rap-keras explain --reg", "plain,--region"),
        ("rap-keras check vgg", "file,vgg plain,vgg16 plain,vgg19"),
        ("rap-keras check vgg16 --method rap.", "plain,rap.contrastive"),
        ("rap-keras benchmark --model sh", "file,sh plain,shapes-vgg plain,shapes-resnet"),
        ("rap-keras benchmark --model ./m", "file,./m"),
        ("rap-keras benchmark --methods rap,grad_", "plain,rap,grad_cam plain,rap,grad_cam.contrastive"),
        ("rap-keras speed --method pattern.", "plain,pattern.attribution plain,pattern.net"),
        ("rap-keras speed --network xc", "plain,xception"),
        ("rap-keras fit-patterns mobilenetv2", "file,mobilenetv2 plain,mobilenetv2"),
    ],
)
def test_what_is_offered(line, offered):
    assert completed(line) == offered.split()


def test_the_names_offered_exist():
    assert len(completion.METHODS) == len(set(completion.METHODS))
    assert set(completion.METHODS) == set(native.NAMES) - set(native.WITHOUT_DEFAULTS)
    assert set(completion.METHODS) <= set(methods.names())
    assert set(completion.APPLICATIONS) <= set(models.applications())
    assert list(completion.EMBEDDED) == list(models.EMBEDDED)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_as_documented(tmp_path):
    """The lines of the documentation, in a home of its own; then what the Tab key would do."""
    (setup,) = re.findall(r"```\n(.*bash_source[^`]*)```", PAGE)
    tab = (
        "COMP_WORDS=(rap-keras explain --reg); COMP_CWORD=2; _rap_keras_completion rap-keras; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", f"{setup}\n. ~/.bashrc\n{tab}"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    )
    assert (done.stdout, done.stderr) == ("--region\n", "")
