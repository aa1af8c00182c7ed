"""Integrated Gradients: references, whether they are complete, what is said if not, and whether that helps."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from commands import accepted, refused
from host import PLUGIN
from sums_of_inputs import dense, two_inputs
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import create_analyzer
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts import methods

INCOMPLETE = (
    r"not complete with \d+ steps: for sample \d+ they sum to \S+, but its logit and that .* differ by \S+\. "
)


def saturated():
    """The logit is the sum of sixteen tanh(0.3 x), which are 1 long before x is 200."""
    model = keras.Sequential([keras.Input((8,)), layers.Dense(16, activation="tanh"), layers.Dense(1)])
    model.set_weights([np.eye(8, 16) * 0.3, np.zeros(16), np.ones((16, 1)), np.zeros(1)])
    return model, np.full((1, 8), 200.0, np.float32)


def random_network(*inner, shape, dtype="float32"):
    x = y = keras.Input(shape, dtype=dtype)
    for layer in inner:
        y = layer(y)
    model = lively_weights(keras.Model(x, layers.Dense(3)(y)))
    first, *rest = model.get_weights()
    model.set_weights([20 * first, *rest])  # far from linear
    rng, size = np.random.default_rng(0), (3, *shape)
    return model, rng.integers(0, 9, size) if dtype == "int32" else rng.normal(size=size).astype("f4")


NETWORKS = {
    "saturated": saturated,
    "relu": lambda: random_network(
        *(layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()),
        *(layers.Dense(8, activation="relu"),),
        shape=(8, 8, 2),
    ),
    "lstm": lambda: random_network(layers.LSTM(4), shape=(6, 2)),
    "tokens": lambda: random_network(
        *(layers.Embedding(9, 4), layers.Conv1D(5, 2, activation="tanh"), layers.Flatten()),
        shape=(6,),
        dtype="int32",
    ),
}


def told_by(analyzer, x, *choice):
    """The relevance, and the warnings that it is not complete."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = analyzer.analyze(x, *choice)
    return found, [str(w.message) for w in told if "not complete" in str(w.message)]


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_not_complete_is_told_and_the_steps_close_it(kind):
    model, x = NETWORKS[kind]()
    predict = predictor(model)
    index = predict(x).argmax(1)
    analyzer = create_analyzer("integrated_gradients", model, steps=2)
    difference = analyzer.differences(x)
    if kind != "tokens":
        change = (predict(x) - predict(0 * x))[range(len(x)), index]
        np.testing.assert_allclose(difference, change, rtol=1e-4, atol=1e-6)
    found, told = told_by(analyzer, x)
    gap = np.abs(found.reshape(len(x), -1).sum(1) - difference) / np.abs(difference)
    assert bool(told) == bool((gap > 0.05).any())
    assert told
    assert re.search(INCOMPLETE, told[0])
    (steps,) = re.findall(
        r"About (\d+) steps would close this gap: give steps=\1, in the command --steps", told[0]
    )
    enough, told = told_by(create_analyzer("integrated_gradients", model, steps=int(steps)), x)
    assert not told
    np.testing.assert_allclose(enough.reshape(len(x), -1).sum(1), difference, rtol=0.05)


def test_every_mode_and_batches_have_the_right_difference():
    model, x = NETWORKS["relu"]()
    change = predictor(model)(x) - predictor(model)(0 * x)
    for mode, choice, right in (
        ("index", (1,), change[:, 1]),
        ("index", ([2, 0, 1],), change[range(3), [2, 0, 1]]),
        ("all", (), change.sum(1)),
    ):
        analyzer = create_analyzer("integrated_gradients", model, neuron_selection_mode=mode, steps=2)
        np.testing.assert_allclose(analyzer.differences(x, *choice), right, rtol=1e-4, atol=1e-6)
    analyzer = create_analyzer("integrated_gradients", model, steps=1)
    with pytest.warns(UserWarning, match=r"Integrated Gradients of sample 2 are not .* for sample 2 they"):
        analyzer.analyze(x, batch_size=2)


def test_a_region_has_the_difference_of_all_its_logits():
    model = lively_weights(keras.Sequential([keras.Input((6, 2)), layers.Conv1D(3, 2, activation="tanh")]))
    x = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)
    region = np.random.default_rng(1).normal(size=(5, 3)) > 0
    found = create_analyzer("integrated_gradients", model, neuron_selection_mode="index").differences(x, region)
    change = predictor(model)(x) - predictor(model)(0 * x)
    np.testing.assert_allclose(found, (change * region).sum((1, 2)), rtol=1e-4)


def test_what_no_number_of_steps_closes():
    """A network that jumps has no gradient at the jump."""
    x = keras.Input((2,))
    jump = (keras.ops.sign if hasattr(keras, "ops") else __import__("tensorflow").sign)(x)
    model = keras.Model(x, layers.Dense(1, kernel_initializer="ones")(layers.Concatenate()([x, jump])))
    analyzer = create_analyzer("integrated_gradients", model)
    with pytest.warns(UserWarning, match="not complete"):
        analyzer.analyze(np.array([[1.0, 2]], np.float32))
    equal = keras.Model(x, layers.Dense(1)(layers.Dense(9, activation="tanh")(x)))
    equal = lively_weights(equal)
    table = equal.get_weights()
    equal.set_weights([table[0], table[1] * 0, table[2], table[3]])
    with pytest.warns(
        UserWarning, match=r"More than 65,536 steps would be needed .*, or the logits are nearly equal"
    ):
        create_analyzer("integrated_gradients", equal, reference_inputs=[1e-7, 0]).warn_if_incomplete(
            np.zeros((1, 2), np.float32), np.ones((1, 2))
        )


def test_references_of_integrated_gradients():
    model, x = dense([[3.0], [1.0]], [1.0]), np.array([[2.0, -1.0], [0.0, 4.0]], np.float32)
    found = create_analyzer("integrated_gradients", model, reference_inputs=[1.0, 2.0], steps=3).analyze(x)
    assert found.tolist() == [pytest.approx([3, -3]), pytest.approx([-3, 2])]
    with pytest.raises(ValueError, match="NaN or Inf"):
        create_analyzer("integrated_gradients", model, reference_inputs=float("nan"))
    # One reference for each sample would be wrong as soon as there are batches.
    for shape in ((5,), (2, 2)):
        with pytest.raises(ValueError, match="give one reference for all samples"):
            create_analyzer("integrated_gradients", model, reference_inputs=np.zeros(shape))
    both = two_inputs()
    found = create_analyzer("integrated_gradients", both, reference_inputs=[0, 1], steps=2).analyze([x, x])
    assert found[0].tolist() == [pytest.approx([2, -1]), pytest.approx([0, 4])]
    assert found[1].tolist() == [pytest.approx([1, -2]), pytest.approx([-1, 3])]
    with pytest.raises(ValueError, match="3 references, but the model has 2 inputs"):
        create_analyzer("integrated_gradients", both, reference_inputs=[0, 1, 2])


def test_postprocessed_relevance_has_no_such_sum():
    model, x = saturated()
    assert not told_by(create_analyzer("integrated_gradients", model, steps=3, postprocess="abs"), x)[1]


def test_one_call_and_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, x = saturated()
    with pytest.warns(UserWarning, match=INCOMPLETE):
        found = rap_keras.explain(model, x[0], "integrated_gradients", target=0)
    assert found.score == pytest.approx(8, rel=1e-4)
    assert f"{found.sum:.6g} ({found.sum - found.score:.2g} gained)" in repr(found)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message=".*state_updates")
        enough = rap_keras.explain(model, x[0], "integrated_gradients", target=0, steps=1024)
    assert enough.sum == pytest.approx(8, rel=0.05)
    with pytest.raises(ValueError, match="steps are those of integrated_gradients, and rap, gradient has none"):
        rap_keras.explain(model, x[0], ["rap", "gradient"], steps=9)
    with pytest.raises(ValueError, match="steps=0: must be a positive integer"):
        rap_keras.explain(model, x[0], "integrated_gradients", steps=0)
    model.save("model.h5")
    np.save("x.npy", x[0])
    command = ("explain", "x.npy", "--model", "model.h5", "--method")
    several = accepted(*command, "gradient,integrated_gradients", "--target", 0, "--steps", 1024)
    (total,) = re.findall(r"integrated_gradients .* sum (\S+)", several)
    assert float(total) == pytest.approx(enough.sum, rel=1e-4)
    assert "steps are those of integrated_gradients" in refused(*command, "rap", "--steps", 9)
    assert "--steps" in refused(*command, "integrated_gradients", "--steps", 0)


@pytest.mark.skipif(not PLUGIN, reason="the native host has no other Integrated Gradients")
def test_innvestigates_own_say_it_too():
    model, x = saturated()
    analyzer = methods.create("integrated_gradients", model, "index")
    found, told = told_by(analyzer, x, 0)
    assert re.search(INCOMPLETE, told[0])
    np.testing.assert_allclose(analyzer.differences(x, 0), 8, rtol=1e-4)
    ours = create_analyzer("integrated_gradients", model, neuron_selection_mode="index").analyze(x, 0)
    np.testing.assert_allclose(found, ours, rtol=1e-5)
    assert not told_by(methods.create("integrated_gradients", model, "index", steps=1024), x, 0)[1]
