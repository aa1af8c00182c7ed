"""Colours and textures: the same for objects, distractors and backgrounds."""

from __future__ import annotations

import numpy as np

from rap_keras.shapes.outlines import SIZE, SUBSAMPLES, Window, turn

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_FULL = 256
"""The mix at which a texture shows only its light shade; at 0 it shows only its dark one."""

_PALETTE: tuple[Colour, ...] = (
    *((38, 50, 72), (60, 92, 138), (104, 150, 196), (178, 206, 222)),
    *((34, 74, 62), (72, 122, 84), (136, 170, 98), (206, 214, 150)),
    *((88, 44, 52), (158, 64, 62), (212, 108, 82), (238, 176, 140)),
    *((78, 58, 42), (140, 104, 66), (204, 160, 84), (240, 218, 160)),
    *((66, 48, 96), (122, 88, 152), (176, 140, 194), (222, 200, 222)),
    *((52, 54, 56), (108, 108, 104), (168, 164, 158), (226, 222, 212)),
)

_JITTER = 14
_LEAST_DISTANCE = 100


def random_colour(rng: np.random.Generator) -> Colour:
    """A colour of the palette, jittered."""
    base = _PALETTE[int(rng.integers(len(_PALETTE)))]
    red, green, blue = (int(c) for c in rng.integers(-_JITTER, _JITTER + 1, 3) + base)
    return red, green, blue


def alike(one: Colour, other: Colour) -> bool:
    """Whether two colours are too close, less than 100 of 255, to tell shapes apart by them."""
    return sum((a - b) * (a - b) for a, b in zip(one, other)) < _LEAST_DISTANCE**2


def paint(
    canvas: np.ndarray,
    rng: np.random.Generator,
    colour: Colour,
    window: Window,
    opacity: np.ndarray,
) -> None:
    """Lay a random texture in two shades of `colour` over a window of `canvas`.

    Args:
        canvas: int32 (3, SIZE, SIZE), changed in place.
        rng: source of the texture's kind, scale, direction and strength.
        colour: the texture's mean colour.
        window: rows and columns painted.
        opacity: integers 0 (keeps what was there) to `SUBSAMPLES`, one per pixel of the window.
    """
    mix = _texture(rng, window)
    shade = int(rng.integers(6, 23))
    brightness = mix * (2 * shade) // _FULL - shade
    weight = opacity.astype(np.int32)
    for channel in range(3):
        plane = canvas[channel][window]
        plane += (colour[channel] + brightness - plane) * weight // SUBSAMPLES


def _texture(rng: np.random.Generator, window: Window) -> np.ndarray:
    """A random texture over a window: the mix of its two shades, int32, 0 to _FULL."""
    rows = np.arange(window[0].start, window[0].stop)
    columns = np.arange(window[1].start, window[1].stop)
    kind = int(rng.integers(4))
    if kind == 0:
        return _noise(rng, rows, columns, cell=int(rng.integers(4, 9)))
    if kind == 1:
        return _noise(rng, rows, columns, cell=int(rng.integers(10, 33)))
    cosine, sine = turn(rng)
    period = 5 + 9 * rng.random()
    across = _wave(cosine / period, sine / period, rng.random(), rows, columns)
    if kind == 2:
        return _sharpen(across)
    along = _wave(-sine / period, cosine / period, rng.random(), rows, columns)
    return _sharpen(across * along)


def _noise(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray, cell: int) -> np.ndarray:
    """Value noise: random numbers on a lattice of `cell` pixels, smoothly interpolated."""
    lattice = rng.integers(-_FULL // 4, _FULL + _FULL // 4, (SIZE // cell + 3,) * 2, dtype=np.int32)
    across = _interpolate(lattice, rows + int(rng.integers(cell)), cell)
    both = _interpolate(across.T, columns + int(rng.integers(cell)), cell).T
    return np.clip(both, 0, _FULL)


def _interpolate(values: np.ndarray, positions: np.ndarray, cell: int) -> np.ndarray:
    """Rows of `values` at `positions` in pixels, `cell` apart, by the cubic smooth step."""
    index, rest = positions // cell, positions % cell
    weight = ((rest * rest * (3 * cell - 2 * rest) * _FULL) // cell**3).astype(np.int32)[:, None]
    low = values[index]
    return low + (values[index + 1] - low) * weight // _FULL


def _wave(x_step: float, y_step: float, phase: float, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A triangle wave between -1 and 1, one period per unit of x_step x + y_step y + phase."""
    position = (rows * y_step + phase)[:, None] + (columns * x_step)[None, :]
    return 4 * np.abs(position - np.floor(position) - 0.5) - 1


def _sharpen(wave: np.ndarray) -> np.ndarray:
    """Values of -1 to 1 as a mix of mostly 0 and _FULL, with soft edges."""
    mix = np.clip(wave * _FULL + _FULL // 2, 0, _FULL)
    return mix.astype(np.int32)
