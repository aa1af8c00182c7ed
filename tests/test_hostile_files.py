"""Hostile and damaged model files: nothing in them is run; each is refused by name, with the cause."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from hostile_files import MARKER, PROVEN, entry, lambda_layer, network, of_keras_3_format, write_h5, write_keras
from tensorflow import keras

from rap_keras import RAP, models
from rap_keras.hosts import storage
from rap_keras.models import foreign_files
from rap_keras.patterns import Patterns

layers = keras.layers


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A folder of hostile files, and `said.txt`, which names those that ran in plain Keras."""
    folder = tmp_path_factory.mktemp("hostile")
    script = Path(__file__).with_name("hostile_files.py")
    result = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (folder / "said.txt").write_text(result.stdout)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(path: str | Path, load: Any = models.load_model) -> str:
    """The error about a file that must be refused; asserts that nothing in it has run."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the callers look at the message
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message) - len(str(path)) < 500
    assert not Path(MARKER).exists()
    return message


@pytest.mark.slow
def test_the_payloads_are_real(hostile):
    said = (hostile / "said.txt").read_text().splitlines()
    assert [line for line in said if line.startswith("ran: ")] == [f"ran: {name}" for name in PROVEN]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("lambda.h5", "Lambda layer 'evil'"),
        ("escaped.h5", "Lambda layer 'evil'"),
        ("deep.h5", "Lambda layer 'evil'"),
        ("distributed.h5", "Lambda layer 'evil'"),
        ("lambda.keras", "Lambda layer 'evil'"),
        ("bidirectional.keras", "Lambda layer 'evil'"),
        ("module.keras", "the model needs evil_module.Dense, which is not part of Keras"),
        ("pickled.keras", "no model.weights.h5 in this archive"),
        ("operation.h5", "layer 'operation' is the operation 'io.read_file'"),
        pytest.param("escaped-saved", "Lambda layer 'evil'", marks=pytest.mark.keras2),
        pytest.param(
            "operation-saved",
            "layer 'writing' needs Writing, which is not part of Keras",
            marks=pytest.mark.keras2,
        ),
    ],
)
def test_code_in_a_file_is_not_run(hostile, monkeypatch, name, cause):
    monkeypatch.chdir(hostile)
    monkeypatch.syspath_prepend(hostile)
    assert cause in refusal(hostile / name)
    assert "evil_module" not in sys.modules


@pytest.mark.keras2
def test_the_graphs_of_a_saved_model_are_not_run(hostile, monkeypatch):
    """The graphs write a file; the class that replaces them does not."""

    class Writing(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    monkeypatch.chdir(hostile)
    model = models.load_model("operation-saved", custom_objects={"Writing": Writing})
    np.testing.assert_array_equal(model.predict_on_batch(np.ones((1, 4))), 2 * np.ones((1, 4)))
    assert not Path(MARKER).exists()


def dense(**config: Any) -> dict[str, Any]:
    return entry("Dense", {"units": 2, "name": "dense", **config})


def graph_operation(node_def: Any) -> dict[str, Any]:
    return entry("TensorFlowOpLayer", {"name": "op", "node_def": node_def, "constants": {"0": "/etc/hostname"}})


def binary(kind: str) -> str:
    return tf.compat.v1.NodeDef(op=kind, name="op", input=["a"]).SerializeToString().decode()


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (graph_operation({"name": "op", "op": "ReadFile"}), "is the operation 'ReadFile'"),
        (graph_operation({"name": "op", "op": "WriteFile"}), "is the operation 'WriteFile'"),
        (graph_operation(binary("PyFunc")), "is the operation 'PyFunc'"),
        (graph_operation(["op"]), "is the operation None"),
        (entry("TFOpLambda", {"name": "op", "function": "numpy_function"}), "is the operation 'numpy_function'"),
        (entry("TFOpLambda", {"name": "op", "function": {"relu": 1}}), "is the operation {'relu': 1}"),
        (entry("InstanceMethod", {"name": "op", "method_name": "eval"}), "layer 'op' needs InstanceMethod"),
        (
            entry("StringLookup", {"name": "words", "vocabulary": "/etc/hostname"}),
            "layer 'words' would read its vocabulary",
        ),
        (dense(activation=entry("deserialize", {"name": {}})), "layer 'dense' needs deserialize"),
        (dense(activation=entry("__lambda__", {"value": []})), "lambda function of 'dense'"),
        (dense(kernel_initializer=entry("Zeros", {}, module="os")), "layer 'dense' needs os.Zeros"),
        (dense(kernel_initializer=entry("Zeros", {}, module="keras_evil")), "needs keras_evil.Zeros"),
        (dense(kernel_initializer=entry("Zeros", {}, registered_name="Popen")), "layer 'dense' needs Zeros"),
        (dense(activation=entry("function", "system", module="os")), "layer 'dense' needs os.system"),
        (dense(activation=entry("function", "eval", module="builtins")), "layer 'dense' needs eval"),
        (
            dense(activation=entry("function", "load_model", module="keras.models")),
            "needs keras.models.load_model",
        ),
        (dense(activation=entry("function", ["relu"])), "layer 'dense' needs something"),
        (dense(activation=entry(["Dense"], {})), "layer 'dense' needs something"),  # type: ignore[arg-type]
        (dense(compile_config={"loss": entry("function", "rmtree", module="shutil")}), "needs shutil.rmtree"),
        (
            dense(bias_initializer=entry("partial", {}, module="tensorflow.python.ops.init_ops")),
            "needs tensorflow",
        ),
        (entry("Old", {"name": "old"}), "layer 'old' needs Old"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_what_is_not_known_to_calculate_is_refused(here, layer, cause, suffix):
    config = network(layer)
    if suffix == ".h5":
        write_h5("net.h5", config)
    else:
        write_keras("net.keras", of_keras_3_format(config))
        cause = cause.replace(" needs ", " needs keras.layers.") if "module" not in str(layer) else cause
    message = refusal(f"net{suffix}")
    assert cause in message or cause.replace("keras.layers.", "") in message


def test_code_in_the_part_on_training_is_refused(here):
    code = lambda_layer()
    write_h5("net.h5", network(dense()))
    with h5py.File("net.h5", "a") as file:
        file.attrs["training_config"] = json.dumps({"loss": code})
    assert "Lambda layer 'evil'" in refusal("net.h5")
    config = of_keras_3_format(network(dense()))
    write_keras("net.keras", {**config, "compile_config": {"loss": entry("__lambda__", {"value": []})}})
    assert "lambda function of 'net'" in refusal("net.keras")


def test_a_class_of_training_that_is_not_used_does_no_harm(here):
    """The model is not compiled, so Keras makes no object of the class."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.save("net.h5")
    with h5py.File("net.h5", "a") as file:
        file.attrs["training_config"] = json.dumps({"loss": entry("MyLoss", {})})
    x = np.ones((1, 3))
    np.testing.assert_allclose(
        models.load_model("net.h5").predict_on_batch(x), model.predict_on_batch(x), rtol=1e-5
    )


def saved_analyzer(path: str, model_json: Any = None, **changes: Any) -> None:
    """Writes what RAP.save_npz writes, with changes."""
    x = keras.Input((4,), name="input")
    analyzer = RAP(keras.Model(x, layers.Dense(2, name="dense")(x)))
    analyzer.save_npz(path)
    arrays = dict(np.load(path))
    state = json.loads(str(arrays["state"]))
    if model_json is not None:
        state["model_json"] = model_json
    state.update(changes)
    np.savez(path, **{**arrays, "state": json.dumps(state)})


def test_an_analyzer_goes_by_the_same_rules(here, monkeypatch):
    escaped = json.dumps(network(lambda_layer())).replace('"Lambda"', r'"\u004cambda"')
    saved_analyzer("rap.npz", escaped)
    assert "Lambda layer 'evil'" in refusal("rap.npz", RAP.load_npz)
    saved_analyzer("rap.npz", json.dumps(network(entry("TFOpLambda", {"name": "op", "function": "io.read_file"}))))
    assert "is the operation 'io.read_file'" in refusal("rap.npz", RAP.load_npz)
    saved_analyzer("rap.npz", "{")
    assert "its configuration is damaged" in refusal("rap.npz", RAP.load_npz)
    saved_analyzer("rap.npz", rules=3)
    assert "not an analyzer saved by RAP.save_npz" in refusal("rap.npz", RAP.load_npz)
    saved_analyzer("rap.npz", neuron_selection=3)
    assert "options that only iNNvestigate's analyzer may have (neuron_selection)" in refusal(
        "rap.npz", RAP.load_npz
    )


def test_rules_of_an_analyzer_are_not_imported(here, monkeypatch):
    Path("evil_module.py").write_text(
        f"open({MARKER!r}, 'w')\ndef rule(Xs, Ys, Rs, state): return [0 * Xs[0] + 9]\n"
    )
    monkeypatch.syspath_prepend(here)
    saved_analyzer("rap.npz", rules={"dense": "evil_module:rule"})
    with pytest.raises(
        ImportError, match=r"rap\.npz: its rule 'rule' is from the module 'evil_module'.*import it first"
    ):
        RAP.load_npz("rap.npz")
    assert "evil_module" not in sys.modules
    assert not Path(MARKER).exists()
    importlib.import_module("evil_module")  # the way out
    assert (RAP.load_npz("rap.npz").analyze([[1.0, 2.0, 3.0, 4.0]]) == [[9, 9, 9, 9]]).all()
    monkeypatch.delitem(sys.modules, "evil_module")
    for address in ("os:system", "json:loads.__code__", "subprocess:Popen", "no colon", 3):
        saved_analyzer("rap.npz", rules={"dense": address})
        with pytest.raises(ImportError, match=r"rap\.npz: its rule"):
            RAP.load_npz("rap.npz")


def test_pickled_arrays_are_refused(here):
    np.savez("rap.npz", class_name="RAP", state=np.array([{}], object))
    for load in (RAP.load_npz, Patterns.load):
        assert "pickled" in refusal("rap.npz", load)


def test_bombs_are_not_unpacked(here, monkeypatch):
    monkeypatch.setattr(foreign_files, "_HARMLESS", 10**6)
    write_keras("bomb.keras", of_keras_3_format(network(dense())), assets__big=bytes(10**7))
    assert "bytes would be unpacked to 10,0" in refusal("bomb.keras")
    np.savez_compressed("bomb.npz", a=np.zeros(10**7, np.int8))
    for load in (RAP.load_npz, Patterns.load):
        assert "would be unpacked to 10,000,128" in refusal("bomb.npz", load)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (10**12,), "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile("header.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(16))
    said = refusal("header.npz", storage.load_npz)
    assert "its 'a.npy' is damaged: it is not as large as its header says" in said
    write_h5("bomb.h5", network(dense()))
    with h5py.File("bomb.h5", "a") as file:
        file.create_dataset("model_weights/dense", (10**6, 10**6), "f4", chunks=(100, 100))
    assert "would be unpacked to 4,000,000,000,000" in refusal("bomb.h5")
    write_keras(
        "inner.keras", of_keras_3_format(network(dense())), model__weights__h5=Path("bomb.h5").read_bytes()
    )
    assert "would be unpacked to 4,000,000,000,000" in refusal("inner.keras")


def link(file: h5py.File) -> None:
    file["model_weights/dense"] = h5py.ExternalLink("secret.h5", "/data")


def soft_link(file: h5py.File) -> None:
    file["model_weights/dense"] = h5py.SoftLink("/model_weights")


def external(file: h5py.File) -> None:
    file.create_dataset("model_weights/dense", (4,), "f4", external=[("secret.bin", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "data", (4,))
    file.create_virtual_dataset("model_weights/dense", layout)


@pytest.mark.parametrize("elsewhere", [link, soft_link, external, virtual])
def test_data_of_other_files_are_not_read(here, elsewhere):
    Path("secret.bin").write_bytes(bytes(16))
    with h5py.File("secret.h5", "w") as file:
        file["data"] = np.zeros(4, np.float32)
    write_h5("net.h5", network(dense()))
    with h5py.File("net.h5", "a") as file:
        elsewhere(file)
    assert "'model_weights/dense'" in refusal("net.h5")
    write_keras("net.keras", of_keras_3_format(network(dense())), model__weights__h5=Path("net.h5").read_bytes())
    assert "'model_weights/dense'" in refusal("net.keras")


def test_a_file_of_two_formats_is_read_as_keras_reads_it(here):
    """HDF5 followed by an archive: Keras goes by the name and reads the archive."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.save("good.h5")
    write_keras("bad.keras", of_keras_3_format(network(lambda_layer())))
    Path("both.keras").write_bytes(Path("good.h5").read_bytes() + Path("bad.keras").read_bytes())
    assert h5py.is_hdf5("both.keras")
    assert "Lambda layer 'evil'" in refusal("both.keras")


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        ({"metadata__json": b""}, "no metadata.json in this archive"),
        ({"config__json": b"", "metadata__json": b""}, "no config.json and metadata.json in this archive"),
        ({"metadata__json": b"{"}, "its configuration is damaged"),
        ({"metadata__json": b'{"keras_version": 2}'}, "it has int where text must be"),
        ({"config__json": b"[]"}, "its configuration is not a dictionary"),
        ({"config__json": b'{"name": "\xff\xfe"}'}, "its configuration is damaged"),
        ({"config__json": b"[" * 100_000}, "nested too deeply"),
        ({"config__json": b'{"class_name": "Sequential"}'}, "could not be loaded"),
        ({"model__weights__h5": b"no HDF5"}, "net.keras: "),
    ],
)
def test_damaged_archives(here, entries, cause):
    write_keras("net.keras", of_keras_3_format(network(dense())), **entries)
    assert cause in refusal("net.keras")


def test_damaged_files_of_hdf5(here):
    write_h5("net.h5", network(dense()))
    assert "could not be loaded (written by Keras 2.14.0" in refusal("net.h5")  # no weights
    for name, value in {"model_config": 3, "keras_version": [1.0], "training_config": "{"}.items():
        write_h5("net.h5", network(dense()))
        with h5py.File("net.h5", "a") as file:
            file.attrs[name] = value
        refusal("net.h5")
    write_h5("net.h5", network(dense()))
    content = Path("net.h5").read_bytes()
    for length in (3, 600, len(content) // 2, len(content) - 1):
        Path("net.h5").write_bytes(content[:length])
        refusal("net.h5")


def test_damaged_analyzers_and_patterns(here):
    saved_analyzer("rap.npz")
    content = Path("rap.npz").read_bytes()
    for length in (0, 3, len(content) // 2, len(content) - 1):
        Path("cut.npz").write_bytes(content[:length])
        refusal("cut.npz", RAP.load_npz)
        refusal("cut.npz", Patterns.load)
    np.save("one.npy", np.zeros(3))
    refusal("one.npy", RAP.load_npz)


def test_damaged_saved_model(hostile, here):
    Path("saved").mkdir()
    Path("saved/saved_model.pb").touch()
    for content in (b"", b"no message", b"\xff" * 100):
        Path("saved/keras_metadata.pb").write_bytes(content)
        refusal("saved")


def test_long_messages_of_keras_are_cut(here):
    many = [entry("Dense", {"units": 2, "name": f"dense{n}", "nonsense": 1}) for n in range(1000)]
    write_h5("net.h5", network(*many))
    assert "nonsense" in refusal("net.h5")
