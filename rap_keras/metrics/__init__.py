"""How well heatmaps mark an object, and how a network does when pixels are removed in their order.

Nothing here needs TensorFlow. Heatmaps are numpy arrays: relevance summed over channels, at the resolution of the
network's input. A network is a function from inputs to logits. The metrics are those of the paper's evaluation
(Nam et al., Relative Attributing Propagation, AAAI 2020), which counts correctly classified images only.
`rap_keras.metrics.records` has what a benchmark makes of them.
"""

from rap_keras.metrics.localisation import (
    Counts,
    Discrimination,
    confusion,
    discrimination,
    marked,
    mass_inside,
    mean_iou,
    outside_inside_ratio,
    pixel_accuracy,
)
from rap_keras.metrics.perturbation import ORDERS, Perturbed, aopc, region_perturbation
from rap_keras.metrics.records import Figure, Image, Metric, Removal, register

__all__ = [
    "ORDERS",
    "Counts",
    "Discrimination",
    "Figure",
    "Image",
    "Metric",
    "Perturbed",
    "Removal",
    "aopc",
    "confusion",
    "discrimination",
    "marked",
    "mass_inside",
    "mean_iou",
    "outside_inside_ratio",
    "pixel_accuracy",
    "region_perturbation",
    "register",
]
