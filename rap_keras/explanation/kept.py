"""What `explain` builds for a model, kept with the model until it changes.

The values of variables are read in every call. All else that the model is made of is compared with what it was.
With eager execution off this holds also for models with code of the user's: TensorFlow removes nothing from a
graph, so that each call would take longer than the one before. With it on, these are built anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import tensorflow as tf
from tensorflow import keras

from rap_keras.engine.checks.requirements import require_model_of_this_mode
from rap_keras.engine.execution import BUILDING, here
from rap_keras.engine.reading import model_state
from rap_keras.engine.reading.flattening import reading_once

_NAME = "_kept_by_rap_keras"
_shown: dict[Any, Any] = {}  # Python's own record of warnings that it shows only once


class _Kept:
    """What was built for a model in one state."""

    def __init__(self, at_home: Callable[[], AbstractContextManager[None]], state: list[Any]) -> None:
        self.at_home = at_home
        self.state = state
        self.things: dict[Any, tuple[Any, Any, list[warnings.WarningMessage]]] = {}

    def keep(self, key: Any, build: Callable[[], Any], made_of: Callable[[], Any] = lambda: None) -> Any:
        """What `build` makes, by a key: made once, and again if what it was made of has changed.

        Its warnings are given in every call.
        """
        now = made_of()
        with BUILDING:
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

    A model that is loaded by its name has new ones, which are freed with all that was built in them.

    Yields:
        A function that is given what to build, as `_Kept.keep`.

    Raises:
        RuntimeError: the model is of another graph than this thread's, and has not been explained there before.
    """
    is_eager = tf.executing_eagerly()
    with reading_once():
        if not isinstance(model, keras.Model) and is_eager:
            yield _built
        elif not isinstance(model, keras.Model):
            with BUILDING, tf.Graph().as_default(), tf.compat.v1.Session():
                yield _built
        elif is_eager and not model_state.is_of_libraries(model):
            yield _built
        else:
            known = vars(model).get(_NAME)
            if known is None:
                require_model_of_this_mode(model)
            with (here() if known is None else known.at_home)():
                session = None if is_eager else tf.compat.v1.keras.backend.get_session()
                state = [session, *model_state.state(model)]
                if known is None or not model_state.is_same(state, known.state):
                    known = vars(model)[_NAME] = _Kept(here(), state)  # Keras would save an attribute of its own
                yield known.keep
