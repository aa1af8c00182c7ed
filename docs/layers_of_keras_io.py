"""Layers and blocks like those in the examples of keras.io, small and in our own words."""

from __future__ import annotations

import numpy as np
from tensorflow import keras

layers, ops = keras.layers, keras.ops


class Patches(layers.Layer):
    """Squares of an image, (N, places, values)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def call(self, images):
        """Cuts images into squares."""
        count, height, width, channels = ops.shape(images)
        patches = ops.image.extract_patches(images, size=self.size)
        places = (height // self.size) * (width // self.size)
        return ops.reshape(patches, (count, places, self.size * self.size * channels))


class PatchEncoder(layers.Layer):
    """Projects patches, and adds an embedding of their places."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.places = places
        self.projection = layers.Dense(width)
        self.position_embedding = layers.Embedding(input_dim=places, output_dim=width)

    def call(self, patches):
        """Adds positions to projected patches."""
        positions = ops.expand_dims(ops.arange(start=0, stop=self.places, step=1), axis=0)
        return self.projection(patches) + self.position_embedding(positions)


class Tokens(layers.Layer):
    """Embeds tokens and their positions."""

    def __init__(self, length: int, words: int, width: int) -> None:
        super().__init__()
        self.tokens = layers.Embedding(words, width)
        self.positions = layers.Embedding(length, width)

    def call(self, x):
        """Adds the embedding of positions to that of tokens."""
        positions = ops.arange(0, ops.shape(x)[-1], 1)
        return self.tokens(x) + self.positions(positions)


class TransformerBlock(layers.Layer):
    """Attention and two Dense layers, each with a shortcut, normalized behind it."""

    def __init__(self, width: int, heads: int, hidden: int, rate: float = 0.1) -> None:
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(rate) for _ in range(2)]

    def call(self, x, training=None):
        """One block."""
        y = self.norms[0](x + self.dropouts[0](self.attention(x, x), training=training))
        return self.norms[1](y + self.dropouts[1](self.dense(y), training=training))


class DropPath(layers.Layer):
    """Leaves out whole samples of a branch in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def call(self, x, training=None):
        """The branch, or 0."""
        if not training:
            return x
        keep = 1 - self.rate
        mask = ops.floor(keep + keras.random.uniform((ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)))
        return x / keep * mask


class WindowAttention(layers.Layer):
    """Attention within windows of an image, with a bias for each pair of places."""

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.width, self.window, self.heads = width, window, heads
        self.qkv, self.out = layers.Dense(3 * width), layers.Dense(width)

    def build(self, shape):
        """Makes the table of biases."""
        size = self.window
        self.table = self.add_weight(shape=((2 * size - 1) ** 2, self.heads), initializer="random_normal")
        places = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij")).reshape(2, -1)
        apart = places[:, :, None] - places[:, None, :] + size - 1
        self.pairs = (apart[0] * (2 * size - 1) + apart[1]).reshape(-1)
        self.qkv.build(shape)
        self.out.build(shape)
        self.built = True

    def call(self, x):
        """Attention on (N * windows, places, width)."""
        places = x.shape[1]
        parts = ops.reshape(self.qkv(x), (-1, places, 3, self.heads, self.width // self.heads))
        q, k, v = ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), axis=0)
        scores = (q * (self.width // self.heads) ** -0.5) @ ops.transpose(k, (0, 1, 3, 2))
        bias = ops.reshape(ops.take(self.table, self.pairs, axis=0), (places, places, self.heads))
        weights = ops.softmax(scores + ops.expand_dims(ops.transpose(bias, (2, 0, 1)), 0), axis=-1)
        y = ops.transpose(weights @ v, (0, 2, 1, 3))
        return self.out(ops.reshape(y, (-1, places, self.width)))


class SwinBlock(layers.Layer):
    """Window attention on an image that may be rolled."""

    def __init__(self, width: int, side: int, window: int, heads: int, shift: int) -> None:
        super().__init__()
        self.width, self.side, self.window, self.shift = width, side, window, shift
        self.norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(2)]
        self.attention, self.drop = WindowAttention(width, window, heads), DropPath(0.1)
        self.mlp = keras.Sequential([layers.Dense(2 * width, activation="gelu"), layers.Dense(width)])

    def call(self, x, training=None):
        """One block on (N, places, width)."""
        side, window, count = self.side, self.window, self.side // self.window
        y = ops.reshape(self.norms[0](x), (-1, side, side, self.width))
        y = ops.roll(y, shift=(-self.shift, -self.shift), axis=(1, 2)) if self.shift else y
        y = ops.reshape(y, (-1, count, window, count, window, self.width))
        y = ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, window * window, self.width))
        y = ops.reshape(self.attention(y), (-1, count, count, window, window, self.width))
        y = ops.reshape(ops.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, side, side, self.width))
        y = ops.roll(y, shift=(self.shift, self.shift), axis=(1, 2)) if self.shift else y
        x = x + self.drop(ops.reshape(y, (-1, side * side, self.width)), training=training)
        return x + self.drop(self.mlp(self.norms[1](x)), training=training)


class PatchMerging(layers.Layer):
    """Four neighbours become one place."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.side, self.width = side, width
        self.reduction = layers.Dense(2 * width, use_bias=False)

    def call(self, x):
        """Merges neighbours."""
        x = ops.reshape(x, (-1, self.side, self.side, self.width))
        parts = [x[:, row::2, column::2, :] for column in (0, 1) for row in (0, 1)]
        joined = ops.concatenate(parts, axis=-1)
        return self.reduction(ops.reshape(joined, (-1, (self.side // 2) ** 2, 4 * self.width)))


class Mixer(layers.Layer):
    """Mixes places, then channels."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.norm = layers.LayerNormalization(epsilon=1e-6)
        self.places = keras.Sequential([layers.Dense(places, activation="gelu"), layers.Dense(places)])
        self.channels = keras.Sequential([layers.Dense(width, activation="gelu"), layers.Dense(width)])

    def call(self, x):
        """One block."""
        y = ops.transpose(self.norm(x), (0, 2, 1))
        x = ops.transpose(self.places(y), (0, 2, 1)) + x
        return x + self.channels(self.norm(x))


class FourierBlock(layers.Layer):
    """The real part of a Fourier transform instead of attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dense = keras.Sequential([layers.Dense(width, activation="gelu"), layers.Dense(width)])

    def call(self, x):
        """One block."""
        real, _ = ops.fft2((x, ops.zeros_like(x)))
        x = self.norms[0](x + real)
        return self.norms[1](x + self.dense(x))


class Gated(layers.Layer):
    """gMLP: half of the channels gate the others."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.first = keras.Sequential([layers.Dense(2 * width, activation="gelu")])
        self.last = layers.Dense(width)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.gate = layers.Dense(places, bias_initializer="ones")

    def call(self, x):
        """One block."""
        u, v = ops.split(self.first(self.norms[0](x)), 2, axis=-1)
        v = ops.transpose(self.gate(ops.transpose(self.norms[1](v), (0, 2, 1))), (0, 2, 1))
        return x + self.last(u * v)


class ExternalAttention(layers.Layer):
    """EANet: attention to memories that are weights, normalized twice."""

    def __init__(self, width: int, heads: int, memories: int) -> None:
        super().__init__()
        self.width, self.heads, self.deep = width, heads, width // heads
        self.query, self.out = layers.Dense(width), layers.Dense(width)
        self.keys, self.values = layers.Dense(memories), layers.Dense(width // heads)

    def call(self, x):
        """Attention of (N, places, width)."""
        q = ops.transpose(ops.reshape(self.query(x), (-1, x.shape[1], self.heads, self.deep)), (0, 2, 1, 3))
        weights = ops.softmax(self.keys(q), axis=2)
        weights = weights / (1e-9 + ops.sum(weights, axis=-1, keepdims=True))
        y = ops.transpose(self.values(weights), (0, 2, 1, 3))
        return self.out(ops.reshape(y, (-1, x.shape[1], self.width)))


class SequencePooling(layers.Layer):
    """A weighted mean over places, whose weights are calculated."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = layers.Dense(1)

    def call(self, x):
        """The mean, (N, width)."""
        weights = ops.transpose(ops.softmax(self.attention(x), axis=1), (0, 2, 1))
        return ops.squeeze(ops.matmul(weights, x), axis=-2)


class Distance(layers.Layer):
    """The squared distances of an anchor to two others."""

    def call(self, anchor, positive, negative):
        """(N, 2)."""
        return ops.stack([ops.sum(ops.square(anchor - other), axis=-1) for other in (positive, negative)], axis=-1)


class MILAttention(layers.Layer):
    """The weights of instances in a bag."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def build(self, shapes):
        """Makes the weights."""
        size = shapes[0][1]
        self.v = self.add_weight(shape=(size, self.width), initializer="glorot_uniform")
        self.w = self.add_weight(shape=(self.width, 1), initializer="glorot_uniform")
        self.u = self.add_weight(shape=(size, self.width), initializer="glorot_uniform")

    def call(self, bags):
        """One weight of each instance."""
        scores = []
        for x in bags:
            gate = ops.sigmoid(ops.tensordot(x, self.u, axes=1))
            scores.append(ops.tensordot(ops.tanh(ops.tensordot(x, self.v, axes=1)) * gate, self.w, axes=1))
        return ops.unstack(ops.softmax(ops.stack(scores), axis=0), axis=0)


class Classifier(keras.Model):
    """A subclassed model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = layers.Conv2D(6, 3, activation="relu")
        self.pool, self.out = layers.GlobalMaxPooling2D(), layers.Dense(3)

    def call(self, x, training=None):
        """Scores of three classes."""
        return self.out(self.pool(self.conv(x)))


class Positions(layers.Layer):
    """Adds a weight to each place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def build(self, shape):
        """Makes the weights."""
        self.table = self.add_weight(shape=(shape[1], shape[2]), initializer="random_normal")

    def call(self, x):
        """The sum."""
        shape = ops.shape(x)
        table = ops.convert_to_tensor(self.table)
        return x + ops.broadcast_to(ops.slice(table, (0, 0), (shape[1], shape[2])), shape)


def mlp(x, hidden: int, width: int):
    """Two Dense layers with Dropout."""
    x = layers.Dropout(0.1)(layers.Dense(hidden, activation=keras.activations.gelu)(x))
    return layers.Dropout(0.1)(layers.Dense(width, activation=keras.activations.gelu)(x))


def blocks(x, width: int, count: int = 2):
    """Transformer blocks, normalized in front."""
    for _ in range(count):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(2, width, dropout=0.1)(y, y), x])
        x = layers.Add()([mlp(layers.LayerNormalization(epsilon=1e-6)(x), 2 * width, width), x])
    return x
