"""What the commands are given to explain, photos and files of arrays, as a network's inputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from rap_keras.cli import maps
from rap_keras.cli.networks import Network, PhotoNetwork

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras


class Sample(NamedTuple):
    """One sample.

    `name` is what is printed of it, `stem` what its files are called. `inputs` has, by the name of the network's
    input, a batch of one, (1, ...). `photo` is what is shown of an image, uint8, (H, W, 3), with a `note` for the
    picture if that is not the whole of it; None for samples of other kinds. `region` is what the network sees of
    that which is asked about, boolean, (H, W), or None.
    """

    name: str
    stem: str
    inputs: dict[str, np.ndarray]
    photo: np.ndarray | None
    note: str
    region: np.ndarray | None

    @property
    def x(self) -> np.ndarray | list[np.ndarray]:
        """The inputs as analyzers take them: an array, or a list of several."""
        arrays = list(self.inputs.values())
        return arrays[0] if len(arrays) == 1 else arrays


def are_arrays(paths: tuple[Path, ...], preprocessing: str | None, resize: int | None, crop: int | None) -> bool:
    """Whether files of arrays are given, and not photos.

    Raises:
        click.UsageError: both are given, or options of photos with arrays.
    """
    from rap_keras.datasets.array_files import is_array_file

    arrays = [path for path in paths if is_array_file(path) and not path.is_dir()]
    if not arrays:
        return False
    if len(arrays) < len(paths):
        other = next(path for path in paths if path not in arrays)
        raise click.UsageError(
            f"{arrays[0]} is a file of arrays, and {other} is none: explain photos and arrays by a command each."
        )
    require_no_photo_options(preprocessing, resize, crop)
    return True


def require_kept(paths: list[Path], output: Path) -> None:
    """Raises click.UsageError if what is written into a folder could overwrite one of the files given."""
    for path in paths:
        if path.suffix.lower() in (".npz", ".png") and path.resolve().parent == output.resolve():
            raise click.UsageError(
                f"{path} lies in the folder of --output, where it could be overwritten: give another folder."
            )


def require_no_photo_options(
    preprocessing: str | None, resize: int | None = None, crop: int | None = None
) -> None:
    """Raises click.UsageError if an option of photos is given with arrays."""
    for option, value in (("--preprocessing", preprocessing), ("--resize", resize), ("--crop", crop)):
        if value is not None:
            raise click.UsageError(
                f"{option} is for photos, and arrays are fed to the network as they are: leave {option} out, and "
                "save the arrays as the network takes them."
            )


def read(network: Network, path: Path, region: np.ndarray | None) -> list[Sample]:
    """The samples in a file: a photo is one, a file of arrays may have several.

    Args:
        network: what takes them.
        path: of the file.
        region: what is asked about, in the area of the whole photo; None if nothing is.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no photo, or no array of the network's shape.
    """
    if isinstance(network, PhotoNetwork):
        return [_of_photo(network, path, region)]
    return _of_arrays(network, path, region)


def _of_photo(network: PhotoNetwork, path: Path, region: np.ndarray | None) -> Sample:
    """A photo in the network's size, grey where the network takes it so."""
    from rap_keras.datasets import images
    from rap_keras.engine.keras_graph import input_names

    whole = images.load_photo(path)
    if network.is_grey:
        whole = images.to_grey(whole)
    photo = images.fit(whole, network.size, network.short_side)
    if region is not None:
        region = maps.on_input(region, whole, network.size, network.short_side)
    channels = photo[..., :1] if network.is_grey else photo
    try:
        batch = images.preprocess([channels], network.preprocessing)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Sample(str(path), path.stem, {input_names(network.model)[0]: batch}, photo, "", region)


def _of_arrays(network: Network, path: Path, region: np.ndarray | None) -> list[Sample]:
    from rap_keras.cli.pictures import as_photo, channels_note

    arrays, is_batch = load_arrays(path, network.model)
    samples = []
    for number in range(len(next(iter(arrays.values())))):
        inputs = {name: array[number : number + 1] for name, array in arrays.items()}
        first = next(iter(inputs.values()))
        is_image = len(inputs) == 1 and first.ndim == 4
        samples.append(
            Sample(
                name=f"{path}[{number}]" if is_batch else str(path),
                stem=f"{path.stem}-{number}" if is_batch else path.stem,
                inputs=inputs,
                photo=as_photo(first[0]) if is_image else None,
                note=channels_note(first.shape[-1]) if is_image else "",
                region=region,
            )
        )
    return samples


def load_arrays(path: Path, model: keras.Model) -> tuple[dict[str, np.ndarray], bool]:
    """The samples in a file of arrays, by the names of the model's inputs and in their data types.

    Returns:
        By name, (N, ...); and whether the file has a batch, and not one sample without a batch axis.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it does not fit the model.
    """
    import numpy as np

    from rap_keras.datasets import array_files
    from rap_keras.engine import keras_graph
    from rap_keras.engine.samples import valid_samples

    names = keras_graph.input_names(model)
    shapes = {name: tuple(tensor.shape)[1:] for name, tensor in zip(names, model.inputs)}
    arrays, is_batch = array_files.load(path, shapes)
    try:
        valid_samples(arrays, model)  # whole numbers where the model takes integers
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    cast = {}
    for name, tensor in zip(names, model.inputs):
        dtype = keras_graph.dtype(tensor)
        with np.errstate(over="ignore"):
            cast[name] = arrays[name].astype(dtype.as_numpy_dtype)
        if dtype.is_floating and not np.isfinite(cast[name]).all():
            raise ValueError(
                f"{path}: values of input {name!r} go beyond what the network takes, {dtype.name}: scale them as "
                "in the network's training"
            )
    return cast, is_batch
