"""Tokens and other integers: the gradient's methods, compared with themselves at the output of the embedding."""

from __future__ import annotations

import warnings

import host  # noqa: F401  switches eager execution off in the plugin, before any model is built
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import NotAnalyzeableModelException, create_analyzer
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.keras_graph import KERAS_3
from rap_keras.engine.reading.flattening import predictor
from rap_keras.hosts import methods
from rap_keras.hosts.native import BY_GRADIENT, WITHOUT_DEFAULTS

pytestmark = pytest.mark.usefixtures("as_built")

VOCABULARY, SIZE, LENGTH = 9, 4, 6
GRADIENTS = ("gradient", "smoothgrad")
PRODUCTS = ("input_t_gradient", "integrated_gradients", "guided_backprop", "deconvnet", "deep_taylor")
OPTIONS = {"smoothgrad": {"augment_by_n": 3}, "integrated_gradients": {"steps": 4}}
TOKENS = np.array([[1, 2, 3, 4, 5, 6], [8, 7, 7, 0, 1, 1]])


def embedding():
    return layers.Embedding(VOCABULARY, SIZE, embeddings_initializer=keras.initializers.RandomNormal(seed=3))


def behind(rows):
    """What is calculated of the rows that are looked up."""
    y = layers.Conv1D(5, 2, activation="relu", bias_initializer="ones")(rows)
    return layers.Dense(3)(layers.Flatten()(y))


def to_float(x):
    return keras.ops.cast(x, "float32") if KERAS_3 else tf.cast(x, tf.float32)


def nested(x):
    inner = keras.Input((LENGTH,), dtype="int32")
    return keras.Model(inner, embedding()(inner))(x)


def twice(x):
    table = embedding()
    return layers.Add()([table(x), table(x)])


# What gives the rows of the tokens, and which token each row belongs to.
IN_FRONT = {
    "plain": (lambda x: embedding()(x), range(LENGTH)),
    "in a nested model": (nested, range(LENGTH)),
    "reshaped": (lambda x: layers.Reshape((LENGTH, SIZE))(embedding()(layers.Reshape((3, 2))(x))), range(LENGTH)),
    "turned round": (lambda x: embedding()(to_float(x)[:, ::-1]), range(LENGTH)[::-1]),
    "a part": (lambda x: embedding()(to_float(x)[:, 1:5]), range(1, 5)),
}


def networks(kind, dtype="int32"):
    """A network of tokens, and the same from the rows on, with a function from tokens to rows."""
    x = keras.Input((LENGTH,), dtype=dtype)
    rows = IN_FRONT[kind][0](x)
    whole = lively_weights(keras.Model(x, behind(rows)))
    of_rows = keras.Model(x, rows)
    y = given = keras.Input(tuple(rows.shape)[1:])
    for layer in whole.layers[-3:]:
        y = layer(y)
    return whole, keras.Model(given, y), predictor(of_rows)


@pytest.mark.parametrize(("kind", "dtype"), [*((kind, "int32") for kind in IN_FRONT), ("plain", "float32")])
def test_a_token_gets_what_its_vector_gets(kind, dtype):
    whole, rest, rows = networks(kind, dtype)
    order = list(IN_FRONT[kind][1])
    for name in GRADIENTS + PRODUCTS:
        own = OPTIONS.get(name, {})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # four steps are too few
            at_rows = create_analyzer(name, rest, neuron_selection_mode="index", **own).analyze(rows(TOKENS), 1)
            found = create_analyzer(name, whole, neuron_selection_mode="index", **own).analyze(TOKENS, 1)
        of_rows = np.linalg.norm(at_rows, axis=-1) if name in GRADIENTS else at_rows.sum(-1)
        right = np.zeros(TOKENS.shape)
        right[:, order] = of_rows
        assert found.any(), name
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6, err_msg=name)


def test_every_method_by_gradient_is_in_the_table():
    assert {*GRADIENTS, *PRODUCTS} == {*BY_GRADIENT} - {*WITHOUT_DEFAULTS}


@pytest.mark.parametrize("mode", ["max_activation", "all"])
def test_the_other_modes(mode):
    whole, rest, rows = networks("plain")
    for name in ("gradient", "input_t_gradient", "smoothgrad"):
        own = OPTIONS.get(name, {})
        at_rows = create_analyzer(name, rest, neuron_selection_mode=mode, **own).analyze(rows(TOKENS))
        found = create_analyzer(name, whole, neuron_selection_mode=mode, **own).analyze(TOKENS, batch_size=1)
        of_rows = np.linalg.norm(at_rows, axis=-1) if name in GRADIENTS else at_rows.sum(-1)
        np.testing.assert_allclose(found, of_rows, rtol=1e-4, atol=1e-6, err_msg=name)


def test_contrastive_and_postprocessed():
    whole, rest, rows = networks("plain")
    for name, own in (
        ("input_t_gradient.contrastive", {}),
        ("gradient", {"postprocess": "abs"}),
        ("gradient", {"postprocess": "square"}),
    ):
        at_rows, found = (
            create_analyzer(name, m, **own).analyze(x) for m, x in ((rest, rows(TOKENS)), (whole, TOKENS))
        )
        np.testing.assert_allclose(found, at_rows.sum(-1), rtol=1e-4, atol=1e-6)


def test_one_table_for_several_lookups():
    x = keras.Input((LENGTH,), dtype="int32")
    model = lively_weights(keras.Model(x, behind(twice(x))))
    found = create_analyzer("integrated_gradients", model, steps=200).analyze(TOKENS)
    analyzer = create_analyzer("integrated_gradients", model, steps=200)
    np.testing.assert_allclose(found.sum(1), analyzer.differences(TOKENS), rtol=0.06)


def test_the_length_does_not_depend_on_the_axes_of_the_vectors():
    """Rows that are turned, and weights that turn them back, are the same function of the tokens."""
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))
    found = {}
    for turned in (False, True):
        x, first, dense = keras.Input((LENGTH,), dtype="int32"), embedding(), layers.Dense(5, activation="tanh")
        model = keras.Model(x, layers.Dense(2)(layers.Flatten()(dense(first(x)))))
        found["weights"] = found.get("weights") or lively_weights(model).get_weights()
        table, kernel, *rest = found["weights"]
        model.set_weights([table @ turn, turn.T @ kernel, *rest] if turned else found["weights"])
        found[turned] = [create_analyzer(name, model).analyze(TOKENS) for name in ("gradient", "input_t_gradient")]
    np.testing.assert_allclose(found[True], found[False], rtol=1e-4, atol=1e-6)


def categories():
    """A category, numbers, and a category as a number: the logit is 2 c[0] + 3 c[1] - numbers + the row's sum."""
    c, n, d = keras.Input((1,), dtype="int32"), keras.Input((2,)), keras.Input((1,), dtype="int32")
    table, last = layers.Embedding(5, 2), layers.Dense(1, use_bias=False)
    parts = [layers.Flatten()(table(c)), n, to_float(d), to_float(c)]
    model = keras.Model([c, n, d], last(layers.Concatenate()(parts)))
    table.set_weights([np.arange(10.0).reshape(5, 2)])
    last.set_weights([np.array([[1.0], [1], [-1], [-1], [2], [3]])])
    return model, [np.array([[3]]), np.array([[0.5, -1.0]], np.float32), np.array([[4]])]


def test_several_inputs_by_hand():
    model, x = categories()
    for name in ("input_t_gradient", "integrated_gradients"):
        c, n, d = create_analyzer(name, model).analyze(x)
        # The row of category 3 is (6, 7); the category's number counts 3 times.
        assert c.tolist() == [[pytest.approx(6 + 7 + 3 * 3)]]
        assert n.tolist() == [pytest.approx([-0.5, 1])]
        assert d.tolist() == [[pytest.approx(2 * 4)]]
    c, n, d = create_analyzer("gradient", model).analyze(x)
    assert [c.item(), *n[0], d.item()] == pytest.approx([2**0.5 + 3, -1, -1, 2])
    c, n, d = create_analyzer("guided_backprop", model).analyze(x)
    assert c.item() / d.item() == pytest.approx((1 + 1 + 3) / 2)


def test_references_of_tokens():
    model, x = categories()
    found = create_analyzer("integrated_gradients", model, reference_inputs=[1, None, 2]).analyze(x)
    # The row of category 1 is (2, 3).
    assert found[0].item() == pytest.approx(6 + 7 - 2 - 3 + 3 * (3 - 1))
    assert found[1].tolist() == [pytest.approx([-0.5, 1])]
    assert found[2].item() == pytest.approx(2 * (4 - 2))
    with pytest.raises(ValueError, match="a fraction for an input of tokens: give the number of a token, or None"):
        create_analyzer("integrated_gradients", model, reference_inputs=0.5)
    whole, *_ = networks("plain")
    padding = create_analyzer("integrated_gradients", whole, reference_inputs=0, steps=300)
    index = predictor(whole)(TOKENS).argmax(1)
    change = (predictor(whole)(TOKENS) - predictor(whole)(0 * TOKENS))[range(2), index]
    np.testing.assert_allclose(padding.differences(TOKENS), change, rtol=1e-4)
    np.testing.assert_allclose(padding.analyze(TOKENS).sum(1), change, rtol=0.05, atol=1e-3)


def test_in_both_hosts_the_methods_that_are_compared():
    """iNNvestigate has no gradient for tokens, so ours are used there."""
    whole, *_ = networks("plain")
    for name in (*GRADIENTS, *PRODUCTS):
        found = methods.create(name, whole, "index").analyze(TOKENS, 1)
        np.testing.assert_array_equal(
            found, create_analyzer(name, whole, neuron_selection_mode="index").analyze(TOKENS, 1)
        )
    explanation = rap_keras.explain(whole, TOKENS[0], "integrated_gradients", target=1)
    difference = create_analyzer("integrated_gradients", whole, neuron_selection_mode="index").differences(
        TOKENS, 1
    )
    assert explanation.score == pytest.approx(difference[0], rel=1e-5)
    assert explanation.lost == pytest.approx(explanation.score - explanation.sum)


def whole_numbers(kind):
    """A network that takes integers without an embedding."""
    x = keras.Input((1 if kind == "encoding" else LENGTH,), dtype="int32", name="tokens")
    front = {
        "encoding": lambda: layers.CategoryEncoding(VOCABULARY, output_mode="one_hot", name="front")(x),
        "many": lambda: layers.CategoryEncoding(VOCABULARY, output_mode="multi_hot", name="front")(x),
        "compared": lambda: to_float(x > 3),
        "part": lambda: to_float(x[:, 1:]),
    }[kind]
    return lively_weights(keras.Model(x, layers.Dense(2)(front())))


@pytest.mark.parametrize("kind", ["encoding", "many", "compared", *([] if KERAS_3 else ["part"])])
def test_integers_without_a_gradient_are_refused(kind):
    model = whole_numbers(kind)
    x = TOKENS[:, : model.inputs[0].shape[1]]
    for name in ("gradient", "input_t_gradient", "integrated_gradients", "smoothgrad", "guided_backprop"):
        with pytest.raises(
            NotAnalyzeableModelException, match=r"input 'tokens' has no gradient: layer '.*takes it as"
        ):
            create_analyzer(name, model).analyze(x)
    if kind in ("encoding", "many"):  # the way out
        values = predictor(keras.Model(model.inputs, model.get_layer("front").output))(x)
        encoded = keras.Input((VOCABULARY,))
        rest = keras.Model(encoded, model.layers[-1](encoded))
        total = create_analyzer("input_t_gradient", rest).analyze(values).sum(1)
        bias = model.layers[-1].get_weights()[1]
        logits = predictor(model)(x)
        np.testing.assert_allclose(total, logits.max(1) - bias[logits.argmax(1)], rtol=1e-4)
    if kind == "part":
        mended = mended_part(model)
        assert create_analyzer("gradient", mended).analyze(x)[:, 1:].all()


def mended_part(model):
    tokens = keras.Input((LENGTH,), dtype="int32")
    return keras.Model(tokens, model.layers[-1](to_float(tokens)[:, 1:]))


@pytest.mark.skipif(not KERAS_3, reason="a graph of Keras 2 moves whole numbers as such")
@pytest.mark.parametrize("name", ["gradient", "input_t_gradient", "rap"])
def test_moved_integers_are_followed_as_real_numbers(name):
    model = whole_numbers("part")
    found, right = (create_analyzer(name, m).analyze(TOKENS) for m in (model, mended_part(model)))
    np.testing.assert_allclose(found, right, rtol=1e-6)
    assert found[:, 1:].any()
    assert not found[:, 0].any()


def test_an_input_that_is_a_mask_is_named():
    x, mask = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH,), dtype="int32", name="mask")
    kept = layers.Reshape((LENGTH, 1))(to_float(mask > 0))
    model = lively_weights(keras.Model([x, mask], behind(layers.Multiply()([embedding()(x), kept]))))
    with pytest.warns(UserWarning, match=r"input 'mask' has no gradient: layer '.*takes it as whole numbers or"):
        found = create_analyzer("input_t_gradient", model).analyze([TOKENS, np.eye(2, LENGTH, dtype=int)])
    assert not found[1].any()
    np.testing.assert_array_equal(found[0] != 0, np.eye(2, LENGTH, dtype=bool))


def test_tokens_that_are_calculated():
    x = keras.Input((LENGTH,))
    codes = layers.Dense(LENGTH, name="codes")(x)
    with pytest.raises(NotAnalyzeableModelException, match="numbers that the network calculates in layer 'codes'"):
        create_analyzer("gradient", keras.Model(x, behind(embedding()(codes))))
    sliced = layers.Lambda(lambda x: x[:, ::-1], name="turn", output_shape=(LENGTH,))(x)
    with pytest.raises(NotAnalyzeableModelException, match="layer 'turn' is a Lambda in front of an embedding"):
        create_analyzer("gradient", keras.Model(x, behind(embedding()(sliced))))


def test_integers_as_real_numbers():
    """Where the network is a function of real numbers, it does not matter that the input is of integers."""
    x = np.array([[3, 250, 7], [1, 2, 3]])
    found = {}
    for dtype in ("uint8", "int32", "float32"):
        given, dense = keras.Input((3,), dtype=dtype), layers.Dense(2, activation="tanh")
        y = layers.Rescaling(1 / 255)(given) if dtype == "uint8" else to_float(given) / 255
        model = keras.Model(given, layers.Dense(2)(dense(y)))
        found["weights"] = found.get("weights") or lively_weights(model).get_weights()
        model.set_weights(found["weights"])
        names = ("gradient", "input_t_gradient", "integrated_gradients")
        found[dtype] = [
            create_analyzer(name, model, neuron_selection_mode="index").analyze(x, 1) for name in names
        ]
    for dtype in ("uint8", "int32"):
        np.testing.assert_allclose(found[dtype], found["float32"], rtol=1e-4, atol=1e-6, err_msg=dtype)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 casts before it divides")
def test_integers_that_are_divided():
    x = keras.Input((3,), dtype="uint8")
    model = lively_weights(keras.Model(x, layers.Dense(2)(x / 255)))
    found = create_analyzer("gradient", model, neuron_selection_mode="index").analyze(np.array([[3, 250, 7]]), 1)
    np.testing.assert_allclose(found[0], model.layers[-1].get_weights()[0][:, 1] / 255, rtol=1e-5)
