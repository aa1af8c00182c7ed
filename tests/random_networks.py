"""Random small networks made of every kind of layer that RAP knows.

A network is made by a function `pick(options)` that chooses one of a list: hypothesis in the tests, or
`random.Random(seed).choice` to search for failures. Weights, statistics and inputs follow from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from host import KERAS_3
from ops import ops
from tensorflow import keras
from tensorflow.keras import layers

Pick = Callable[[Sequence[Any]], Any]

SIDE = 8  # of the input, along each spatial axis
BATCH = 3

# Activations that keep some value alive for any input, and those that can make a whole sample 0.
LIVELY = ["linear", "tanh", "elu", "selu", "sigmoid", "softplus", "swish", "gelu", "softsign"]
ACTIVATIONS = [*LIVELY, "relu", "relu6", "hard_sigmoid", "softmax"]


class RandomNetwork:
    """A model, the options of its analyzer, and a batch.

    Attributes:
        model: ends in logits.
        options: keyword arguments of RAP.
        x: BATCH samples.
    """

    def __init__(self, pick: Pick) -> None:
        self._pick = pick
        # Signed shares grow without bound if addends cancel, so "reference" gets no sums of mixed signs.
        variant = pick(["paper", "paper", "paper", "reference"])
        self.options = {
            "variant": variant,
            "batch_norm": pick(["identity", "fold"]),
            "input_rule": pick(["auto", None, (-4.0, 4.0)]),
        }
        self._rank = pick([0, 1, 1, 2, 2, 2, 2, 3])
        channels = pick([2, 3, 4])
        side = 4 if self._rank == 3 else SIDE
        inputs = keras.Input((side,) * self._rank + (channels,))
        self._blocks = self._possible_blocks(sums=variant == "paper")
        y = inputs
        for _ in range(pick([0, 0, 1, 2])):
            y = pick(self._preprocessing())(y)
        # Weights come first: the maximum of a padded image can be the padding, in which no pixel has a share.
        y = pick([self._weighted, self._weighted, self._merge_without_sum, self._nested, self._shared])(y)
        for _ in range(pick([0, 1, 2, 3, 4])):
            y = pick(self._blocks)(y)
        self.model = keras.Model(inputs, self._head(y))
        random = np.random.default_rng(pick(range(1000)))
        self.model.set_weights([_value(random, v) for v in self.model.weights])
        self.x = _samples(random, pick(["normal", "photo", "saturated"]), (BATCH, *inputs.shape[1:]))

    # Parts of a network, each a function from tensor to tensor.

    def _preprocessing(self) -> list[Callable]:
        found = [
            lambda y: layers.Rescaling(2.0, -1.0)(y),
            lambda y: y * 2.0 - 0.5,
            lambda y: 1.0 - y,
            lambda y: layers.BatchNormalization()(y),
            lambda y: layers.Dropout(0.5)(y),
            lambda y: layers.Normalization(mean=0.2, variance=2.0)(y),
        ]
        if self._rank in (1, 2, 3):
            found += [self._pad, self._crop]
        return found

    def _possible_blocks(self, sums: bool) -> list[Callable]:
        found = [
            self._weighted,
            self._weighted,
            self._weighted,
            self._activation,
            self._normalization,
            self._operation,
            self._identity,
            self._merge_without_sum,
            self._nested,
            self._shared,
        ]
        if sums:
            found += [self._merge_sum, self._merge_sum]
        if self._rank:
            found += [self._pool_max, self._pad, self._crop, self._upsample, self._moved, self._excite]
        if self._rank and sums:
            found += [self._pool_average, self._broadcast_sum]
        return found

    def _layer(self, name: str) -> type:
        return getattr(layers, name.replace("ND", f"{self._rank}D"))

    def _weighted(self, y: tf.Tensor, filters: int | None = None, same: bool = False) -> tf.Tensor:
        """A weighted layer; `same` keeps the spatial shape."""
        pick, rank, channels = self._pick, self._rank, y.shape[-1]
        activation = pick(ACTIVATIONS)
        common = {"use_bias": pick([True, True, False]), "activation": activation}
        wanted = filters
        filters = filters or pick([2, 3, 4, 6])
        kinds = ["Dense"]
        if rank:
            kinds += ["Conv", "Conv", "Conv"]
            kinds += ["Transpose"] if not same else []
        if rank in (1, 2):
            kinds += ["Separable"] + (["Depthwise"] if wanted in (None, channels) else [])
            kinds += [] if same or KERAS_3 else ["Local"]
        kind = pick(kinds)
        if kind == "Dense":
            return layers.Dense(filters, **common)(y)
        side = min(y.shape[1:-1])
        kernel = pick([k for k in (1, 2, 3) if k <= side])
        padding = "same" if same else pick(["same", "valid"])
        strides = 1 if same else pick([s for s in (1, 1, 2) if s <= kernel])
        if kind == "Local":
            return self._layer("LocallyConnectedND")(filters, kernel, strides=strides, **common)(y)
        if kind == "Transpose":
            if max(y.shape[1:-1]) > SIDE:
                strides = 1
            return self._layer("ConvNDTranspose")(filters, kernel, strides=strides, padding=padding, **common)(y)
        dilation = pick([1, 2]) if strides == 1 and (padding == "same" or 2 * kernel - 1 <= side) else 1
        where = {"strides": strides, "padding": padding, "dilation_rate": dilation, **common}
        if kind == "Depthwise":
            multiplier = 1 if wanted else pick([1, 2])
            return self._layer("DepthwiseConvND")(kernel, depth_multiplier=multiplier, **where)(y)
        if kind == "Separable":
            return self._layer("SeparableConvND")(filters, kernel, depth_multiplier=pick([1, 2]), **where)(y)
        if rank == 1 and padding == "same":
            where["padding"] = pick(["same", "causal"])
        groups = pick([g for g in (1, 1, 2, 3) if channels % g == 0 and filters % g == 0])
        if rank == 2 and strides == 1 and groups == 1 and dilation == 1 and not same:
            kernel = pick([kernel, (1, kernel)])
        return self._layer("ConvND")(filters, kernel, groups=groups, **where)(y)

    def _activation(self, y: tf.Tensor) -> tf.Tensor:
        name = self._pick(ACTIVATIONS)
        make = self._pick(
            [
                lambda: layers.Activation(name),
                lambda: layers.ReLU(),
                lambda: layers.ReLU(max_value=1.0),
                lambda: layers.ReLU(max_value=6.0, negative_slope=0.1),
                lambda: layers.ReLU(threshold=0.2),
                lambda: layers.LeakyReLU(0.2),
                lambda: layers.PReLU(),
                lambda: layers.ELU(),
                lambda: layers.ThresholdedReLU(0.1),
                lambda: layers.Softmax(),
            ]
        )
        return make()(y)

    def _normalization(self, y: tf.Tensor) -> tf.Tensor:
        make = self._pick(
            [
                lambda: layers.BatchNormalization(),
                lambda: layers.BatchNormalization(scale=False),
                lambda: layers.BatchNormalization(center=False),
                lambda: layers.LayerNormalization(),
                lambda: layers.GroupNormalization(y.shape[-1]),
                lambda: layers.Rescaling(-1.5, 0.3),
            ]
        )
        return make()(y)

    def _identity(self, y: tf.Tensor) -> tf.Tensor:
        make = self._pick(
            [
                lambda: layers.Dropout(0.5),
                lambda: layers.GaussianNoise(1.0),
                lambda: layers.AlphaDropout(0.3),
                lambda: layers.ActivityRegularization(0.1),
                lambda: layers.Activation("linear"),
            ]
        )
        return make()(y)

    def _operation(self, y: tf.Tensor) -> tf.Tensor:
        channels = y.shape[-1]
        found = [
            ops.relu,
            ops.relu6,
            ops.leaky_relu,
            ops.sigmoid,
            ops.softplus,
            ops.elu,
            lambda t: keras.activations.gelu(t),
            lambda t: t * 2.0,
            lambda t: t + 0.5,
            lambda t: 0.7 - t,
            lambda t: -t,
            lambda t: t / 3.0,
            lambda t: t * np.linspace(-1, 2, channels).astype(np.float32),
            lambda t: ops.maximum(t, 0.0),
            lambda t: ops.minimum(t, 1.0),
            lambda t: ops.clip(t, -1.0, 1.0),
            ops.stop_gradient,
            lambda t: ops.concatenate([t, -t], axis=-1),
            lambda t: ops.concatenate(ops.split(t, channels, axis=-1)[::-1], axis=-1),
            lambda t: ops.split(t, [1], axis=-1)[1] if channels > 2 else t,
            lambda t: ops.squeeze(ops.expand_dims(t, 1), 1),
            lambda t: t[..., ::-1],
            lambda t: ops.reshape(t, (-1, *t.shape[1:])),
        ]
        found += [] if KERAS_3 else [tf.identity]
        if self._rank:
            found += [
                lambda t: t[:, 1:] if min(t.shape[1:-1]) > 2 else t,
                lambda t: ops.tile(t, [1, 2] + [1] * self._rank) if max(t.shape[1:-1]) < SIDE else t,
                lambda t: ops.pad(t, [[0, 0]] + [[1, 0]] * self._rank + [[0, 0]]) if self._rank < 3 else t,
                lambda t: (
                    ops.pad(t, [[0, 0]] + [[1, 1]] * self._rank + [[0, 0]], mode="reflect")
                    if min(t.shape[1:-1]) > 1
                    else t
                ),
            ]
        return self._pick(found)(y)

    def _branch(self, y: tf.Tensor) -> tf.Tensor:
        """A branch with an output of y's shape."""
        way = self._pick(["itself", "weighted", "weighted", "activation", "weighted twice"])
        if way == "weighted":
            return self._weighted(y, y.shape[-1], same=True)
        if way == "weighted twice":
            return self._weighted(self._weighted(y, same=True), y.shape[-1], same=True)
        return y if way == "itself" else self._activation(y)

    def _merge_sum(self, y: tf.Tensor) -> tf.Tensor:
        branches = [self._branch(y) for _ in range(self._pick([2, 2, 3]))]
        make = self._pick(
            [
                lambda: layers.Add()(branches),
                lambda: layers.Average()(branches),
                lambda: layers.Subtract()(branches[:2]),
                lambda: branches[0] + branches[1],
                lambda: branches[0] - branches[1],
            ]
            + ([] if KERAS_3 else [lambda: tf.add_n(branches)])
        )
        return make()

    def _merge_without_sum(self, y: tf.Tensor) -> tf.Tensor:
        branches = [self._branch(y) for _ in range(self._pick([2, 2, 3]))]
        make = self._pick(
            [
                lambda: layers.Maximum()(branches),
                lambda: layers.Minimum()(branches),
                lambda: layers.Multiply()(branches),
                lambda: layers.Concatenate()(branches),
                lambda: layers.Multiply()([branches[0], layers.Activation("sigmoid")(branches[1])]),
                lambda: branches[0] * branches[1],
                lambda: branches[0] / (ops.softplus(branches[1]) + 0.5),
                lambda: ops.maximum(branches[0], branches[1]),
            ]
        )
        return make()

    def _broadcast_sum(self, y: tf.Tensor) -> tf.Tensor:
        pooled = self._layer("GlobalAveragePoolingND")(keepdims=True)(y)
        return self._pick([lambda: y + pooled, lambda: layers.Add()([y, pooled]), lambda: y - pooled])()

    def _excite(self, y: tf.Tensor) -> tf.Tensor:
        """Squeeze and excite."""
        channels = y.shape[-1]
        gate = self._layer("GlobalAveragePoolingND")()(y)
        gate = layers.Dense(3, activation="relu")(gate)
        gate = layers.Dense(channels, activation=self._pick(["sigmoid", "hard_sigmoid"]))(gate)
        gate = layers.Reshape((1,) * self._rank + (channels,))(gate)
        return layers.Multiply()(self._pick([[y, gate], [gate, y]]))

    def _nested(self, y: tf.Tensor) -> tf.Tensor:
        inner = keras.Input(y.shape[1:])
        z = layers.Dense(y.shape[-1], activation=self._pick(LIVELY))(inner)
        z = self._normalization(z)
        body = keras.Model(inner, layers.Dense(y.shape[-1])(z))
        y = body(y)
        return body(y) if self._pick([False, True]) else y

    def _shared(self, y: tf.Tensor) -> tf.Tensor:
        channels = y.shape[-1]
        if self._rank:
            layer = self._layer("ConvND")(channels, self._pick([1, 3]), padding="same", activation="tanh")
        else:
            layer = layers.Dense(channels, activation="tanh")
        return layer(layer(y))

    def _moved(self, y: tf.Tensor) -> tf.Tensor:
        rank = self._rank
        axes = (*range(2, rank + 1), 1, rank + 1)
        make = self._pick(
            [
                lambda: layers.Permute(axes)(y),
                lambda: layers.Reshape((y.shape[1] * y.shape[2], *y.shape[3:], 1))(y) if rank == 1 else y,
                lambda: layers.Reshape((y.shape[2], y.shape[1], *y.shape[3:]))(y) if rank > 1 else y,
                lambda: ops.transpose(y, (0, *axes)),
            ]
        )
        moved = make()
        return moved if len(moved.shape) == rank + 2 else y

    def _pool(self, y: tf.Tensor, kind: str) -> tf.Tensor:
        side = min(y.shape[1:-1])
        if side < 2:
            return y
        size, strides = self._pick([(2, 2), (2, 1), (3, 2), (3, 1)])
        padding = "same" if side < 3 else self._pick(["same", "valid"])
        return self._layer(f"{kind}PoolingND")(size, strides=strides, padding=padding)(y)

    def _pool_max(self, y: tf.Tensor) -> tf.Tensor:
        return self._pool(y, "Max")

    def _pool_average(self, y: tf.Tensor) -> tf.Tensor:
        return self._pool(y, "Average")

    def _pad(self, y: tf.Tensor) -> tf.Tensor:
        if self._rank == 3:
            return y  # TensorFlow 2.14 cannot predict padding followed by a Conv3D with padding "same"
        pair = self._pick([(1, 1), (0, 1), (2, 1)])
        return self._layer("ZeroPaddingND")(pair if self._rank == 1 else (pair,) * self._rank)(y)

    def _crop(self, y: tf.Tensor) -> tf.Tensor:
        if min(y.shape[1:-1]) < 4:
            return y
        pair = self._pick([(1, 1), (0, 1)])
        return self._layer("CroppingND")(pair if self._rank == 1 else (pair,) * self._rank)(y)

    def _upsample(self, y: tf.Tensor) -> tf.Tensor:
        if max(y.shape[1:-1]) > SIDE:
            return y
        if self._rank == 2 and self._pick([False, True]):
            return layers.UpSampling2D(2, interpolation=self._pick(["bilinear", "bicubic"]))(y)
        return self._layer("UpSamplingND")(2)(y)

    def _head(self, y: tf.Tensor) -> tf.Tensor:
        rank, pick = self._rank, self._pick
        if rank:
            spatial = list(range(1, rank + 1))
            ways = [
                lambda: layers.Flatten()(y),
                lambda: layers.Reshape((-1,))(y),
                lambda: self._layer("GlobalMaxPoolingND")()(y),
                lambda: ops.max(y, spatial),
            ]
            if self.options["variant"] == "paper":
                ways += [
                    lambda: self._layer("GlobalAveragePoolingND")()(y),
                    lambda: ops.mean(y, spatial),
                    lambda: None,
                ]
            flat = pick(ways)()
            if flat is None:  # like the end of SqueezeNet: the classes are channels
                return self._layer("GlobalAveragePoolingND")()(self._weighted_logits(y))
            y = flat
        if pick([False, True]):
            y = layers.Dense(5, activation=pick(ACTIVATIONS))(y)
        ways = [lambda: layers.Dense(3)(y)]
        if self.options["variant"] == "paper":
            ways.append(lambda: layers.Add()([layers.Dense(3)(y), layers.Dense(3)(y)]))
        return pick(ways)()

    def _weighted_logits(self, y: tf.Tensor) -> tf.Tensor:
        layer = self._layer("ConvND")(3, 1, activation=self._pick(["linear", "softplus"]))
        return layer(y)


def _value(random: np.random.Generator, variable: tf.Variable) -> np.ndarray:
    """A random value of a weight, or of statistics as after training; some channels have a negative gamma."""
    shape, name = tuple(variable.shape), variable.name
    if "variance" in name:
        return random.uniform(0.3, 2, shape)
    if "gamma" in name:
        return random.uniform(0.5, 1.5, shape) * random.choice([-1, 1], shape, p=[0.2, 0.8])
    if "alpha" in name:
        return random.uniform(0, 0.5, shape)
    if "kernel" not in name:
        return random.normal(0, 0.3, shape)
    inputs = max(1, int(np.prod(shape[:-1])))
    return random.normal(0, 1.4 / inputs**0.5, shape)


def _samples(random: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "normal":
        x = random.normal(size=shape)
    elif kind == "photo":
        x = random.integers(0, 256, shape) / 255
    else:  # burnt-out white and black, besides other values
        x = np.clip(random.normal(0.5, 1, shape), 0, 1)
    return x.astype(np.float32)
