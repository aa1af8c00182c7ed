"""`rap-keras explain`: photos or arrays in, heatmaps out.

TensorFlow takes seconds to import: whatever needs it is imported within the functions.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rap_keras.cli import completion, relevance_at_layers, sentences
from rap_keras.cli.grouped_help import GroupedCommand
from rap_keras.cli.inputs import (
    are_arrays,
    as_option,
    blaming,
    blaming_options,
    embedded_patterns,
    know_custom_objects,
    network_of,
    network_of_arrays,
    read,
    require_kept,
    require_map_of_region,
)
from rap_keras.cli.options import custom_objects_option, figure_options, output_option, photo_options, separated
from rap_keras.cli.results import Look, free_name, lines, write
from rap_keras.hosts import startup

if TYPE_CHECKING:
    import numpy as np

    from rap_keras.explanation.answers import Explanations
    from rap_keras.explanation.classifiers import Classifier
    from rap_keras.explanation.explainer import Asked, Explainer

_EMBEDDED = "shapes-vgg"  # without --model
_SHAPES = 5
_OPACITY = 0.8  # of --overlay


_HELP = """Explain what a network's decision on each IMAGE rests on.

IMAGE is a photo or a folder of photos. For each photo, NAME.png shows the photo and the heatmap of each method
side by side: red is relevant, blue is irrelevant. NAME.npz holds the relevance of each method, float32,
(H, W, 3), with input_size, target, logit, probability and methods. If the logit is negative, red and blue
change places, except for contrastive methods. With several targets the figure has a row for each class, and
the numbers are in NAME-CLASS.npz, where CLASS is the number of the class. The time of the first photo includes
preparing the network.

Networks for other samples than photos take a .npy or .npz file as IMAGE. It holds one sample in the shape of
the input, such as (H, W, channels), (time, channels), (features) or (depth, H, W, channels), or a batch of
samples. A last axis of length 1 may be missing. For several inputs, the .npz file has an array for each input,
by its name, and NAME.npz has their relevance as METHOD/INPUT. The network gets the arrays as they are. The
samples of a batch are written as NAME-0, NAME-1 and so on.

A regression has no classes: its outputs are explained, and their values take the place of logits.

Some networks give a map, with scores of all classes at every place. There the sum of a class's logits over a
region is explained: the places where the class has the highest score, or those of --region. Without --target,
it is the class that has the highest score at most places. NAME.npz has the region too.

With --text, a text is explained by a network that takes tokens. Its words are printed in the colours of their
relevance, or with numbers if the output is no terminal. text.png shows them too, and text.npz has the relevance of
each token, and the tokens. A second text is text-2.

Without IMAGE and --model, the command explains images that come with this package, by a network trained on
them.

Exit status: 0 if all samples were explained; 1 if some were skipped or have a heatmap that is not finite;
2 for wrong usage.
"""


@click.command(
    cls=GroupedCommand,
    groups={
        "Network": ["--model", "--custom-objects", "--output-layer"],
        "Photos": ["--preprocessing", "--resize", "--crop"],
        "Texts": ["--text"],
        "Methods": ["--method", "--patterns", "--steps", "--baseline"],
        "What is explained": ["--target", "--against", "--region", "--classes", "--layers"],
        "Figures": ["--format", "--dpi", "--width", "--overlay", "--scale"],
        "Output": ["--output"],
    },
    epilog="""
    rap-keras explain photo.jpg --model vgg16
    rap-keras explain photo.jpg --model my_model.h5 --preprocessing caffe \\
        --target cat --target dog
    rap-keras explain series.npy --model lstm.h5 --format pdf --width 3.3
    """,
    help=_HELP,
)
@click.argument("images", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[IMAGE]...")
@click.option(
    "--model",
    "model_name",
    metavar="NAME_OR_PATH",
    shell_complete=completion.model,
    help="A network of keras.applications, such as vgg16, or a .h5 file or a .keras file, with Keras 2 also a "
    "SavedModel. A final softmax or sigmoid is removed. shapes-vgg and shapes-resnet come with this package.",
)
@custom_objects_option
@photo_options
@output_option
@sentences.text_options
@click.option(
    "--method",
    "methods",
    multiple=True,
    callback=separated,
    metavar="NAME",
    shell_complete=completion.methods,
    help="A method, such as rap, gradient or lrp.alpha_1_beta_0; several separated by commas. Default: rap; for "
    "several targets rap and rap.contrastive, which tells classes apart; without IMAGE and --model, all methods "
    "that the paper compares.",
)
@click.option(
    "--patterns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Patterns of the network, for --method pattern.attribution and pattern.net; `rap-keras fit-patterns` "
    "makes them. The networks of this package have theirs.",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    help="Steps of --method integrated_gradients; 64 by default. More steps take longer and make the sum more "
    "exact. A warning says how many are needed.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=["max"],
    metavar="max|INDEX|CLASS",
    help="The class to explain: a number, a name, or max for the class with the highest logit, which is the "
    "default. May be given several times.",
)
@click.option(
    "--against",
    metavar="INDEX|CLASS",
    help="Explain why --target and not this class. Only for contrastive methods; the default method is then "
    "rap.contrastive.",
)
@click.option(
    "--region",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="For networks that give a map, such as segmentation: a PNG of the photo's area, in any size, which is "
    "black outside the region. Default: the places where the class has the highest score.",
)
@click.option(
    "--classes",
    metavar="FILE|imagenet",
    help="A text file with the name of one class on each line. A network of one sigmoid unit has two classes; the "
    "unit is class 1. Networks given by name have their own names.",
)
@click.option(
    "--layers",
    metavar="PATTERN",
    help="Also write a figure of the relevance at the inputs of the layers whose names match, such as 'block5*', "
    "or '*' for all layers. It is RAP's, or without RAP that of the first method.",
)
@figure_options
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("rap-keras-output"),
    show_default=True,
    metavar="DIR",
    help="The folder for the files. Files of the same name are overwritten.",
)
@click.pass_context
def explain(context: click.Context, images: tuple[Path, ...], **given: Any) -> None:
    """Explains images as the options, by their names, say; its help is `_HELP`."""
    sentences.require_text_alone(images, given)
    embedded = not images and given["model_name"] is None
    if not given["texts"] and not embedded and (not images or given["model_name"] is None):
        raise click.UsageError(
            "Give at least one IMAGE and the network with --model, or neither, for images of the package."
        )
    methods = given["methods"] or (() if embedded else _default_methods(given))
    start_tensorflow()
    know_custom_objects(given["custom_objects"])
    from rap_keras.basics import whole_file
    from rap_keras.datasets.images import expand
    from rap_keras.engine.reading.flattening import reading_once
    from rap_keras.explanation import maps
    from rap_keras.hosts.titles import TITLES

    output, overlay = given["output"], given["overlay"]
    with blaming("IMAGE...", way_out="For arrays, give the files: FOLDER/*.npy"):
        paths = expand(images)
    require_kept(paths, output)
    asked = _asked(methods or tuple(TITLES), given)
    look = Look(
        given["file_format"],
        given["dpi"],
        {"scale": given["scale"], "width": given["width"], "overlay": _OPACITY if overlay else None},
    )
    if given["texts"]:
        context.exit(sentences.run(asked, given, look, _make, _tell))
    with blaming("--region"):
        region = None if given["region"] is None else maps.read_region(given["region"])
    context.with_resource(reading_once())
    classifier = _network(images, given)
    if region is not None:
        require_map_of_region(classifier)
    with blaming("--output"):
        whole_file.require_writable(output)
    explainer = asked.explainer(classifier, given["model_name"] or _EMBEDDED, _make)
    shown = None if given["layers"] is None else relevance_at_layers.chosen(explainer, given["layers"])
    if overlay:
        _require_images(classifier)
    if embedded:
        paths = _write_shapes(output / "images")
    context.exit(_run(explainer, region, shown, paths, output, look))


def _asked(methods: tuple[str, ...], given: dict[str, Any]) -> Asked:
    """What is asked of the network; what can be checked without it is checked."""
    from rap_keras.explanation.explainer import Asked, Spelling
    from rap_keras.hosts.methods import needs_patterns

    targets = [None if text == "max" else text for text in dict.fromkeys(given["targets"])]
    spelling = Spelling(as_option, "--target max", blaming_options)
    asked = Asked(
        methods, targets, given["against"], given["classes"], given["patterns"], given["steps"], spelling
    )
    asked.require_methods()
    if asked.patterns is None and any(map(needs_patterns, methods)):
        asked = asked._replace(patterns=embedded_patterns(given["model_name"] or _EMBEDDED))
    return asked


def _network(images: tuple[Path, ...], given: dict[str, Any]) -> Classifier:
    name, output_layer = given["model_name"] or _EMBEDDED, given["output_layer"]
    photos = {option: given[option] for option in ("preprocessing", "resize", "crop")}
    if are_arrays(images, **photos):
        return network_of_arrays(name, output_layer)
    return network_of(name, **photos, output_layer=output_layer, grey=True)


def _make(key: tuple[Any, ...], build: Callable[[], Any]) -> Any:
    """Builds an analyzer, the key of which begins with the method's name, or what predicts."""
    from rap_keras.hosts.methods import needs_patterns

    if key == ("values",):
        return build()
    click.echo(f"building {key[0]} ...", err=True)
    with blaming(*(["--patterns"] if needs_patterns(key[0]) else ["--model", "--method"])):
        return build()


def _default_methods(given: dict[str, Any]) -> tuple[str, ...]:
    if given["against"]:
        return ("rap.contrastive",)
    return ("rap", "rap.contrastive") if len(set(given["targets"])) > 1 else ("rap",)


def _write_shapes(folder: Path) -> list[Path]:
    """Some images of the embedded data set that no network was trained on, as PNG files."""
    from PIL import Image

    from rap_keras.basics import whole_file
    from rap_keras.shapes import CLASSES, TEST_SEED, generate

    samples = generate(_SHAPES, TEST_SEED)
    paths = [folder / f"{number}-{CLASSES[label]}.png" for number, label in enumerate(samples.labels)]
    for path, image in zip(paths, samples.images):
        written = io.BytesIO()
        Image.fromarray(image).save(written, format="PNG")
        with blaming("--output"):
            whole_file.write(path, written.getvalue())
    return paths


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
    warnings.filterwarnings("ignore", message="the (heatmap of sample|relevance of sample .* does not sum)")


def _require_images(classifier: Classifier) -> None:
    """Raises click.UsageError if --overlay is given for samples that are no images."""
    shapes = [tuple(tensor.shape)[1:] for tensor in classifier.model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise click.UsageError(
            f"--overlay is for images, and the network takes samples of shape {' and '.join(map(str, shapes))}: "
            "leave --overlay out."
        )


def _run(
    explainer: Explainer,
    region: np.ndarray | None,
    layers: tuple[str, set[str]] | None,
    paths: list[Path],
    output: Path,
    look: Look,
) -> int:
    """Explains all samples and tells about it; the exit status."""
    from tqdm import tqdm

    explained = skipped = spoilt = 0
    taken: set[str] = set()
    for path in tqdm(paths, unit="file", disable=None if len(paths) > 1 else True):
        try:
            samples = read(explainer.classifier, path, region)
        except (OSError, ValueError) as error:
            skipped += 1
            _tell_skipped(error)
            continue
        for sample in samples:
            try:
                answers = explainer.answers(sample)
            except (MemoryError, ValueError) as error:
                skipped += 1
                _tell_skipped(error)
                continue
            explained += 1
            of_layers = {} if layers is None else relevance_at_layers.of_sample(explainer, sample, *layers)
            name = free_name(sample.stem, taken)
            try:
                write(answers, of_layers, output, name, look)
            except ValueError as error:  # the figure has no room for its text, or too many dots
                raise click.BadParameter(str(error), param_hint=["--width", "--dpi"]) from error
            with tqdm.external_write_mode():
                if name != sample.stem:
                    click.echo(f"{sample.name} is written as {name}: there is another {sample.stem}")
                spoilt += _tell(answers)
    summary = f"{explained} explained, {skipped} skipped"
    if spoilt:
        summary += f", not finite heatmaps (shown empty): {spoilt}"
    click.echo(f"{summary}; files in {output}" if explained else summary)
    return 1 if skipped or spoilt else 0


def _tell_skipped(error: Exception) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode():
        click.echo(f"skipped: {error}", err=True)


def _tell(answers: Explanations) -> int:
    """Prints what was found out about a sample; how many of its heatmaps are not finite."""
    for line in [str(answers)] if answers[0].words else lines(answers):
        click.echo(line)
    for answer in answers:
        of = f"of {answer.method} for {answer.sample.name}"
        if not answer.is_finite():
            click.echo(f"the heatmap {of} is not finite", err=True)
        if answer.lost_at:
            click.echo(
                f"the relevance {of} does not sum to what it shares out: {answer.lost_at} cannot pass it on, as "
                "only biases speak there, or by a rule of yours",
                err=True,
            )
        if answer.is_empty():
            click.echo(f"the heatmap {of} is zero everywhere, so it says nothing", err=True)
    return sum(not answer.is_finite() for answer in answers)
