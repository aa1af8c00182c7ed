"""Networks like those in the examples of keras.io, small and in our own words, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from layers_of_keras_io import (
    Classifier,
    Distance,
    DropPath,
    ExternalAttention,
    FourierBlock,
    Gated,
    MILAttention,
    Mixer,
    PatchEncoder,
    Patches,
    PatchMerging,
    Positions,
    SequencePooling,
    SwinBlock,
    Tokens,
    TransformerBlock,
    blocks,
    mlp,
)
from tensorflow import keras

layers, ops = keras.layers, keras.ops
Build = Callable[[], keras.Model]
PHOTO, LENGTH, WORDS = (16, 16, 3), 12, 20


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
