"""`rap-keras explain`: photos or arrays in, heatmaps out.

TensorFlow takes seconds to import: whatever needs it is imported within the functions.
"""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from time import perf_counter

import click

from rap_keras.cli.classes import name_of
from rap_keras.cli.given import Sample, are_arrays, read, require_kept
from rap_keras.cli.inputs import Job, blaming, know_custom_objects, network_of, network_of_arrays, prepare
from rap_keras.cli.networks import Network
from rap_keras.cli.options import custom_objects_option, output_option, photo_options
from rap_keras.cli.questions import Question, questions
from rap_keras.cli.results import Explained, free_name, lines, write
from rap_keras.hosts import startup

_SHAPES = 5


@click.command()
@click.argument("images", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="IMAGE...")
@click.option(
    "--model",
    "model_name",
    metavar="NAME_OR_PATH",
    help="A network of keras.applications, such as vgg16, or a .h5 file, .keras file or "
    "SavedModel. A final softmax or sigmoid is removed. shapes-vgg and shapes-resnet come with this package.",
)
@custom_objects_option
@photo_options
@output_option
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="May be given several times: rap, or an analyzer of iNNvestigate such as gradient or lrp.alpha_1_beta_0. "
    "Default: rap, and for several targets rap and rap.contrastive, which tells classes apart; without IMAGE and "
    "--model, all that the paper compares.",
)
@click.option(
    "--patterns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Patterns of the network, for --method pattern.attribution and pattern.net; `rap-keras fit-patterns` "
    "makes them. The networks of this package have theirs.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=["max"],
    metavar="max|INDEX|CLASS",
    help="The class to explain: max, the first choice and the default, a number, or a name. May be given "
    "several times: each class has a row in the picture.",
)
@click.option(
    "--against",
    metavar="INDEX|CLASS",
    help="Explain why --target and not this class; for contrastive methods such as rap.contrastive, the default "
    "then.",
)
@click.option(
    "--region",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For networks with scores at every place, as of segmentation: a PNG of the photo's area, in any size, "
    "that is not black where the class is to be explained. Default: where it is the highest of all classes.",
)
@click.option(
    "--classes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Names of the classes, one per line; two for a network with one sigmoid unit, class 1 being its own.",
)
@click.option("--layers", is_flag=True, help="Also a picture of RAP's relevance layer by layer.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("rap-keras-output"),
    show_default=True,
    metavar="DIR",
    help="Where the files go; those of the same name are overwritten.",
)
@click.pass_context
def explain(
    context: click.Context,
    images: tuple[Path, ...],
    model_name: str | None,
    custom_objects: str | None,
    preprocessing: str | None,
    resize: int | None,
    crop: int | None,
    output_layer: str | None,
    methods: tuple[str, ...],
    patterns: Path | None,
    targets: tuple[str, ...],
    against: str | None,
    region: Path | None,
    classes: Path | None,
    layers: bool,
    output: Path,
) -> None:
    """Explain what in each IMAGE is relevant to a network's decision.

    IMAGE is a photo or a folder of photos. For each photo, NAME.png has the photo and the heatmap
    of each method side by side (red is relevant, blue irrelevant), and NAME.npz the relevance of
    each method, float32, (H, W, 3), with input_size, target, logit and methods. The time of the
    first photo includes preparing the network. With a negative logit red and blue change places,
    except in contrastive methods. With several targets NAME.png has a row for each, and the numbers
    are in NAME-CLASS.npz, CLASS being the number of the class.

    For networks whose input is anything else, and for images that are no photos, IMAGE is a .npy or .npz
    file. It holds one sample in the shape of the input, such as (H, W, channels), (time, channels),
    (features) or (depth, H, W, channels), or a batch of them; a last axis of length 1 may be missing. For
    several inputs it is a .npz file with an array for each, by its name; their relevance is METHOD/INPUT in
    NAME.npz. Arrays are fed to the network as they are. The samples of a batch are NAME-0, NAME-1 and so on.

    Of a network whose output is a map, with scores of all classes at every place, it explains the sum of
    a class's logits over a region: the places where the class is the highest, or those of --region.
    Without --target it is the class that is the highest at most places. The region is in NAME.npz too.

    Without IMAGE and --model it explains images that come with the package, of known truth, by a
    network trained on them.

    Exit status: 0 all samples were explained, 1 some were skipped or have a heatmap that is not
    finite, 2 wrong usage.
    """
    embedded = not images and model_name is None
    if not embedded and (not images or model_name is None):
        raise click.UsageError(
            "Give at least one IMAGE, and the network with --model; or neither, for the images and the "
            "network of this package."
        )
    targets = tuple(dict.fromkeys(targets))
    methods = tuple(dict.fromkeys(methods)) or (() if embedded else _default_methods(targets, against))
    if layers and methods and "rap" not in methods:
        raise click.UsageError("--layers is for --method rap only.")
    others = [name for name in methods if not name.endswith(".contrastive")]
    if against and (others or (embedded and not methods)):
        raise click.UsageError(
            f"--against is for contrastive methods, and {others[0] if others else 'rap'} is none: give --method "
            "rap.contrastive, or leave --method out."
        )
    start_tensorflow()
    know_custom_objects(custom_objects)
    from rap_keras.datasets.images import expand
    from rap_keras.hosts.titles import TITLES

    if embedded:
        images, methods = (_write_shapes(output / "images"),), methods or tuple(TITLES)
    with blaming("IMAGE...", way_out="Of arrays give the files: FOLDER/*.npy"):
        paths = expand(images)
    require_kept(paths, output)
    name, arrays = model_name or "shapes-vgg", are_arrays(images, preprocessing, resize, crop)

    def build() -> Network:
        if arrays:
            return network_of_arrays(name, output_layer)
        return network_of(name, preprocessing, resize, crop, output_layer, grey=True)

    job = prepare(
        name,
        build,
        methods=methods,
        patterns=patterns,
        targets=targets,
        against=against,
        region=region,
        classes=classes,
        layers=layers,
        output=output,
    )
    context.exit(_run(job, paths, output))


def _default_methods(targets: tuple[str, ...], against: str | None) -> tuple[str, ...]:
    if against:
        return ("rap.contrastive",)
    return ("rap", "rap.contrastive") if len(targets) > 1 else ("rap",)


def _write_shapes(folder: Path) -> Path:
    """Some images of the embedded data set that no network was trained on, as PNG files."""
    from PIL import Image

    from rap_keras.shapes import CLASSES, TEST_SEED, generate

    with blaming("--output"):
        folder.mkdir(parents=True, exist_ok=True)
    samples = generate(_SHAPES, TEST_SEED)
    for number, (image, label) in enumerate(zip(samples.images, samples.labels)):
        Image.fromarray(image).save(folder / f"{number}-{CLASSES[label]}.png")
    return folder


def start_tensorflow() -> None:
    """Imports TensorFlow, as quiet as it goes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with startup.without_notes():
        import tensorflow as tf

    from rap_keras.hosts import choice

    choice.begin()
    tf.get_logger().setLevel("ERROR")
    # Keras 3 advises against .h5 files through this one.
    logging.getLogger("absl").setLevel("ERROR")
    # Keras warns about itself whenever a model predicts without eager execution.
    warnings.filterwarnings("ignore", message=".*state_updates")
    # The commands say so in their own way.
    warnings.filterwarnings("ignore", message="the heatmap of sample")


def _run(job: Job, paths: list[Path], output: Path) -> int:
    """Explains all samples and tells about it; the exit status."""
    from tqdm import tqdm

    explained = skipped = spoilt = 0
    taken: set[str] = set()
    for path in tqdm(paths, unit="file", disable=None if len(paths) > 1 else True):
        try:
            samples = read(job.network, path, job.region)
        except (OSError, ValueError) as error:
            skipped += 1
            _tell_skipped(error)
            continue
        for sample in samples:
            try:
                asked = questions(job, sample)
            except ValueError as error:
                skipped += 1
                _tell_skipped(error)
                continue
            explained += 1
            answers = [_explain(job, sample, question) for question in asked]
            write(answers, output, free_name(sample.stem, taken))
            with tqdm.external_write_mode():
                spoilt += _tell(answers)
    summary = f"{explained} explained, {skipped} skipped"
    if spoilt:
        summary += f", not finite heatmaps (shown empty): {spoilt}"
    click.echo(f"{summary}; files in {output}")
    return 1 if skipped or spoilt else 0


def _tell_skipped(error: Exception) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode():
        click.echo(f"skipped: {error}", err=True)


def _tell(answers: list[Explained]) -> int:
    """Prints what was found out about a sample; how many of its heatmaps are not finite."""
    spoilt = 0
    for line in (line for answer in answers for line in lines(answer)):
        click.echo(line)
    name = answers[0].sample.name
    for method in (method for answer in answers for method in answer.not_finite()):
        spoilt += 1
        click.echo(f"the heatmap of {method} for {name} is not finite", err=True)
    for method in (method for answer in answers for method in answer.empty()):
        click.echo(f"the heatmap of {method} for {name} is zero everywhere, so it says nothing", err=True)
    return spoilt


def _explain(job: Job, sample: Sample, question: Question) -> Explained:
    """The answer of every method to one question."""
    import numpy as np

    target, choice = question.target, question.choice
    relevances, milliseconds = {}, {}
    for method, analyzer in job.analyzers.items():
        start = perf_counter()
        found = analyzer.analyze(sample.x, **choice)
        milliseconds[method] = 1000 * (perf_counter() - start)
        arrays = found if isinstance(found, list) else [found]
        relevances[method] = {name: np.asarray(array[0], np.float32) for name, array in zip(sample.inputs, arrays)}
    return Explained(
        sample=sample,
        target=target,
        label=name_of(target, job.names),
        against=None if job.against is None else name_of(job.against, job.names),
        logit=question.logit,
        places=question.places,
        probability=float(job.probabilities(sample.x)[target]) if job.probabilities else None,
        relevances=relevances,
        milliseconds=milliseconds,
        layers=job.analyzers["rap"].analyze_layers(sample.x, **choice) if job.layers else {},
    )
