"""One record for each kind of layer and operation: its rule, its linear maps, and what it does to values.

A layer or an operation is added here. What depends on a layer's options is in `kinds`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tensorflow.keras.layers import Layer

from rap_keras.engine.reading import masks, wrappers
from rap_keras.engine.rules import attention, linear_layers, recurrent
from rap_keras.engine.rules.linear_layers import Linear
from rap_keras.engine.rules.lookup import of_keras
from rap_keras.engine.rules.rule import Rule
from rap_keras.engine.rules.unweighted import (
    added,
    averaged,
    averaged_branches,
    divided,
    embedded,
    kept_apart,
    moved,
    multiplied,
    normalized,
    padded,
    squared_difference,
    subtracted,
    unchanged,
    with_constant,
)
from rap_keras.engine.rules.weighted import weighted


@dataclass(frozen=True)
class Kind:
    """What is known of one kind of layer.

    Attributes:
        rule: what it does with relevance.
        maps: gives the linear maps of a layer with weights, in forward order.
        mixes: its outputs are sums over several values, with weights or by gates.
        keeps_sign: its output is non-negative where its inputs are.
        keeps_order: it is monotonic in every input, so that bounds of the inputs give bounds of the output.
        keeps_saturation: its output is bounded where its inputs are.
        nonnegative: its output is never negative, whatever its inputs.
        saturates: its output is bounded, whatever its inputs: it may be a gate.
        is_relu: it is max(0, x).
        linears: the linear maps of the layer at hand.
        own: the rule is the user's.
    """

    rule: Rule
    maps: Callable[[Layer], list[Linear]] | None = None
    mixes: bool = False
    keeps_sign: bool = False
    keeps_order: bool = False
    keeps_saturation: bool = False
    nonnegative: bool = False
    saturates: bool = False
    is_relu: bool = False
    linears: tuple[Linear, ...] = ()
    own: bool = False


class Record(NamedTuple):
    """A kind, the names of its layers in keras.layers, and of its operations in `keras_graph.operation_name`."""

    kind: Kind
    layers: str = ""
    operations: str = ""


KEEPS_ALL: dict[str, Any] = {"keeps_sign": True, "keeps_order": True, "keeps_saturation": True}


def _of_weights(maps: Callable[[Layer], list[Linear]]) -> Kind:
    return Kind(weighted, maps, mixes=True)


RECORDS: dict[str, Record] = {
    "dense": Record(_of_weights(linear_layers.dense), "Dense"),
    "convolution": Record(_of_weights(linear_layers.convolution), "Conv1D Conv2D Conv3D"),
    "depthwise": Record(_of_weights(linear_layers.depthwise), "DepthwiseConv1D DepthwiseConv2D"),
    "separable": Record(_of_weights(linear_layers.separable), "SeparableConv1D SeparableConv2D"),
    "by its own call": Record(
        _of_weights(linear_layers.by_own_call),
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose EinsumDense LocallyConnected1D LocallyConnected2D",
    ),
    "recurrent": Record(
        Kind(recurrent.recurrent, mixes=True), "ConvLSTM1D ConvLSTM2D ConvLSTM3D LSTM GRU SimpleRNN RNN"
    ),
    "attention": Record(Kind(attention.attention, mixes=True), "Attention AdditiveAttention"),
    "multi-head attention": Record(Kind(attention.multi_head, mixes=True), "MultiHeadAttention"),
    "product": Record(
        Kind(attention.product, mixes=True), "Dot", "matmul batchmatmul batchmatmulv2 einsum dot tensordot"
    ),
    "product with constant": Record(Kind(attention.product_with_constant, mixes=True)),
    # What these do to values depends on options and constants, so it is measured, see `trials`.
    "elementwise": Record(
        Kind(with_constant),
        "ELU LeakyReLU ReLU ThresholdedReLU",
        "relu relu6 sigmoid tanh softplus softsign exp elu selu celu gelu leaky_relu leakyrelu silu swish erf "
        "clip_by_value clip hardsigmoid hardsilu hardtanh hardshrink softshrink tanhshrink threshold logsigmoid "
        "log_sigmoid squareplus sparseplus sparsesigmoid abs absolute fabs square sqrt rsqrt pow power reciprocal "
        "exp2 expm1 log log10 log1p log2 sin cos tan sinh cosh arcsin arccos arctan arcsinh arccosh arctanh cbrt "
        "ceil floor round trunc sign erfc erfinv sinc i0 deg2rad rad2deg nantonum",
    ),
    "parametric": Record(Kind(unchanged, keeps_sign=True), "PReLU"),
    "shares": Record(Kind(unchanged, keeps_sign=True, nonnegative=True, saturates=True), "Softmax", "softmax"),
    "normalized": Record(
        Kind(unchanged),
        "LayerNormalization RMSNormalization GroupNormalization UnitNormalization",
        "l2_normalize normalize layernorm rmsnorm",
    ),
    "batch normalization": Record(Kind(normalized, keeps_order=True, keeps_saturation=True), "BatchNormalization"),
    "affine": Record(
        Kind(with_constant, keeps_order=True, keeps_saturation=True),
        "Rescaling Normalization",
        "neg negative convert_image_dtype biasadd bias_add batchnorm",
    ),
    "kept": Record(
        Kind(unchanged, **KEEPS_ALL),
        "Identity ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D "
        "SpatialDropout2D SpatialDropout3D",
        "identity copy cast stop_gradient stopgradient converttotensor saturatecast",
    ),
    # These do nothing at inference.
    "augmentation": Record(
        Kind(unchanged, **KEEPS_ALL),
        "AugMix CutMix Equalization MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter "
        "RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale "
        "RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation "
        "RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom Solarization",
    ),
    "moved": Record(
        Kind(moved, **KEEPS_ALL),
        # At inference RandomCrop cuts out the centre, and resizes it.
        "Concatenate Cropping1D Cropping2D Cropping3D Flatten Masking Permute RepeatVector Reshape UpSampling1D "
        "UpSampling2D UpSampling3D CenterCrop RandomCrop Resizing MaxPooling1D MaxPooling2D MaxPooling3D "
        "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D "
        "AdaptiveMaxPooling3D",
        "reshape transpose squeeze expand_dims expanddims concat concatv2 stridedslice getitem slice "
        "split splitv unstack unpack pack stack tile broadcast_to broadcastto resize resizebilinear "
        "resizenearestneighbor resize_images resizebicubic resizearea depth_to_space depthtospace space_to_depth "
        "spacetodepth reverse reversev2 max reduce_max gather gatherv2 maxpool maxpool3d max_pool max_pool1d "
        "max_pool2d max_pool3d repeat flip fliplr rot90 roll moveaxis swapaxes take concatenate "
        "hstack dstack append arraysplit hsplit dsplit ravel amax min amin nanmax nanmin "
        "extractpatches extractpatches3d unfold where select selectv2 takealongaxis sliceupdate scatterupdate "
        "sort median quantile percentile adaptivemaxpool",
    ),
    "chosen": Record(Kind(moved, **KEEPS_ALL), "Maximum Minimum", "maximum minimum fmax fmin"),
    "padded": Record(
        Kind(padded, **KEEPS_ALL), "ZeroPadding1D ZeroPadding2D ZeroPadding3D", "pad padv2 mirrorpad"
    ),
    "averaged": Record(
        Kind(averaged, **KEEPS_ALL),
        "AveragePooling1D AveragePooling2D AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
        "GlobalAveragePooling3D AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D",
        "averagepool avgpool avgpool3d avg_pool avg_pool1d avg_pool2d avg_pool3d mean reduce_mean sum reduce_sum "
        "adaptiveaveragepool cumsum fold nanmean nansum",
    ),
    "added": Record(Kind(added, **KEEPS_ALL), "Add", "add addv2 add_n addn"),
    "averaged branches": Record(Kind(averaged_branches, **KEEPS_ALL), "Average"),
    "subtracted": Record(Kind(subtracted), "Subtract", "sub subtract"),
    "squared difference": Record(
        Kind(squared_difference, nonnegative=True), "", "squareddifference squared_difference"
    ),
    "multiplied": Record(Kind(multiplied, keeps_sign=True), "Multiply", "mul multiply"),
    "divided": Record(Kind(divided), "", "realdiv truediv truedivide divide div divide_no_nan dividenonan"),
    "kept apart": Record(Kind(kept_apart), "", "identityn"),  # tf.nn.swish ends in one
    "embedded": Record(Kind(embedded), "Embedding ReversibleEmbedding"),
}
"""The records by the names that other modules use for them."""

OF_ONE_TENSOR = {
    "product": "product with constant",
    "added": "affine",
    "averaged branches": "affine",
    "subtracted": "affine",
    "multiplied": "affine",
    "chosen": "elementwise",
    "squared difference": "elementwise",
}
"""What a kind is with constants in place of all tensors but one."""

# Layers that keras.applications defines for itself, which cannot be imported.
OF_APPLICATIONS = {"LayerScale": "affine", "StochasticDepth": "kept", "CustomScaleLayer": "added"}

LAYERS: dict[type, str] = {layer: key for key, record in RECORDS.items() for layer in of_keras(record.layers)}
"""The key of each layer class."""
LAYERS.update(dict.fromkeys(wrappers.HELPERS, "moved"))
LAYERS.update(dict.fromkeys((masks.WithMask, masks.MaskedAs), "kept"))

OPERATIONS: dict[str, str] = {name: key for key, record in RECORDS.items() for name in record.operations.split()}
"""The key of each operation."""

_FINAL = ("log_softmax", "logsoftmax")  # without a rule: `to_logits` removes it


def is_known(name: str) -> bool:
    """Whether an operation may be part of a network: it has a rule, or `to_logits` removes it.

    Args:
        name: the type of a graph's operation, such as "AddV2", or the name of a Python function, as "math.add".
    """
    return name.split(".")[-1].lower() in (*OPERATIONS, *_FINAL)
