"""The kinds of network with which iNNvestigate tests its own analyzers, rebuilt small."""

from __future__ import annotations

import numpy as np
import pytest
from host import PLUGIN, create_analyzer
from sums import excess
from tensorflow import keras
from tensorflow.keras import layers

import rap_keras
from rap_keras import RAP, NotAnalyzeableModelException
from rap_keras.hosts.native import NAMES, WITHOUT_DEFAULTS
from rap_keras.patterns import PatternComputer

CLASSES = 5
DIGIT, COLOUR = (12, 12, 1), (16, 16, 3)


def dot():
    x = keras.Input((2,))
    return keras.Model(x, layers.Dense(1)(x))


def skip_connection():
    x = keras.Input((1,))
    return keras.Model(x, layers.Add()([x, layers.Dense(1, use_bias=False)(x)]))


def no_weights():
    x = keras.Input(DIGIT)
    return keras.Model(x, layers.Dropout(0.25)(layers.Flatten()(x)))


def perceptron(hidden):
    def build():
        y = x = keras.Input(DIGIT)
        y = layers.Flatten()(y)
        for _ in range(hidden):
            y = layers.Dropout(0.25)(layers.Dense(32, activation="relu")(y))
        return keras.Model(x, layers.Dense(CLASSES)(y))

    return build


def convolutional(blocks, hidden, activation="relu"):
    def build():
        y = x = keras.Input(COLOUR)
        for block in range(blocks):
            y = layers.Conv2D(8 + 4 * block, 5, padding="same", activation=activation)(y)
            y = layers.MaxPooling2D(padding="same")(y)
        y = layers.Flatten()(y)
        for _ in range(hidden):
            y = layers.Dropout(0.5)(layers.Dense(32, activation=activation)(y))
        return keras.Model(x, layers.Dense(CLASSES)(y))

    return build


def vgg():
    y = x = keras.Input(COLOUR)
    for filters, convolutions in ((8, 2), (12, 2), (16, 3)):
        for _ in range(convolutions):
            y = layers.Conv2D(filters, 3, padding="same", activation="relu")(y)
        y = layers.MaxPooling2D(2, 2)(y)
    y = layers.Dense(24, activation="relu")(layers.Flatten()(y))
    return keras.Model(x, layers.Dense(CLASSES)(layers.Dense(24, activation="relu")(y)))


def normalized(y, filters, kernel=1, **options):
    return layers.BatchNormalization()(
        layers.Conv2D(filters, kernel, padding="same", use_bias=False, **options)(y)
    )


def resnet():
    x = keras.Input(COLOUR)
    y = layers.Conv2D(8, 7, strides=2)(layers.ZeroPadding2D(3)(x))
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(y))
    for project in (True, False):
        shortcut = normalized(y, 16) if project else y
        y = layers.ReLU()(normalized(y, 6))
        y = layers.ReLU()(normalized(y, 6, 3))
        y = layers.ReLU()(layers.Add()([shortcut, normalized(y, 16)]))
    return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(y)))


def inception():
    x = keras.Input(COLOUR)
    y = layers.ReLU()(normalized(x, 8, 3, strides=2))
    branches = [
        layers.ReLU()(normalized(y, 4)),
        layers.ReLU()(normalized(layers.ReLU()(normalized(y, 4)), 6, (1, 5))),
        layers.ReLU()(normalized(layers.ReLU()(normalized(y, 4)), 6, (5, 1))),
        layers.ReLU()(normalized(layers.AveragePooling2D(3, 1, padding="same")(y), 4)),
    ]
    y = layers.Concatenate()([*branches, layers.MaxPooling2D(3, 1, padding="same")(y)])
    return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(y)))


def densenet():
    x = keras.Input(COLOUR)
    y = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    for _ in range(3):
        grown = layers.ReLU()(layers.BatchNormalization()(y))
        grown = layers.ReLU()(normalized(grown, 12))
        grown = layers.Conv2D(4, 3, padding="same", use_bias=False)(grown)
        y = layers.Concatenate()([y, grown])
    y = layers.Conv2D(10, 1, use_bias=False)(layers.ReLU()(layers.BatchNormalization()(y)))
    y = layers.ReLU()(layers.BatchNormalization()(layers.AveragePooling2D(2)(y)))
    return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(y)))


def nasnet():
    def separable(y, kernel, **options):
        y = layers.SeparableConv2D(8, kernel, padding="same", use_bias=False, **options)(layers.ReLU()(y))
        return layers.BatchNormalization()(y)

    x = keras.Input(COLOUR)
    y = normalized(x, 8, 3, strides=2)
    padded = layers.Cropping2D(((1, 0), (1, 0)))(layers.ZeroPadding2D(((0, 1), (0, 1)))(y))
    halves = [layers.Conv2D(4, 1)(layers.AveragePooling2D(1, 2)(z)) for z in (y, padded)]
    small = layers.BatchNormalization()(layers.Concatenate()(halves))
    left = layers.Add()([separable(y, 5, strides=2), separable(y, 3, strides=2)])
    right = layers.Add()([layers.MaxPooling2D(3, 2, padding="same")(y), small])
    y = layers.ReLU()(layers.Concatenate()([left, right, layers.Add()([left, small])]))
    return keras.Model(x, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(y)))


NETWORKS = {
    "dot": dot,
    "skip connection": skip_connection,
    "no weights": no_weights,
    "logistic regression": perceptron(0),
    "2 dense": perceptron(1),
    "3 dense": perceptron(2),
    "1 block 2 dense": convolutional(1, 1),
    "2 blocks 2 dense": convolutional(2, 1),
    "3 blocks 3 dense": convolutional(3, 2),
    "3 blocks 3 dense, tanh": convolutional(3, 2, "tanh"),
    "vgg": vgg,
    "resnet": resnet,
    "inception": inception,
    "densenet": densenet,
    "nasnet": nasnet,
}


def trained(model):
    """The model with biases other than 0 and statistics as after training."""
    random = np.random.default_rng(7)

    def value(variable, weight):
        if weight.ndim > 1:
            return weight
        positive = any(word in variable.name for word in ("variance", "gamma"))
        return random.uniform(0.5, 1.5, weight.shape) if positive else random.normal(0, 0.1, weight.shape)

    model.set_weights([value(v, w) for v, w in zip(model.weights, model.get_weights())])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_in_every_mode_and_out_of_a_file(name, tmp_path):
    model = trained(NETWORKS[name]())
    x = np.random.default_rng(8).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    logits = model.predict_on_batch(x)
    outputs = logits.shape[1]
    chosen = np.arange(len(x)) % outputs
    explained = {
        "max_activation": ((), logits.max(1)),
        "index": ((chosen,), logits[range(len(x)), chosen]),
        "all": ((), logits.sum(1)),
    }
    for mode, (selection, expected) in explained.items():
        analyzer = create_analyzer("rap", model, neuron_selection_mode=mode)
        R = analyzer.analyze(x, *selection)
        assert R.shape == x.shape
        assert np.isfinite(R).all()
        assert excess(R, expected).max() <= 1, mode
        assert np.abs(R).reshape(len(R), -1).max(1).min() > 0
    # The last one, as it comes back from a file with a model of its own.
    analyzer.save_npz(tmp_path / "analyzer.npz")
    keras.backend.clear_session()
    loaded = RAP.load_npz(tmp_path / "analyzer.npz")
    assert np.abs(loaded.analyze(x) - R).max() <= 1e-4 * np.abs(R).max()


METHODS = [name for name in NAMES if name not in WITHOUT_DEFAULTS and name not in ("rap", "lrp.attn")]
OF_RELUS = ("deconvnet", "guided_backprop", "deep_taylor")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:batch_norm='fold'")
@pytest.mark.skipif(PLUGIN, reason="test_native_methods compares these methods with iNNvestigate's own")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_native_method_takes_them(name):
    """As in iNNvestigate's own tests, every input value gets a finite value."""
    model = trained(NETWORKS[name]())
    x = np.random.default_rng(8).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    logits = model.predict_on_batch(x).max(1)
    for method in METHODS:
        options = {}
        if method.startswith("pattern."):
            if name == "no weights":
                continue  # there are no patterns either
            data = np.random.default_rng(9).normal(size=(20, *model.input_shape[1:])).astype(np.float32)
            options = {"patterns": PatternComputer(model).compute(data)}
        if name.endswith("tanh") and method in OF_RELUS:
            with pytest.raises(NotAnalyzeableModelException, match="only for networks of ReLUs"):
                rap_keras.create_analyzer(method, model)
            continue
        if method.startswith("grad_cam") and x.ndim != 4:
            with pytest.raises(NotAnalyzeableModelException, match="something other than one image"):
                rap_keras.create_analyzer(method, model)
            continue
        found = rap_keras.create_analyzer(method, model, **options).analyze(x)
        assert found.shape == x.shape, method
        assert np.isfinite(found).all(), method
        nothing_speaks_for_it = method == "deep_taylor" and (logits <= 0).all()
        assert found.any() or nothing_speaks_for_it or method.startswith("grad_cam"), method
