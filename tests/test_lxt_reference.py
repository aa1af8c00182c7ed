"""AttnLRP, CP-LRP, gamma and the composite of zennit, against numbers of LXT and zennit in float64.

`docs/make_lxt_reference.py` makes the file of these numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras import create_analyzer

pytestmark = pytest.mark.usefixtures("double_precision")

with np.load(Path(__file__).with_name("lxt_reference.npz")) as _file:
    STORED = dict(_file)

HEADS, WIDTH = 2, 8


def of(part):
    """The arrays of a part of the file by name, and its weights by name."""
    found = {name[len(part) + 1 :]: array for name, array in STORED.items() if name.startswith(part)}
    return found, {name[8:]: array for name, array in found.items() if name.startswith("weights/")}


def transformer(attend):
    """The network of the file in Keras, with the attention `attend`, and all its weights."""
    found, w = of("vit")
    values = {}

    def weighted(layer, x, name):
        values[layer.name] = [w[f"{name}.weight"], w[f"{name}.bias"]]
        return layer(x)

    image = keras.Input(found["x"].shape[1:])
    x = weighted(layers.Conv2D(WIDTH, 2, 2), image, "patches")
    x = layers.Reshape((9, WIDTH))(x)
    token = np.broadcast_to(w["class_token"], (2, 1, WIDTH))
    # Behind the padding the table adds the class token to the zeros of the first row, and all positions.
    x = layers.ZeroPadding1D((1, 0))(x)
    table = w["positions"][0].copy()
    table[0] += token[0, 0]
    x = x + table
    for number in range(2):
        block = f"blocks.{number}"
        y = weighted(layers.LayerNormalization(), x, f"{block}.norm1")
        x = layers.Add()([x, attend(y, block, w, values)])
        y = weighted(layers.LayerNormalization(), x, f"{block}.norm2")
        y = weighted(layers.Dense(12, activation="gelu"), y, f"{block}.mlp1")
        x = layers.Add()([x, weighted(layers.Dense(WIDTH), y, f"{block}.mlp2")])
    x = weighted(layers.LayerNormalization(), x, "norm")
    x = layers.Flatten()(layers.Cropping1D((0, 9))(x))
    model = keras.Model(image, weighted(layers.Dense(3), x, "head"))
    for name, arrays in values.items():
        model.get_layer(name).set_weights(arrays)
    return model


def as_layer(y, block, w, values):
    layer = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    values[layer.name] = []
    for part in ("query", "key", "value"):
        kernel, bias = w[f"{block}.{part}.weight"], w[f"{block}.{part}.bias"]
        values[layer.name] += [kernel.reshape(WIDTH, HEADS, -1), bias.reshape(HEADS, -1)]
    values[layer.name] += [w[f"{block}.output.weight"].reshape(HEADS, -1, WIDTH), w[f"{block}.output.bias"]]
    return layer(y, y)


def written_out(softmax):
    def attend(y, block, w, values):
        def heads(part):
            layer = layers.Dense(WIDTH)
            values[layer.name] = [w[f"{block}.{part}.weight"], w[f"{block}.{part}.bias"]]
            return layers.Permute((2, 1, 3))(layers.Reshape((10, HEADS, WIDTH // HEADS))(layer(y)))

        q, k, v = map(heads, ("query", "key", "value"))
        A = softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 2.0)
        joined = layers.Reshape((10, WIDTH))(layers.Permute((2, 1, 3))(ops.matmul(layers.Dropout(0.1)(A), v)))
        layer = layers.Dense(WIDTH)
        values[layer.name] = [w[f"{block}.output.weight"], w[f"{block}.output.bias"]]
        return layer(joined)

    return attend


FORMS = {
    "a layer": as_layer,
    "an operation": written_out(ops.softmax),
    "a softmax layer": written_out(lambda z: layers.Softmax()(z)),
    "an activation": written_out(lambda z: layers.Activation("softmax")(z)),
}
METHODS = {"attnlrp": {}, "cp": {"attention": "constant"}, "attnlrp_gamma": {"gamma": 0.25}}


@pytest.mark.parametrize("form", FORMS)
def test_equal_to_lxt(form):
    found, _ = of("vit")
    model = transformer(FORMS[form])
    np.testing.assert_allclose(model.predict_on_batch(found["x"]), found["logits"], rtol=1e-6)
    for name, options in METHODS.items():
        R = create_analyzer("lrp.attn", model, epsilon=1e-10, **options).analyze(found["x"])
        assert np.abs(R - found[name]).max() <= 1e-6 * np.abs(found[name]).max(), name


def test_equal_to_zennit():
    found, w = of("cnn")
    parts = [layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(3, 2, activation="tanh"), layers.Flatten()]
    model = keras.Sequential([keras.Input((6, 6, 3)), *parts, layers.Dense(4, activation="relu"), layers.Dense(3)])
    model.set_weights([w[f"{number}.{kind}"] for number in (0, 2, 5, 7) for kind in ("weight", "bias")])
    np.testing.assert_allclose(model.predict_on_batch(found["x"]), found["logits"], rtol=1e-9)
    R = create_analyzer("lrp.epsilon_gamma_box", model, input_rule=(0, 1)).analyze(found["x"])
    assert np.abs(R - found["epsilon_gamma_box"]).max() <= 1e-6 * np.abs(R).max()
