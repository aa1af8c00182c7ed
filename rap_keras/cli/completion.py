"""What the shell completes: names of methods and networks, without an import of TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from rap_keras.hosts import titles

METHODS = titles.names()
"""The methods that need no options of their own and exist in both hosts."""

EMBEDDED = ("shapes-vgg", "shapes-resnet")
"""The networks in this package."""

APPLICATIONS = tuple(
    "convnexttiny convnextsmall convnextbase convnextlarge convnextxlarge densenet121 densenet169 densenet201 "
    "efficientnetb0 efficientnetb1 efficientnetb2 efficientnetb3 efficientnetb4 efficientnetb5 efficientnetb6 "
    "efficientnetb7 efficientnetv2b0 efficientnetv2b1 efficientnetv2b2 efficientnetv2b3 efficientnetv2s "
    "efficientnetv2m efficientnetv2l inceptionresnetv2 inceptionv3 mobilenet mobilenetv2 mobilenetv3small "
    "mobilenetv3large nasnetmobile nasnetlarge resnet50 resnet101 resnet152 resnet50v2 resnet101v2 resnet152v2 "
    "vgg16 vgg19 xception".split()
)
"""The networks of keras.applications that Keras 2 and 3 both have."""


def method(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The methods whose names begin with what was typed."""
    return _beginning(typed, METHODS)


def methods(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """Completes the last name of a list of methods that are separated by commas."""
    before, comma, last = typed.rpartition(",")
    return [before + comma + name for name in _beginning(last, METHODS)]


def application(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
    """The networks of keras.applications whose names begin with what was typed."""
    return _beginning(typed, APPLICATIONS)


def model(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """The networks whose names begin with what was typed, and model files."""
    names = _beginning(typed, (*EMBEDDED, *APPLICATIONS))
    # Bash drops the names that come before a request for files.
    return [CompletionItem(typed, type="file"), *map(CompletionItem, names)]


def _beginning(typed: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(typed)]
