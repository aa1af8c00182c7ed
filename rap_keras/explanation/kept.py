"""What `explain` builds for a model, kept with the model while eager execution is off.

TensorFlow removes nothing from a graph: built anew, each call would take longer than the one before. The values of
variables are read in every call. All else that the model is made of is compared with what it was.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks.requirements import require_model_of_this_mode
from rap_keras.engine.execution import BUILDING, here
from rap_keras.engine.registered_rules import RULES

_NAME = "_kept_by_rap_keras"
_USES = ("_inbound_nodes_value", "_outbound_nodes_value")  # of a layer, in other models, too
_shown: dict[Any, Any] = {}  # Python's own record of warnings that it shows only once


class _Kept(NamedTuple):
    """What was built for a model in one state."""

    at_home: Callable[[], AbstractContextManager[None]]
    state: list[Any]
    things: dict[Any, tuple[Any, Any, list[warnings.WarningMessage]]]

    def keep(self, key: Any, build: Callable[[], Any], made_of: Callable[[], Any] = lambda: None) -> Any:
        """What `build` makes, by a key: made once, and again if what it was made of has changed.

        Its warnings are given in every call.
        """
        now = made_of()
        if key not in self.things or self.things[key][0] != now:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                made = build()
            self.things[key] = now, made, told
        _, made, told = self.things[key]
        for one in told:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno, registry=_shown)
        return made


def _built(key: Any, build: Callable[[], Any], made_of: Any = None) -> Any:
    """Keeps nothing, as nothing is left behind."""
    return build()


@contextmanager
def at_home(model: Any) -> Iterator[Callable[..., Any]]:
    """The graph and the session of a model for the time of one explanation, if eager execution is off.

    A model from a file has new ones, which are freed with all that was built in them.

    Args:
        model: the model, or the name of one that is loaded within.

    Yields:
        A function that is given what to build, as `_Kept.keep`.

    Raises:
        RuntimeError: the model is of another graph than this thread's, and has not been explained there before.
    """
    if tf.executing_eagerly():
        yield _built
    elif not isinstance(model, keras.Model):
        with BUILDING, tf.Graph().as_default(), tf.compat.v1.Session():
            yield _built
    else:
        known = vars(model).get(_NAME)
        if known is None:
            require_model_of_this_mode(model)
        with (here() if known is None else known.at_home)():
            state = _state(model)
            if known is None or list(map(id, state)) != list(map(id, known.state)):
                known = vars(model)[_NAME] = _Kept(here(), state, {})  # Keras would save an attribute of its own
            yield known.keep


def _state(model: keras.Model) -> list[Any]:
    """What graphs are made of, except the values of variables, as objects that stay the same ones."""
    session = tf.compat.v1.keras.backend.get_session()
    found = [session, keras.backend.floatx(), keras.backend.image_data_format(), *RULES, *RULES.values()]
    for layer in model._flatten_layers():
        found.append(layer)
        if isinstance(layer, keras.Model):
            found += [*(getattr(layer, "inputs", None) or []), *(getattr(layer, "outputs", None) or [])]
            continue
        for name, value in vars(layer).items():
            if name not in _USES:
                found += [name, value]
                found += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return found
