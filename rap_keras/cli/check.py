"""`rap-keras check`: what RAP does at every layer, and whether relevance is conserved and in the right place.

TensorFlow takes seconds to import: whatever needs it is imported within the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rap_keras.basics.wording import counted, listed
from rap_keras.cli import completion
from rap_keras.cli.explain import start_tensorflow
from rap_keras.cli.grouped_help import GroupedCommand
from rap_keras.cli.inputs import (
    NOISE_LENGTH,
    are_arrays,
    blaming,
    chosen_output,
    know_custom_objects,
    network_input,
    preprocessing_of,
    require_preprocessing,
    saved_as_arrays,
)
from rap_keras.cli.options import custom_objects_option, output_option

if TYPE_CHECKING:
    import numpy as np
    from tensorflow import keras

    from rap_keras import RAP
    from rap_keras.engine.checks.conservation import Check, LayerCheck
    from rap_keras.engine.checks.influence import Influence


@click.command(
    cls=GroupedCommand,
    groups={
        "What is checked": ["--method", "--output-layer", "--custom-objects"],
        "Input": ["--input", "--preprocessing"],
    },
    epilog="""
    rap-keras check vgg16
    rap-keras check my_model.h5 --input photo.jpg --preprocessing caffe
    rap-keras check lstm.h5 --input series.npy
    """,
)
@click.argument("model_name", metavar="MODEL", shell_complete=completion.model)
@click.option(
    "--input",
    "photo",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="IMAGE|ARRAY",
    help="Photo to check with, which is resized to the network's input; or a sample in a .npy or .npz file, as "
    "in `rap-keras explain`. Default: random values; for a network given by name, a photo of noise.",
)
@click.option(
    "--preprocessing",
    metavar="caffe|tf|torch|unit|raw|MODULE:FUNCTION",
    help="As in `rap-keras explain`. Required if MODEL is a file and --input is a photo.",
)
@click.option(
    "--method",
    type=click.Choice(["rap", "rap.contrastive"]),
    default="rap",
    show_default=True,
    help="Method to check. Contrastive RAP conserves its sum from the network's head to the input.",
)
@custom_objects_option
@output_option
@click.pass_context
def check(
    context: click.Context,
    model_name: str,
    photo: Path | None,
    preprocessing: str | None,
    method: str,
    custom_objects: str | None,
    output_layer: str | None,
) -> None:
    """Check that RAP conserves relevance and places it correctly.

    MODEL is a network of keras.applications, such as vgg16, or a .h5 file or .keras file, with Keras 2 also a
    SavedModel. A final softmax or sigmoid is removed. If the weights of a named network cannot be downloaded,
    random weights are used. They serve the check just as well.

    The table has a line for each layer: its rule, the sum of the relevance that arrives, the sum that the layer
    gives back, and the excess. The excess is the difference of the two sums, divided by what float32 allows:
    0.001 of the logit or 0.00001 of the sum of |relevance|, whichever is larger. Relevance is conserved if the
    excess is at most 1.

    The last line says how much relevance lies on regions of the input that have no influence: replacing their
    values does not change the logit. At most 1 % may lie there. Rules of your own layers must keep the same limit.

    Exit status: 0 if relevance is conserved, finite, and lies where the input has an influence; 1 if not; 2 for
    wrong usage, or a network with layers that have no rule.
    """
    start_tensorflow()
    know_custom_objects(custom_objects)
    from rap_keras import RAP, ContrastiveRAP
    from rap_keras.engine.checks import conservation, influence
    from rap_keras.engine.reading.flattening import reading_once

    context.with_resource(reading_once())
    model, quantity = _load(model_name, output_layer)
    with blaming("MODEL"):
        analyzer = RAP(model) if method == "rap" else ContrastiveRAP(model)
    x, origin = _input(model_name, analyzer, photo, preprocessing)
    click.echo(f"checking {model_name} with {origin} ...", err=True)
    found = conservation.check(analyzer, x)
    for line in _table(found.layers):
        click.echo(line)
    click.echo()
    for line in _summary(found, quantity):
        click.echo(line)
    where = influence.check(analyzer, x)
    for line in _where_it_lies(where, quantity):
        click.echo(line)
    context.exit(0 if found.passed() and where.passed() else 1)


def _load(model_name: str, output_layer: str | None) -> tuple[keras.Model, str]:
    """The network up to its logits, and whether they are that or values.

    One of keras.applications has random weights if its own cannot be loaded.
    """
    from rap_keras import models
    from rap_keras.engine.checks.conservation import lively_weights

    with blaming("MODEL"):
        try:
            model = models.load_model(model_name)
        except ConnectionError:
            click.echo(
                f"the weights of {model_name} could not be loaded: random weights are used instead", err=True
            )
            model = lively_weights(models.load_model(model_name, weights=None))
    model = chosen_output(model, output_layer)
    with blaming("MODEL"):
        return models.to_logits(model), "value" if models.is_regression(model) else "logit"


def _input(
    model_name: str, analyzer: RAP, photo: Path | None, preprocessing: str | None
) -> tuple[list[np.ndarray], str]:
    """One sample for each input of the network, and a description of it."""
    import numpy as np

    from rap_keras import models
    from rap_keras.datasets import images
    from rap_keras.explanation.photos_and_arrays import own_size

    if photo is not None and are_arrays((photo,), preprocessing=preprocessing):
        with blaming("--input"):
            return _sample(photo, analyzer.model)
    how = preprocessing_of(model_name, preprocessing)
    if photo is None and how is None:
        return _random_values(analyzer), "random values"
    option = "--input" if photo else "--preprocessing"
    way_out = f"Leave {option} out, and the model is checked with random values"
    if photo:
        save, file = saved_as_arrays(analyzer.model)
        way_out += f"; or give a sample as arrays: {save}, then --input {file}"
    with blaming(option, way_out=way_out):
        fixed = models.photo_size(analyzer.model, grey=True)
    is_grey = tuple(analyzer.model.inputs[0].shape)[-1] == 1
    how = require_preprocessing(how)
    with blaming("--input"):
        if photo:
            whole, origin = images.load_photo(photo), f"{photo}, "
            size = fixed or own_size(whole, str(photo))
            pixels = images.fit(images.to_grey(whole) if is_grey else whole, size)
        else:
            size = fixed or (NOISE_LENGTH, NOISE_LENGTH)
            pixels, origin = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8), "a photo of noise, "
    if is_grey:
        pixels = pixels[..., :1]
    return [network_input(pixels[None], how, analyzer.model)], f"{origin}{size[0]}x{size[1]}"


def _sample(path: Path, model: keras.Model) -> tuple[list[np.ndarray], str]:
    """The only sample in a file of arrays, and a description of it; raises ValueError if there are several."""
    from rap_keras.explanation.photos_and_arrays import load_arrays

    arrays, _ = load_arrays(path, model)
    count = len(next(iter(arrays.values())))
    if count > 1:
        raise ValueError(
            f"{path} has {count} samples, but only one can be checked at a time. Save one: "
            "numpy.save('one.npy', x[0])"
        )
    shapes = " and ".join("x".join(map(str, array.shape[1:])) for array in arrays.values())
    return list(arrays.values()), f"{path}, {shapes}"


def _random_values(analyzer: RAP) -> list[np.ndarray]:
    """N(0, 1) for each input; tokens for inputs of an Embedding, and pixels for other inputs of integers."""
    import numpy as np
    from tensorflow import keras

    from rap_keras.engine import keras_graph

    random = np.random.default_rng(0)
    consumers = analyzer.network.consumers()
    values: list[Any] = []
    for number, tensor in zip(analyzer.network.inputs, analyzer.model.inputs):
        shape = (1, *(length or NOISE_LENGTH for length in tensor.shape[1:]))
        layers = [call.layer for call in consumers.get(number, [])]
        tokens = [layer.input_dim for layer in layers if isinstance(layer, keras.layers.Embedding)]
        dtype = keras_graph.dtype(tensor)
        if tokens or dtype.is_integer:
            values.append(random.integers(0, min(tokens or [256, int(dtype.max) + 1]), shape))
        else:
            values.append(random.normal(size=shape))
    return values


def _table(layers: list[LayerCheck]) -> Iterator[str]:
    rows = [("layer", "kind", "rule", "arriving", "given back", "excess")]
    for layer in layers:
        sums = f"{layer.arriving[0]:.6g}", f"{layer.given_back[0]:.6g}", f"{layer.excess:.2g}"
        rows.append((layer.name, layer.kind, layer.rule, *sums))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for cells, mark in zip(rows, ["", *map(_mark, layers)]):
        words = [cell.ljust(width) for cell, width in zip(cells[:3], widths)]
        numbers = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:])]
        yield "  ".join([*words, *numbers]) + mark


def _mark(layer: LayerCheck) -> str:
    if not layer.finite:
        return "  NOT FINITE"
    return "" if layer.excess <= 1 else "  NOT CONSERVED"


def _summary(found: Check, quantity: str) -> Iterator[str]:
    score, layers = found.score[0], counted(len(found.layers), "layer")
    heatmap = f"the sum of the heatmap{{}} {found.heatmap[0]:.6g} (excess {found.excess:.2g})"
    if any(layer.in_head for layer in found.layers):
        yield (
            f"{layers}; the score is {score:.6g}: {found.seed[0]:.6g} of it goes to the input, "
            f"{found.of_biases[0]:.6g} comes from the head's biases; {heatmap.format(' is')}"
        )
    else:
        yield f"{layers}; the {quantity} is {score:.6g}, {heatmap.format('')}"
    not_finite = found.not_finite()
    not_conserved = [name for name in found.not_conserved() if name not in not_finite]
    if not_conserved:
        yield f"relevance is not conserved at: {', '.join(not_conserved)}"
    elif not not_finite:
        yield "relevance is conserved at every layer"
    if found.finite and found.excess > 1 and not not_conserved:
        yield f"relevance is not conserved from the {quantity} to the heatmap"
    yield f"not finite at: {', '.join(not_finite)}" if not_finite else "all values are finite"
    if score == 0:
        yield f"the {quantity} is 0, and so is all relevance: this checks nothing. Try another input"


def _where_it_lies(found: Influence, quantity: str) -> Iterator[str]:
    import numpy as np

    from rap_keras.engine.checks.influence import LIMIT

    (share,) = found.heatmap
    if not np.isnan(share):  # there is relevance
        mark = "MISPLACED: " if share > LIMIT else ""
        where = f"where changing the input does not change the {quantity}"
        yield f"{mark}{share * 100:.1f} % of |relevance| lies {where}"
    for name in found.misplacing():
        yield (
            f"MISPLACED: the rule of {name} gives {found.layers[name] * 100:.1f} % of |relevance| to inputs on "
            "which the layer's outputs do not depend"
        )
    if found.not_tried():
        yield (
            f"the rule of {listed(found.not_tried())} could not be tried: every output depends on every input, "
            "or no relevance arrives"
        )
