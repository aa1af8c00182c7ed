"""What `rap-keras explain` needs before the first photo; here wrong options are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rap_keras.cli import classes as class_names
from rap_keras.cli import maps
from rap_keras.cli.networks import Network, PhotoNetwork

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras.cli.networks import Inputs
    from rap_keras.datasets.images import Preprocessing


class Job(NamedTuple):
    """What is the same for all samples.

    `logits` and `probabilities` are functions from one network input to those of each class, the latter None where
    the network makes none; a target is None for the class with the largest logit, of a map the one that is the
    highest at most places; `against` is the class that targets are compared with or None; `region` is where maps
    are explained, boolean, (H, W), or None; `names` is None where the classes have only numbers.
    """

    network: Network
    logits: Callable[[Inputs], np.ndarray]
    probabilities: Callable[[Inputs], np.ndarray] | None
    analyzers: Mapping[str, Any]
    targets: list[int | None]
    against: int | None
    region: np.ndarray | None
    names: list[str] | None
    layers: bool

    @property
    def by_index(self) -> bool:
        """Whether the analyzers are told which class to explain."""
        return self.network.map is not None or self.targets != [None] or self.against is not None


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
    build: Callable[[], Network],
    *,
    methods: tuple[str, ...],
    patterns: Path | None,
    targets: tuple[str, ...],
    against: str | None,
    region: Path | None,
    classes: Path | None,
    layers: bool,
    output: Path,
) -> Job:
    """The network, which `build` makes, and the analyzers, and the folder for the results.

    Raises:
        click.UsageError: An option is wrong. The quick checks come first.
    """
    from rap_keras import models
    from rap_keras.engine.network import predictor
    from rap_keras.hosts import methods as analyzers
    from rap_keras.shapes import CLASSES

    with blaming("--method"):
        for name in methods:
            analyzers.find(name)
    with blaming("--region"):
        where = None if region is None else maps.read_region(region)
    if patterns is None and any(map(analyzers.needs_patterns, methods)):
        patterns = embedded_patterns(model_name)
    network = build()
    _require_map_for(network, where is not None, against is not None)
    count = maps.count_classes(network.scores)
    with blaming("--classes"):
        names = class_names.read_names(classes, count) if classes else None
    if names is None and model_name.lower() in models.EMBEDDED:
        names = list(CLASSES)
    names = names or class_names.cached_names(count)
    with blaming("--target"):
        numbers = [None if text == "max" else class_names.find_class(text, names, count) for text in targets]
        numbers = list(dict.fromkeys(numbers))
    with blaming("--against"):
        other = None if against is None else class_names.find_class(against, names, count)
        if other is not None and other in numbers:
            raise ValueError(f"{against} is the class to explain: give another one")
    with blaming("--output"):
        output.mkdir(parents=True, exist_ok=True)
    built: dict[str, Any] = {}
    logits = predictor(network.scores)
    job = Job(network, logits, network.probabilities(), built, numbers, other, where, names, layers)
    for name in methods:
        click.echo(f"building {name} ...", err=True)
        with blaming(*(["--patterns"] if analyzers.needs_patterns(name) else ["--model", "--method"])):
            if network.map is not None:
                built[name] = analyzers.create_for_regions(name, network.map, patterns)
            else:
                mode = "index" if job.by_index else "max_activation"
                built[name] = analyzers.create(name, network.model, mode, patterns)
    return job


def _require_map_for(network: Network, region: bool, against: bool) -> None:
    """Raises click.UsageError for --region with a network that it cannot be laid over, or --against with a map."""
    if network.map is None:
        if region:
            raise click.UsageError(
                "--region is for networks whose output is a map, with scores at every place of the photo, and "
                "this one has one score for each class: leave --region out."
            )
        return
    if region and len(maps.places_of(network.map)) != 2:
        shape = tuple(network.map.outputs[0].shape)
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
) -> PhotoNetwork:
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

    how = preprocessing_of(model_name, preprocessing)
    with blaming(model_parameter()):
        loaded = models.load_model(model_name)
    whole = chosen_output(loaded, output_layer)
    save, file = saved_as_arrays(whole)
    arrays = f"Explain samples of any other kind as arrays: {save}, then `rap-keras explain {file} --model FILE`"
    with blaming(model_parameter(), way_out=other_samples or arrays):
        fixed = models.photo_size(whole, grey=grey)
    network = _up_to_logits(whole)
    how = require_preprocessing(how)
    size, short_side = _geometry(fixed, resize, crop)
    found = PhotoNetwork(network.model, network.map, network.whole, network.activation, how, size, short_side)
    # A function of the wrong kind is found on noise, before an analyzer is built.
    noise = np.random.default_rng(0).integers(0, 256, (1, *size, 1 if found.is_grey else 3), np.uint8)
    network_input(noise, how, network.model)
    return found


def saved_as_arrays(model: keras.Model) -> tuple[str, str]:
    """How a sample of any kind is saved for a command, in Python, and the file that it is in then."""
    from rap_keras.engine.keras_graph import input_names

    names = input_names(model)
    if len(names) == 1:
        return "numpy.save('x.npy', x)", "x.npy"
    return f"numpy.savez('x.npz', {', '.join(f'{name}={name}' for name in names)})", "x.npz"


def network_of_arrays(model_name: str, output_layer: str | None = None) -> Network:
    """The network for samples of any kind, fed as they are; of a single sigmoid unit as `network_of` has it.

    Raises:
        click.UsageError: an option is wrong.
    """
    from rap_keras import models

    with blaming(model_parameter()):
        loaded = models.load_model(model_name)
    return _up_to_logits(chosen_output(loaded, output_layer))


def _up_to_logits(whole: keras.Model) -> Network:
    from rap_keras import models

    with blaming(model_parameter()):
        logits, activation = _logits(whole)
        model = _flat(logits, activation)
        return Network(model, maps.map_of_classes(logits), models.flat_output(whole), activation)


def model_parameter() -> str:
    """What the command that runs calls its model: some take it as an option, others as an argument."""
    context = click.get_current_context(silent=True)
    is_argument = context is not None and all("--model" not in option.opts for option in context.command.params)
    return "MODEL" if is_argument else "--model"


def _logits(whole: keras.Model) -> tuple[keras.Model, str | None]:
    """A model up to its logits, and the final activation that was removed."""
    from rap_keras import models
    from rap_keras.engine.network import flatten
    from rap_keras.models import final_activation

    found = final_activation.find(flatten(whole))
    shape = tuple(whole.outputs[0].shape)
    if None in shape[1:]:
        raise ValueError(
            f"model {whole.name!r} has an output of no fixed size, {shape}: build it for photos of "
            "one size, with keras.Input((height, width, 3)), or for other samples of one size"
        )
    return models.to_logits(whole), found[0].kind if found else None


def _flat(logits: keras.Model, activation: str | None) -> keras.Model:
    """The model with all its scores along one axis; one unit behind a sigmoid as two classes."""
    from rap_keras import models

    flat = models.flat_output(logits)
    one_unit = activation == "sigmoid" and maps.count_classes(flat) == 1
    return models.two_classes(flat) if one_unit else flat


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
            "Methods that go by patterns need those of the network, --patterns FILE: compute them with "
            "`rap-keras fit-patterns`."
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
            "spoil the explanation: give --preprocessing caffe, tf, torch or MODULE:FUNCTION."
        )
    return how


def network_input(photos: np.ndarray, how: Preprocessing, model: keras.Model) -> np.ndarray:
    """Photos, uint8, (N, H, W, 3 or 1), as a batch of the model's inputs.

    Raises:
        click.UsageError: the preprocessing fails, or makes values that the model cannot take.
    """
    from rap_keras.datasets import images
    from rap_keras.engine.samples import valid_samples

    with blaming("--preprocessing", way_out=_FOR_GREY if photos.shape[-1] == 1 else ""):
        batch = images.preprocess(photos, how)
    with blaming("--preprocessing", way_out=_AS_THEY_ARE):
        valid_samples(batch, model)
    return batch


_FOR_GREY = (
    "The network takes grey photos, (N, H, W, 1): give --preprocessing tf, or a function of yours that does"
)
_AS_THEY_ARE = "For photos as they are: --preprocessing keras.applications.efficientnet:preprocess_input"


def _geometry(
    fixed: tuple[int, int] | None, resize: int | None, crop: int | None
) -> tuple[tuple[int, int], int | None]:
    """The size of the network's input and that of the photo's short side."""
    if crop is not None:
        if fixed is not None and fixed != (crop, crop):
            raise click.BadParameter(_fitting(fixed), param_hint=["--crop"])
        if resize is not None and resize < crop:
            raise click.BadParameter(f"must be at least --crop {crop}", param_hint=["--resize"])
        return (crop, crop), resize or crop
    if resize is None:
        if fixed is None:
            raise click.UsageError("The network takes photos of any size: say which by --resize.")
        return fixed, None
    if fixed is not None and fixed != (resize, resize):
        raise click.BadParameter(_fitting(fixed), param_hint=["--resize"])
    return (resize, resize), None


def _fitting(size: tuple[int, int]) -> str:
    """Which --resize and --crop fit a network that takes photos of one size."""
    height, width = size
    square = f", or give --crop {height}, alone or with a --resize of at least {height}"
    return f"the network takes {height}x{width}: leave --resize and --crop out" + square * (height == width)
