"""Relevance through a network: from a Keras model to a plan, from a plan to heatmaps.

It imports no iNNvestigate. What differs between Keras 2 and Keras 3 is in `keras_graph` alone.
"""
