"""`rap-keras fit-patterns`: computes the patterns of a network's neurons from photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rap_keras.cli import completion
from rap_keras.cli.explain import start_tensorflow
from rap_keras.cli.grouped_help import GroupedCommand
from rap_keras.cli.inputs import blaming, know_custom_objects, network_of, size_of_batches
from rap_keras.cli.options import custom_objects_option, output_option, photo_options

if TYPE_CHECKING:
    from tensorflow import keras

    from rap_keras.explanation.classifiers import PhotoClassifier


_IN_PYTHON = (
    "Compute the patterns for samples of any other kind in Python: rap_keras.patterns.PatternComputer("
    "rap_keras.to_logits(rap_keras.models.load_model('FILE'))).compute(X)"
)


@click.command(
    "fit-patterns",
    cls=GroupedCommand,
    groups={
        "Network": ["--custom-objects", "--output-layer"],
        "Photos": ["--preprocessing", "--resize", "--crop", "--batch-size"],
        "Patterns": ["--pattern-type", "--output"],
    },
    epilog="""
    rap-keras fit-patterns my_model.h5 photos --preprocessing caffe
    rap-keras explain photo.jpg --model my_model.h5 --preprocessing caffe \\
        --method pattern.attribution --patterns patterns.npz
    """,
)
@click.argument("model_name", metavar="MODEL", shell_complete=completion.model)
@click.argument("images", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="IMAGE...")
@custom_objects_option
@photo_options
@output_option
@click.option(
    "--pattern-type",
    type=click.Choice(["relu", "linear"]),
    default="relu",
    show_default=True,
    help="relu: for neurons in front of a ReLU, only inputs count that activate them. linear: all inputs count.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    metavar="N",
    help="Number of photos per batch.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("patterns.npz"),
    show_default=True,
    metavar="FILE",
    help="File for the patterns.",
)
def fit_patterns(
    model_name: str,
    images: tuple[Path, ...],
    custom_objects: str | None,
    preprocessing: str | None,
    resize: int | None,
    crop: int | None,
    output_layer: str | None,
    pattern_type: str,
    batch_size: int,
    output: Path,
) -> None:
    """Compute the patterns that PatternAttribution needs.

    PatternNet needs them too. MODEL is as for --model of `rap-keras explain`. IMAGE is a photo or a folder of
    photos like those the network was trained on; their classes do not matter. A few hundred photos give a rough
    idea, a few thousand give good patterns. Without IMAGE, the networks of this package use images that come
    with it.

    The command goes through the photos once. This takes about as long as three gradients per photo.
    """
    start_tensorflow()
    know_custom_objects(custom_objects)
    from rap_keras import models
    from rap_keras.basics import whole_file
    from rap_keras.basics.wording import counted
    from rap_keras.patterns import PatternComputer

    if not images and model_name.lower() not in models.EMBEDDED:
        raise click.UsageError("Give at least one IMAGE: a photo, or a folder of photos.")
    with blaming("--output"):
        whole_file.require_writable(output.parent)
    if images:
        network = network_of(model_name, preprocessing, resize, crop, output_layer, other_samples=_IN_PYTHON)
        model, photos = network.scores, _photos(images, network, size_of_batches(network), batch_size)
    else:
        model, photos = _embedded(model_name)
    with blaming("MODEL", "IMAGE..."):
        patterns = PatternComputer(model, pattern_type).compute(
            photos, **({} if images else {"batch_size": batch_size})
        )
    with blaming("--output"):
        patterns.save(output)
    click.echo(f"saved the patterns of {counted(len(patterns.arrays), 'layer')} in {output}")


def _embedded(model_name: str) -> tuple[keras.Model, Any]:
    from rap_keras import models, shapes

    samples = shapes.generate(2000, shapes.TRAINING_SEED)
    return models.to_logits(models.load_model(model_name)), shapes.preprocess(samples.images)


def _photos(given: tuple[Path, ...], network: PhotoClassifier, size: tuple[int, int], batch_size: int) -> Any:
    """The photos as a Keras Sequence; a file that is not an image is found before any work is done."""
    from tensorflow import keras

    from rap_keras.datasets import images

    with blaming("IMAGE..."):
        paths = images.expand(given)
        for path in paths:
            with images.opened(path):
                pass

    class Photos(keras.utils.Sequence):
        def __len__(self) -> int:
            return -(-len(paths) // batch_size)

        def __getitem__(self, index: int) -> Any:
            batch = paths[index * batch_size : (index + 1) * batch_size]
            photos = [images.fit(images.load_photo(p), size, network.short_side) for p in batch]
            return images.preprocess(photos, network.preprocessing)

    return Photos()
