"""Networks whose output is a map, with scores of all classes at every place; and pictures of regions."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras


def map_of_classes(logits: keras.Model, is_regression: bool) -> keras.Model | None:
    """The model, if its output has several places; None if it has one score for each class.

    A map of one channel, as behind a sigmoid, becomes one of two classes, except that of a regression: class 1 is
    the channel itself.
    """
    from rap_keras.models import two_classes

    if prod(places_of(logits)) == 1:
        return None
    return two_classes(logits) if count_classes(logits) == 1 and not is_regression else logits


def count_classes(logits: keras.Model) -> int:
    """How many classes a model has; of a map, at each place."""
    from rap_keras.engine.checks.regions import class_axis

    shape = tuple(logits.outputs[0].shape)
    return int(shape[class_axis(len(shape))])


def places_of(logits: keras.Model) -> tuple[int, ...]:
    """How many places a model's output has along each axis: (height, width) of a map, () for classes alone."""
    from rap_keras.engine.checks.regions import class_axis

    shape = list(logits.outputs[0].shape)
    del shape[class_axis(len(shape))]
    return tuple(shape[1:])


def read_region(path: Path) -> np.ndarray:
    """Where a PNG file is not black, boolean, (H, W); what is transparent counts as black.

    Raises:
        ValueError: it is no PNG file, is damaged, or is black everywhere.
        OSError: it cannot be opened.
    """
    import numpy as np
    from PIL import ImageOps

    from rap_keras.datasets.images import opened

    with opened(path) as image:
        image.load()
        kind, upright = image.format, ImageOps.exif_transpose(image)
        if upright.mode not in ("1", "L") and not upright.mode.startswith(("I", "F")):
            upright = upright.convert("RGBA")
    if kind != "PNG":  # others may change values, so that black is not 0 any more
        raise ValueError(f"{path}: a file of format {kind}: save the region as PNG")
    values = np.asarray(upright)
    inside = values != 0 if values.ndim == 2 else (values[..., :3] != 0).any(axis=-1) & (values[..., 3] != 0)
    if not inside.any():
        raise ValueError(f"{path}: black everywhere: paint the region white")
    return inside


def on_input(region: np.ndarray, photo: np.ndarray, size: tuple[int, int], short_side: int | None) -> np.ndarray:
    """A region of a whole photo, boolean, (H, W), of any size, as one of what the network sees of it.

    `size` and `short_side` are as `images.fit` takes them.
    """
    import numpy as np
    from PIL import Image

    from rap_keras.datasets.images import fit
    from rap_keras.engine.checks.regions import resized

    if short_side is None:  # it sees all of the photo
        return region
    planes = np.repeat(resized(region, photo.shape[:2])[..., np.newaxis], 3, axis=-1).astype(np.uint8)
    return fit(planes, size, short_side, Image.Resampling.NEAREST)[..., 0] > 0
