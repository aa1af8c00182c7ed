"""Shares in proportion to values, on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from host import value_of

from rap_keras.engine.equations.numerics import divide, sample_sum, transposed
from rap_keras.engine.equations.shares import mean_shares, sum_shares


def constants(*values):
    return [tf.constant(value, tf.float64) for value in values]


def test_sum_shares():
    a, b, R = constants([[3.0, -1.0, 0.0, 2.0]], [[1.0, 4.0, 0.0, -2.0]], [[8.0, -10.0, 6.0, 4.0]])
    to_a, to_b = value_of(lambda: sum_shares([a, b], R))
    assert to_a == pytest.approx(np.array([[6.0, -2.0, 3.0, 2.0]]))
    assert to_b == pytest.approx(np.array([[2.0, -8.0, 3.0, 2.0]]))


def test_signed_sum_shares_follow_the_sign_and_drop_what_cancels():
    a, b, R = constants([[3.0, -1.0, 0.0, 2.0]], [[1.0, 4.0, 0.0, -2.0]], [[8.0, -9.0, 6.0, 4.0]])
    to_a, to_b = value_of(lambda: sum_shares([a, b], R, signed=True))
    assert to_a == pytest.approx(np.array([[6.0, 3.0, 3.0, 0.0]]))
    assert to_b == pytest.approx(np.array([[2.0, -12.0, 3.0, 0.0]]))


def test_sum_shares_of_a_broadcast_addend_add_up():
    a, b, R = constants([[[1.0], [3.0]]], [[[1.0, 3.0], [1.0, 1.0]]], [[[2.0, 8.0], [4.0, 4.0]]])
    to_a, to_b = value_of(lambda: sum_shares([a, b], R))
    assert to_a == pytest.approx(np.array([[[3.0], [6.0]]]))
    assert to_b == pytest.approx(np.array([[[1.0, 6.0], [1.0, 1.0]]]))


@pytest.mark.parametrize(("signed", "expected"), [(False, [1, 3, 2, 2]), (True, [-2, 6, 2, 2])])
def test_mean_shares(signed, expected):
    # Windows of two: (-1, 3) with relevance 4, and two zeros with relevance 4, shared evenly.
    def pool(x):
        return tf.nn.avg_pool1d(x, 2, 2, "VALID")

    x, R = constants([[[-1.0], [3.0], [0.0], [0.0]]], [[[4.0], [4.0]]])
    assert value_of(lambda: mean_shares(pool, x, R, signed))[0, :, 0] == pytest.approx(np.array(expected, float))


def test_mean_shares_with_padding():
    # "SAME" over three values has the windows (1, 2) and (3,); the second averages only one value.
    def pool(x):
        return tf.nn.avg_pool1d(x, 2, 2, "SAME")

    x, R = constants([[[1.0], [2.0], [3.0]]], [[[6.0], [5.0]]])
    assert value_of(lambda: mean_shares(pool, x, R))[0, :, 0] == pytest.approx(np.array([2.0, 4.0, 5.0]))


def test_divide_by_nothing_is_zero():
    for dtype in (tf.float32, tf.float64):
        a, b = tf.constant([1.0, 0.0, -6.0, np.inf], dtype), tf.constant([0.0, 0.0, 3.0, 0.0], dtype)
        assert value_of(lambda a=a, b=b: divide(a, b)).tolist() == [0, 0, -2, 0]


def test_divide_does_not_hide_nan():
    a, b = tf.constant([np.nan, 1, 1], tf.float32), tf.constant([2, np.nan, 4], tf.float32)
    assert value_of(lambda: divide(a, b)).tolist() == pytest.approx([np.nan, np.nan, 0.25], nan_ok=True)


def test_tiny_values_share_like_others():
    x, R = tf.constant([[[-1e-33], [3e-33], [0.0], [0.0]]]), tf.constant([[[4.0], [4.0]]])
    pooled = value_of(lambda: mean_shares(lambda x: tf.nn.avg_pool1d(x, 2, 2, "VALID"), x, R))
    assert pooled.ravel().tolist() == pytest.approx([1, 3, 2, 2])
    to_a, to_b = value_of(lambda: sum_shares([x[:, :2], -3 * x[:, :2]], tf.constant([[[4.0], [8.0]]])))
    assert to_a.ravel().tolist() == pytest.approx([1, 2])
    assert to_b.ravel().tolist() == pytest.approx([3, 6])


def test_sample_sum_keeps_small_differences():
    # In float32 alone 1e8 + 1 - 1e8 is 0.
    x = tf.constant([[[1e8], [1.0], [-1e8]], [[1.0], [2.0], [3.0]]], tf.float32)
    assert value_of(lambda: sample_sum(x)).ravel().tolist() == [1, 6]


def test_transposed_of_an_unused_input_is_zero():
    a, b, g = constants([[1.0, 2.0]], [[5.0]], [[3.0, 4.0]])
    to_a, to_b = value_of(lambda: transposed(lambda a, b: 2 * a, [a, b], g))
    assert to_a.tolist() == [[6, 8]]
    assert to_b.tolist() == [[0]]
