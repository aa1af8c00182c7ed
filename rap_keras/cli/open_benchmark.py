"""From the options of `rap-keras benchmark` to the benchmark that they describe.

Ray's workers open it from the same options.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import click

from rap_keras.cli.inputs import blaming, embedded_patterns, know_custom_objects, network_of, size_of_batches

if TYPE_CHECKING:
    from tensorflow import keras

    from rap_keras.benchmark import Benchmark, Options


def open_benchmark(
    *,
    model_name: str,
    custom_objects: str | None,
    dataset: str,
    root: Path | None,
    limit: int | None,
    methods: tuple[str, ...],
    all_needed: bool,
    patterns: Path | None,
    options: Options,
    before_building: Callable[[Benchmark], None] | None = None,
    **of_network: Any,
) -> Benchmark:
    """The benchmark that the command's options describe, with its analyzers.

    Methods that cannot explain the network are left out, unless all are needed. `before_building` gets the
    benchmark before there are any analyzers.

    Raises:
        click.UsageError: an option is wrong.
    """
    from rap_keras.benchmark import Benchmark
    from rap_keras.datasets import open_dataset
    from rap_keras.hosts.methods import needs_patterns

    with blaming("--dataset", "--root"):
        examples = open_dataset(dataset, root)
    if limit:
        examples = examples.first(limit)
    know_custom_objects(custom_objects)
    network = network_of(model_name, **of_network)
    if examples.classes is not None and examples.classes != network.classes:
        raise click.UsageError(
            f"The network has {network.classes} classes, the data set {dataset} has {examples.classes}: give a "
            "network that was trained on these classes, in their official order."
        )
    if patterns is None and any(map(needs_patterns, methods)):
        patterns = embedded_patterns(model_name)
    with blaming("--metrics", "--pixels", "--steps"):
        size = size_of_batches(network)
        benchmark = Benchmark(
            network.model, {}, examples, network.preprocessing, size, network.short_side, options
        )
    if before_building:
        before_building(benchmark)
    mode = "index" if examples.pairs else "max_activation"
    built, unable = _analyzers(network.model, methods, mode, patterns, all_needed)
    return replace(benchmark, analyzers=built, unable=unable)


def _analyzers(
    model: keras.Model, methods: tuple[str, ...], mode: str, patterns: Path | None, all_needed: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """The analyzers of methods, and why those that are left out cannot explain the network."""
    from rap_keras.engine.errors import NotAnalyzeableModelException
    from rap_keras.hosts.methods import create, needs_patterns

    built: dict[str, Any] = {}
    unable: dict[str, str] = {}
    for name in methods:
        click.echo(f"building {name} ...", err=True)
        with blaming(*(["--patterns"] if needs_patterns(name) else ["--model", "--methods"])):
            try:
                built[name] = create(name, model, mode, patterns=patterns)
            except NotAnalyzeableModelException as error:
                if all_needed:
                    raise
                unable[name] = str(error)
                click.echo(f"without {name}: {error}", err=True)
    return built, unable
