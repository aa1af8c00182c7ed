"""What `rap-keras explain` needs before the first photo; here wrong options are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras.datasets.images import Preprocessing
    from rap_keras.explanation.classifiers import Classifier, PhotoClassifier
    from rap_keras.explanation.explainer import Explainer


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
        raise click.BadParameter(message, param_hint=list(parameters)) from error


def know_custom_objects(module: str | None) -> None:
    """Imports what --custom-objects names, and makes it known to Keras.

    Raises:
        click.UsageError: there is no such module, or it fails.
    """
    from rap_keras.models import user_code

    if module is not None:
        with blaming("--custom-objects"):
            user_code.make_known(module)


def prepare(
    model_name: str,
    build: Callable[[], Classifier],
    *,
    methods: tuple[str, ...],
    patterns: Path | None,
    targets: tuple[str, ...],
    against: str | None,
    region: Path | None,
    classes: str | None,
    steps: int | None,
    output: Path,
) -> tuple[Explainer, np.ndarray | None]:
    """The network, which `build` makes, with its analyzers, and the region asked about.

    Raises:
        click.UsageError: An option is wrong. The quick checks come first.
    """
    from rap_keras.basics import whole_file
    from rap_keras.explanation import class_names, maps
    from rap_keras.explanation.explainer import Explainer, analyzer_of, is_by_index
    from rap_keras.hosts import methods as known_methods

    with blaming("--method"):
        for name in methods:
            known_methods.find(name)
    with blaming("--steps"):
        if steps is not None:
            known_methods.require_steps(methods)
    with blaming("--region"):
        where = None if region is None else maps.read_region(region)
    if patterns is None and any(map(known_methods.needs_patterns, methods)):
        patterns = embedded_patterns(model_name)
    classifier = build()
    _require_map_for(classifier, where is not None, against is not None)
    count = maps.count_classes(classifier.scores)
    with blaming("--classes"):
        names = class_names.given_names(classes, model_name, count, classifier.is_regression)
    with blaming("--target"):
        numbers = [None if text == "max" else class_names.find_class(text, names, count) for text in targets]
        numbers = list(dict.fromkeys(numbers))
    with blaming("--against"):
        other = None if against is None else class_names.find_class(against, names, count)
        if other is not None and other in numbers:
            raise ValueError(f"{against} is the class to explain: give another one")
    with blaming("--output"):
        whole_file.require_writable(output)
    built: dict[str, Any] = {}
    by_index = is_by_index(classifier, numbers, other)
    for name in methods:
        click.echo(f"building {name} ...", err=True)
        with blaming(*(["--patterns"] if known_methods.needs_patterns(name) else ["--model", "--method"])):
            built[name] = analyzer_of(name, classifier, by_index, patterns, steps)
    return Explainer(classifier, classifier.values(), built, numbers, other, names), where


def _require_map_for(classifier: Classifier, region: bool, against: bool) -> None:
    """Raises click.UsageError for --region with a network that it cannot be laid over, or --against with a map."""
    from rap_keras.explanation import maps

    if classifier.map is None:
        if region:
            raise click.UsageError(
                "--region is for networks whose output is a map, with scores at every place of the photo, and "
                "this one has one score for each class: leave --region out."
            )
        return
    if region and len(maps.places_of(classifier.map)) != 2:
        shape = tuple(classifier.map.outputs[0].shape)
        raise click.UsageError(
            f"--region is laid over a map of height and width, and this network's output, of shape {shape}, has "
            "no such places: leave --region out, and a class is explained where it is the highest of all."
        )
    if against:
        raise click.UsageError(
            "--against is for networks that have one score for each class, and this one's output is a map: leave "
            "--against out. A contrastive method compares a class with all others at each place."
        )


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

    Args:
        model_name: what load_model takes.
        preprocessing: as --preprocessing has it.
        resize: likewise.
        crop: likewise.
        output_layer: likewise.
        grey: whether the command makes photos grey for a network that takes them so.
        other_samples: what to do with a network that takes no photos; without it, what `rap-keras explain` takes.

    Raises:
        click.UsageError: an option is wrong.
    """
    import numpy as np

    from rap_keras import models
    from rap_keras.explanation.classifiers import PhotoClassifier, warn_of_preprocessing

    how = preprocessing_of(model_name, preprocessing)
    with blaming(model_parameter()):
        loaded = models.load_model(model_name)
    whole = chosen_output(loaded, output_layer)
    save, file = saved_as_arrays(whole)
    arrays = f"Explain samples of any other kind as arrays: {save}, then `rap-keras explain {file} --model FILE`"
    with blaming(model_parameter(), way_out=other_samples or arrays):
        fixed = models.photo_size(whole, grey=grey)
    classifier = _classifier_of(whole)
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
    """Height and width of all photos of a batch.

    Raises:
        click.UsageError: the network takes photos of any size, and no option gives one.
    """
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
    """The network for samples of any kind, fed as they are; of a single sigmoid unit as `network_of` has it.

    Raises:
        click.UsageError: an option is wrong.
    """
    from rap_keras import models

    with blaming(model_parameter()):
        loaded = models.load_model(model_name)
    return _classifier_of(chosen_output(loaded, output_layer))


def _classifier_of(whole: keras.Model) -> Classifier:
    from rap_keras.explanation.classifiers import classifier_of

    with blaming(model_parameter()):
        return classifier_of(whole)


def model_parameter() -> str:
    """What the command that runs calls its model: some take it as an option, others as an argument."""
    context = click.get_current_context(silent=True)
    is_argument = context is not None and all("--model" not in option.opts for option in context.command.params)
    return "MODEL" if is_argument else "--model"


def chosen_output(model: keras.Model, output_layer: str | None) -> keras.Model:
    """The model with the output that --output-layer names, or its only one.

    Raises:
        click.UsageError: there is no such output, or it must be said which of several.
    """
    from rap_keras.engine.keras_graph import output_names
    from rap_keras.models import one_output

    is_number = output_layer is not None and output_layer.isdecimal() and output_layer not in output_names(model)
    with blaming("--output-layer"):
        return one_output(model, int(output_layer) if output_layer and is_number else output_layer)


def embedded_patterns(model_name: str) -> Path:
    """The patterns of a network of this package.

    Raises:
        click.UsageError: it is another network, whose patterns have to be computed first.
    """
    from rap_keras import models, shapes

    if model_name.lower() not in models.EMBEDDED:
        raise click.UsageError(
            "pattern.net and pattern.attribution need patterns of this network, --patterns FILE: compute them "
            "with `rap-keras fit-patterns`."
        )
    return shapes.patterns_path(models.EMBEDDED[model_name.lower()])


def preprocessing_of(model_name: str, given: str | None) -> Preprocessing | None:
    """What is done to photos: what --preprocessing says, else what a network known by name does itself.

    Returns:
        None for a model file, if --preprocessing was not given.

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
    with blaming("--preprocessing", way_out=_AS_THEY_ARE):
        valid_samples(batch, model)
    return batch


_AS_THEY_ARE = "For photos as they are: --preprocessing raw"


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
