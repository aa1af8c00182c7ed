"""The equations of Relative Attributing Propagation as pure functions on tensors.

Nothing here depends on Keras layers or iNNvestigate: a layer is a linear map `linear(x, w) -> z`, its input, its
weights and the relevance of its output. All tensors are batches, sample first. The functions build TensorFlow
graph operations, in the data type of their arguments.
"""
