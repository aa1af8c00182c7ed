"""What `analyze` takes: arrays, dicts, tensors, batches of every kind; results are those of single samples."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, NotAnalyzeableModelException, create_analyzer
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP
from rap_keras.engine import keras_graph
from rap_keras.engine.checks.conservation import lively_weights


@pytest.fixture
def model() -> keras.Model:
    inputs = keras.Input((5, 5, 2))
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return lively_weights(keras.Model(inputs, layers.Dense(3)(y)))


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 5, 5, 2)).astype(np.float32)


class Photos(keras.utils.Sequence):
    """Batches of photos and labels; like some of Keras' own sequences it iterates without end."""

    def __init__(self, X: np.ndarray, size: int) -> None:
        self._X, self._size = X, size

    def __len__(self) -> int:
        return -(-len(self._X) // self._size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self._X[index * self._size : (index + 1) * self._size]
        return batch, np.zeros(len(batch))

    def __iter__(self):
        while True:
            yield self[0]


@pytest.mark.parametrize("size", [1, 3, 7, 100, np.int64(2)])
def test_batch_size_changes_nothing(model, X, size):
    analyzer = RAP(model)
    np.testing.assert_allclose(analyzer.analyze(X, batch_size=size), analyzer.analyze(X), rtol=1e-5, atol=1e-7)


def test_no_batch_is_larger_than_asked_for(model, X, tmp_path):
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    stored = np.memmap(tmp_path / "photos", np.float32, "w+", shape=X.shape)
    stored[:] = X
    run, sizes = analyzer._run, []

    def recorded(samples):
        sizes.append(len(samples))
        return run(samples)

    analyzer._run = recorded
    np.testing.assert_allclose(analyzer.analyze(stored, batch_size=3), expected, rtol=1e-5, atol=1e-7)
    assert sizes == [3, 3, 1]


def test_each_sample_keeps_its_index(model, X):
    analyzer = RAP(model, neuron_selection_mode="index")
    chosen = [0, 1, 2, 2, 1, 0, 1]
    found = analyzer.analyze(X, chosen, batch_size=2)
    assert found.sum((1, 2, 3)) == pytest.approx(model.predict_on_batch(X)[range(7), chosen], rel=1e-4)
    np.testing.assert_allclose(found, analyzer.analyze(X, chosen), rtol=1e-5, atol=1e-7)


def test_generators_and_sequences(model, X):
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    for stream in (
        (X[start : start + 3] for start in (0, 3, 6)),
        iter([(X[:5],), (X[5:], "labels")]),
        Photos(X, 4),
    ):
        np.testing.assert_allclose(analyzer.analyze(stream), expected, rtol=1e-5, atol=1e-7)
    parts = analyzer.analyze_batches([X[:5], X[5:]])
    np.testing.assert_allclose(next(parts), expected[:5], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(next(parts), expected[5:], rtol=1e-5, atol=1e-7)
    by_index = RAP(model, neuron_selection_mode="index")
    np.testing.assert_allclose(by_index.analyze(Photos(X, 4), 1), by_index.analyze(X, 1), rtol=1e-5, atol=1e-7)


def test_several_inputs():
    a, b = keras.Input((3,)), keras.Input((2,))
    model = keras.Model([a, b], layers.Dense(2)(layers.Dense(4)(layers.Concatenate()([a, b]))))
    random = np.random.default_rng(0)
    X = [random.normal(size=(5, 3)), random.normal(size=(5, 2))]
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    batched = analyzer.analyze(X, batch_size=2)
    streamed = analyzer.analyze(iter([([X[0][:2], X[1][:2]], "labels"), [X[0][2:], X[1][2:]]]))
    for found in (batched, streamed):
        for part, whole in zip(found, expected):
            np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [0, -1, 2.0, "4", True])
def test_batch_size_must_be_positive(model, X, size):
    with pytest.raises(ValueError, match=r"batch_size=.*must be a positive integer"):
        RAP(model).analyze(X, batch_size=size)


def test_errors_name_the_batch_and_the_sample(model, X):
    broken = X.copy()
    broken[4, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"NaN or Inf in sample 4$"):
        RAP(model).analyze(broken, batch_size=2)
    with pytest.raises(ValueError, match=r"batch 1: input .* NaN or Inf in sample 1$"):
        RAP(model).analyze(broken[start : start + 3] for start in (0, 3))
    with pytest.raises(ValueError, match="gave no batch"):
        RAP(model).analyze(iter([]))
    with pytest.raises(ValueError, match="has its own batches"):
        RAP(model).analyze(iter([X]), batch_size=2)


class Output(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.isatty = lambda: terminal


def test_progress_is_shown_on_a_terminal(model, X, monkeypatch):
    terminal = Output(terminal=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    analyzer = RAP(model)
    analyzer.analyze(X)
    analyzer.analyze(X, batch_size=7)
    assert terminal.getvalue() == ""  # one batch shows no progress
    analyzer.analyze(X, batch_size=2)
    assert "7/7" in terminal.getvalue()
    analyzer.analyze(Photos(X, 2))
    assert "4/4" in terminal.getvalue()


def test_progress_is_shown_in_notebooks_and_not_in_files(model, X, monkeypatch):
    output = Output(terminal=False)
    monkeypatch.setattr(sys, "stderr", output)
    analyzer = RAP(model)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    analyzer.analyze(X, batch_size=2)
    assert output.getvalue() == ""
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    analyzer.analyze(X, batch_size=2)
    assert "7/7" in output.getvalue()


def by_name_model():
    photo, numbers = keras.Input((4, 4, 3), name="photo"), keras.Input((2,), name="numbers")
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(photo))
    y = layers.Dense(2)(layers.Concatenate()([y, layers.Dense(4, "relu")(numbers)]))
    return {"list": keras.Model([photo, numbers], y), "dict": keras.Model({"photo": photo, "numbers": numbers}, y)}


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_inputs_by_name_give_relevance_by_name(kind):
    model = by_name_model()[kind]
    random = np.random.default_rng(0)
    given = {"numbers": random.random((5, 2)), "photo": random.random((5, 4, 4, 3))}
    analyzer = RAP(model)
    found = analyzer.analyze(given)
    assert {name: array.shape for name, array in found.items()} == {"photo": (5, 4, 4, 3), "numbers": (5, 2)}
    total = sum(array.reshape(5, -1).sum(1) for array in found.values())
    assert total == pytest.approx(model.predict_on_batch(given).max(1), rel=1e-4)
    names = keras_graph.input_names(model)
    by_name = dict(zip(names, analyzer.analyze([given[name] for name in names])))
    batched = analyzer.analyze(given, batch_size=2)
    parts = (slice(3), slice(3, 5))
    streamed = analyzer.analyze({name: array[part] for name, array in given.items()} for part in parts)
    as_tuple = analyzer.analyze(tuple(given[name] for name in names))
    for name, expected in found.items():
        np.testing.assert_array_equal(by_name[name], expected)
        np.testing.assert_allclose(batched[name], expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(streamed[name], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(as_tuple[names.index("photo")], found["photo"])
    with pytest.raises(ValueError, match=r"inputs 'photo' are missing: the model takes .*and 'numbers', 'x'"):
        analyzer.analyze({"numbers": given["numbers"], "x": given["photo"]})
    with pytest.warns(UserWarning, match="no inputs 'id'"):
        analyzer.analyze({**given, "id": np.arange(5)})


def test_a_single_input_by_name_and_as_a_tensor(model, X):
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    (name,) = keras_graph.input_names(model)
    np.testing.assert_array_equal(analyzer.analyze({name: X})[name], expected)
    np.testing.assert_array_equal(analyzer.analyze(tf.constant(X)), expected)
    np.testing.assert_array_equal(analyzer.analyze([X]), expected)
    np.testing.assert_array_equal(analyzer.analyze(X.tolist()), expected)
    tensor = tf.random.normal((2, 5, 5, 2))
    if not tf.executing_eagerly():
        with pytest.raises(TypeError, match=r"no value.*tf\.keras\.backend\.get_value"):
            analyzer.analyze(tensor)
        tensor = keras.backend.get_value(tensor)  # the way out
    assert analyzer.analyze(tensor).shape == (2, 5, 5, 2)


def test_datasets_of_tensorflow(model, X):
    analyzer = RAP(model)
    expected = analyzer.analyze(X)
    slices = tf.data.Dataset.from_tensor_slices
    (name,) = keras_graph.input_names(model)
    labelled = slices((X, np.zeros(7))).map(lambda x, y: (x, y + 1)).batch(3)
    for dataset in (slices(X).batch(3), labelled, slices(X).batch(2).prefetch(1)):
        np.testing.assert_allclose(analyzer.analyze(dataset), expected, rtol=1e-5, atol=1e-7)
    by_name = analyzer.analyze(slices({name: X}).batch(4))
    np.testing.assert_allclose(by_name[name], expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=r"batch 0: .*a tf\.data\.Dataset needs \.batch"):
        analyzer.analyze(slices(X))


@pytest.mark.slow
@pytest.mark.keras2  # Keras 3 cannot do without eager execution
def test_a_dataset_made_before_eager_execution_was_switched_off():
    program = (
        "import numpy as np, tensorflow as tf\n"
        "dataset = tf.data.Dataset.from_tensor_slices(np.zeros((4, 3), np.float32)).batch(2)\n"
        "tf.compat.v1.disable_eager_execution()\n"
        "import rap_keras\n"
        "from tensorflow import keras\n"
        "model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\n"
        "assert rap_keras.RAP(model).analyze(np.zeros((4, 3), np.float32)).shape == (4, 3)  # the way out\n"
        "rap_keras.RAP(model).analyze(dataset)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ValueError: this tf.data.Dataset was made before eager execution was switched off" in done.stderr


@pytest.mark.plugin
def test_a_wrapper_of_several_samples_each_keeps_the_neurons_of_each_batch(model, X):
    """Every sample is repeated within the graph; each copy must take its index along into its batch."""
    from innvestigate.analyzer import AugmentReduceBase

    plain = create_analyzer("rap", model, neuron_selection_mode="index")
    chosen = [0, 1, 2, 2, 1, 0, 1]
    expected = plain.analyze(X, chosen)
    wrapped = AugmentReduceBase(
        create_analyzer("rap", model, neuron_selection_mode="index"),
        augment_by_n=3,
        neuron_selection_mode="index",
    )
    for size in (None, 2, 3):
        found = wrapped.analyze(X, neuron_selection=chosen, batch_size=size)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_photos_that_were_not_preprocessed_are_warned_of(recwarn):
    def built(*first):
        return keras.Sequential([keras.Input((4, 4, 3)), *first, layers.Flatten(), layers.Dense(3)])

    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    plain = create_analyzer("rap", built())
    with pytest.warns(UserWarning, match=r"uint8, like photos before preprocessing.*X\.astype\('float32'\)"):
        found = plain.analyze(pixels)
    recwarn.clear()
    np.testing.assert_array_equal(plain.analyze(pixels.astype(np.float32)), found)
    create_analyzer("rap", built(layers.Rescaling(1 / 255))).analyze(pixels)
    assert not [one for one in recwarn if "uint8" in str(one.message)]


def test_a_sample_without_relevance_is_named():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(4, "relu")(inputs)))
    model.set_weights([np.ones((3, 4)), np.zeros(4), np.ones((4, 2)), np.array([1.0, 2.0])])
    X = np.array([[1.0, 1, 1], [-1, -1, -1], [1, 0, 0], [-1, 0, 0]])
    with pytest.warns(UserWarning, match=r"heatmap of sample 1, 3 is zero everywhere.*only from biases"):
        found = RAP(model).analyze(X)
    assert (found[[1, 3]] == 0).all()
    with pytest.warns(UserWarning, match=r"heatmap of sample 3 is zero"):
        RAP(model).analyze(X, batch_size=2)
    with pytest.warns(UserWarning, match=r"sample 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 2 more is zero"):
        RAP(model).analyze(np.tile(X, (6, 1)))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the heatmap")
        assert RAP(model).analyze(X[[0, 2]]).sum(1) == pytest.approx([4 * 3, 4 * 1], abs=3)


def divided_by_255(x):
    return x / 255.0


def cast_to_float(x):
    return ops.cast(x, "float32") / 255.0


@pytest.mark.parametrize(
    ("dtype", "front"),
    [
        ("uint8", cast_to_float),
        pytest.param(
            "uint8", lambda x: tf.image.convert_image_dtype(x, tf.float32), marks=pytest.mark.keras2, id="convert"
        ),
        ("uint8", layers.Rescaling(1 / 255)),
        ("int32", cast_to_float),
        ("float64", divided_by_255),
        ("float64", cast_to_float),
        ("float64", layers.Rescaling(1 / 255)),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_inputs_of_other_data_types_run_as_keras_runs_them(dtype, front, from_file, tmp_path):
    if from_file and front is divided_by_255 and not KERAS_3:
        pytest.skip("Keras 2 cannot load it: the constant becomes float32")
    inputs, plain = keras.Input((6, 6, 3), dtype=dtype), keras.Input((6, 6, 3))
    conv, last = layers.Conv2D(4, 3, activation="relu"), layers.Dense(3)

    def end(x):
        return last(layers.GlobalAveragePooling2D()(conv(x)))

    model = lively_weights(keras.Model(inputs, end(front(inputs))))
    expected = RAP(keras.Model(plain, end(plain)), input_rule=(0, 1))
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3))
    if from_file:
        path = tmp_path / ("model.keras" if KERAS_3 else "model.h5")  # Keras 3 cannot load operations from HDF5
        model.save(path)
        model = keras.models.load_model(path)
    found = RAP(model, input_rule=(0, 255)).analyze(x.astype(dtype))
    assert found.sum((1, 2, 3)) == pytest.approx(model.predict_on_batch(x.astype(dtype)).max(1), rel=1e-4)
    np.testing.assert_allclose(found, expected.analyze(x / 255), rtol=1e-3, atol=1e-6)


def test_an_operation_on_integers_is_refused_or_right_and_the_way_out_works():
    def network(front):
        inputs = keras.Input((6, 6, 3), dtype="uint8")
        return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(ops.cast(front(inputs), "float32"))))

    moved = network(lambda x: ops.reshape(x, (-1, 36, 3)))
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    model = network(lambda x: ops.reshape(ops.cast(x, "float32"), (-1, 36, 3)))
    assert RAP(model).analyze(x).sum((1, 2, 3)) == pytest.approx(model.predict_on_batch(x).max(1), rel=1e-4)
    if KERAS_3:  # integers that are only moved are followed as real numbers
        moved.set_weights(model.get_weights())
        np.testing.assert_array_equal(RAP(moved).analyze(x), RAP(model).analyze(x))
        return
    with pytest.raises(NotAnalyzeableModelException, match=r"calculates with integers.* tf\.cast\(x, "):
        RAP(moved)


def test_values_that_become_infinite_are_refused(model, X):
    analyzer = create_analyzer("rap", model)
    X = X.astype(np.float64)
    X[4, 0, 0, 0] = -1e39
    with pytest.raises(
        ValueError, match=r"takes float32, and sample 4 has a value of 1e\+39, which is infinite there"
    ):
        analyzer.analyze(X)
    X[4, 0, 0, 0] = -1
    assert np.isfinite(analyzer.analyze(X)).all()


def test_a_heatmap_that_is_not_finite_warns(model, X):
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] = np.nan
    model.set_weights(weights)
    with pytest.warns(
        UserWarning, match=r"the heatmap of sample 0, 1 is not finite.*Look at the model's own output"
    ):
        create_analyzer("rap", model).analyze(X[:2])
