"""`rap-keras benchmark`: all methods over a data set, by the paper's metrics.

TensorFlow takes seconds to import: whatever needs it is imported within the functions.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rap_keras.cli.explain import start_tensorflow
from rap_keras.cli.job import blaming, embedded_patterns, know_custom_objects, network_of
from rap_keras.cli.options import custom_objects_option, photo_options

if TYPE_CHECKING:
    import pandas as pd

    from rap_keras.benchmark import Benchmark, Options, Summary
    from rap_keras.datasets import Dataset

_MODEL = "shapes-vgg"
_DATASET = "shapes"


@click.command()
@click.option(
    "--model",
    "model_name",
    metavar="NAME_OR_PATH",
    help="As in `rap-keras explain`. Default: the VGG-style network of this package.",
)
@click.option(
    "--dataset",
    type=click.Choice(["shapes", "imagenet", "imagenet-seg", "voc2012", "folder"]),
    help="shapes, the default, comes with this package; the others are at --root.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Where the data set is, in its official layout; folder: images/ and masks/ of the same names.",
)
@click.option(
    "--methods",
    metavar="A,B,C",
    help="Default: all that the paper compares and that can explain the network; those that cannot are named.",
)
@click.option(
    "--metrics",
    metavar="A,B,C",
    help="Of outside-inside (ratio, mass inside), mask (pixel accuracy, mIOU) and region perturbation, least or "
    "most relevant pixels first or in random order: lerf, morf, random. Default: outside-inside,mask,lerf, as in "
    "the paper. Perturbation takes most of the time.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N images.")
@click.option(
    "--patterns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Patterns of the network, for PatternAttribution; `rap-keras fit-patterns` makes them.",
)
@custom_objects_option
@photo_options
@click.option(
    "--foreground",
    type=click.Choice(["predicted", "all"]),
    default="predicted",
    show_default=True,
    help="What counts as the object: those of the predicted class, or every object.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Images at a time.")
@click.option(
    "--pixels", type=click.IntRange(1), default=100, show_default=True, help="Perturbation: removed per step."
)
@click.option("--steps", type=click.IntRange(1), default=40, show_default=True, help="Perturbation: steps.")
@click.option(
    "--fill",
    type=float,
    default=0.0,
    show_default=True,
    help="Perturbation: what removed pixels are set to, in units of the network's input.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where batches are evaluated: in this process, or by workers of Ray, here or on a cluster (needs "
    '`pip install "ray>=2.10,<3"`). The next four are for ray.',
)
@click.option("--address", metavar="ADDRESS", help="Of the cluster, such as auto. Default: this machine only.")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="At most so many. Default: one per core.")
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="A fraction lets workers share a GPU.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Of each worker. Default: as many as in a local run, whose results are then met to the last digit.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("rap-keras-benchmark"),
    show_default=True,
    metavar="DIR",
    help="Where the results go. A run that was interrupted is continued by the same command.",
)
@click.pass_context
def benchmark(
    context: click.Context,
    model_name: str | None,
    dataset: str | None,
    root: Path | None,
    methods: str | None,
    metrics: str | None,
    limit: int | None,
    patterns: Path | None,
    custom_objects: str | None,
    preprocessing: str | None,
    resize: int | None,
    crop: int | None,
    foreground: str,
    batch_size: int,
    pixels: int,
    steps: int,
    fill: float,
    engine: str,
    address: str | None,
    workers: int | None,
    gpus_per_worker: float,
    threads: int | None,
    output: Path,
) -> None:
    """Compare methods as the RAP paper does, over the images of a data set.

    Each image that the network classifies correctly is explained by every method; the heatmaps are held against
    the object's box and mask (outside-inside ratio, mass inside, pixel accuracy, mIOU) and pixels are removed in
    their order (region perturbation). DIR gets table.csv, .md and .tex, curves and pictures, and report.html, one
    page with all of it.

    Without arguments: the network and the images of this package, two to three minutes on two cores.

    Exit status: 0 all done, 1 done, but some images could not be read or some heatmaps are not finite, 2 wrong
    usage.
    """
    if (model_name is None) != (dataset is None):
        raise click.UsageError(
            "Give both --model and --dataset, or neither, for the network and the images of this package."
        )
    start_tensorflow()
    from rap_keras.benchmark import DEFAULT_METRICS, Options, run

    with blaming("--metrics"):
        wanted = _names(metrics) or DEFAULT_METRICS
        options = Options(wanted, foreground, batch_size, pixels, steps, fill)
    model = model_name or _MODEL
    settings: dict[str, Any] = {
        # Absolute, since workers may stand in another folder.
        "model_name": str(Path(model).resolve()) if Path(model).exists() else model,
        "custom_objects": custom_objects,
        "preprocessing": preprocessing,
        "resize": resize,
        "crop": crop,
        "dataset": dataset or _DATASET,
        "root": root.resolve() if root else None,
        "limit": limit,
        "methods": _methods(model, methods, patterns),
        "all_needed": methods is not None,
        "patterns": patterns.resolve() if patterns else None,
        "options": options,
    }
    evaluate = None
    if engine == "ray":
        from rap_keras.benchmark.ray_engine import leave_gpus_to_workers

        leave_gpus_to_workers()
        evaluate = partial(_by_ray, settings, workers, gpus_per_worker, threads, address)
    elif (address, workers, threads, gpus_per_worker) != (None, None, None, 0):
        raise click.UsageError("--address, --workers, --gpus-per-worker and --threads are for --engine ray.")
    prepared = open_benchmark(**settings)
    name, command = Path(model).stem, shlex.join(["rap-keras", *sys.argv[1:]])
    _begin(prepared, output, name, command)
    try:
        summary = run(prepared, output, name, command, partial(evaluate, prepared) if evaluate else None)
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; the same command goes on from here") from None
    context.exit(_tell(summary, output))


def open_benchmark(
    *,
    model_name: str,
    custom_objects: str | None,
    preprocessing: str | None,
    resize: int | None,
    crop: int | None,
    dataset: str,
    root: Path | None,
    limit: int | None,
    methods: tuple[str, ...],
    all_needed: bool,
    patterns: Path | None,
    options: Options,
) -> Benchmark:
    """The benchmark that the command's options describe, its analyzers built.

    Where not all methods are needed, those that cannot explain the network are left out.

    Raises:
        click.UsageError: an option is wrong.
    """
    from innvestigate import NotAnalyzeableModelException

    from rap_keras import methods as analyzers
    from rap_keras.benchmark import Benchmark

    examples = _dataset(dataset, root, limit)
    know_custom_objects(custom_objects)
    model, how, size, short_side = network_of(model_name, preprocessing, resize, crop)
    classes = model.output_shape[-1]
    if examples.classes is not None and examples.classes != classes:
        raise click.UsageError(
            f"The network has {classes} classes, the data set {dataset} has {examples.classes}: give a network "
            "that was trained on these classes, in their official order."
        )
    if patterns is None and any(map(analyzers.needs_patterns, methods)):
        patterns = embedded_patterns(model_name)
    built, unable = {}, {}
    for name in methods:
        click.echo(f"building {name} ...", err=True)
        with blaming(*(["--patterns"] if analyzers.needs_patterns(name) else ["--model", "--methods"])):
            try:
                built[name] = analyzers.create(name, model, patterns=patterns)
            except NotAnalyzeableModelException as error:
                if all_needed:
                    raise
                unable[name] = str(error)
                click.echo(f"without {name}: {error}", err=True)
    with blaming("--pixels", "--steps"):
        return Benchmark(model, built, examples, how, size, short_side, options, unable)


def _by_ray(
    settings: dict[str, Any],
    workers: int | None,
    gpus_per_worker: float,
    threads: int | None,
    address: str | None,
    prepared: Benchmark,
    numbers: list[int],
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Evaluates batches by workers that open the benchmark themselves, from the same settings."""
    from rap_keras.benchmark import ray_engine

    factory = partial(open_benchmark, **settings)
    try:
        with blaming("--engine", "--address", "--workers", "--gpus-per-worker"):
            yield from ray_engine.results(
                factory, numbers, prepared.given_up, workers, gpus_per_worker, threads, address
            )
    except (ImportError, RuntimeError) as error:
        raise click.ClickException(str(error)) from error


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip())) if given else ()


def _methods(model_name: str, given: str | None, patterns: Path | None) -> tuple[str, ...]:
    """The methods asked for; by default all that can be had: without patterns not those that need them."""
    from rap_keras import methods, models

    names = _names(given)
    with blaming("--methods"):
        for name in names:
            methods.find(name)
    if names:
        return names
    if patterns is None and model_name.lower() not in models.EMBEDDED:
        click.echo("without PatternAttribution, which needs --patterns (`rap-keras fit-patterns`)", err=True)
        return tuple(name for name in methods.TITLES if not methods.needs_patterns(name))
    return tuple(methods.TITLES)


def _dataset(name: str, root: Path | None, limit: int | None) -> Dataset:
    from rap_keras.datasets import open_dataset

    with blaming("--dataset", "--root"):
        found = open_dataset(name, root)
    return found.first(limit) if limit else found


def _begin(prepared: Benchmark, output: Path, model: str, command: str) -> None:
    """Finds out whether the run can begin, or go on, in `output`."""
    from rap_keras.benchmark import manifest, parts

    with blaming("--output"):
        manifest.begin(output, manifest.describe(prepared, model, command))
    done = len(parts.finished(output))
    if done:
        click.echo(f"going on in {output}, where {done} batches are done", err=True)


def _tell(summary: Summary, output: Path) -> int:
    """Prints the table; the exit status."""
    click.echo((output / "table.md").read_text(encoding="utf-8"))
    click.echo(f"report and tables in {output}")
    flawed = summary.left_out["kind"].isin(["broken", "not finite"])
    return 1 if flawed.any() else 0
