"""Layer-wise relevance propagation through a linear map, as iNNvestigate 2 calculates it.

A layer is z_j = sum_i x_i w_ij + b_j. Relevance goes to x_i in proportion to its part of z_j. The share of the
bias b_j is lost, unless a rule leaves the bias out. Source: Bach et al., On Pixel-Wise Explanations for Non-Linear
Classifier Decisions by Layer-Wise Relevance Propagation, PLoS ONE 2015.
"""

from __future__ import annotations

import tensorflow as tf

from rap_keras.engine.equations.linear import LinearMap, contribution_sums
from rap_keras.engine.equations.numerics import transposed

TINY = 1e-7
"""What iNNvestigate divides by instead of 0."""


def safe_divide(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Quotient a / b, and a / 1e-7 wherever b is 0: unlike `divide`, it reproduces iNNvestigate's numbers."""
    return a / (b + TINY * tf.cast(tf.equal(b, 0), b.dtype))


def z(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: tf.Tensor | float, R: tf.Tensor) -> tf.Tensor:
    """LRP-z: R_i = sum_j x_i w_ij / z_j R_j.

    Args:
        linear: the layer's linear map.
        x: its input, (N, ...).
        w: its weights.
        b: its bias, in a shape that broadcasts to linear(x, w); 0 to leave it out.
        R: relevance of its output, shaped as linear(x, w).
    """
    return x * _back(linear, x, w, safe_divide(R, linear(x, w) + b))


def epsilon(
    linear: LinearMap, x: tf.Tensor, w: tf.Tensor, b: tf.Tensor | float, R: tf.Tensor, epsilon: float = TINY
) -> tf.Tensor:
    """LRP-epsilon: R_i = sum_j x_i w_ij / (z_j + epsilon sign z_j) R_j, where the sign of 0 is 1.

    Args:
        linear: as in `z`.
        x: as in `z`.
        w: as in `z`.
        b: as in `z`.
        R: as in `z`.
        epsilon: the smallest absolute value of a divisor.
    """
    return x * _back(linear, x, w, R / away_from_zero(linear(x, w) + b, epsilon))


def away_from_zero(z: tf.Tensor, epsilon: float) -> tf.Tensor:
    """The divisor z + epsilon sign z, where the sign of 0 is 1."""
    return z + epsilon * tf.where(z >= 0, tf.ones_like(z), -tf.ones_like(z))


def gamma(
    linear: LinearMap,
    x: tf.Tensor,
    w: tf.Tensor,
    b: tf.Tensor | float,
    R: tf.Tensor,
    gamma: float = 0.25,
    epsilon: float = 1e-6,
    nonnegative: bool = False,
) -> tf.Tensor:
    """LRP-gamma for inputs and outputs of either sign: contributions with the sign of z_j count 1 + gamma times.

    R_i = sum_j (z_ij + gamma z'_ij) / (z_j + gamma (Z'_j + b'_j) + epsilon sign z_j) R_j, where z'_ij is z_ij if
    it has the sign of z_j, else 0, Z'_j its sum over i, b'_j likewise, and the sign of 0 is 1. Where no x_i and no
    z_j is below 0, it is the gamma rule of Montavon et al. 2019. Source: Andeol et al., Learning Domain Invariant
    Representations by Joint Wasserstein Distance Minimization, Neural Networks 2023, arXiv 2106.04923.

    Args:
        linear: as in `z`.
        x: as in `z`.
        w: as in `z`.
        b: as in `z`.
        R: as in `z`.
        gamma: how much more the contributions with the sign of the output count; 0 for LRP-epsilon.
        epsilon: the smallest absolute value of a divisor.
        nonnegative: as in `alpha_beta`.
    """
    positive, negative = contribution_sums(linear, x, w, nonnegative)
    bias = tf.convert_to_tensor(b, x.dtype)
    total = positive - negative + bias
    up = total >= 0
    above, below = positive + tf.nn.relu(bias), negative + tf.nn.relu(-bias)
    each = R / tf.where(up, total + gamma * above + epsilon, total - gamma * below - epsilon)
    none = tf.zeros_like(each)
    more = _by_sign(linear, x, w, tf.where(up, each, none), nonnegative)
    more -= _by_sign(linear, x, -w, tf.where(up, none, each), nonnegative)
    return x * _back(linear, x, w, each) + gamma * more


def alpha_beta(
    linear: LinearMap,
    x: tf.Tensor,
    w: tf.Tensor,
    b: tf.Tensor | float,
    R: tf.Tensor,
    alpha: float = 1.0,
    beta: float = 0.0,
    nonnegative: bool = False,
) -> tf.Tensor:
    """LRP-alpha-beta: R_i = sum_j (alpha z+_ij / (Z+_j + b_j) - beta z-_ij / (Z-_j - b_j)) R_j.

    z+ and z- are the absolute values of the positive and the negative contributions, Z+ and Z- their sums. The
    whole bias counts on both sides, as in iNNvestigate, whatever its sign.

    Args:
        linear: as in `z`.
        x: as in `z`.
        w: as in `z`.
        b: as in `z`.
        R: as in `z`.
        alpha: weight of the positive contributions.
        beta: weight of the negative ones, alpha - 1.
        nonnegative: no x is below 0, which saves half of the work.
    """
    positive, negative = contribution_sums(linear, x, w, nonnegative)
    found = alpha * _by_sign(linear, x, w, safe_divide(R, positive + b), nonnegative)
    if beta:
        found -= beta * _by_sign(linear, x, -w, safe_divide(R, negative - b), nonnegative)
    return found


def of_positive_inputs(
    linear: LinearMap,
    x: tf.Tensor,
    w: tf.Tensor,
    b: tf.Tensor | float,
    R: tf.Tensor,
    alpha: float = 2.0,
    beta: float = 1.0,
) -> tf.Tensor:
    """LRP-alpha-beta in which negative inputs get nothing, and each side has the bias of its own sign.

    iNNvestigate calls it AlphaBetaX; its presets use it for BatchNormalization. Arguments as in `alpha_beta`.
    """
    above = tf.nn.relu(x)

    def side(w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return above * _back(linear, x, w, safe_divide(R, linear(above, w) + b))

    bias = tf.convert_to_tensor(b, x.dtype)
    return alpha * side(tf.nn.relu(w), tf.nn.relu(bias)) - beta * side(tf.nn.relu(-w), tf.nn.relu(-bias))


def flat(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
    """LRP-flat: every input that an output sees gets the same share of its relevance; arguments as in `z`."""
    ones = tf.ones_like(w)
    return _back(linear, x, ones, safe_divide(R, linear(tf.ones_like(x), ones)))


def w_square(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, R: tf.Tensor) -> tf.Tensor:
    """The w^2 rule of Montavon et al. 2017: R_i = sum_j w_ij^2 / (sum_i w_ij^2) R_j; arguments as in `z`."""
    return _back(linear, x, w**2, safe_divide(R, linear(tf.ones_like(x), w**2)))


def batch_norm_as_scale(
    gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """The weight and bias that iNNvestigate uses for a BatchNormalization, each (channels,).

    They differ from the layer's: the root is taken of variance^2 + epsilon, and gamma is left out of the offset.
    """
    root = tf.sqrt(variance**2 + epsilon)
    return gamma / root, beta - mean / root


def _back(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, g: tf.Tensor) -> tf.Tensor:
    return transposed(lambda fresh: linear(fresh, w), [x], g)[0]


def _by_sign(linear: LinearMap, x: tf.Tensor, w: tf.Tensor, g: tf.Tensor, nonnegative: bool) -> tf.Tensor:
    """The sum over j of the positive contributions times g_j."""
    found = tf.nn.relu(x) * _back(linear, x, tf.nn.relu(w), g)
    return found if nonnegative else found + tf.nn.relu(-x) * _back(linear, x, tf.nn.relu(-w), g)
