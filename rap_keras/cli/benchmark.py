"""`rap-keras benchmark`: compares methods on a data set, by the paper's metrics.

TensorFlow takes seconds to import: whatever needs it is imported within the functions.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import click

from rap_keras.basics.wording import listed
from rap_keras.cli import completion
from rap_keras.cli.explain import start_tensorflow
from rap_keras.cli.grouped_help import GroupedCommand
from rap_keras.cli.inputs import blaming, know_custom_objects
from rap_keras.cli.open_benchmark import open_benchmark
from rap_keras.cli.options import (
    count_option,
    custom_objects_option,
    finite,
    folder_option,
    names_in,
    output_option,
    photo_options,
)

if TYPE_CHECKING:
    from rap_keras.benchmark import Benchmark, Summary
    from rap_keras.benchmark.runner import Attempts, Results

_MODEL = "shapes-vgg"
_DATASET = "shapes"


class _MetricsOption(click.Option):
    """An option whose help lists the metrics; numpy is imported only when it is shown."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names of the option, and its help."""
        from rap_keras.metrics.records import DEFAULT_METRICS, METRICS, PAIR_METRICS

        each = "; ".join(f"{name} ({metric.in_words})" for name, metric in METRICS.items())
        pairs = [name for name, metric in METRICS.items() if metric.needs == "pairs"]
        slow = [name for name, metric in METRICS.items() if metric.curve]
        self.help = (
            f"Metrics, separated by commas: {each}. Only for pairs: {listed(pairs)}. Most of the time goes into "
            f"{listed(slow)}. Default: {','.join(DEFAULT_METRICS)}, as in the paper. Default for pairs: "
            f"{','.join(PAIR_METRICS)}."
        )
        return super().get_help_record(ctx)


@click.command(
    cls=GroupedCommand,
    groups={
        "What is explained": ["--model", "--custom-objects", "--output-layer", "--dataset", "--root", "--limit"],
        "Photos": ["--preprocessing", "--resize", "--crop"],
        "Methods": ["--methods", "--patterns"],
        "Metrics": ["--metrics", "--foreground", "--pixels", "--steps", "--fill"],
        "Workers": ["--batch-size", "--engine", "--address", "--workers", "--gpus-per-worker", "--threads"],
        "Output": ["--output"],
    },
    epilog="""
    rap-keras benchmark
    rap-keras benchmark --model vgg16 --dataset imagenet --root ILSVRC --limit 100
    rap-keras benchmark --model my_model.h5 --preprocessing caffe \\
        --dataset folder --root my_data --methods rap,gradient,grad_cam
    """,
)
@click.option(
    "--model",
    "model_name",
    metavar="NAME_OR_PATH",
    shell_complete=completion.model,
    help="The network, as for `rap-keras explain`. Default: the VGG-style network of this package, shapes-vgg.",
)
@click.option(
    "--dataset",
    type=click.Choice(
        ["shapes", "imagenet", "imagenet-seg", "voc2012", "folder", "shapes-pairs", "voc2012-pairs"]
    ),
    metavar="NAME",
    help="The data set: shapes (default) or shapes-pairs, which come with this package; or imagenet, "
    "imagenet-seg, voc2012, voc2012-pairs or folder, which need --root. Images of pairs show objects of two "
    "classes, and both are explained.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Folder with the data set in its official layout. For --dataset folder, it contains images/ and masks/, "
    "with a mask of the same name for each image.",
)
@click.option(
    "--methods",
    metavar="A,B,C",
    shell_complete=completion.methods,
    help="Methods to compare, separated by commas. Default: all methods of the paper that can explain the "
    "network. The command says which it leaves out.",
)
@click.option("--metrics", cls=_MetricsOption, metavar="A,B,C", help="Metrics to calculate, separated by commas.")
@count_option("--limit", help="Use only the first N images.")
@click.option(
    "--patterns",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File with the network's patterns, for PatternAttribution. `rap-keras fit-patterns` makes it.",
)
@custom_objects_option
@photo_options
@output_option
@click.option(
    "--foreground",
    type=click.Choice(["predicted", "all"]),
    default="predicted",
    show_default=True,
    help="Which objects count as foreground: those of the predicted class, or all.",
)
@count_option("--batch-size", default=8, help="Number of images per batch.")
@count_option("--pixels", default=100, help="Perturbation: number of pixels removed per step.")
@count_option("--steps", default=40, help="Perturbation: number of steps.")
@click.option(
    "--fill",
    type=float,
    callback=finite,
    default=0.0,
    show_default=True,
    metavar="X",
    help="Perturbation: value of removed pixels, in units of the network's input.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="local: evaluate batches in this process. ray: evaluate them by workers of Ray, on this machine or a "
    'cluster; needs `pip install "ray>=2.10,<3"`. The options below are for ray only.',
)
@click.option(
    "--address", metavar="ADDRESS", help="Address of the cluster, such as auto. Default: this machine only."
)
@count_option("--workers", help="Maximum number of workers. Default: one per core, or as many as the GPUs allow.")
@click.option(
    "--gpus-per-worker",
    type=click.FloatRange(0),
    callback=finite,
    default=0,
    show_default=True,
    metavar="N",
    help="Number of GPUs per worker. With a fraction, workers share a GPU.",
)
@count_option(
    "--threads", help="Threads per worker. The default matches a local run, so the results are identical."
)
@folder_option(
    default="rap-keras-benchmark",
    help="Folder for the results. After an interruption, the same command continues the run.",
)
@click.pass_context
def benchmark(
    context: click.Context,
    model_name: str | None,
    dataset: str | None,
    methods: str | None,
    metrics: str | None,
    engine: str,
    output: Path,
    **given: Any,
) -> None:
    """Compare methods on a data set, as the RAP paper does.

    Every method explains each image that the network classifies correctly. The heatmaps are compared with the
    object's box and mask (outside-inside ratio, mass inside, pixel accuracy, mIOU). Then pixels are removed in
    the order of their relevance (region perturbation).

    DIR gets report.html, a page with all results. The same results are in table.csv, table.md, table.tex, and in
    files with curves and pictures.

    Without options, the command uses the network and the images of this package. It then takes two to three
    minutes on two cores.

    A batch of images that fails three times is left out and listed in the report.

    Exit status: 0 if everything was evaluated; 1 if some images are broken, some heatmaps are not finite, or
    there is no result; 2 for wrong usage, or a folder that cannot be used; 130 if interrupted.
    """
    if (model_name is None) != (dataset is None) and dataset != "shapes-pairs":
        raise click.UsageError(
            "Give both --model and --dataset, or neither, for the network and the images of this package."
        )
    for_ray = {name: given.pop(name) for name in ("workers", "gpus_per_worker", "threads", "address")}
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise click.ClickException('Ray is not installed: pip install "ray>=2.10,<3"')
    if engine == "local" and any(value not in (None, 0) for value in for_ray.values()):
        raise click.UsageError("--address, --workers, --gpus-per-worker and --threads are for --engine ray.")
    start_tensorflow()
    model = model_name or _MODEL
    settings = _settings(model, dataset or _DATASET, methods, metrics, given)
    evaluate = None
    if engine == "ray":
        from rap_keras.benchmark.ray_engine import leave_gpus_to_workers

        leave_gpus_to_workers()
        evaluate = partial(_by_ray, partial(open_benchmark, **settings), for_ray)
    try:
        summary = _run(settings, Path(model).stem, output, evaluate)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; give the same command again to continue") from None
    context.exit(_tell(summary, output))


def _settings(
    model: str, dataset: str, methods: str | None, metrics: str | None, given: dict[str, Any]
) -> dict[str, Any]:
    """What `open_benchmark` takes, from the options of the command; `given` are those that it does not change."""
    from rap_keras.benchmark import DEFAULT_METRICS, PAIR_METRICS, Options
    from rap_keras.models import is_network_name

    know_custom_objects(given["custom_objects"])  # which may add metrics
    with blaming("--metrics"):
        wanted = _names(metrics) or (PAIR_METRICS if dataset.endswith("-pairs") else DEFAULT_METRICS)
        numbers = {name: given.pop(name) for name in ("foreground", "batch_size", "pixels", "steps", "fill")}
        options = Options(wanted, **numbers)
    is_name = is_network_name(model) or not os.path.exists(model)
    # Absolute, since workers may run in another folder.
    given.update({name: given[name].resolve() for name in ("root", "patterns") if given[name]})
    return {
        **given,
        "model_name": model if is_name else str(Path(model).resolve()),
        "dataset": dataset,
        "methods": _methods(model, methods, given["patterns"]),
        "all_needed": methods is not None,
        "options": options,
    }


def _run(
    settings: dict[str, Any], name: str, output: Path, evaluate: Callable[[Attempts], Results] | None
) -> Summary:
    """Runs the benchmark of these settings, or what is left of it."""
    from rap_keras.benchmark import manifest, run

    def refuse_another_run(benchmark: Benchmark) -> None:
        with blaming("--output"):
            manifest.refuse_another_run(output, benchmark, name)

    command = shlex.join(["rap-keras", *sys.argv[1:]])
    prepared = open_benchmark(**settings, before_building=refuse_another_run)
    try:
        with blaming("--output"):
            return run(prepared, output, name, command, evaluate)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def _by_ray(factory: Callable[[], Benchmark], for_ray: dict[str, Any], batches: Attempts) -> Results:
    """Evaluates batches by workers, each of which opens the benchmark from the same settings."""
    from rap_keras.benchmark import ray_engine

    with blaming("--engine", "--address", "--workers", "--gpus-per-worker"):
        yield from ray_engine.results(factory, batches, **for_ray)


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(filter(None, names_in(given or "")))


def _methods(model_name: str, given: str | None, patterns: Path | None) -> tuple[str, ...]:
    """The methods asked for. By default these are all; those that need patterns only where there are patterns."""
    from rap_keras import models
    from rap_keras.hosts import methods

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


def _tell(summary: Summary, output: Path) -> int:
    """Prints the main figures, and returns the exit status."""
    from rap_keras.benchmark import plain

    click.echo(f"\n{plain(summary)}\n")
    click.echo(f"report and tables in {output}")
    flawed = summary.left_out["kind"].isin(["broken", "not finite"])
    return 1 if flawed.any() else 0
