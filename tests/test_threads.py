"""Analyzers and `explain` in threads, after an interrupt, many times, and as objects to copy."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from host import PLUGIN, create_analyzer, tf

import rap_keras
from rap_keras.engine.reading.calls import Call
from rap_keras.hosts.native import NAMES, lrp_methods
from rap_keras.patterns import PatternComputer

pytestmark = pytest.mark.usefixtures("as_built")

keras = tf.keras
layers = keras.layers

X = np.random.default_rng(0).normal(size=(2, 5, 5, 2)).astype(np.float32)

OPTIONS = {
    "deep_taylor.bounded": {"low": -9, "high": 9},
    "lrp": {"rule": lrp_methods.z},
    "lrp.alpha_beta": {"alpha": 2},
    "lrp.attn": {"attention": "constant"},
    "integrated_gradients": {"steps": 3},
    "smoothgrad": {"augment_by_n": 3},
}


QUICK = [
    name for name in NAMES if not name.startswith("lrp") or name in ("lrp.z", "lrp.alpha_1_beta_0.contrastive")
]
QUICK = [name for name in QUICK if name not in ("input", "random")]  # these run no layer
OTHERS = [name for name in NAMES if name.startswith("lrp") and name not in QUICK]


def network(activation: str | None = None, units: int = 3) -> Any:
    return keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            layers.Conv2D(3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(units, activation),
        ]
    )


def analyzer_of(name: str, model: Any, **options: Any) -> Any:
    given = (
        {"patterns": PatternComputer(model).compute(X)} if name.startswith("pattern.") else OPTIONS.get(name, {})
    )
    return rap_keras.create_analyzer(name, model, **given, **options)


def in_threads(work: Callable[[], Any], count: int = 4) -> list[Any]:
    """What each thread got, or the exception that it ended with."""
    found: list[Any] = []

    def tried() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=tried) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """The exceptions that the next calls of layers raise; other calls take so long that threads meet in them."""
    to_raise: list[type[BaseException]] = []
    run = Call.run

    def slowly(call: Call, xs: list[Any]) -> list[Any]:
        if to_raise:
            raise to_raise.pop()
        time.sleep(0.003)
        return run(call, xs)

    monkeypatch.setattr(Call, "run", slowly)
    return to_raise


def require_right_after_an_interrupt_and_in_threads(analyzer: Any, right: np.ndarray, stopped: list, **given: Any):
    for exception in (KeyboardInterrupt, MemoryError):
        stopped.append(exception)
        with pytest.raises(exception):
            analyzer.analyze(X, **given)
    for found in in_threads(lambda: analyzer.analyze(X, **given)):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:the heatmap of sample")
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_method_interrupted_in_its_first_call_and_then_used_by_four_threads(name, stopped):
    model = network()
    right = analyzer_of(name, model).analyze(X)
    require_right_after_an_interrupt_and_in_threads(analyzer_of(name, model), right, stopped)


@pytest.mark.parametrize("mode", ["index", "all"])
@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients"])
def test_means_over_several_inputs_in_the_other_modes(name, mode, stopped):
    model, given = network(), {"neuron_selection": 1} if mode == "index" else {}
    right = analyzer_of(name, model, neuron_selection_mode=mode).analyze(X, **given)
    analyzer = analyzer_of(name, model, neuron_selection_mode=mode)
    require_right_after_an_interrupt_and_in_threads(analyzer, right, stopped, **given)


@pytest.mark.plugin
@pytest.mark.parametrize("name", ["rap", "rap.contrastive"])
def test_an_analyzer_of_the_plugin_interrupted_and_in_threads(name, stopped):
    model = network()
    right = create_analyzer(name, model).analyze(X)
    require_right_after_an_interrupt_and_in_threads(create_analyzer(name, model), right, stopped)


def test_relevance_of_layers_and_batches_in_threads():
    model = network()
    name = model.layers[0].name
    analyzer = create_analyzer("rap", model)
    right = create_analyzer("rap", model).analyze(X)
    for found in in_threads(lambda: (analyzer.analyze_layers(X, [name])[name], *analyzer.analyze_batches([X]))):
        for part in found:
            np.testing.assert_allclose(part, right, rtol=1e-5)


def test_one_model_explained_in_threads():
    model = network("softmax")
    right = [explanation.relevance for explanation in rap_keras.explain(model, X[0], ["rap", "gradient"])]
    for found in in_threads(lambda: [e.relevance for e in rap_keras.explain(model, X[0], ["rap", "gradient"])]):
        np.testing.assert_allclose(found, right, rtol=1e-5)


@pytest.mark.plugin
@pytest.mark.parametrize(
    "use", [lambda model: rap_keras.explain(model, X[0], target=0), lambda model: analyzer_of("rap", model)]
)
def test_a_thread_without_the_graph_of_the_model_is_told_how_to_get_it(use):
    model = network()
    (error,) = in_threads(lambda: use(model), 1)
    assert isinstance(error, RuntimeError), error
    assert "with graph.as_default(), session.as_default()" in str(error)
    graph, session = model.inputs[0].graph, tf.compat.v1.keras.backend.get_session()

    def as_advised() -> Any:
        with graph.as_default(), session.as_default():
            return use(model)

    (found,) = in_threads(as_advised, 1)
    assert type(found) is type(use(model))


def relevances(model: Any) -> np.ndarray:
    return np.asarray([one.relevance for one in rap_keras.explain(model, X[0], ["rap", "gradient"])])


def twin_of(model: Any) -> Any:
    """The same network as another object."""
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    return twin


@pytest.mark.parametrize("units", [1, 3])
def test_explain_sees_other_weights_and_other_layers(units):
    """A network of one unit is explained with copies of its weights."""
    model = network("sigmoid" if units == 1 else "softmax", units)
    changes = [
        lambda: model.set_weights([weight + 0.5 for weight in model.get_weights()]),
        lambda: setattr(model.layers[0], "activation", keras.activations.softplus),
    ]
    before = relevances(model)
    for change in changes:
        change()
        found = relevances(model)
        np.testing.assert_array_equal(found, relevances(twin_of(model)))
        for now, then in zip(found, before):
            assert not np.allclose(now, then)
        before = found


@pytest.mark.filterwarnings("ignore:layer .* has a rule of yours", "ignore:the relevance of sample 0 does not sum")
def test_explain_sees_a_new_layer_and_a_new_rule():
    class Doubled(layers.Layer):
        def call(self, x):
            return 2 * x

    model = keras.Sequential([keras.Input((5, 5, 2)), Doubled(), layers.Flatten(), layers.Dense(3)])
    first = rap_keras.explain(model, X[0], "gradient")
    model.add(layers.Dense(4))
    second = rap_keras.explain(model, X[0], "gradient", target=3)
    assert first.logit != second.logit
    assert second.target == 3
    rap_keras.register_rule(Doubled, lambda Xs, Ys, Rs, state: list(Rs))
    try:
        sum_before = rap_keras.explain(model, X[0]).sum
        rap_keras.register_rule(Doubled, lambda Xs, Ys, Rs, state: [3 * R for R in Rs])
        assert rap_keras.explain(model, X[0]).sum == pytest.approx(3 * sum_before, rel=1e-4)
    finally:
        rap_keras.engine.registered_rules.RULES.pop(Doubled)


@pytest.mark.plugin
def test_explain_in_another_session_explains_its_weights():
    model = network()
    rap_keras.explain(model, X[0], ["rap", "gradient"])
    weights = [2 * weight for weight in model.get_weights()]
    tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session())
    tf.compat.v1.keras.backend.get_session().run(tf.compat.v1.global_variables_initializer())
    model.set_weights(weights)
    np.testing.assert_array_equal(relevances(model), relevances(twin_of(model)))


def counted(call: Callable[[], Any], calls: int) -> tuple[int, int]:
    """Operations of the graph and objects in memory that each call leaves, after the first three."""
    for _ in range(3):
        call()
    gc.collect()
    graph = tf.compat.v1.get_default_graph()
    operations, objects = len(graph.get_operations()), len(gc.get_objects())
    for _ in range(calls):
        call()
    gc.collect()
    return len(graph.get_operations()) - operations, (len(gc.get_objects()) - objects) // calls


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize("method", ["rap", "gradient", "integrated_gradients", "pattern.net", "grad_cam"])
@pytest.mark.parametrize("given", ["model", "file", "one unit"])
def test_explain_in_a_loop_leaves_nothing_behind(given, method, tmp_path):
    model: Any = network("sigmoid", 1) if given == "one unit" else network("softmax")
    explained = rap_keras.to_logits(model)
    explained = rap_keras.models.two_classes(explained) if given == "one unit" else explained
    patterns = PatternComputer(explained).compute(X)
    if given == "file":
        model.save(tmp_path / "model.h5")
        model = tmp_path / "model.h5"
    own = {"patterns": patterns} if method == "pattern.net" else {}
    operations, objects = counted(lambda: rap_keras.explain(model, X[0], method, **own), 5)
    # iNNvestigate's Integrated Gradients reads its reference by an operation of its own in every call.
    assert operations <= (5 if method == "integrated_gradients" else 0)
    assert objects < 150  # Keras notes in layers of the user's model that their outputs were used once more


def test_explain_warns_in_every_call():
    model = keras.Sequential(
        [keras.Input((5, 5, 2)), layers.Lambda(lambda x: 2 * x), layers.Conv2D(2, 2), layers.Flatten()]
    )
    rap_keras.register_rule(layers.Lambda, lambda Xs, Ys, Rs, state: list(Rs))
    try:
        for _ in range(2):
            with pytest.warns(UserWarning, match="has a rule of yours"):
                rap_keras.explain(model, X[0])
    finally:
        rap_keras.engine.registered_rules.RULES.pop(layers.Lambda)


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
@pytest.mark.parametrize("name", ["rap", "rap.contrastive", "gradient", "smoothgrad", "lrp.z", "pattern.net"])
def test_an_analyzer_that_is_pickled_says_what_to_do(name, copied, tmp_path):
    model = network()
    create = (
        create_analyzer
        if PLUGIN and name in ("rap", "rap.contrastive", "pattern.net")
        else rap_keras.create_analyzer
    )
    given = {"patterns": PatternComputer(model).compute(X)} if name == "pattern.net" else {}
    analyzer = create(name, model, **given)
    right = analyzer.analyze(X)
    with pytest.raises(TypeError, match=r"cannot be pickled or deep-copied.*create it again") as told:
        copied(analyzer)
    np.testing.assert_array_equal(copy.copy(analyzer).analyze(X), right)
    np.testing.assert_array_equal(create(name, model, **given).analyze(X), right)
    assert ("save_npz" in str(told.value)) == name.startswith("rap")
    if name.startswith("rap"):
        analyzer.save_npz(tmp_path / "analyzer.npz")
        np.testing.assert_array_equal(type(analyzer).load_npz(tmp_path / "analyzer.npz").analyze(X), right)
