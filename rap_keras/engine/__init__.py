"""Takes relevance through a network, in four rooms.

`reading` reads a Keras model as a list of calls, `rules` is what is known of layers, `way_back` takes relevance to
the inputs, and `checks` looks at what is given and at what comes out. `equations` has the formulas.
Nothing here imports iNNvestigate. `keras_graph` has what differs between the graphs of Keras 2 and Keras 3.
"""
