"""Whether relevance is conserved: at the input, and from layer to layer.

"Conserved" in float32 means |sum R - logit| <= max(1e-3 |logit|, 1e-5 sum |R|), per sample.
"""

from __future__ import annotations

import numpy as np


def excess(R, arriving, scale) -> float:
    """The largest violation over all samples, in units of what is allowed; `R` is an array or a list."""
    parts = R if isinstance(R, list) else [R]
    total = sum(part.astype(np.float64).reshape(len(part), -1).sum(1) for part in parts)
    size = sum(np.abs(part.astype(np.float64)).reshape(len(part), -1).sum(1) for part in parts)
    return float(np.max(np.abs(total - arriving) / np.maximum(1e-3 * np.abs(scale), 1e-5 * size)))


def excess_by_layer(analyzer, layers: dict, seed: np.ndarray) -> dict[str, float]:
    """For each layer of `analyze_layers` what it gives back against what arrives at its outputs.

    What arrives is added up from what the layers behind gave back; `seed` (N,) is the sum at the output.
    """
    network = analyzer._network
    arriving = dict.fromkeys(network.outputs, seed)
    found = {}
    for call in reversed(network.calls):
        R = layers[call.name]
        found[call.name] = excess(R, sum(arriving[number] for number in call.outputs), seed)
        for number, part in zip(call.inputs, R if isinstance(R, list) else [R]):
            total = part.astype(np.float64).reshape(len(part), -1).sum(1)
            arriving[number] = arriving.get(number, 0) + total
    return found
