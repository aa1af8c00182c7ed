"""Networks that RAP refuses, by name, with the way out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3, PLUGIN, NotAnalyzeableModelException, cumulated_product
from layers_of_layers import Own, network_of, nothing
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import RAP


def test_unknown_layers_are_all_named():
    class Recall(layers.Layer):
        def call(self, x):
            return tf.TensorArray(x.dtype, 1).write(0, x).read(0)  # no symbolic tensor can be written

    class Memory(Recall):
        pass

    x = keras.Input((4,))
    y = layers.Dense(2)(Memory(name="memory")(Recall(name="recall")(x)))
    with pytest.raises(NotAnalyzeableModelException, match=r"'recall' \(Recall\), 'memory' \(Memory\)"):
        RAP(keras.Model(x, y))


def test_lambda_layers_need_permission():
    x = keras.Input((4,))
    y = layers.Dense(3)(x)
    model = keras.Model(x, layers.Dense(2)(layers.Lambda(lambda t: 2 * t, name="twice")(y)))
    with pytest.raises(NotAnalyzeableModelException, match=r"'twice'.*allow_lambda_layers=True"):
        RAP(model)
    X = np.random.default_rng(0).normal(size=(2, 4))
    relevance = RAP(model, allow_lambda_layers=True).analyze(X)
    assert relevance.sum(1) == pytest.approx(model.predict_on_batch(X).max(1), rel=1e-4)


def test_subclassed_model_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(NotAnalyzeableModelException, match="not a graph of layers"):
        RAP(Own(name="own"))


def test_half_precision_is_refused():
    x = keras.Input((4,), dtype="float16")
    if KERAS_3:  # its operations have no data type of their own, apart from a cast
        operation, name = ops.cast(x * 2, "float16"), "'cast.*'"
    else:
        operation, name = x * 2, r"'tf_op_layer.*\(Mul\)"
    if KERAS_3 or PLUGIN:
        with pytest.raises(NotAnalyzeableModelException, match=f"operation {name} calculates in half precision"):
            RAP(keras.Model(x, layers.Dense(2, dtype="mixed_float16")(operation)))
    with pytest.raises(NotAnalyzeableModelException, match=r"'dense'.*float16.*mixed_float16"):
        RAP(keras.Model(x, layers.Dense(2, dtype="float16", name="dense")(x)))


def test_unknown_operations_are_refused_by_name():
    x = keras.Input((4,))
    if KERAS_3:
        product, quotient = r"\(Cumprod\)", r"\(\w*Divide\)"
    else:  # with eager execution on Keras 2 names Python functions
        product = "TensorFlowOpLayer Cumprod" if PLUGIN else r"TFOpLambda .*cumprod"
        quotient = "RealDiv" if PLUGIN else "div"
    with pytest.raises(NotAnalyzeableModelException, match=product):
        RAP(keras.Model(x, layers.Dense(2)(cumulated_product(x))))
    with pytest.raises(NotAnalyzeableModelException, match=quotient):
        RAP(keras.Model(x, layers.Dense(2)(1.0 / x)))


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 works in half precision there, and is refused")
def test_operations_of_keras_3_on_half_precision_are_explained_in_single():
    x = keras.Input((4,), dtype="float16")
    model = keras.Model(x, layers.Dense(2, dtype="mixed_float16")(x * 2))
    X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    relevance = RAP(model).analyze(X)
    logits = 2 * X.astype(np.float32) @ model.get_weights()[0]
    assert relevance.sum(1) == pytest.approx(logits.max(1), rel=1e-5)


def halves_multiplied(x):
    first, second = tf.split(x, 2, axis=-1)
    return first * second


@pytest.mark.parametrize("wrap", [lambda f: layers.Dense(4, activation=f), lambda f: layers.Activation(f)])
def test_an_activation_that_changes_the_shape_is_refused(wrap):
    for function in (halves_multiplied, *([keras.activations.glu] if KERAS_3 else [])):
        layer = wrap(function)
        x = keras.Input((4,))
        model = keras.Model(x, layer(x))
        message = f"activation of layer '{layer.name}' changes the shape"
        with pytest.raises(NotAnalyzeableModelException, match=message):
            RAP(model)


def test_an_activation_that_takes_one_shape_alone_is_not_refused():
    def of_four(x):
        return tf.linalg.matvec(tf.eye(4), x)

    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(layers.Dense(4, activation=of_four)(x)))
    X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    assert RAP(model).analyze(X).sum(1) == pytest.approx(model.predict_on_batch(X).max(1), rel=1e-4)


@pytest.mark.skipif(not KERAS_3, reason="Keras 2 works with eager execution off")
def test_keras_3_with_eager_execution_off_is_refused():
    program = (
        "import tensorflow as tf, rap_keras\n"
        "tf.compat.v1.disable_eager_execution()\n"
        "model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])\n"
        "rap_keras.RAP(model)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "RuntimeError: Keras 3 does not work while eager execution is off" in done.stderr


@pytest.mark.slow
@pytest.mark.plugin
def test_a_model_built_while_eager_execution_was_on_is_refused_and_the_way_out_works(tmp_path):
    program = f"""
import numpy as np, tensorflow as tf
from tensorflow import keras

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.save({str(tmp_path / "model.h5")!r})
tf.compat.v1.disable_eager_execution()
import innvestigate, rap_keras
for name in ("rap", "pattern.attribution"):
    try:
        innvestigate.create_analyzer(name, model)
    except RuntimeError as error:
        assert "was built while eager execution was on" in str(error), error
        assert "load or build it again" in str(error), error
    else:
        raise SystemExit(f"{{name}} took it")
again = keras.models.load_model({str(tmp_path / "model.h5")!r}, compile=False)
assert innvestigate.create_analyzer("rap", again).analyze(np.ones((1, 3))).shape == (1, 3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_lambda_that_is_used_on_two_shapes():
    x = keras.Input((6, 4))
    twice = layers.Lambda(lambda t: 2 * t, name="twice")
    y = layers.Flatten()(twice(layers.Dense(5, "relu")(x)))
    model = keras.Model(x, layers.Dense(2)(layers.Dense(3, "relu")(twice(y))))
    first = layers.Lambda(lambda t: t[:, :1], name="first")
    other = keras.Model(x, layers.Dense(2)(layers.Flatten()(first(layers.Dense(3)(first(x))))))
    X = np.random.default_rng(0).normal(size=(2, 6, 4))
    for network in (model, other):
        found = RAP(network, allow_lambda_layers=True).analyze(X)
        assert found.sum((1, 2)) == pytest.approx(network.predict_on_batch(X).max(1), rel=1e-4)
    # Relevance is unchanged if the shape stays, and follows the values if some are cut out.
    assert (found[:, 1:] == 0).all()


@pytest.mark.keras2
def test_keras_2_takes_no_layer_apart():
    with pytest.raises(NotAnalyzeableModelException, match=r"no rule for this layer: 'own' \(Own\)"):
        RAP(network_of(Own(nothing, name="own")))
