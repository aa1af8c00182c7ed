"""Small networks with heads of every kind, and the score of contrastive RAP written again in numpy."""

from __future__ import annotations

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

from rap_keras.engine.checks import conservation
from rap_keras.engine.reading.flattening import predictor


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_odds_weights(z, target):
    """The definition in numpy: 1 for the target, minus the softmax of the others for the others."""
    a = np.zeros_like(z)
    for row, (logits, c) in enumerate(zip(z, target)):
        others = [k for k in range(len(logits)) if k != c]
        a[row, others] = -softmax(logits[others])
        a[row, c] = 1
    return a


# Networks, each with the calls that belong to its head.
def dense_head():
    return keras.Sequential(
        [
            *(keras.Input((6, 5, 2)), layers.Conv2D(3, 3, activation="relu", name="conv")),
            *(layers.Flatten(name="flat"), layers.Dense(6, activation="relu", name="hidden")),
            layers.Dense(4, name="logits"),
        ]
    )


def pooled_head():
    return keras.Sequential(
        [
            *(keras.Input((6, 5, 2)), layers.Conv2D(3, 3, name="conv"), layers.ReLU(name="relu")),
            *(layers.GlobalAveragePooling2D(name="pool"), layers.Dense(4, name="logits")),
        ]
    )


def convolution_at_the_end():
    return keras.Sequential(
        [
            *(keras.Input((6, 5, 2)), layers.Conv2D(3, 3, activation="relu", name="conv")),
            *(layers.Conv2D(4, 1, name="classes"), layers.ReLU(name="relu")),
            layers.GlobalAveragePooling2D(name="pool"),
        ]
    )


def batch_norm_in_the_head():
    return keras.Sequential(
        [
            *(keras.Input((6, 5, 2)), layers.Conv2D(3, 3, activation="relu", name="conv")),
            *(layers.Flatten(name="flat"), layers.Dense(6, name="hidden"), layers.BatchNormalization(name="norm")),
            *(layers.ReLU(name="relu"), layers.Dense(4, name="logits")),
        ]
    )


def nested_head():
    x = keras.Input((6, 5, 2))
    head = keras.Sequential([keras.Input((3,)), layers.Dense(6, "relu", name="hidden"), layers.Dense(4, name="z")])
    head = keras.Model(head.inputs, head.outputs, name="head")
    y = layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    return keras.Model(x, head(layers.GlobalMaxPooling2D(name="pool")(y)))


def gated():
    """A squeeze-and-excitation gate, which has no places inside, is not part of the head."""
    x = keras.Input((6, 5, 2))
    y = layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(y)
    gate = layers.Conv2D(3, 1, activation="sigmoid", name="excite")(gate)
    y = layers.Multiply(name="gate")([y, gate])
    return keras.Model(x, layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="pool")(y)))


def sum_at_the_end():
    """Two convolutions, added and pooled: both count as the last one."""
    x = keras.Input((6, 5, 2))
    y = layers.Conv2D(3, 3, activation="relu", name="conv")(x)
    both = [layers.Conv2D(4, 1, name="one")(y), layers.Conv2D(4, 1, name="other")(y)]
    return keras.Model(x, layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="add")(both)))


def no_places():
    return keras.Sequential([keras.Input((7,)), layers.Dense(5, "relu", name="hidden"), layers.Dense(4, name="z")])


NETWORKS = {
    dense_head: {"flat", "hidden", "logits"},
    pooled_head: {"pool", "logits"},
    convolution_at_the_end: {"classes", "relu", "pool"},
    batch_norm_in_the_head: {"flat", "hidden", "norm", "relu", "logits"},
    nested_head: {"pool", "head/hidden", "head/z"},
    gated: {"pool", "logits"},
    sum_at_the_end: {"one", "other", "add", "pool"},
    no_places: {"hidden", "z"},
}


def inputs_of(model, samples=3):
    return np.random.default_rng(3).normal(size=(samples, *model.input_shape[1:]))


def lively(build):
    keras.backend.set_floatx("float64")
    return conservation.lively_weights(build())


def gradient_of_score(model, x, weights):
    """d s / d x of a model by central differences; s is the sum of the logits times `weights`."""
    run, step = predictor(model), 1e-5
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape[1:]):
        moved = np.zeros_like(x)
        moved[(slice(None), *place)] = step
        difference = (run(x + moved) - run(x - moved)).reshape(len(x), -1)
        found[(slice(None), *place)] = (difference * weights.reshape(len(x), -1)).sum(1) / (2 * step)
    return found


def one_unit():
    return keras.Sequential(
        [
            *(keras.Input((6, 5, 2)), layers.Conv2D(3, 3, activation="relu", name="conv")),
            *(layers.GlobalAveragePooling2D(name="pool"), layers.Dense(1, name="z")),
        ]
    )
