"""Every operation of keras.ops that has a rule keeps the sum, and leaves nothing on values that do not matter."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tensorflow as tf
from host import KERAS_3
from tensorflow import keras

import rap_keras
from rap_keras import influence
from rap_keras.engine.checks import influence as module
from rap_keras.engine.reading.composed import COMPOSED
from rap_keras.engine.reading.flattening import flatten
from rap_keras.engine.rules import refused_operations
from rap_keras.engine.rules.kinds import key_of
from rap_keras.engine.rules.layer_records import is_known
from rap_keras.engine.way_back.plan import plan
from rap_keras.engine.way_back.propagation import Rules

pytestmark = pytest.mark.usefixtures("as_built")


def _candidates(name):
    """Ways to call an operation of keras.ops on tensors (N, 4, 6, 3)."""
    special = {
        "reshape": lambda f, x, y: f(x, (-1, 24, 3)),
        "transpose": lambda f, x, y: f(x, (0, 2, 1, 3)),
        "einsum": lambda f, x, y: f("bijk,bijk->bij", x, y),
        "max": lambda f, x, y: f(x, axis=1, initial=0.3),
        "clip": lambda f, x, y: f(x, 0.0, 0.5),
        "threshold": lambda f, x, y: f(x, 0.1, 0.0),
        "roll": lambda f, x, y: f(x, 1, axis=1),
        "take": lambda f, x, y: f(x, [2, 0], axis=2),
        "pad": lambda f, x, y: f(x, [[0, 0], [1, 0], [2, 1], [0, 0]]),
        "tile": lambda f, x, y: f(x, [1, 2, 1, 1]),
        "repeat": lambda f, x, y: f(x, 2, axis=1),
        "split": lambda f, x, y: f(x, 2, axis=1),
        "expand_dims": lambda f, x, y: f(x, 1),
        "moveaxis": lambda f, x, y: f(x, 1, 2),
        "swapaxes": lambda f, x, y: f(x, 1, 2),
        "slice": lambda f, x, y: f(x, [0, 1, 1, 0], [2, 2, 2, 3]),
        "stack": lambda f, x, y: f([x, y], 1),
        "rot90": lambda f, x, y: f(x, axes=(1, 2)),
        "flip": lambda f, x, y: f(x, 1),
    }
    general = (
        lambda f, x, y: f(x),
        lambda f, x, y: f(x, axis=1),
        lambda f, x, y: f(x, axis=(1, 2)),
        lambda f, x, y: f([x, y], axis=1),
        lambda f, x, y: f(x, y),
        lambda f, x, y: f([x, y]),
        lambda f, x, y: f(x, 2),
        lambda f, x, y: f(x, 0.5),
        lambda f, x, y: f(x > 0, x, y),
        lambda f, x, y: f(x > 0, x, 0.5),
    )
    return (special[name],) if name in special else general


@pytest.mark.skipif(not KERAS_3, reason="keras.ops is of Keras 3")
def test_no_operation_of_keras_is_silently_wrong():
    """Each operation that has a rule keeps the sum, and leaves nothing on values that do not matter."""
    random, tried = np.random.default_rng(0), {}
    for name, function in inspect.getmembers(keras.ops, callable):
        for call in _candidates(name):
            a, b = keras.Input((4, 6, 3)), keras.Input((4, 6, 3))
            try:
                outputs = tf.nest.flatten(call(function, a, b))
                model = keras.Model([a, b], outputs)
                network = flatten(model)
                planned = plan(network)
            # Most operations do not take such arguments, and most have no rule.
            except Exception:
                continue
            if len(planned) != 1 or planned[0].kind.mixes:
                continue
            (p,) = planned
            if any(y.dtype != "float32" or y.shape[:1] != (None,) or None in y.shape[1:] for y in outputs):
                continue
            xs = [random.normal(size=(3, 4, 6, 3)).astype(np.float32) for _ in set(p.call.inputs)]
            rs = [random.normal(size=(3, *y.shape[1:])).astype(np.float32) for y in outputs]
            try:
                run, back = module._functions(p, xs, rs, Rules())
                found = back(xs, rs)
            # Keras takes a symbolic tensor for an option, such as the slope of a leaky ReLU, and fails later. A
            # condition is missing here.
            except (TypeError, ValueError, KeyError):
                continue
            arrived, given = (sum(part.reshape(3, -1).sum(1) for part in parts) for parts in (rs, found))
            np.testing.assert_allclose(given, arrived, rtol=1e-3, atol=1e-3, err_msg=name)
            kind = key_of(p.call)
            # Relevance on a constant goes to its neighbours in a padding, and to all values in a maximum.
            if kind != "padded" and name != "max":
                assert not module._rule_share(run, back, xs, rs) > influence.LIMIT, name
            tried.setdefault(kind, set()).add(name)
    assert sum(map(len, tried.values())) > 70, tried
    assert set(tried) >= {"elementwise", "shares", "kept", "affine", "moved", "padded", "averaged", "added"}


OTHER_NAMES = {
    "hard_swish": "hardsilu",
    "conjugate": "conj",
    "batch_normalization": "batchnorm",
    "layer_normalization": "layernorm",
    "rms_normalization": "rmsnorm",
}
# Functions that are calls of others, or layers of linear maps with constant weights.
OF_OTHERS = {"rearrange", "conv", "conv_transpose", "depthwise_conv", "log_softmax", "convert_to_tensor"}


@pytest.mark.skipif(not KERAS_3, reason="keras.ops is of Keras 3")
def test_every_operation_of_keras_has_a_rule_or_is_refused_for_a_reason():
    """A new operation of Keras must get a rule, or a reason why it has none."""
    missing, both = [], []
    for name, _ in inspect.getmembers(keras.ops, callable):
        plain = OTHER_NAMES.get(name, name).replace("_", "")
        followed = is_known(plain) or is_known(name) or plain in COMPOSED or name in OF_OTHERS
        refused = refused_operations.reason(plain) is not None
        if not followed and not refused:
            missing.append(name)
        if followed and refused:
            both.append(name)
    assert not missing
    assert not both


@pytest.mark.skipif(not KERAS_3, reason="keras.ops is of Keras 3")
@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_composed_operations_calculate_what_keras_does(name):
    """Each is compared with Keras when it is taken apart, and its parts have rules that keep the sum."""
    random = np.random.default_rng(0)
    x = keras.Input((6, 4))
    call = {
        "dotproductattention": lambda: keras.ops.dot_product_attention(*[keras.ops.reshape(x, (-1, 6, 2, 2))] * 3),
        "fft": lambda: keras.ops.fft((x, keras.ops.zeros_like(x)))[0],
        "fft2": lambda: keras.ops.fft2((x, x * 2.0))[1],
        "moments": lambda: keras.ops.add(*keras.ops.moments(x, axes=[1], keepdims=True)),
        "hypot": lambda: keras.ops.hypot(x, x * 2.0),
        "norm": lambda: keras.ops.norm(x, axis=-1, keepdims=True),
        "glu": lambda: keras.ops.nn.glu(x),
    }.get(name, lambda: getattr(keras.ops, name)(x, axis=1, **({} if name == "diff" else {"keepdims": True})))
    model = keras.Model(x, keras.layers.Dense(2, use_bias=False)(keras.layers.Flatten()(call())))
    network = flatten(model)
    assert all(key_of(c) or c.layer.weights for c in network.calls)
    assert len(network.calls) > 3
    array = random.normal(size=(2, 6, 4)).astype("float32")
    values = network.values([tf.constant(array)])[network.outputs[0]]
    np.testing.assert_allclose(values, model(array), rtol=1e-4, atol=1e-5)
    assert rap_keras.conservation.check(rap_keras.RAP(model), array).excess <= 1
