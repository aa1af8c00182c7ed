"""Functions of tensors as graphs: results that TensorFlow would like to fuse away."""

import numpy as np
import pytest
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


def test_memory_that_is_not_there_is_told_with_the_shape():
    def far_too_large(x):
        side = tf.cast(x[0], tf.int64)
        return tf.reduce_sum(tf.random.uniform([side, side]) + x[1])

    run = compiled(far_too_large, [tf.TensorSpec((None,))])
    assert run([np.array([3, 1], np.float32)]) >= 9
    with pytest.raises(MemoryError, match=r"not enough memory for inputs of shape \(2,\): give fewer samples"):
        run([np.array([2e7, 1], np.float32)])


def test_what_cannot_be_computed_is_told_with_the_shape():
    run = compiled(
        lambda x, index: tf.gather(x, index), [tf.TensorSpec((None,)), tf.TensorSpec((None,), tf.int32)]
    )
    x = np.array([1, 2], np.float32)
    assert list(run([x, np.array([1, 0])])) == [2, 1]
    with pytest.raises(
        ValueError, match=r"for inputs of shape \(2,\), \(1,\): indices\[0\] = 9 is not in \[0, 2\)"
    ):
        run([x, np.array([9])])
