"""The methods that can be compared: RAP and those of iNNvestigate, in the host that is used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tensorflow import keras

from rap_keras.engine import keras_graph
from rap_keras.engine.checks.requirements import require_model, require_model_of_this_mode, require_positive
from rap_keras.engine.reading.flattening import flatten
from rap_keras.hosts import choice
from rap_keras.hosts.titles import RAP_METHODS, TITLES, require_known, title
from rap_keras.models.final_activation import refuse_final_activation
from rap_keras.models.outputs import flat_output, one_output
from rap_keras.patterns import Patterns

__all__ = ["TITLES", "create", "find", "names", "needs_patterns", "title"]


def names() -> Collection[str]:
    """The names of all methods of the host, except those that need options of their own."""
    from rap_keras.hosts import native

    known: Collection[str] = native.NAMES
    if choice.is_plugin():
        from rap_keras.hosts import plugin

        known = dict.fromkeys([*plugin.names(), *native.BEYOND_INNVESTIGATE])
    return [name for name in known if name not in native.WITHOUT_DEFAULTS]


def find(name: str) -> str:
    """Returns the name if there is a method of this name.

    Raises:
        ValueError: there is no such method, and the message lists all names; or it needs options of its own.
    """
    from rap_keras.hosts import native

    if name in native.WITHOUT_DEFAULTS:
        raise ValueError(
            f"{name} needs options of its own, so it is only for analyzers in Python, for example: "
            f"rap_keras.create_analyzer({name!r}, model, {native.WITHOUT_DEFAULTS[name]})"
        )
    require_known(name, names())
    return name


def needs_patterns(name: str) -> bool:
    """Whether a method needs patterns, which must be computed from data first."""
    return name.startswith("pattern.")


def create(
    name: str,
    model: keras.Model,
    neuron_selection_mode: str = "max_activation",
    patterns: Patterns | str | Path | None = None,
    output: str | int | None = None,
    steps: int | None = None,
) -> Any:
    """Creates an analyzer that is ready to use: a native one, or in the plugin one of iNNvestigate's.

    For all methods except RAP an output of more than two dimensions is flattened, so that a class is one number.
    iNNvestigate's analyzers have their graph built quickly (`rap_keras.build_quickly`). They get a copy of the
    model and its weights, since two of them on one model can disturb each other; after more training, create them
    again. For iNNvestigate's LRP every ReLU
    layer becomes an Activation layer, the only type that it knows: relevance passes it even where it is saturated.
    iNNvestigate has no gradient for integers, such as tokens: there methods based on it are native.

    Args:
        name: one of `names()`.
        model: a model that ends in logits, see `rap_keras.to_logits`. It is not changed.
        neuron_selection_mode: "max_activation", "index" or "all".
        patterns: patterns of this model, for "pattern.net" and "pattern.attribution"; other methods ignore them.
        output: the output to explain, by name or number, if the model has several.
        steps: of "integrated_gradients", None for its default; other methods ignore it.

    Raises:
        RuntimeError: the model was built with eager execution on and it is off now, or the other way round.
        ValueError: there is no such method or output; the method needs options of its own; or iNNvestigate's
            method would not look into a model that is a layer of `model`.
        NotAnalyzeableModelException: the method cannot explain such a model.
        TypeError: the model is not a Keras model.
    """
    find(name)
    require_model(model)
    own = _own_options(name, patterns, steps)
    from rap_keras.hosts import native

    is_theirs = name in RAP_METHODS or name not in native.BEYOND_INNVESTIGATE
    if choice.is_plugin() and is_theirs and not (name in native.BY_GRADIENT and _takes_integers(model)):
        from rap_keras.hosts.plugin import innvestigate_methods

        return innvestigate_methods.create(name, model, neuron_selection_mode, output, **own)
    require_model_of_this_mode(model)
    model = one_output(model, output)
    refuse_final_activation(flatten(model))
    return _native(name, model if name in RAP_METHODS else flat_output(model), neuron_selection_mode, **own)


def _takes_integers(model: keras.Model) -> bool:
    """Whether a model takes tokens or other integers, which have no gradient in iNNvestigate."""
    dtypes = map(keras_graph.dtype, model.inputs)
    return not all(dtype.is_floating for dtype in dtypes) or any(call.looks_up for call in flatten(model).calls)


def require_steps(names: Collection[str]) -> None:
    """Raises ValueError if no method of these names has steps."""
    if "integrated_gradients" not in names:
        raise ValueError(
            f"steps are those of integrated_gradients, and {', '.join(names)} has none: leave steps out, or give "
            "integrated_gradients as a method"
        )


def _own_options(
    name: str, patterns: Any, steps: int | None, references: Sequence[Any] | None = None
) -> dict[str, Any]:
    """The options that only some methods have; raises ValueError if one needs patterns and there are none."""
    if name == "integrated_gradients":
        own: dict[str, Any] = {} if steps is None else {"steps": require_positive("steps", steps)}
        if references is not None:
            own["reference_inputs"] = references if len(references) > 1 else references[0]
        return own
    if not needs_patterns(name):
        return {}
    if patterns is None:
        raise ValueError(
            f"{name} needs patterns of the model: compute them with rap_keras.patterns.PatternComputer or "
            "`rap-keras fit-patterns`, and give them as patterns="
        )
    return {"patterns": patterns}


def _native(name: str, model: keras.Model, neuron_selection_mode: str, **own: Any) -> Any:
    from rap_keras.hosts import native

    return native.create_analyzer(name, model, neuron_selection_mode=neuron_selection_mode, **own)


def create_native(
    name: str,
    model: keras.Model,
    patterns: Patterns | str | Path | None = None,
    steps: int | None = None,
    neuron_selection_mode: str = "index",
    references: Sequence[Any] | None = None,
) -> Any:
    """Creates a native analyzer, in both hosts.

    It takes regions of a map, and a chosen class of a model with several inputs. iNNvestigate's own analyzers
    explain one neuron at a time, and fail if a neuron is chosen for a model with several inputs.

    Args:
        name: one of `names()`.
        model: as for `create`.
        patterns: as for `create`.
        steps: as for `create`.
        neuron_selection_mode: as for `create`.
        references: of "integrated_gradients", its `reference_inputs` for each input; other methods ignore it.

    Raises:
        ValueError: as for `create`; or only iNNvestigate has the method.
        NotAnalyzeableModelException: the method cannot explain such a model.
    """
    find(name)
    from rap_keras.hosts import native

    if name not in native.NAMES:
        raise ValueError(
            f"{name} is only in iNNvestigate, which takes neither a region of a map nor a chosen class of a model "
            f"with several inputs, nor text: use one of {', '.join(native.NAMES)}"
        )
    return _native(name, model, neuron_selection_mode, **_own_options(name, patterns, steps, references))


def explains_single_images(analyzer: Any) -> bool:
    """Whether a method makes a batch of every image, so that it should get one image at a time."""
    if not choice.has_innvestigate():
        return False
    from innvestigate.analyzer.wrapper import AugmentReduceBase

    return isinstance(analyzer, AugmentReduceBase)
