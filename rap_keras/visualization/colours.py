"""Heatmaps as colours, beside or over the photo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rap_keras.basics.wording import counted

SEISMIC = "seismic"
"""The colour map of the paper: white for 0, red for positive and blue for negative relevance."""

PERCENTILE = 99
"""With scale="percentile" this percentile of |relevance| gets the darkest colour."""

MAP = {2: "(H, W)"}
_MAPS = {2: "(H, W)", 3: "(N, H, W)"}


def heatmap(relevance: ArrayLike) -> np.ndarray:
    """Relevance of each pixel: the sum over its channels, as in the figures of the paper.

    Args:
        relevance: Relevance at the input, (H, W, C), or of a batch, (N, H, W, C).

    Returns:
        The sums over the last axis, added up in float64: (H, W) or (N, H, W).

    Raises:
        TypeError: `relevance` does not hold real numbers.
        ValueError: `relevance` has another number of axes.
    """
    values = numbers(relevance, "relevance", {3: "(H, W, C)", 4: "(N, H, W, C)"})
    return np.sum(values, axis=-1, dtype=np.float64)


def to_rgb(heatmap: ArrayLike, scale: float | None = None) -> np.ndarray:
    """Relevance in the seismic colours: 0 is white, +scale dark red, -scale dark blue.

    The halves mirror each other: swapping the red and the blue of the colour of x gives the colour of -x.
    (Matplotlib's seismic does so only nearly: its blue end is darker than its red, its centre is off-white.)

    Args:
        heatmap: Relevance, (H, W), or of a batch, (N, H, W).
        scale: The relevance that gets the darkest colour; values beyond it are clipped. The default is the
            largest absolute value of each sample. A sample of zeros is white.

    Returns:
        Colours, uint8, (H, W, 3) or (N, H, W, 3).

    Raises:
        TypeError: `heatmap` or `scale` is not made of real numbers.
        ValueError: `heatmap` has another number of axes, or values that are not finite; `scale` is
            not positive and finite.
    """
    return seismic(fractions(heatmap, "heatmap", _MAPS, scale))


def overlay(heatmap: ArrayLike, photo: ArrayLike, opacity: float = 1.0) -> np.ndarray:
    """Relevance, in the colours of `to_rgb`, over the photo in grey.

    Args:
        heatmap: Relevance, (H, W).
        photo: The photo, (H, W, 3), uint8 or float in [0, 1].
        opacity: Opacity, in [0, 1], where the absolute relevance is largest. Elsewhere it is
            proportional to the absolute relevance, so that the photo shows where that is 0.

    Returns:
        The picture, uint8, (H, W, 3).

    Raises:
        TypeError: An argument is not made of real numbers, or `photo` of other integers than uint8.
        ValueError: The heatmap and the photo differ in size, an array has another number of axes,
            `heatmap` has values that are not finite, or `photo` or `opacity` is out of its range.
    """
    strengths = fractions(heatmap, "heatmap", MAP)
    pixels = as_pixels(photo, "photo")
    require_same_size(strengths, "heatmap", pixels, "photo")
    _require_opacity(opacity, "opacity")
    return blended(seismic(strengths), np.abs(strengths), pixels, opacity)


class Style(NamedTuple):
    """How a figure is drawn; `visualization.picture` says what each option means."""

    scale: str = "percentile"
    absolute: bool = False
    overlay: float | None = None
    colormap: str = SEISMIC
    width: float | None = None
    font_size: float = 8

    def checked(self) -> Style:
        """The style itself; raises TypeError or ValueError if an option has the wrong type or is out of range."""
        self.limit(np.zeros(1))
        self.colours(np.zeros(1), 1.0)
        if self.overlay is not None:
            _require_opacity(self.overlay, "overlay")
        for name, value in (("width", self.width), ("font_size", self.font_size)):
            if value is not None and not isinstance(value, (int, float, np.number)):
                raise TypeError(f"{name} is {value!r}: it must be a number")
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}: it must be positive and finite")
        return self

    def shown(self, relevance: np.ndarray) -> np.ndarray:
        """The relevance that is drawn, float64: its absolute value where that is wanted."""
        values = np.asarray(relevance, np.float64)
        return np.abs(values) if self.absolute else values

    def limit(self, relevance: np.ndarray) -> float:
        """The absolute relevance that gets the darkest colour: the largest, or the 99th percentile.

        The percentile keeps a single strong pixel from making all others white. Where it is 0, since few pixels
        have relevance at all, it is the largest value too; where all are 0, it is 1.

        Raises:
            ValueError: `scale` is neither "max" nor "percentile".
        """
        if self.scale not in ("max", "percentile"):
            raise ValueError(f"scale is {self.scale!r}: it must be 'max' or 'percentile'")
        sizes, limit = np.abs(np.asarray(relevance, np.float64)), 0.0
        if self.scale == "percentile" and sizes.size:
            limit = float(np.percentile(sizes, PERCENTILE, method="higher"))
        return limit or float(sizes.max(initial=0.0)) or 1.0

    def colours(self, relevance: np.ndarray, limit: float) -> np.ndarray:
        """Colours, uint8, (..., 3), of relevance as `shown` gives it; raises ValueError for unknown maps."""
        part = np.clip(relevance, -limit, limit) / limit
        if self.colormap == SEISMIC:
            return seismic(part)
        import matplotlib

        try:
            colours = matplotlib.colormaps[self.colormap]
        except KeyError:
            raise ValueError(
                f"colormap is {self.colormap!r}: it must be the name of a colour map of matplotlib, such as "
                "'seismic', 'RdBu_r' or 'viridis'"
            ) from None
        return colours(part if self.absolute else (part + 1) / 2, bytes=True)[..., :3]

    def ramp(self) -> np.ndarray:
        """The colours from one end to the other, uint8, (201, 3)."""
        return self.colours(np.linspace(0.0 if self.absolute else -1.0, 1.0, 201), 1.0)

    def note(self) -> str:
        """What the ends of the colours are."""
        sign = "" if self.absolute else "\N{PLUS-MINUS SIGN}"
        end = "largest" if self.scale == "max" else f"{PERCENTILE}th percentile of"
        return f"darkest: {sign}{end} |relevance|"


def _require_opacity(opacity: float, name: str) -> None:
    if not isinstance(opacity, Real) or isinstance(opacity, bool):
        raise TypeError(f"{name} is {opacity!r}: it must be a number from 0 to 1, such as 0.8")
    if not 0 <= opacity <= 1:
        raise ValueError(f"{name} is {opacity}: it must be from 0 to 1")


def blended(colours: np.ndarray, strengths: np.ndarray, pixels: np.ndarray, opacity: float) -> np.ndarray:
    """Colours, uint8, (H, W, 3), over a photo in [0, 1], in grey, as opaque as `strengths` times `opacity`."""
    grey = 255 * (pixels @ [0.299, 0.587, 0.114])[..., np.newaxis]  # luma of ITU-R BT.601
    alpha = float(opacity) * strengths[..., np.newaxis]
    return np.rint((1 - alpha) * grey + alpha * colours).astype(np.uint8)


def numbers(values: ArrayLike, name: str, shapes: Mapping[int, str]) -> np.ndarray:
    """`values` as an array with as many axes as one of `shapes`; TypeError unless they are real numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        way_out = ""
        if array.dtype == object:
            way_out = ". An Explanation has them as .relevance, and shows itself by .show()"
        elif array.dtype.kind == "U":
            way_out = ". A photo in a file is opened by rap_keras.images.load_photo(path)"
        raise TypeError(f"{name} has dtype {array.dtype}: it must hold real numbers{way_out}")
    if array.ndim not in shapes:
        raise ValueError(f"{name} has shape {array.shape}: it must be {' or '.join(shapes.values())}")
    return array


def fractions(values: ArrayLike, name: str, shapes: Mapping[int, str], scale: float | None = None) -> np.ndarray:
    """Finite relevance over its scale, clipped to [-1, 1]; by default over the largest of each heatmap."""
    maps = numbers(values, name, shapes).astype(np.float64)
    require_finite(maps, name)
    if scale is None:
        limit = np.abs(maps).max(axis=(-2, -1), keepdims=True, initial=0.0)
        limit[limit == 0] = 1.0
    elif not isinstance(scale, Real):
        raise TypeError(f"scale is {scale!r}: it must be a positive number or None")
    elif not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}: it must be positive and finite")
    else:
        limit = np.float64(scale)
    # Clipped before the division, which could overflow.
    return np.clip(maps, -limit, limit) / limit


def require_finite(maps: np.ndarray, name: str) -> None:
    """Raises ValueError if heatmaps, (H, W) or (N, H, W), have NaN or infinite values."""
    counts = np.atleast_1d(np.sum(~np.isfinite(maps), axis=(-2, -1)))
    if counts.any():
        sample = np.flatnonzero(counts)[0]
        where = f"sample {sample} of {name}" if maps.ndim == 3 else name
        raise ValueError(
            f"{where} has {counted(counts[sample], 'value that is', 'values that are')} not finite: find the "
            "layer where the relevance overflowed, or replace them, for instance with numpy.nan_to_num"
        )


def seismic(fractions: np.ndarray) -> np.ndarray:
    """Seismic colours, uint8, of values in [-1, 1]."""
    # The points of matplotlib's seismic. Its blue end is (0, 0, 0.3) where its red end is
    # (0.5, 0, 0), which makes -1 look stronger than 1: here both ends are 0.5.
    size = np.abs(fractions)
    own = np.interp(size, [0.0, 0.5, 1.0], [1.0, 1.0, 0.5])
    others = np.interp(size, [0.0, 0.5], [1.0, 0.0])
    red = np.where(fractions < 0, others, own)
    blue = np.where(fractions < 0, own, others)
    return np.rint(255 * np.stack([red, others, blue], axis=-1)).astype(np.uint8)


def as_pixels(values: ArrayLike, name: str) -> np.ndarray:
    """A photo, (H, W, 3), as float64 in [0, 1]; raises TypeError or ValueError if it is none."""
    photo = numbers(values, name, {3: "(H, W, 3)"})
    if photo.shape[2] != 3 or photo.size == 0:
        raise ValueError(f"{name} has shape {photo.shape}: it must be (H, W, 3)")
    if photo.dtype == np.uint8:
        return photo / 255
    if photo.dtype.kind != "f":
        raise TypeError(f"{name} has dtype {photo.dtype}: it must be uint8 or float in [0, 1]")
    low, high = photo.min(), photo.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name} has values from {low:g} to {high:g}: floats must be in [0, 1]. Give the photo "
            "as it was before the network's preprocessing, or divide it by 255"
        )
    return photo.astype(np.float64)


def require_same_size(fractions: np.ndarray, name: str, photo: np.ndarray, photo_name: str) -> None:
    """Raises ValueError if a heatmap and its photo differ in height or width."""
    if fractions.shape != photo.shape[:2]:
        raise ValueError(
            f"{name} has height and width {fractions.shape}, {photo_name} has {photo.shape[:2]}: "
            f"resize the photo to the heatmap's size, rap_keras.images.fit(photo, {fractions.shape})"
        )
