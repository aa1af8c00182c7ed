"""Functional operations (`tf.nn.relu(x)`, `x + y`, ...), which Keras turns into layers of their own.

Their names depend on the Keras version and on where the model comes from, see `keras_graph.operation_name`.
"""

from __future__ import annotations

import numpy as np

from rap_keras.engine import keras_graph
from rap_keras.engine.reading.calls import Call, Ref

# What these do to values is measured, see `trials`.
_ELEMENTWISE = set(
    (
        "relu relu6 sigmoid tanh softplus softsign exp elu selu celu gelu leaky_relu leakyrelu silu swish erf "
        "clip_by_value clip hardsigmoid hardsilu hardtanh hardshrink softshrink tanhshrink threshold logsigmoid "
        "log_sigmoid squareplus sparseplus sparsesigmoid abs absolute fabs square sqrt rsqrt pow power"
    ).split()
)
_NORMALIZED = {"l2_normalize", "normalize"}
_SHARES = {"softmax"}
_MOVED = set(
    (
        "reshape transpose squeeze expand_dims expanddims concat concatv2 stridedslice getitem slice "
        "split splitv unstack unpack pack stack tile broadcast_to broadcastto resize resizebilinear "
        "resizenearestneighbor resizebicubic resizearea depth_to_space depthtospace space_to_depth "
        "spacetodepth reverse reversev2 max reduce_max gather gatherv2 maxpool maxpool3d max_pool max_pool1d "
        "max_pool2d max_pool3d repeat flip fliplr rot90 roll moveaxis swapaxes take concatenate "
        "hstack ravel amax"
    ).split()
)
_AVERAGED = set(
    "averagepool avgpool avgpool3d avg_pool avg_pool1d avg_pool2d avg_pool3d "
    "mean reduce_mean sum reduce_sum".split()
)
_KEPT = set("identity copy cast stop_gradient stopgradient".split())
_AFFINE = set("neg negative convert_image_dtype biasadd bias_add".split())
_PADDED = {"pad", "padv2", "mirrorpad"}
_KEPT_APART = {"identityn"}  # tf.nn.swish ends in one
_ADDED = {"add", "addv2", "add_n", "addn"}
_SUBTRACTED = {"sub", "subtract"}
_SQUARED_DIFFERENCE = {"squareddifference", "squared_difference"}
_MULTIPLIED = {"mul", "multiply"}
_DIVIDED = {"realdiv", "truediv", "truedivide", "divide", "div"}
_CHOSEN = {"maximum", "minimum"}
PRODUCTS = {"matmul", "batchmatmul", "batchmatmulv2", "einsum"}
"""Sums of products of two tensors; their rule is `attention.product`."""
_FINAL = {"log_softmax", "logsoftmax"}  # without a rule: `to_logits` removes it
NAMES = {
    "elementwise": _ELEMENTWISE,
    "shares": _SHARES,
    "normalized": _NORMALIZED,
    "kept": _KEPT,
    "affine": _AFFINE,
    "moved": _MOVED | _CHOSEN,
    "padded": _PADDED,
    "kept apart": _KEPT_APART,
    "averaged": _AVERAGED,
    "added": _ADDED,
    "subtracted": _SUBTRACTED,
    "squared difference": _SQUARED_DIFFERENCE,
    "multiplied": _MULTIPLIED,
    "divided": _DIVIDED,
}
"""The names of the operations of each kind."""
_KINDS = {name: kind for kind, names in NAMES.items() for name in names}
# With a constant instead of a second tensor.
_OF_ONE = {"added": "affine", "subtracted": "affine", "multiplied": "affine", "squared difference": "elementwise"}
_KNOWN = {*_KINDS, *_FINAL, *PRODUCTS}


def is_known(name: str) -> bool:
    """Whether an operation may be part of a network: it has a rule, or `to_logits` removes it.

    Args:
        name: the type of a graph's operation, such as "AddV2", or the name of a Python function, as "math.add".
    """
    return name.split(".")[-1].lower() in _KNOWN


def operation(call: Call) -> str | None:
    """The kind of a functional layer's operation, which decides its rule; None for other layers and operations."""
    name = keras_graph.operation_name(call.layer)
    if name is None or not call.inputs:
        return None
    kind = _KINDS.get(name)
    if kind == "divided":
        return _division(call)
    if len(call.inputs) == 1:
        return "elementwise" if name in _CHOSEN else _OF_ONE.get(kind or "", kind)
    return None if kind == "elementwise" else kind  # a power whose exponent is a tensor has no rule


def factor(call: Call) -> float:
    """The number that an operation multiplies a tensor by, such as 1/255 in `x / 255`; 1 for other calls."""
    name = keras_graph.operation_name(call.layer)
    given = [*(keras_graph.constants(call.layer) or {}).values(), *call.args, *call.kwargs.values()]
    numbers = [np.asarray(value) for value in given if isinstance(value, (int, float, np.ndarray, np.number))]
    if len(call.inputs) != 1 or len(numbers) != 1 or numbers[0].size != 1 or not numbers[0].any():
        return 1.0
    if name in _MULTIPLIED:
        return float(numbers[0].item())
    divides = name in _DIVIDED and _division(call) is not None
    return 1 / float(numbers[0].item()) if divides else 1.0


def _division(call: Call) -> str | None:
    if len(call.inputs) == 2:
        return "divided"
    constants = keras_graph.constants(call.layer)
    over_tensor = 0 in constants if constants is not None else not isinstance(call.args[0], Ref)
    return None if over_tensor else "affine"
