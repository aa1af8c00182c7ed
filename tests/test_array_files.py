"""Samples from .npy and .npz files: which shapes they may have, and what errors say of files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rap_keras.datasets.array_files import is_array_file, load

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(array: np.ndarray, shape: tuple) -> tuple[np.ndarray, bool]:
    np.save("x.npy", array)
    arrays, is_batch = load(Path("x.npy"), {"input": shape})
    assert list(arrays) == ["input"]
    return arrays["input"], is_batch


@pytest.mark.parametrize(
    ("given", "shape", "batch", "is_batch"),
    [
        ((7, 2), (7, 2), (1, 7, 2), False),
        ((3, 7, 2), (7, 2), (3, 7, 2), True),
        ((1, 7, 2), (7, 2), (1, 7, 2), True),
        ((9, 2), (None, 2), (1, 9, 2), False),
        ((7,), (7, 1), (1, 7, 1), False),
        ((3, 7), (7, 1), (3, 7, 1), True),
        ((5,), (5,), (1, 5), False),
        ((3, 5), (5,), (3, 5), True),
        ((8, 10), (8, 10, 1), (1, 8, 10, 1), False),
        ((2, 8, 10), (8, 10, 1), (2, 8, 10, 1), True),
        ((2, 8, 10, 1), (8, 10, 1), (2, 8, 10, 1), True),
        ((4, 8, 8), (4, 8, 8, 1), (1, 4, 8, 8, 1), False),
        ((3,), (1,), (3, 1), True),
        # Ten steps of one channel, and not ten series of one step.
        ((10, 1), (None, 1), (1, 10, 1), False),
    ],
)
def test_one_sample_or_a_batch(given, shape, batch, is_batch):
    array = RANDOM.normal(size=given)
    found, was_batch = loaded(array, shape)
    assert was_batch == is_batch
    np.testing.assert_array_equal(found, array.reshape(batch))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float64", "bool"])
def test_values_are_not_changed(dtype):
    array = np.arange(6).reshape(3, 2).astype(dtype)
    found, _ = loaded(array, (3, 2))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found[0], array)


def test_arrays_by_the_names_of_the_inputs():
    series, facts = RANDOM.normal(size=(4, 2)), RANDOM.normal(size=3)
    np.savez("x.npz", facts=facts, series=series)
    found, is_batch = load(Path("x.npz"), {"series": (4, 2), "facts": (3,)})
    assert list(found) == ["series", "facts"]
    assert not is_batch
    np.testing.assert_array_equal(found["series"], series[None])
    np.testing.assert_array_equal(found["facts"], facts[None])
    np.savez_compressed("y.NPZ.npz", whatever=facts)
    np.testing.assert_array_equal(load(Path("y.NPZ.npz"), {"facts": (3,)})[0]["facts"], facts[None])


def message(path: str, inputs: dict) -> str:
    with pytest.raises(ValueError, match="^" + path.replace(".", r"\.")) as caught:
        load(Path(path), inputs)
    return str(caught.value)


def test_wrong_shapes_are_told_with_what_the_model_takes():
    np.save("x.npy", RANDOM.normal(size=(3, 8, 10)))
    said = message("x.npy", {"input": (8, 10, 3)})
    assert "shape (3, 8, 10), but the model takes (8, 10, 3) for one sample, or (N, 8, 10, 3) for N" in said
    assert "put its channels last, with numpy.moveaxis(x, -3, -1)" in said
    np.save("x.npy", np.moveaxis(np.load("x.npy"), -3, -1))
    load(Path("x.npy"), {"input": (8, 10, 3)})
    np.save("x.npy", np.zeros((5, 3, 8, 10)))
    assert "put its channels last, with numpy.moveaxis(x, -3, -1)" in message("x.npy", {"input": (8, 10, 3)})
    np.save("x.npy", np.zeros((9, 8, 3)))
    assert "resize it to height and width (8, 10), or give the file" in message("x.npy", {"input": (8, 10, 3)})
    assert "height and width (any, 10)" in message("x.npy", {"input": (None, 10, 3)})
    np.save("x.npy", np.zeros((6, 5)))
    assert "where only the order of its axes differs, with numpy.transpose" in message("x.npy", {"input": (4, 6)})
    np.save("x.npy", np.zeros((4, 5)))
    assert "(any, 8, 1) for one sample, or (N, any, 8, 1) for N of them, or without the last axis, (any, 8)" in (
        message("x.npy", {"input": (None, 8, 1)})
    )
    np.save("x.npy", np.zeros((0, 4)))
    assert "no values" in message("x.npy", {"input": (4,)})
    np.savez("x.npz", a=np.zeros(2), b=np.zeros(4))
    assert "x.npz: b: shape (4,)" in message("x.npz", {"a": (2,), "b": (3,)})


def test_names_that_do_not_match():
    np.savez("x.npz", a=np.zeros(2), other=np.zeros(3))
    inputs = {"a": (2,), "b": (3,)}
    said = message("x.npz", inputs)
    assert "it has 'a', 'other', but the model takes 'a' (2,), 'b' (3,)" in said
    assert "numpy.savez('x.npz', **{'a': a, 'b': b})" in said
    np.savez("x.npz", **{"a": np.zeros(2), "b": np.zeros(3)})
    load(Path("x.npz"), inputs)
    np.save("x.npy", np.zeros(2))
    assert "an array without a name" in message("x.npy", inputs)
    said = message("x.npz", {"a": (2,)})
    assert "it has 'a', 'b', but the model takes one array: numpy.savez('x.npz', x=x)" in said
    np.savez("x.npz", x=np.zeros(2))
    load(Path("x.npz"), {"a": (2,)})


def test_inputs_of_unequal_numbers_of_samples():
    inputs = {"a": (2,), "b": (3,)}
    np.savez("x.npz", a=np.zeros((4, 2)), b=np.zeros((5, 3)))
    said = message("x.npz", inputs)
    assert "a has a batch of 4, b has a batch of 5: give each input equally many samples" in said
    np.savez("x.npz", a=np.zeros((1, 2)), b=np.zeros(3))
    assert "a has a batch of 1, b has one sample" in message("x.npz", inputs)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_files_that_are_none_of_numpy(here, name):
    save = {"x.npy": lambda: np.save(name, np.zeros(2)), "x.npz": lambda: np.savez(name, x=np.zeros(2))}[name]
    save()
    whole = Path(name).read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], whole[:-8], b"\x80\x04N."):
        Path(name).write_bytes(content)
        assert "not a NumPy file, or a damaged one: save the array with numpy.save" in message(name, {"x": (2,)})
    save()
    load(Path(name), {"x": (2,)})


def test_a_head_that_promises_more_than_there_is(here):
    with open("x.npy", "wb") as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (10**17,)}
        np.lib.format.write_array_header_1_0(file, head)
    assert "a damaged one" in message("x.npy", {"x": (None,)})


def test_other_things_than_finite_real_numbers():
    inputs = {"x": (2,)}
    objects = np.array([1, None], object)
    np.save("x.npy", objects, allow_pickle=True)
    np.savez("x.npz", x=objects)
    for name in ("x.npy", "x.npz"):
        assert "an array of Python objects: save numbers, numpy.save('x.npy', x.astype('float32'))" in (
            message(name, inputs)
        )
    for wrong, kind in ((np.array(["a", "2"]), "texts"), (np.zeros(2, complex), "complex128")):
        np.save("x.npy", wrong)
        assert f"an array without real numbers, but {kind}" in message("x.npy", inputs)
    np.save("x.npy", np.array([np.nan, 1.0]))
    assert "1 of 2 values is NaN or infinite: replace them, for instance with numpy.nan_to_num" in (
        message("x.npy", inputs)
    )
    np.save("x.npy", np.nan_to_num(np.load("x.npy")))
    load(Path("x.npy"), inputs)


def test_names_of_files():
    assert [is_array_file(Path(name)) for name in ("a.npy", "b.NPZ", "c.png", "npy")] == [True, True, False, False]
