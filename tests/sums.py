"""How far the sum of relevance is from the logit, and for which samples it has to be."""

from __future__ import annotations

import numpy as np

from rap_keras import RAP


def excess(R: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """How far each sample's sum is from its logit, in units of the tolerance of float32: at most 1."""
    flat = np.asarray(R, np.float64).reshape(len(R), -1)
    allowed = np.maximum(1e-3 * np.abs(logits), 1e-5 * np.abs(flat).sum(1))
    return np.abs(flat.sum(1) - logits) / allowed


def without_contributions(analyzer: RAP, x: np.ndarray) -> np.ndarray:
    """Which samples have a weighted layer that must lose relevance.

    If relevance arrives at outputs to which no input contributes, because all inputs are 0 (for instance a maximum
    of dead units), every C_i of the layer is 0, and all relevance that it gives back is 0.
    """
    R = analyzer.analyze_layers(x)
    network = analyzer.network
    arriving = {number: np.ones(len(x)) for number in network.outputs}
    found = np.zeros(len(x), bool)
    for call in reversed(network.calls):
        parts = R[call.name] if isinstance(R[call.name], list) else [R[call.name]]
        given = [np.abs(part.astype(np.float64)).reshape(len(x), -1).sum(1) for part in parts]
        if hasattr(call.layer, "kernel") or hasattr(call.layer, "depthwise_kernel"):
            found |= (arriving[call.outputs[0]] > 0) & (given[0] == 0)
        for number, part in zip(call.inputs, given):
            arriving[number] = arriving.get(number, 0) + part
    return found
