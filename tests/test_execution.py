"""Functions of tensors as graphs: results that TensorFlow would like to fuse away."""

import numpy as np
import tensorflow as tf

from rap_keras.engine.execution import compiled


def test_a_result_that_is_also_the_input_of_a_swish_comes_back():
    kernel, offset = np.full((3, 3, 2, 4), 0.1, np.float32), np.arange(4, dtype=np.float32)

    def convolution_and_swish(x):
        y = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), offset)
        swish = y * tf.sigmoid(y)
        return swish[:, ::-1], y, swish  # in this order TensorFlow 2.14 with oneDNN loses y

    run = compiled(convolution_and_swish, [tf.TensorSpec((None, 3, 3, 2))])
    mirrored, y, swish = run([np.ones((1, 3, 3, 2), np.float32)])
    np.testing.assert_allclose(y.ravel(), 1.8 + offset, rtol=1e-6)
    np.testing.assert_allclose(swish, y / (1 + np.exp(-y)), rtol=1e-6)
    np.testing.assert_array_equal(mirrored, swish[:, ::-1])
