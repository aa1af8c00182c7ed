"""What a rule is, and what a rule is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

Tensors = list[tf.Tensor]
Rule = Callable[[Tensors, Tensors, Tensors, dict[str, Any]], Tensors]
"""From the input tensors `Xs`, the output tensors `Ys` and the relevances `Rs` of the outputs it computes the
relevances of the inputs, in the order of `Xs`. `state` has the rest; `propagation` makes it."""

Function = TypeVar("Function", bound=Callable)


def titled(title: str) -> Callable[[Function], Function]:
    """Gives a rule the words that `rap-keras check` prints for it."""

    def mark(rule: Function) -> Function:
        setattr(rule, "title", title)  # noqa: B010  # a function has no such attribute for mypy
        return rule

    return mark


def title_of(rule: Callable) -> str:
    """The title of a rule; for a user's function without one its name."""
    return getattr(rule, "title", None) or f"own rule: {getattr(rule, '__name__', rule)}"
