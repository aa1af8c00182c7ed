"""Networks like those in the examples of keras.io, small and in our own words, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tensorflow import keras

layers, ops = keras.layers, keras.ops
Build = Callable[[], keras.Model]
PHOTO, LENGTH, WORDS = (16, 16, 3), 12, 20


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


def vit() -> keras.Model:
    """Image classification with a vision transformer."""
    image = keras.Input(PHOTO)
    x = blocks(PatchEncoder(16, 8)(Patches(4)(image)), 8)
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, layers.Dense(3)(mlp(layers.Dropout(0.5)(x), 16, 8)))


def swin() -> keras.Model:
    """Image classification with Swin transformers."""
    image = keras.Input(PHOTO)
    x = layers.Conv2D(8, 2, strides=2)(image)
    x = layers.Reshape((64, 8))(x)
    x = SwinBlock(8, 8, 4, 2, 0)(x)
    x = SwinBlock(8, 8, 4, 2, 2)(x)
    x = PatchMerging(8, 8)(x)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def _of_patches(block: Callable) -> keras.Model:
    image = keras.Input(PHOTO)
    x = block(block(layers.Dense(8)(Patches(4)(image))))
    return keras.Model(image, layers.Dense(3)(layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(x))))


def mlp_mixer() -> keras.Model:
    """Image classification with modern MLP models: the mixer."""
    return _of_patches(lambda x: Mixer(16, 8)(x))


def fnet_images() -> keras.Model:
    """Image classification with modern MLP models: FNet."""
    return _of_patches(lambda x: FourierBlock(8)(x))


def gmlp() -> keras.Model:
    """Image classification with modern MLP models: gMLP."""
    return _of_patches(lambda x: Gated(16, 8)(x))


def eanet() -> keras.Model:
    """Image classification with EANet."""

    def block(x):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([ExternalAttention(8, 2, 6)(y), x])
        return layers.Add()([mlp(layers.LayerNormalization(epsilon=1e-6)(x), 8, 8), x])

    return _of_patches(block)


def conv_mixer() -> keras.Model:
    """Image classification with ConvMixer."""
    image = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(8, 2, strides=2)(x)))
    for _ in range(2):
        y = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.Add()([layers.BatchNormalization()(layers.Activation("gelu")(y)), x])
        x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(8, 1)(x)))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAvgPool2D()(x)))


def compact_transformer() -> keras.Model:
    """Compact convolutional transformers."""
    image = keras.Input(PHOTO)
    x = layers.ZeroPadding2D(1)(layers.Conv2D(8, 3, padding="valid", activation="relu", use_bias=False)(image))
    x = layers.MaxPooling2D(3, 2, "same")(x)
    x = layers.Reshape((-1, 8))(x)
    x = Positions(8)(x)
    for rate in (0.0, 0.1):
        y = layers.LayerNormalization(epsilon=1e-5)(x)
        x = layers.Add()([DropPath(rate)(layers.MultiHeadAttention(2, 8, dropout=0.1)(y, y)), x])
        y = mlp(layers.LayerNormalization(epsilon=1e-5)(x), 8, 8)
        x = layers.Add()([DropPath(rate)(y), x])
    return keras.Model(image, layers.Dense(3)(SequencePooling()(layers.LayerNormalization(epsilon=1e-5)(x))))


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


def pointnet() -> keras.Model:
    """Point cloud classification with PointNet."""

    def dense(x, width):
        return layers.Activation("relu")(layers.BatchNormalization(momentum=0.0)(layers.Dense(width)(x)))

    def conv(x, width):
        y = layers.BatchNormalization(momentum=0.0)(layers.Conv1D(width, 1, padding="valid")(x))
        return layers.Activation("relu")(y)

    def turned(x, width):
        y = dense(layers.GlobalMaxPooling1D()(conv(conv(x, 8), 16)), 8)
        matrix = layers.Dense(width * width, kernel_initializer="zeros", bias_initializer="ones")(y)
        return layers.Dot(axes=(2, 1))([x, layers.Reshape((width, width))(matrix)])

    points = keras.Input((24, 3))
    x = turned(conv(turned(points, 3), 8), 8)
    x = layers.GlobalMaxPooling1D()(conv(conv(x, 8), 16))
    return keras.Model(points, layers.Dense(3, activation="softmax")(layers.Dropout(0.3)(dense(x, 8))))


def deeplab() -> keras.Model:
    """Multiclass semantic segmentation with DeepLabV3+."""

    def conv(x, size=3, rate=1):
        y = layers.Conv2D(8, size, dilation_rate=rate, padding="same", use_bias=False)(x)
        return ops.nn.relu(layers.BatchNormalization()(y))

    image = keras.Input(PHOTO)
    low = conv(image)
    high = conv(layers.MaxPooling2D(4)(low))
    pooled = layers.AveragePooling2D(4)(high)
    pooled = layers.UpSampling2D(4, interpolation="bilinear")(conv(pooled, 1))
    x = conv(layers.Concatenate(axis=-1)([pooled, conv(high, 1), conv(high, 3, 2)]), 1)
    x = layers.Concatenate(axis=-1)([layers.UpSampling2D(4, interpolation="bilinear")(x), conv(low, 1)])
    return keras.Model(image, layers.Conv2D(3, 1, padding="same")(conv(x)))


def unet() -> keras.Model:
    """Image segmentation with a U-Net-like architecture, of separable convolutions."""
    image = keras.Input(PHOTO)
    x = before = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(4, 3, 2, "same")(image)))
    for width in (6, 8):
        x = layers.SeparableConv2D(width, 3, padding="same")(layers.Activation("relu")(x))
        x = layers.MaxPooling2D(3, 2, "same")(layers.BatchNormalization()(x))
        x = before = layers.add([x, layers.Conv2D(width, 1, strides=2, padding="same")(before)])
    for width in (8, 6, 4):
        x = layers.Conv2DTranspose(width, 3, padding="same")(layers.Activation("relu")(x))
        x = layers.UpSampling2D(2)(layers.BatchNormalization()(x))
        x = before = layers.add([x, layers.Conv2D(width, 1)(layers.UpSampling2D(2)(before))])
    return keras.Model(image, layers.Conv2D(3, 3, activation="softmax", padding="same")(x))


def text_transformer() -> keras.Model:
    """Text classification with a transformer."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = TransformerBlock(8, 2, 8)(Tokens(LENGTH, WORDS, 8)(tokens))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(6, activation="relu")(x))
    return keras.Model(tokens, layers.Dense(2, activation="softmax")(x))


def fnet_text() -> keras.Model:
    """Text with FNet, of any length."""
    tokens = keras.Input((None,), dtype="int32")
    x = FourierBlock(8)(layers.Embedding(WORDS, 8)(tokens))
    return keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def bidirectional() -> keras.Model:
    """A bidirectional LSTM on reviews of any length."""
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(WORDS, 8)(tokens)
    x = layers.Bidirectional(layers.LSTM(6, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(6))(x)
    return keras.Model(tokens, layers.Dense(1, activation="sigmoid")(x))


def text_convolution() -> keras.Model:
    """Text classification from scratch, with convolutions."""
    tokens = keras.Input((None,), dtype="int64")
    x = layers.Dropout(0.5)(layers.Embedding(WORDS, 8)(tokens))
    x = layers.Conv1D(8, 3, padding="valid", activation="relu", strides=2)(x)
    x = layers.GlobalMaxPooling1D()(x)
    return keras.Model(tokens, layers.Dense(1, activation="sigmoid")(layers.Dense(6, activation="relu")(x)))


def siamese() -> keras.Model:
    """Image similarity with a siamese network, whose output are two distances."""
    image = keras.Input(PHOTO)
    x = layers.MaxPooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    x = layers.BatchNormalization()(layers.Dense(8, activation="relu")(layers.Flatten()(x)))
    embedding = keras.Model(image, layers.Dense(6)(x), name="Embedding")
    photos = [keras.Input(PHOTO, name=name) for name in ("anchor", "positive", "negative")]
    return keras.Model(photos, Distance()(*map(embedding, photos)))


def metric_learning() -> keras.Model:
    """Metric learning for image similarity: unit vectors, compared by their cosine with those of the classes."""
    image = keras.Input(PHOTO)
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(image)
    x = layers.Dense(8, activation=None)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(3, use_bias=False)(layers.UnitNormalization()(x)))


def series_transformer() -> keras.Model:
    """Timeseries classification with a transformer."""
    series = keras.Input((24, 1))
    x = series
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 8, dropout=0.1)(x, x)
        y = layers.LayerNormalization(epsilon=1e-6)(layers.Dropout(0.1)(y)) + x
        z = layers.Dropout(0.1)(layers.Conv1D(4, 1, activation="relu")(y))
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Conv1D(1, 1)(z)) + y
    x = layers.GlobalAveragePooling1D(data_format="channels_last")(x)
    x = layers.Dropout(0.1)(layers.Dense(8, activation="relu")(x))
    return keras.Model(series, layers.Dense(2, activation="softmax")(x))


def speech_encoder() -> keras.Model:
    """Speech recognition with a transformer: its encoder, of any length."""
    speech = keras.Input((None, 8))
    x = speech
    for _ in range(2):
        x = layers.Conv1D(8, 5, strides=2, padding="same", activation="relu")(x)
    for _ in range(2):
        x = TransformerBlock(8, 2, 16)(x)
    return keras.Model(speech, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))


def attention_mil() -> keras.Model:
    """Classification with attention-based deep multiple-instance learning."""
    shared = [layers.Dense(8, activation="relu") for _ in range(2)]
    bags, found = [], []
    for _ in range(3):
        bag = keras.Input((4, 4))
        x = layers.Flatten()(bag)
        for layer in shared:
            x = layer(x)
        bags.append(bag)
        found.append(x)
    weights = MILAttention(6)(found)
    x = layers.concatenate([layers.multiply([w, x]) for w, x in zip(weights, found)])
    return keras.Model(bags, layers.Dense(2, activation="softmax")(x))


def tabular_transformer() -> keras.Model:
    """Structured data with TabTransformer: two categories and three numbers."""
    kinds = [keras.Input((1,), dtype="int32", name=f"kind_{number}") for number in range(2)]
    numbers = keras.Input((3,), name="numbers")
    x = ops.concatenate([layers.Embedding(5, 8)(kind) for kind in kinds], axis=1)
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 8, dropout=0.1)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([y, x]))
        x = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([mlp(x, 8, 8), x]))
    x = layers.concatenate([layers.Flatten()(x), layers.LayerNormalization(epsilon=1e-6)(numbers)])
    x = layers.Dense(12, activation="selu")(layers.BatchNormalization()(x))
    return keras.Model([*kinds, numbers], layers.Dense(1, activation="sigmoid")(x))


def conv_lstm() -> keras.Model:
    """Next-frame video prediction with ConvLSTM, here with a class of the film."""
    film = keras.Input((None, 8, 8, 1))
    x = layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True, activation="relu")(film)
    x = layers.ConvLSTM2D(4, 1, padding="same", activation="relu")(layers.BatchNormalization()(x))
    return keras.Model(film, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def video_transformer() -> keras.Model:
    """Video vision transformer: tubes of a film, with embedded places."""
    film = keras.Input((4, 8, 8, 1))
    x = layers.Reshape((-1, 8))(layers.Conv3D(8, 4, strides=4)(film))
    x = blocks(PatchEncoder(4, 8)(x), 8)
    x = layers.GlobalAvgPool1D()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(film, layers.Dense(3, activation="softmax")(x))


def subclassed() -> keras.Model:
    """A subclassed model, called once."""
    model = Classifier()
    model(np.zeros((1, *PHOTO), "float32"))
    return model


NETWORKS: dict[str, Build] = {
    "ViT": vit,
    "Swin transformer": swin,
    "MLP-Mixer": mlp_mixer,
    "FNet on images": fnet_images,
    "gMLP": gmlp,
    "EANet": eanet,
    "ConvMixer": conv_mixer,
    "Compact convolutional transformer": compact_transformer,
    "PointNet": pointnet,
    "DeepLabV3+": deeplab,
    "U-Net": unet,
    "Text transformer": text_transformer,
    "FNet on text": fnet_text,
    "Bidirectional LSTM": bidirectional,
    "Text convolution": text_convolution,
    "Siamese network": siamese,
    "Metric learning": metric_learning,
    "Timeseries transformer": series_transformer,
    "Speech transformer, encoder": speech_encoder,
    "Attention-based MIL": attention_mil,
    "TabTransformer": tabular_transformer,
    "ConvLSTM": conv_lstm,
    "Video transformer": video_transformer,
    "Subclassed model": subclassed,
}
"""The networks by name."""
