"""The operations of keras.ops that have no rule, and why."""

from __future__ import annotations

REFUSED: dict[str, str] = {
    "gives whole numbers or truth values: a constant for the operations that take these": (
        "all allclose any argmax argmin argpartition argsort bincount bitwise_and bitwise_invert "
        "bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor count_nonzero digitize "
        "equal gcd greater greater_equal histogram in_top_k isclose isfinite isin isinf isnan isneginf "
        "isposinf isreal lcm left_shift less less_equal logical_and logical_not logical_or logical_xor "
        "matrix_rank multi_hot nanargmax nanargmin nonzero not_equal one_hot right_shift searchsorted signbit "
        "top_k unique unravel_index"
    ),
    "depends on shapes or on nothing: a constant for the operations that take it": (
        "arange array bartlett blackman dtype empty empty_like eye full full_like geomspace hamming hanning "
        "is_tensor kaiser linspace logspace ndim ones ones_like shape size tri zeros zeros_like"
    ),
    "runs functions: write its steps with other operations": (
        "associative_scan cond custom_gradient fori_loop jvp map scan switch vectorize vectorized_map while_loop"
    ),
    "mixes values in a way for which no share of relevance is known": (
        "arctan2 average cdist corrcoef correlate cross cumprod floor_divide fmod heaviside inner kron ldexp "
        "logaddexp logaddexp2 logsumexp mod nancumprod nancumsum nanmedian nanpercentile nanprod nanquantile "
        "nanstd nanvar nextafter outer prod scatter separable_conv sparsemax trapezoid vander vdot"
    ),
    "writes zeros, which would have relevance: multiply by a mask of zeros and ones": "tril triu",
    "is linear algebra of matrices, for which no share of relevance is known": (
        "cholesky cholesky_inverse det eig eigh inv logdet lstsq lu_factor pinv qr slogdet solve "
        "solve_triangular svd"
    ),
    "calculates with complex numbers": (
        "angle conj conjugate extract_sequences ifft2 imag irfft istft polar real rfft stft view "
        "view_as_complex view_as_real"
    ),
    "is a loss or a metric": (
        "binary_crossentropy categorical_crossentropy ctc_decode ctc_loss psnr "
        "sparse_categorical_crossentropy ssim"
    ),
    "changes images or their colours: do so in front of the network": (
        "affine_transform crop_images elastic_transform gaussian_blur hsv_to_rgb map_coordinates meshgrid "
        "pad_images perspective_transform rgb_to_grayscale rgb_to_hsv scale_and_translate sobel_edges"
    ),
    "works along the first axis, which is that of the samples": (
        "diag diagflat diagonal flipud segment_max segment_min segment_prod segment_sum trace vsplit vstack"
    ),
    "leaves the network: no symbolic tensor": "convert_to_numpy",
}
"""The names of operations, as keras.ops has them, by the reason."""

_REASONS = {name.replace("_", ""): reason for reason, names in REFUSED.items() for name in names.split()}


def reason(operation: str) -> str | None:
    """Why an operation has no rule; None if that is not known.

    Args:
        operation: its name, in keras.ops or in `keras_graph.operation_name`.
    """
    return _REASONS.get(operation.replace("_", ""))
