"""Functional operations (`tf.nn.relu(x)`, `x + y`, ...), which Keras turns into layers of their own.

Their names depend on the Keras version and on where the model comes from, see `keras_graph.operation_name`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rap_keras.engine import keras_graph
from rap_keras.engine.calls import Call, Ref


class Operation(NamedTuple):
    """The kind of an operation, which decides its rule, and the activation's name if it is one."""

    kind: str
    activation: str | None = None


_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "softplus": "softplus",
    "softsign": "softsign",
    "exp": "exponential",
    "elu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "leaky_relu": "leaky_relu",
    "silu": "swish",
    "swish": "swish",
    "erf": "erf",
    "clip_by_value": "clip",
    "clip": "clip",
    "leakyrelu": "leaky_relu",
    "hardsigmoid": "hard_sigmoid",
    "hardsilu": "hard_silu",
    "hardtanh": "hard_tanh",
    "abs": "abs",
    "absolute": "abs",
    "square": "square",
    "sqrt": "sqrt",
    "rsqrt": "rsqrt",
    "pow": "power",
    "power": "power",
    "l2_normalize": "normalize",
    "normalize": "normalize",
}
_MOVED = set(
    (
        "reshape transpose squeeze expand_dims expanddims concat concatv2 stridedslice getitem slice "
        "split splitv unstack unpack pack stack tile broadcast_to broadcastto resize resizebilinear "
        "resizenearestneighbor resizebicubic resizearea depth_to_space depthtospace space_to_depth "
        "spacetodepth reverse reversev2 max reduce_max gather gatherv2 maxpool maxpool3d max_pool max_pool1d "
        "max_pool2d max_pool3d repeat flip roll moveaxis swapaxes take concatenate ravel"
    ).split()
)
_AVERAGED = set(
    "averagepool avgpool avgpool3d avg_pool avg_pool1d avg_pool2d avg_pool3d "
    "mean reduce_mean sum reduce_sum".split()
)
_AFFINE = set("identity neg negative cast convert_image_dtype stop_gradient stopgradient biasadd bias_add".split())
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
_KNOWN = {*_ACTIVATIONS}.union(
    _MOVED,
    _AVERAGED,
    _AFFINE,
    _PADDED,
    _KEPT_APART,
    _ADDED,
    _SUBTRACTED,
    _SQUARED_DIFFERENCE,
    _MULTIPLIED,
    _DIVIDED,
    _CHOSEN,
    _FINAL,
    PRODUCTS,
)


def is_known(name: str) -> bool:
    """Whether an operation may be part of a network: it has a rule, or `to_logits` removes it.

    Args:
        name: the type of a graph's operation, such as "AddV2", or the name of a Python function, as "math.add".
    """
    return name.split(".")[-1].lower() in _KNOWN


def operation(call: Call) -> Operation | None:
    """The kind of a functional layer's operation; None for other layers and operations."""
    name = keras_graph.operation_name(call.layer)
    tensors = len(call.inputs)
    if name is None or tensors == 0:
        return None
    if name == "relu" and getattr(call.layer, "negative_slope", False):  # Keras 3 has one operation for both
        name = "leaky_relu"
    if name in _ACTIVATIONS and tensors == 1:  # a power whose exponent is a tensor has no rule
        return Operation("elementwise", _ACTIVATIONS[name])
    if name in _AFFINE:
        return Operation("affine")
    if name in _MOVED:
        return Operation("moved")
    if name in _PADDED:
        return Operation("padded")
    if name in _KEPT_APART:
        return Operation("kept apart")
    if name in _AVERAGED:
        return Operation("averaged")
    if name in _ADDED:
        return Operation("affine" if tensors == 1 else "added")
    if name in _SUBTRACTED:
        return Operation("affine" if tensors == 1 else "subtracted")
    if name in _SQUARED_DIFFERENCE:
        return Operation("elementwise" if tensors == 1 else "squared difference")
    if name in _MULTIPLIED:
        return Operation("affine" if tensors == 1 else "multiplied")
    if name in _DIVIDED:
        return _division(call)
    if name in _CHOSEN:
        return Operation("elementwise") if tensors == 1 else Operation("moved")
    return None


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


def _division(call: Call) -> Operation | None:
    if len(call.inputs) == 2:
        return Operation("divided")
    constants = keras_graph.constants(call.layer)
    over_tensor = 0 in constants if constants is not None else not isinstance(call.args[0], Ref)
    return None if over_tensor else Operation("affine")
