"""Reads a Keras model as a list of layer calls."""
