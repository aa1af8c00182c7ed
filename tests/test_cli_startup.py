"""The command as a process: interrupted, read by nobody, run by `python -m`; and files that it cannot write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from rap_keras.benchmark import timings
from rap_keras.cli.commands import main
from rap_keras.hosts import startup

SCRIPT = str(Path(sys.executable).with_name("rap-keras"))
MODULE = [sys.executable, "-m", "rap_keras"]
# Where the interrupt met text that exec() runs, as in a dataclass, Python itself ends by the signal. A shell shows
# 130 for that, too.
INTERRUPTED = (130, -signal.SIGINT)


def environment() -> dict[str, str]:
    """The environment without the settings of this test run."""
    return {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MODULE, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # A shell may have started the tests with interrupts ignored, which processes inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("benchmark", []),
        ("check", ["shapes-vgg"]),
        ("explain", []),
        ("fit_patterns", ["shapes-vgg"]),
        ("train_shapes", ["vgg"]),
    ],
)
def test_an_interrupted_command(module, arguments, monkeypatch, tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules[f"rap_keras.cli.{module}"], "start_tensorflow", interrupted)
    done = CliRunner().invoke(main, [module.replace("_", "-"), *arguments])
    assert done.exit_code == 130
    assert done.output == "\ninterrupted\n"


def test_an_interrupted_measurement_of_speed(monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(timings.subprocess, "run", interrupted)
    done = CliRunner().invoke(main, ["speed", "--output", str(tmp_path)])
    assert done.exit_code == 130
    assert done.output.splitlines()[-1] == "interrupted"


@pytest.mark.skipif(not Path("/proc").exists(), reason="asks Linux how far a process is")
@pytest.mark.parametrize("seconds", [0, 1])
def test_interrupted_while_tensorflow_is_imported(seconds, tmp_path):
    process = start("explain", "--output", tmp_path)  # with all methods, so that it does not finish before
    deadline = time.monotonic() + 60
    while "libtensorflow" not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.slow
def test_a_benchmark_interrupted_in_mid_run_goes_on(tmp_path):
    arguments = ["benchmark", "--limit", "30", "--batch-size", "1", "--methods", "gradient", "--output", tmp_path]
    arguments += ["--metrics", "lerf", "--steps", "60"]
    process = start(*arguments)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("parts/*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED, err
    assert err.splitlines()[-1] == "interrupted; give the same command again to continue"
    assert "Traceback" not in err
    done = len(list(tmp_path.glob("parts/*.parquet")))
    assert 2 <= done < 30
    process = start(*arguments)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"going on in {tmp_path}, where {done} batches are done" in err


@pytest.mark.slow
def test_interrupts_are_ours_only_in_our_command():
    """Importing the package leaves other programs as they are, under `python -m` too."""
    assert not startup.is_command()
    code = (
        "import signal, sys; sys.argv[0] = {!r}; sys.orig_argv = {!r}\n"
        "from rap_keras import startup; import os\n"
        "print(startup.is_command(), signal.getsignal(signal.SIGINT) is startup._leave, "
        "os.environ.get('TF_CPP_MIN_LOG_LEVEL'))"
    )
    for name, arguments, expected in (
        ("/usr/bin/rap-keras", [], "True True 3"),
        ("-m", ["python", "-m", "rap_keras", "check"], "True True 3"),
        ("-m", ["python", "-m", "mine.training"], "False False None"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name, arguments)],
            capture_output=True,
            text=True,
            env=environment(),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert done.stdout.split("\n")[0] == expected, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--version"], ["explain", "--model", "x"], ["check", "shapes-vgg"]])
def test_python_m_does_what_the_command_does(arguments):
    script, module = (
        subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment())
        for command in ([SCRIPT], MODULE)
    )
    assert (module.returncode, module.stdout, module.stderr) == (script.returncode, script.stdout, script.stderr)
    allowed = {"--version": "", "explain": "Usage: rap-keras explain", "check": "checking shapes-vgg with a photo"}
    assert module.stderr.startswith(allowed[arguments[0]])
    assert len(module.stderr.splitlines()) == {"--version": 0, "explain": 4, "check": 1}[arguments[0]]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["check", "shapes-vgg"]])
def test_nobody_reads_the_output(arguments):
    """As in `rap-keras check vgg16 | head -1`, where only the first line is read."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*MODULE, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, env=environment()
    )
    os.close(write)
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("checking")] == []


def test_a_warning_is_one_line_and_the_backend_is_tensorflow(tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGBA", (96, 96), (255, 0, 0, 51)).save(photo)
    done = subprocess.run(
        [*MODULE, "explain", str(photo), "--model", "shapes-vgg", "--output", str(tmp_path / "output")],
        capture_output=True,
        text=True,
        env={**environment(), "KERAS_BACKEND": "jax"},
    )
    assert done.returncode == 0, done.stderr
    first, warning = done.stderr.splitlines()
    assert first == "building rap ..."
    assert warning.startswith(f"warning: {photo} has transparent pixels, which the network sees in white: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["photo.npz", "photo.png"])
def test_a_device_is_not_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (96, 96), "red").save("photo.png")
    output = tmp_path / "rap-keras-output"
    output.mkdir()
    (output / name).symlink_to("/dev/full")
    done = CliRunner().invoke(main, ["explain", "photo.png", "--model", "shapes-vgg"])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stderr.splitlines()[-1].endswith(f"{name} is a pipe, a device or a socket: give a file")


def test_only_the_notes_of_tensorflow_are_kept_from_stderr(monkeypatch, capfd):
    note = b"I0000 00:00:1795617492.104819   24669 cudart_stub.cc:31] Could not find cuda drivers\n"
    warning = b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    for level, expected in (("3", b"Illegal\n"), ("0", warning + note + b"Illegal\n")):
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
        with pytest.raises(ImportError), startup.without_notes():  # noqa: PT012
            os.write(2, warning + note)
            os.write(2, b"Illegal\n")
            raise ImportError
        os.write(2, b"after\n")
        assert capfd.readouterr().err.encode() == expected + b"after\n"
