"""How well heatmaps mark an object, and how a network does when pixels are removed in their order.

Nothing here needs TensorFlow. Heatmaps are numpy arrays: relevance summed over channels, at the resolution of the
network's input. A network is a function from inputs to logits. The metrics are those of the paper's evaluation
(Nam et al., Relative Attributing Propagation, AAAI 2020), which counts correctly classified images only.
"""

from rap_keras.metrics.discrimination import Discrimination, discrimination
from rap_keras.metrics.localisation import (
    Counts,
    confusion,
    marked,
    mass_inside,
    mean_iou,
    outside_inside_ratio,
    pixel_accuracy,
)
from rap_keras.metrics.perturbation import ORDERS, Perturbed, aopc, region_perturbation

__all__ = [
    "ORDERS",
    "Counts",
    "Discrimination",
    "Perturbed",
    "aopc",
    "confusion",
    "discrimination",
    "marked",
    "mass_inside",
    "mean_iou",
    "outside_inside_ratio",
    "pixel_accuracy",
    "region_perturbation",
]
