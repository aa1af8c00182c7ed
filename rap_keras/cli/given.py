"""What the commands are given to explain: photos and files of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np

    from rap_keras.explanation.classifiers import Classifier
    from rap_keras.explanation.photos_and_arrays import Sample


def are_arrays(paths: tuple[Path, ...], **photo_options: object) -> bool:
    """Whether files of arrays are given.

    Raises:
        click.UsageError: photos are given, too, or options of photos.
    """
    from rap_keras.datasets.array_files import is_array_file

    arrays = [path for path in paths if is_array_file(path) and not path.is_dir()]
    if not arrays:
        return False
    if len(arrays) < len(paths):
        other = next(path for path in paths if path not in arrays)
        raise click.UsageError(
            f"{arrays[0]} is a file of arrays, but {other} is not: explain photos and arrays in separate commands."
        )
    for name, value in photo_options.items():
        if value is not None:
            raise click.UsageError(
                f"--{name} is for photos, and arrays are fed to the network as they are: leave --{name} out, and "
                "save the arrays as the network takes them."
            )
    return True


def require_kept(paths: list[Path], output: Path) -> None:
    """Raises click.UsageError if what is written into a folder could overwrite one of the files given."""
    for path in paths:
        if path.suffix.lower() in (".npz", ".png") and path.resolve().parent == output.resolve():
            raise click.UsageError(
                f"{path} lies in the folder of --output, where it could be overwritten: give another folder."
            )


def read(classifier: Classifier, path: Path, region: np.ndarray | None) -> list[Sample]:
    """The samples in a file: a photo is one, a file of arrays may have several.

    The region is what is asked about, in the area of the whole photo, or None.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no photo, or no array of the network's shape.
    """
    from rap_keras.datasets import images
    from rap_keras.explanation.classifiers import PhotoClassifier
    from rap_keras.explanation.photos_and_arrays import load_arrays, of_arrays, of_photo

    if isinstance(classifier, PhotoClassifier):
        return [of_photo(classifier, images.load_photo(path), region, str(path), path.stem)]
    arrays, is_batch = load_arrays(path, classifier.model)
    return of_arrays(arrays, region, str(path), path.stem, is_batch)
