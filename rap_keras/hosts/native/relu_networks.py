"""Which calls are ReLUs, and that a network has no other activations, for methods that need this."""

from __future__ import annotations

from rap_keras.engine.errors import NotAnalyzeableModelException
from rap_keras.engine.reading.calls import Call
from rap_keras.engine.reading.network import Network
from rap_keras.engine.rules.kinds import activation_of, has_gates


def is_relu(call: Call) -> bool:
    """Whether a call is a ReLU or ends in one."""
    kind = activation_of(call)
    return kind is not None and kind.is_relu


def require_relus(network: Network, method: str) -> None:
    """Raises NotAnalyzeableModelException if a layer has gates, or an activation other than ReLU and identity."""
    for call in network.calls:
        if has_gates(call):
            raise NotAnalyzeableModelException(
                f"{method} is not for recurrent layers, attention and products of tensors, but layer "
                f"'{call.name}' is one: use rap, gradient or an lrp method"
            )
        kind = activation_of(call)
        if kind is not None and not kind.is_relu:
            raise NotAnalyzeableModelException(
                f"{method} is only for networks of ReLUs, but layer '{call.name}' has another activation: use "
                "rap, gradient or an lrp method"
            )
