"""Pictures of relevance: heatmaps in the seismic colours, and figures for notebooks and papers.

Red is positive relevance, blue is negative, white is 0. The figures are plain `matplotlib.figure.Figure` objects,
unknown to pyplot: they need no display and disappear when nothing refers to them any more.

The paper is Nam et al., "Relative Attributing Propagation", AAAI 2020.
"""

from rap_keras.visualization.colours import heatmap, overlay, to_rgb
from rap_keras.visualization.display import picture, save, show
from rap_keras.visualization.image_figures import grid, layer_strip

__all__ = ["grid", "heatmap", "layer_strip", "overlay", "picture", "save", "show", "to_rgb"]
