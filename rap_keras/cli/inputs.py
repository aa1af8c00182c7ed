"""What the commands are given: networks, photos and files of arrays. Here wrong options are found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras.datasets.images import Preprocessing
    from rap_keras.explanation.classifiers import Classifier, PhotoClassifier
    from rap_keras.explanation.photos_and_arrays import Sample


NOISE_LENGTH = 224
"""Length of each axis of random values where a network takes any length."""


@contextmanager
def blaming(*parameters: str, way_out: str = "") -> Iterator[None]:
    """Turns what a wrong parameter makes the library raise into click's message of one line, with a way out."""
    from rap_keras.engine.errors import NotAnalyzeableModelException

    try:
        yield
    except BrokenPipeError:  # whoever reads our output has gone: no parameter's fault
        raise
    except (ValueError, OSError, NotImplementedError, NotAnalyzeableModelException) as error:
        message = " ".join(f"{error}. {way_out}".split() if way_out else str(error).split())
        if message.startswith("--"):  # it begins with the option's name
            raise click.UsageError(f"{message}.") from error
        raise click.BadParameter(message, param_hint=list(parameters)) from error


def blaming_options(*names: str) -> AbstractContextManager[None]:
    """As `blaming`, for options without their dashes."""
    return blaming(*map(as_option, names))


def as_option(name: str, value: str = "") -> str:
    """An option of a command, with its value if it has one."""
    return f"--{name} {value}".strip()


def know_custom_objects(module: str | None) -> None:
    """Makes what --custom-objects names known to Keras; raises click.UsageError if there is no such module."""
    from rap_keras.models import user_code

    if module is not None:
        with blaming("--custom-objects"):
            user_code.make_known(module)


def require_map_of_region(classifier: Classifier) -> None:
    """Raises click.UsageError unless --region can be laid over what a network gives."""
    with blaming("--region"):
        places = classifier.places("--region")
    if len(places) != 2:
        shape = tuple(classifier.scores.outputs[0].shape)
        raise click.UsageError(
            f"--region is laid over a map of height and width, and this network's output, of shape {shape}, has "
            "no such places: leave --region out, and a class is explained where it is the highest of all."
        )


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


def network_of(
    model_name: str,
    preprocessing: str | None,
    resize: int | None,
    crop: int | None,
    output_layer: str | None = None,
    grey: bool = False,
    other_samples: str = "",
) -> PhotoClassifier:
    """The network that the options describe, for photos; one with a single sigmoid unit has two logits.

    `grey` tells whether the command makes photos grey for a network that takes them so, and `other_samples` what
    to do with a network that takes no photos; without it, what `rap-keras explain` takes is told.

    Raises:
        click.UsageError: an option is wrong.
    """
    import numpy as np

    from rap_keras import models
    from rap_keras.explanation.classifiers import PhotoClassifier, classifier_of, warn_of_preprocessing

    how = preprocessing_of(model_name, preprocessing)
    whole = loaded(model_name, output_layer)
    save, file = saved_as_arrays(whole)
    arrays = f"Explain samples of any other kind as arrays: {save}, then `rap-keras explain {file} --model FILE`"
    with blaming(model_parameter(), way_out=other_samples or arrays):
        fixed = models.photo_size(whole, grey=grey)
    with blaming(model_parameter()):
        classifier = classifier_of(whole)
    how = require_preprocessing(how)
    size, short_side = _geometry(fixed, resize, crop)
    found = PhotoClassifier(**vars(classifier), preprocessing=how, size=size, short_side=short_side)
    # A function of the wrong kind is found on noise, before an analyzer is built.
    any_size = [length or NOISE_LENGTH for length in tuple(found.model.inputs[0].shape)[1:3]]
    shape = (1, *(size or any_size), 1 if found.is_grey else 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    network_input(noise, how, found.model)
    warn_of_preprocessing(whole, how)
    return found


def size_of_batches(network: PhotoClassifier) -> tuple[int, int]:
    """Height and width of all photos of a batch; raises click.UsageError if no option gives it."""
    if network.size is None:
        raise click.UsageError(
            "The network takes photos of any size, and those of a batch must have one size: give it by --resize N."
        )
    return network.size


def saved_as_arrays(model: keras.Model) -> tuple[str, str]:
    """How a sample of any kind is saved for a command, in Python, and the file that it is in then."""
    from rap_keras.engine.keras_graph import input_names

    names = input_names(model)
    if len(names) == 1:
        return "numpy.save('x.npy', x)", "x.npy"
    return f"numpy.savez('x.npz', {', '.join(f'{name}={name}' for name in names)})", "x.npz"


def network_of_arrays(model_name: str, output_layer: str | None = None) -> Classifier:
    """The network for samples of any kind, fed as they are; raises click.UsageError for a wrong option."""
    from rap_keras.explanation.classifiers import classifier_of

    whole = loaded(model_name, output_layer)
    with blaming(model_parameter()):
        return classifier_of(whole)


def model_parameter() -> str:
    """What the command that runs calls its model: some take it as an option, others as an argument."""
    context = click.get_current_context(silent=True)
    is_argument = context is not None and all("--model" not in option.opts for option in context.command.params)
    return "MODEL" if is_argument else "--model"


def loaded(model_name: str, output_layer: str | None) -> keras.Model:
    """A network with the output that is explained; raises click.UsageError if an option is wrong."""
    from rap_keras import models

    with blaming(model_parameter()):
        model = models.load_model(model_name)
    return chosen_output(model, output_layer)


def chosen_output(model: keras.Model, output_layer: str | None) -> keras.Model:
    """The model with the output that --output-layer names, or its only one; raises click.UsageError for others."""
    from rap_keras.engine.keras_graph import output_names
    from rap_keras.models import one_output

    is_number = output_layer is not None and output_layer.isdecimal() and output_layer not in output_names(model)
    with blaming("--output-layer"):
        return one_output(model, int(output_layer) if output_layer and is_number else output_layer)


def embedded_patterns(model_name: str) -> Path:
    """The patterns of a network of this package; raises click.UsageError for another one."""
    from rap_keras import models, shapes

    if model_name.lower() not in models.EMBEDDED:
        raise click.UsageError(
            "pattern.net and pattern.attribution need patterns of this network, --patterns FILE: compute them "
            "with `rap-keras fit-patterns`."
        )
    return shapes.patterns_path(models.EMBEDDED[model_name.lower()])


def preprocessing_of(model_name: str, given: str | None) -> Preprocessing | None:
    """What --preprocessing says, else what a network known by name has itself; None for a model file.

    Raises:
        click.UsageError: there is no such preprocessing.
    """
    from rap_keras import models
    from rap_keras.datasets import images

    if given is not None:
        with blaming("--preprocessing"):
            return images.find_preprocessing(given)
    return models.own_preprocessing(model_name)


def require_preprocessing(how: Preprocessing | None) -> Preprocessing:
    """Raises click.UsageError if it is not known how photos are preprocessed."""
    if how is None:
        raise click.UsageError(
            "A model file does not say how its photos were preprocessed, and a wrong guess would "
            "spoil the explanation: give --preprocessing caffe, tf, torch, unit (0 to 1), raw (0 to 255) or "
            "MODULE:FUNCTION."
        )
    return how


def network_input(photos: np.ndarray, how: Preprocessing, model: keras.Model) -> np.ndarray:
    """Photos, uint8, (N, H, W, 3 or 1), as a batch of the model's inputs.

    Raises:
        click.UsageError: the preprocessing fails, or makes values that the model cannot take.
    """
    from rap_keras.datasets import images
    from rap_keras.engine.checks.samples import valid_samples

    with blaming("--preprocessing"):
        batch = images.preprocess(photos, how)
    with blaming("--preprocessing", way_out="For photos as they are: --preprocessing raw"):
        valid_samples(batch, model)
    return batch


def _geometry(
    fixed: tuple[int, int] | None, resize: int | None, crop: int | None
) -> tuple[tuple[int, int] | None, int | None]:
    """The size of the network's input, None for each photo's own, and that of the photo's short side."""
    if crop is not None:
        if fixed is not None and fixed != (crop, crop):
            raise click.BadParameter(_fitting(fixed), param_hint=["--crop"])
        if resize is not None and resize < crop:
            raise click.BadParameter(f"must be at least --crop {crop}", param_hint=["--resize"])
        return (crop, crop), resize or crop
    if resize is None:
        return fixed, None
    if fixed is not None and fixed != (resize, resize):
        raise click.BadParameter(_fitting(fixed), param_hint=["--resize"])
    return (resize, resize), None


def _fitting(size: tuple[int, int]) -> str:
    """Which --resize and --crop fit a network that takes photos of one size."""
    height, width = size
    square = f", or give --crop {height}, alone or with a --resize of at least {height}"
    return f"the network takes {height}x{width}: leave --resize and --crop out" + square * (height == width)
