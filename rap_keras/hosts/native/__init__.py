"""The native host: analyzers that need TensorFlow and Keras alone."""
