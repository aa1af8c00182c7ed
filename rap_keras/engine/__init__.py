"""Takes relevance through a network: a Keras model becomes a plan, and the plan gives heatmaps.

Nothing here imports iNNvestigate. All differences between Keras 2 and Keras 3 are in `keras_graph`.
"""
