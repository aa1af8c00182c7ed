"""One sample as a network takes it, made of a photo or of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rap_keras.basics.wording import counted, listed
from rap_keras.explanation import maps
from rap_keras.explanation.classifiers import PhotoClassifier

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras.explanation.words import Sentence


# VGG-16 needs about 4 GB for a photo of this size.
_MOST_PIXELS = 1_000_000


class Sample(NamedTuple):
    """One sample.

    `name` is what is printed of it, and `stem` begins the names of its files. `inputs` has, by the name of the
    network's input, a batch of one, (1, ...). `photo` is what is shown of an image, uint8, (H, W, 3), with a
    `note` for the figure if that is not the whole of it; it is None for samples of other kinds. `region` is the
    part of what is asked about that the network sees, boolean, (H, W), or None. `prepared` is what is told if the
    network's own preprocessor was used, or if a tokenizer did not take all of a text; else "". `sentence` is that
    of a text.
    """

    name: str
    stem: str
    inputs: dict[str, np.ndarray]
    photo: np.ndarray | None
    note: str
    region: np.ndarray | None
    prepared: str = ""
    sentence: Sentence | None = None

    @property
    def x(self) -> np.ndarray | list[np.ndarray]:
        """The inputs as analyzers take them: an array, or a list of several."""
        arrays = list(self.inputs.values())
        return arrays[0] if len(arrays) == 1 else arrays


def of_photo(
    classifier: PhotoClassifier, whole: np.ndarray, region: np.ndarray | None, name: str, stem: str
) -> Sample:
    """A photo, RGB, uint8, (H, W, 3), in the network's size, in grey where the network takes grey photos.

    The region is what is asked about, boolean, (H, W) in the area of the whole photo, or None.

    Raises:
        ValueError: the preprocessing fails; or the photo is large and the network takes any size.
    """
    from rap_keras.datasets import images
    from rap_keras.engine.keras_graph import input_names

    if classifier.is_grey:
        whole = images.to_grey(whole)
    size = classifier.size or own_size(whole, name)
    photo = images.fit(whole, size, classifier.short_side)
    if region is not None:
        region = maps.on_input(region, whole, size, classifier.short_side)
    channels = photo[..., :1] if classifier.is_grey else photo
    try:
        batch = images.preprocess([channels], classifier.preprocessing)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return Sample(name, stem, {input_names(classifier.model)[0]: batch}, photo, "", region)


def own_size(photo: np.ndarray, name: str) -> tuple[int, int]:
    """Height and width of a photo, for a network that takes any size; raises ValueError for a large photo."""
    height, width = photo.shape[:2]
    if height * width > _MOST_PIXELS:
        raise ValueError(
            f"{name}: {height}x{width} pixels, and the network takes photos of any size. So large a photo needs "
            "gigabytes of memory: resize it to the size of the photos in training, with Pillow's Image.resize, or "
            "in `rap-keras explain` by --resize N, which makes it N x N, or --crop N"
        )
    return height, width


def of_arrays(
    arrays: dict[str, np.ndarray], region: np.ndarray | None, name: str, stem: str, numbered: bool
) -> list[Sample]:
    """Every sample of a batch, (N, ...) by the name of the input; `numbered` adds its number to name and stem."""
    from rap_keras.visualization.sample_pictures import as_photo, channels_note

    count = len(next(iter(arrays.values())))
    samples = []
    for number in range(count):
        inputs = {of_input: array[number : number + 1] for of_input, array in arrays.items()}
        first = next(iter(inputs.values()))
        is_image = len(inputs) == 1 and first.ndim == 4
        samples.append(
            Sample(
                name=f"{name}[{number}]" if numbered else name,
                stem=f"{stem}-{number}" if numbered else stem,
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
    from rap_keras.datasets import array_files

    return _for_model(*array_files.load(path, _shapes(model)), model, str(path))


def arrays_of(given: Any, model: keras.Model) -> tuple[dict[str, np.ndarray], bool]:
    """Arrays in memory as `load_arrays` gives those of a file.

    That is an array, and for several inputs a list of them or a dict by the names of the inputs.

    Raises:
        TypeError: one is not an array.
        ValueError: they do not fit the model.
    """
    from rap_keras.datasets import array_files
    from rap_keras.engine.checks.no_numbers import as_array

    shapes = _shapes(model)
    if isinstance(given, dict):
        arrays = {str(name): as_array(array) for name, array in given.items()}
    elif isinstance(given, (list, tuple)) and len(shapes) > 1:
        if len(given) != len(shapes):
            takes = f"the model takes {len(shapes)}: {listed(shapes)}"
            raise ValueError(f"{counted(len(given), 'array')}, and {takes}")
        arrays = {name: as_array(array) for name, array in zip(shapes, given)}
    else:
        arrays = {next(iter(shapes)) if len(shapes) == 1 else "": as_array(given)}
    if set(arrays) != set(shapes):
        takes = listed(f"{name!r} {shape}" for name, shape in shapes.items())
        held = ", ".join([counted(len(arrays), "array"), *(repr(name) for name in arrays if name)])
        raise ValueError(
            f"the sample has {held}, and the model takes {takes}: give a dict by these names, or a "
            "list in this order"
        )
    return _for_model(*array_files.as_batches(arrays, shapes, "the sample"), model, "the sample")


def _shapes(model: keras.Model) -> dict[str, tuple[int | None, ...]]:
    from rap_keras.engine import keras_graph

    return {name: tuple(tensor.shape)[1:] for name, tensor in zip(keras_graph.input_names(model), model.inputs)}


def _for_model(
    arrays: dict[str, np.ndarray], is_batch: bool, model: keras.Model, where: str
) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays in the data types of the model's inputs; raises ValueError if they do not fit."""
    from rap_keras.engine import keras_graph
    from rap_keras.engine.checks.input_scaling import may_be_unprepared
    from rap_keras.engine.checks.samples import valid_samples

    try:
        valid_samples(arrays, model)  # whole numbers where the model takes integers
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    cast = {}
    for name, tensor in zip(keras_graph.input_names(model), model.inputs):
        if may_be_unprepared(arrays[name], tensor):
            raise ValueError(
                f"{where}: the array is uint8, like a photo, and its preprocessing is not known: give the "
                "photo with its preprocessing ('raw' for a network that scales photos itself), or the array as "
                "the network takes it, in float32"
            )
        cast[name] = arrays[name].astype(keras_graph.dtype(tensor).as_numpy_dtype)
    return cast, is_batch
