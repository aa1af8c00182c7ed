"""How well a heatmap marks an object whose box or pixels are known.

Every function takes one image, (H, W), or a batch, (N, H, W), and gives one number, or one number per image. Void
pixels, whose label is unknown, are ignored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_PIXELS = (-2, -1)


class Counts(NamedTuple):
    """Numbers of pixels that are marked or not, and the object's or not: ints, or int64 arrays (N,).

    The counts of a data set are the sums over its images: `Counts(*(field.sum() for field in counts))`.

    Attributes:
        tp: pixels of the object that are marked.
        fp: other pixels that are marked.
        fn: pixels of the object that are not marked.
        tn: other pixels that are not marked.
    """

    tp: Any
    fp: Any
    fn: Any
    tn: Any


class Discrimination(NamedTuple):
    """Whether a heatmap tells two objects apart: 1.0 for yes, 0.0 for no, NaN if an object has no pixels.

    Attributes:
        mass: the explained object has more positive relevance than the other one.
        density: it has more per pixel, so that the size of the objects does not matter.
        pointing_own: the pixel with the highest relevance lies on the explained object (the pointing game).
        pointing_other: it lies on the other object.
    """

    mass: float
    density: float
    pointing_own: float
    pointing_other: float


def outside_inside_ratio(
    heatmap: np.ndarray, inside: np.ndarray, positive: bool = True, void: np.ndarray | None = None
) -> Any:
    """Mean relevance outside of an object over mean relevance inside; lower is better.

    The paper's "POS" case takes positive relevance alone and fits every method. Its "ALL" case
    (`positive=False`) says little if positive and negative relevance nearly cancel, as in RAP: the result is then
    close to minus the ratio of inside to outside pixels, whatever the heatmap.

    Source: Lapuschkin et al., Analyzing Classifiers, CVPR 2016.

    Args:
        heatmap: relevance, (H, W) or (N, H, W).
        inside: which pixels are the object's, or in its box, bool, of the heatmap's shape.
        positive: whether negative relevance counts as 0.
        void: pixels that count neither as inside nor as outside, bool, of the heatmap's shape.

    Returns:
        The ratio, float or float64 (N,); NaN if no pixel is inside or outside, or the mean inside is 0. With
        `positive`, the worst heatmap of all also gives NaN, so count the NaNs.

    Raises:
        ValueError: the shapes differ, a mask is not bool, or the heatmap has values that are not finite.
    """
    values = finite(heatmap)
    inside, seen = mask_of(inside, values.shape, "inside"), counted(void, values.shape)
    values = np.maximum(values, 0) if positive else values
    return _ratio(_mean(values, ~inside & seen), _mean(values, inside & seen))


def mass_inside(heatmap: np.ndarray, inside: np.ndarray, void: np.ndarray | None = None) -> Any:
    """Share of the positive relevance that lies inside an object, 0 to 1; higher is better.

    It depends on the object's size: for a constant heatmap it is the share of pixels that are inside. So compare
    methods only on the same images.

    Args:
        heatmap: relevance, (H, W) or (N, H, W).
        inside: which pixels are the object's, or in its box, bool, of the heatmap's shape.
        void: pixels that do not count, bool, of the heatmap's shape.

    Returns:
        The share, float or float64 (N,); NaN if no relevance is positive or no pixel is inside.

    Raises:
        ValueError: the shapes differ, a mask is not bool, or the heatmap has values that are not finite.
    """
    values = np.maximum(finite(heatmap), 0)
    inside, seen = mask_of(inside, values.shape, "inside"), counted(void, values.shape)
    outside, inside = ~inside & seen, inside & seen
    within = np.where(inside.any(axis=_PIXELS), np.sum(values, axis=_PIXELS, where=inside), np.nan)
    return _ratio(within, within + np.sum(values, axis=_PIXELS, where=outside))


def marked(heatmap: np.ndarray, case: str, void: np.ndarray | None = None) -> np.ndarray:
    """The pixels a heatmap marks, bool, of its shape.

    Args:
        heatmap: relevance, (H, W) or (N, H, W).
        case: "pos" marks relevance above the mean over the image, with negative relevance counted as 0; it fits
            every method. "signed" marks all positive relevance; it is for methods whose negative relevance stands
            for the background, such as RAP. If relevance is never negative, it marks nearly everything.
        void: pixels that are neither marked nor counted in the mean, bool, of the heatmap's shape.

    Raises:
        ValueError: there is no such case; the shapes differ; `void` is not bool; or the heatmap has values that
            are not finite.
    """
    if case not in ("pos", "signed"):
        raise ValueError(f"case={case!r}: must be 'pos' or 'signed'")
    values = finite(heatmap)
    seen = counted(void, values.shape)
    if case == "signed":
        return (values > 0) & seen
    values = np.where(seen, np.maximum(values, 0), 0)
    # Counted from the lowest value: otherwise rounding of the mean could mark all of a constant heatmap.
    values = values - np.min(values, axis=_PIXELS, keepdims=True, where=seen, initial=np.inf)
    return (values > _mean(values, seen)[..., np.newaxis, np.newaxis]) & seen


def confusion(marked: np.ndarray, mask: np.ndarray, void: np.ndarray | None = None) -> Counts:
    """Counts of the marked pixels that are the object's (tp) or not (fp), and of the others (fn, tn).

    Args:
        marked: the pixels that a heatmap marks, bool, (H, W) or (N, H, W).
        mask: the object's pixels, bool, of the same shape.
        void: pixels that do not count, bool, of the same shape.

    Raises:
        ValueError: the shapes differ, or an array is not bool.
    """
    shape = np.shape(marked)
    if len(shape) not in (2, 3):
        raise ValueError(f"marked has shape {shape}: it must be (H, W) or (N, H, W)")
    marked, mask = mask_of(marked, shape, "marked"), mask_of(mask, shape, "object's")
    seen = counted(void, shape)
    groups = (marked & mask, marked & ~mask, ~marked & mask, ~marked & ~mask)
    counts = [np.sum(group & seen, axis=_PIXELS, dtype=np.int64) for group in groups]
    return Counts(*(int(count) if len(shape) == 2 else count for count in counts))


def pixel_accuracy(counts: Counts) -> Any:
    """Share of pixels that are rightly marked or rightly not marked, 0 to 1; higher is better.

    If objects are small, a heatmap that marks nothing scores high. So report `mean_iou` beside it.

    Args:
        counts: those of `confusion`.

    Returns:
        The share, float or float64 (N,); NaN if every pixel is void.
    """
    return _ratio(np.add(counts.tp, counts.tn), _pixels(counts))


def mean_iou(counts: Counts) -> Any:
    """Mean of the intersection over union of object and of background, 0 to 1; higher is better.

    For an average over images, average the result of (N,) counts. For the mIOU pooled over a data set, give the
    summed counts. If there is no object and nothing is marked, the object's IoU is 1; likewise for the background.

    Args:
        counts: those of `confusion`.

    Returns:
        The mean, float or float64 (N,); NaN if every pixel is void.
    """
    wrong = np.add(counts.fp, counts.fn)
    ious = [_ratio(hits, np.add(hits, wrong), empty=1.0) for hits in (counts.tp, counts.tn)]
    return _number(np.where(_pixels(counts) > 0, np.add(*ious) / 2, np.nan))


def discrimination(
    heatmap: np.ndarray, own: np.ndarray, other: np.ndarray, void: np.ndarray | None = None
) -> Discrimination:
    """Whether a heatmap tells the object of the explained class from that of another class; higher is better.

    If neither object has positive relevance, the answer is no. A heatmap without positive relevance points
    nowhere. If a heatmap does not depend on the class, the mean of `mass` over both classes of each image is 0.5,
    and so is that of `density`.

    Source of the pointing game: Zhang et al., Top-Down Neural Attention by Excitation Backprop, IJCV 2018.

    Args:
        heatmap: relevance, (H, W).
        own: which pixels are the explained object's, bool, (H, W).
        other: which pixels are the other object's, bool, (H, W).
        void: pixels that do not count, bool, (H, W).

    Raises:
        ValueError: the shapes differ, a mask is not bool, or the heatmap has values that are not finite.
    """
    values = finite(heatmap)
    if values.ndim != 2:
        raise ValueError(f"the heatmap has shape {values.shape}: give one image, (H, W)")
    seen = counted(void, values.shape)
    own = mask_of(own, values.shape, "own") & seen
    other = mask_of(other, values.shape, "other") & seen
    if not own.any() or not other.any():
        return Discrimination(np.nan, np.nan, np.nan, np.nan)
    positive = np.where(seen, np.maximum(values, 0), 0)
    inside, outside = positive[own], positive[other]
    peak = np.unravel_index(positive.argmax(), positive.shape)
    points = positive[peak] > 0
    return Discrimination(
        float(inside.sum() > outside.sum()),
        float(inside.mean() > outside.mean()),
        float(points and own[peak]),
        float(points and other[peak]),
    )


def _pixels(counts: Counts) -> np.ndarray:
    return np.sum(np.array(counts, np.int64), axis=0)


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean over the pixels of a mask; NaN over none."""
    return np.asarray(_ratio(np.sum(values, axis=_PIXELS, where=where), np.sum(where, axis=_PIXELS)))


def _ratio(above: Any, below: Any, empty: float = np.nan) -> Any:
    """The quotient, and `empty` where the denominator is 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return _number(np.divide(above, below, out=np.full(below.shape, empty), where=below != 0))


def _number(values: np.ndarray) -> Any:
    return values if np.ndim(values) else float(values)


def finite(heatmap: np.ndarray) -> np.ndarray:
    """Relevance (H, W) or (N, H, W) as float64.

    Raises:
        ValueError: the number of axes is wrong, or values are not finite; the message says how many, and in which
            samples.
    """
    values = np.asarray(heatmap, np.float64)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"the heatmap has shape {values.shape}: it must be (H, W) or (N, H, W), relevance summed over channels"
        )
    wrong = ~np.isfinite(values)
    if wrong.any():
        samples = ", ".join(map(str, np.flatnonzero(wrong.any(axis=(-2, -1)))))
        where = f", in sample {samples}" if values.ndim == 3 else ""
        raise ValueError(f"the heatmap has {wrong.sum()} values that are not finite{where}")
    return values


def mask_of(mask: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A mask as a bool array.

    Raises:
        ValueError: the mask has another shape, or is not bool.
    """
    array = np.asarray(mask)
    if array.shape != shape:
        raise ValueError(f"the heatmap has shape {shape}, the {name} mask {array.shape}")
    # In an array of labels 0, 1 and 255, void pixels would count as the object's.
    if array.dtype != bool:
        raise ValueError(f"the {name} mask is {array.dtype}: it must be bool, as in labels == 1")
    return array


def counted(void: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Which pixels are not void, bool."""
    return np.ones(shape, bool) if void is None else ~mask_of(void, shape, "void")
