"""Ray workers: the same rows as without Ray, whatever happens to a worker."""

from __future__ import annotations

import configparser
import dataclasses
import functools
import os
import re
import signal
import socket
import sys
from pathlib import Path

import own_layers
import pandas as pd
import pytest
from tensorflow import keras

from rap_keras import datasets, models, shapes
from rap_keras.benchmark import Benchmark, Options, parts
from rap_keras.benchmark.runner import Attempts, collect, one_by_one
from rap_keras.cli.open_benchmark import open_benchmark
from rap_keras.hosts import methods

ray = pytest.importorskip("ray", reason='needs Ray: pip install ".[ray]"')

from rap_keras.benchmark import ray_engine

METHODS = ("rap", "gradient")


def shapes_benchmark(folder=None):
    """A benchmark of 8 batches of 2 images; each process leaves a file named after itself in `folder`."""
    if folder is not None:
        (folder / str(os.getpid())).touch()
    model = models.to_logits(shapes.load_network("vgg"))
    analyzers = {name: methods.create(name, model) for name in METHODS}
    options = Options(metrics=("outside-inside", "mask", "lerf"), batch_size=2, steps=2)
    return Benchmark(model, analyzers, datasets.shapes(16), shapes.preprocess, (96, 96), options=options)


@dataclasses.dataclass
class Fake:
    """A benchmark of one image per batch, some of which are bad."""

    folder: str
    raises: tuple[int, ...] = ()
    kills: tuple[int, ...] = ()

    def evaluate(self, number):
        with open(os.path.join(self.folder, str(number)), "a") as file:
            file.write("x")
        if number in self.raises:
            raise ValueError(f"no result\nof {number}")
        if number in self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        return pd.DataFrame({"image": [str(number)], "status": ["used"], "pid": [os.getpid()]})

    def tries(self, number):
        with open(os.path.join(self.folder, str(number))) as file:
            return len(file.read())


def without_times(rows):
    """Rows without the seconds that the methods took, which are never the same again."""
    return rows.drop(columns="seconds")


def given_up(number, reason):
    return pd.DataFrame({"image": [str(number)], "status": ["broken"], "reason": [reason]})


def no_benchmark():
    raise FileNotFoundError("no data\non this machine")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Ray started once for all tests of this file, for two workers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Lets the workers find the code of this file, although it is not part of the package.
    paths = os.pathsep.join(filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        yield
        ray.shutdown()


def test_same_rows_as_without_although_a_worker_is_killed(tmp_path):
    """SIGKILL after the first batch; `collect` writes the local run's rows, each once."""
    processes = tmp_path / "processes"
    processes.mkdir()

    def with_one_killed():
        found = ray_engine.results(functools.partial(shapes_benchmark, processes), Attempts(range(8), given_up), 2)
        for count, result in enumerate(found):
            if count == 0:
                os.kill(int(next(processes.iterdir()).name), signal.SIGKILL)
            yield result

    collect(with_one_killed(), tmp_path, 16, 16)
    assert parts.finished(tmp_path) == set(range(8))
    assert len(list(processes.iterdir())) >= 2
    local = shapes_benchmark()
    for number in range(8):
        parts.write(tmp_path / "local", number, local.evaluate(number))
    for rows, expected in zip(parts.read(tmp_path, 8), parts.read(tmp_path / "local", 8)):
        pd.testing.assert_frame_equal(*map(without_times, (rows, expected)), check_exact=True)


def test_workers_know_the_users_own_layers(tmp_path):
    inputs = keras.Input((96, 96, 3))
    x = own_layers.Doubled()(keras.layers.Conv2D(4, 9, strides=4)(inputs))
    outputs = keras.layers.Dense(len(shapes.CLASSES))(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, outputs).save(tmp_path / "net.h5")
    settings = {
        "model_name": str(tmp_path / "net.h5"),
        "custom_objects": "own_layers",
        "preprocessing": "tf",
        "dataset": "shapes",
        "limit": 4,
        "methods": ("rap",),
        "all_needed": True,
        "options": Options(metrics=("mask",), batch_size=2),
        **dict.fromkeys(["resize", "crop", "output_layer", "root", "patterns"]),
    }
    factory = functools.partial(open_benchmark, **settings)
    found = dict(ray_engine.results(factory, Attempts(range(2), given_up), 1))
    local = factory()
    for number in range(2):
        pd.testing.assert_frame_equal(
            *map(without_times, (found[number], local.evaluate(number))), check_exact=True
        )


def test_bad_batches_are_set_aside_and_named(tmp_path, capsys):
    fake = Fake(str(tmp_path), raises=(1,), kills=(4,))
    factory = functools.partial(Fake, **dataclasses.asdict(fake))
    found = list(ray_engine.results(factory, Attempts(range(6), given_up, tries=2), 2))
    assert sorted(number for number, _ in found) == [0, 1, 2, 3, 4, 5]
    broken = {number: rows["reason"][0] for number, rows in found if rows["status"][0] == "broken"}
    assert broken == {
        1: "given up after 2 tries: ValueError: no result of 1",
        4: "given up after 2 tries: its worker died (killed, crashed or out of memory)",
    }
    assert [fake.tries(number) for number in range(6)] == [1, 2, 1, 1, 2, 1]
    told = capsys.readouterr().err.splitlines()
    assert "batch 1: given up after 2 tries: ValueError: no result of 1" in told
    assert len([line for line in told if "is tried again: " in line]) == 2


def test_failures_have_the_rows_that_they_have_in_a_local_run(tmp_path):
    fake = Fake(str(tmp_path), raises=(1, 3))
    factory = functools.partial(Fake, **dataclasses.asdict(fake))
    by_ray = dict(ray_engine.results(factory, Attempts(range(5), given_up), 2))
    local = dict(one_by_one(fake, Attempts(range(5), given_up)))
    assert sorted(by_ray) == sorted(local) == [0, 1, 2, 3, 4]
    for number, rows in local.items():
        expected = rows.drop(columns="pid", errors="ignore")
        pd.testing.assert_frame_equal(by_ray[number].drop(columns="pid", errors="ignore"), expected)
    assert [fake.tries(number) for number in range(5)] == [2, 6, 2, 6, 2]


def test_nothing_but_failures_ends_the_run(tmp_path):
    factory = functools.partial(Fake, str(tmp_path), raises=tuple(range(8)))
    with pytest.raises(
        RuntimeError, match="the first 2 batches failed 2 times, and the last error was ValueError: no result of 1"
    ):
        list(ray_engine.results(factory, Attempts(range(8), given_up, tries=2), 1))


def test_workers_that_cannot_start_end_the_run():
    with pytest.raises(RuntimeError, match="no worker can be started: FileNotFoundError: no data on this machine"):
        list(ray_engine.results(no_benchmark, Attempts(range(8), given_up, tries=2), 1))


def test_no_batches_no_workers():
    assert list(ray_engine.results(no_benchmark, Attempts([], given_up))) == []


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"threads": 0}])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=0: must be at least 1"):
        list(ray_engine.results(no_benchmark, Attempts(range(2), given_up), **wrong))


def test_places():
    assert ray_engine._places({"CPU": 16.0, "GPU": 4.0}, 0) == 16
    assert ray_engine._places({"CPU": 16.0, "GPU": 4.0}, 0.5) == 8
    assert ray_engine._places({"CPU": 2.0, "GPU": 4.0}, 1) == 2
    assert ray_engine._places({"CPU": 16.0}, 1) == 0


def test_nobody_answers_at_the_address():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # without listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"no cluster of Ray answers at {address}"):
            ray_engine._try_address(address)
    for other in ("auto", "local", "ray://127.0.0.1:1"):
        ray_engine._try_address(other)


def test_how_ray_is_installed_and_a_cluster_started(monkeypatch):
    from ray.scripts.scripts import start

    with pytest.raises(ConnectionError, match="start one with `ray start --head --port 1`"):
        ray_engine._try_address("127.0.0.1:1")
    assert {"--head", "--port"} <= {name for option in start.params for name in option.opts}
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="Ray is not installed") as error, ray_engine._cluster(None, None):
        pass
    (named,) = re.findall(r'pip install "(.*)"', str(error.value))
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    assert config["options.extras_require"]["ray"].strip() == named
