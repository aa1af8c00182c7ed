"""Distractors: outlines that belong to no class."""

from __future__ import annotations

import numpy as np

from rap_keras.shapes.outlines import SIZE, SUBSAMPLES, Disc, Outline, Pose, Window, coverage, turn


def distractor(rng: np.random.Generator) -> tuple[Window, np.ndarray]:
    """A random distractor anywhere in the image, perhaps partly outside it.

    It is a thin bent bar, a lump of three discs, an irregular polygon of 7 corners, or a cloud without
    an edge.

    Returns:
        Its rows and columns, and its opacity in each pixel, 0 to `SUBSAMPLES`, uint8.
    """
    cosine, sine = turn(rng)
    x, y = SIZE * rng.random(), SIZE * rng.random()
    kind = int(rng.integers(4))
    if kind == 0:
        return coverage(_bar(rng), Pose(x, y, 20 + 50 * rng.random(), cosine, sine))
    pose = Pose(x, y, 6 + 12 * rng.random(), cosine, sine)
    if kind == 1:
        return coverage(_lump(rng), pose)
    if kind == 2:
        return coverage(_irregular_polygon(rng), pose)
    return _cloud(pose)


def _bar(rng: np.random.Generator) -> Outline:
    half = 0.015 + 0.02 * rng.random()
    bend = 0.3 * rng.random()
    lower = ((1.0, bend + half), (0.0, half - bend), (-1.0, bend + half))
    upper = ((-1.0, bend - half), (0.0, -half - bend), (1.0, bend - half))
    return Outline((lower + upper,))


def _lump(rng: np.random.Generator) -> Outline:
    # Three discs in a crooked row: the ends are too far apart to look like one disc.
    sizes = 0.32 + 0.13 * rng.random(3)
    lift = 0.2 + 0.2 * rng.random()
    return Outline(
        (
            Disc(-0.52, -lift / 2, float(sizes[0])),
            Disc(0.0, lift / 2, float(sizes[1])),
            Disc(0.52, -lift / 2, float(sizes[2])),
        )
    )


def _irregular_polygon(rng: np.random.Generator) -> Outline:
    # Corners on seven rays (rational directions), one of them far out and one deep inside, the
    # others at uneven distances: neither convex nor regular.
    rays = ((5, 0), (3, 4), (-1.4, 4.8), (-4.8, 1.4), (-4, -3), (0, -5), (4, -3))
    lengths = 0.4 + 0.4 * rng.random(7)
    far = int(rng.integers(7))
    lengths[far] = 1.0
    lengths[(far + int(rng.integers(2, 6))) % 7] = 0.2
    return Outline((tuple((float(r) * u / 5, float(r) * v / 5) for r, (u, v) in zip(lengths, rays)),))


def _cloud(pose: Pose) -> tuple[Window, np.ndarray]:
    window, _ = coverage(Outline((Disc(0, 0, 1),)), pose)
    dy = (np.arange(window[0].start, window[0].stop) + 0.5 - pose.y)[:, None]
    dx = (np.arange(window[1].start, window[1].stop) + 0.5 - pose.x)[None, :]
    length = (pose.cosine * dx + pose.sine * dy) / pose.radius
    width = (pose.cosine * dy - pose.sine * dx) / (0.5 * pose.radius)
    nearness = 1 - (length * length + width * width)
    return window, (np.clip(nearness, 0, 1) * SUBSAMPLES).astype(np.uint8)
