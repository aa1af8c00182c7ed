"""Files are complete or not there: every writer on a full disk, and what is neither read nor written."""

from __future__ import annotations

import os
import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import host  # noqa: F401  the plugin switches eager execution off
import numpy as np
import pandas as pd
import pytest
from tensorflow import keras
from test_layout import ROOT

import rap_keras
from rap_keras.basics import whole_file
from rap_keras.benchmark import parts, timings
from rap_keras.benchmark.timings import Found
from rap_keras.cli.results import Look, write
from rap_keras.explanation.answers import Explanations
from rap_keras.patterns import Patterns
from rap_keras.shapes import training
from rap_keras.visualization import picture, save

X = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")


def network() -> keras.Model:
    return keras.Sequential([keras.Input((40, 2)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])


@cache
def explanation() -> rap_keras.Explanation:
    return rap_keras.explain(network(), X)


def of_command(folder: Path) -> None:
    write(Explanations([explanation()]), {}, folder, "x", Look("png", 50, {"scale": "max"}))


def of_timings(folder: Path) -> None:
    timings.write(Found("CPU", [], [], []), folder, "rap-keras speed")


def weights(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_network", lambda name: network())
        patch.setattr(training, "_training_set", lambda images, progress: ([], []))
        patch.setattr(keras.Sequential, "fit", lambda self, *given, **options: None)
        patch.setattr(training, "generate", lambda count, seed: None)
        patch.setattr(training, "accuracy", lambda model, samples: 1.0)
        training.train("vgg", folder / "w.h5", images=16, progress=False)


WRITERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "bytes": (lambda folder: whole_file.write(folder / "a.bin", bytes(10_000)), "a.bin"),
    **{
        kind: (lambda folder, kind=kind: save(picture(np.ones((4, 4))), folder / f"f.{kind}", 50), f"f.{kind}")
        for kind in ("png", "pdf", "svg", "jpg")
    },
    "a name without extension": (lambda folder: save(picture(np.ones((4, 4))), folder / "f"), "f.png"),
    "Explanation.save": (lambda folder: explanation().save(folder / "e.png", dpi=50), "e.png"),
    "RAP.save_npz": (lambda folder: rap_keras.RAP(rap_keras.to_logits(network())).save_npz(folder / "rap"), "rap"),
    "Patterns.save": (lambda folder: Patterns({"a": X}, "digest").save(folder / "p.npz"), "p.npz"),
    "rows": (lambda folder: parts.write(folder, 3, pd.DataFrame({"a": X[:, 0]})), "parts/000003.parquet"),
    "timings": (of_timings, "speed.csv"),
    "weights": (weights, "w.h5"),
    "rap-keras explain": (of_command, "x.png"),
}


@contextmanager
def full_disk() -> Iterator[None]:
    """Files end after 64 bytes, whoever writes them: matplotlib, h5py, numpy or Keras."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_at_the_end() -> Iterator[None]:
    """The disk takes everything, and says that it is full when the data shall be on it."""

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


@pytest.mark.parametrize("full", [full_disk, full_at_the_end])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, writer, full):
    call, name = WRITERS[writer]
    call(tmp_path / "good")
    assert (tmp_path / "good" / name).stat().st_size > 64
    old = tmp_path / "old" / name
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    for folder in (tmp_path / "old", tmp_path / "new" / "deeper"):
        with full(), pytest.raises(OSError, match=re.escape(str(folder / name))):
            call(folder)
    assert [file for file in (tmp_path / "old").rglob("*") if file.is_file()] == [old]
    assert old.read_bytes() == b"old"
    assert not (tmp_path / "new").exists()  # no empty folders either
    call(tmp_path / "old")
    assert old.stat().st_size > 64
    assert not list(tmp_path.rglob("*.unfinished*"))


def test_every_file_is_written_there():
    """No other module opens a file to write, or lets another library do so."""
    own = re.compile(
        r"""\.write_(text|bytes)\(|open\([^)\n]*["'][wax]b?\+?["']|np\.save|savefig\((?!file|written)"""
    )
    found = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "rap_keras").rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if own.search(line) and not re.search(r"numpy\.save|\"numpy", line)
    }
    assert found == {"rap_keras/basics/whole_file.py"}


def test_a_file_keeps_its_links_and_rights_and_long_names(tmp_path):
    real, link, long = tmp_path / "real", tmp_path / "link", tmp_path / ("\N{SNOWMAN}" * 80 + ".txt")
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    whole_file.write(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640
    whole_file.write(long, b"new")
    assert long.read_bytes() == b"new"


def test_two_threads_write_one_file(tmp_path):
    contents = [bytes([number]) * 100_000 for number in range(4)]
    threads = [threading.Thread(target=whole_file.write, args=(tmp_path / "a", data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_what_is_not_written(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OSError, match=f"{path} is a pipe, a device or a socket: give a file"):
            whole_file.write(path, b"new")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        whole_file.write(tmp_path, b"new")
    (tmp_path / "kept").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="kept"):
        whole_file.write(tmp_path / "kept", b"new")
    assert (tmp_path / "kept").read_bytes() == b"old"


def test_where_a_folder_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    whole_file.require_writable(tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists()
    with pytest.raises(NotADirectoryError, match=str(tmp_path / "file")):
        whole_file.require_writable(tmp_path / "file" / "deeper")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        whole_file.require_writable(tmp_path / "new")


READERS: dict[str, Callable[[Path], object]] = {
    "a photo": rap_keras.images.load_photo,
    "photos": lambda path: rap_keras.images.expand([path]),
    "a model": rap_keras.models.load_model,
    "patterns": Patterns.load,
    "an analyzer": rap_keras.RAP.load_npz,
    "an array": lambda path: rap_keras.explain(network(), path.rename(path.with_suffix(".npy"))),
    "names": lambda path: rap_keras.explain(network(), X, classes=path),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_pipes_and_sockets_are_not_read(tmp_path, monkeypatch, reader, kind):
    monkeypatch.chdir(tmp_path)
    if kind == "pipe":
        os.mkfifo("it")
    else:
        socket.socket(socket.AF_UNIX).bind("it")
    with pytest.raises((OSError, ValueError), match=r"it(\.npy)? is a pipe, a device or a socket: give a file"):
        READERS[reader](Path("it").resolve() if reader == "a model" else Path("it"))
