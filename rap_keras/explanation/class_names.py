"""Names of a network's classes."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from rap_keras.basics.whole_file import require_file
from rap_keras.basics.wording import counted, listed

OUTPUT = "output"


def read_names(file: Path, count: int) -> list[str]:
    """Class names from a text file, line n is class n; a leading synset id (n01440764) is left out.

    Raises:
        OSError: The file cannot be opened.
        ValueError: The file is no text, or does not have `count` lines.
    """
    require_file(file)
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not a text file ({error})") from error
    if len(lines) != count:
        raise ValueError(
            f"{file} has {counted(len(lines), 'line')}, but the network has {counted(count, 'class', 'classes')}"
        )
    return [re.sub(r"^n\d{8}\s+", "", line).strip() for line in lines]


def given_names(
    classes: str | Path | Sequence[str] | None, network: object, count: int, is_regression: bool = False
) -> list[str] | None:
    """The class names that were asked for, else those of the network; `network` is as `own_names` takes it.

    `classes` is a text file with a name on each line, "imagenet", or the names themselves. A regression has
    outputs in place of classes, unless their names are given.

    Raises:
        ConnectionError: ImageNet's names cannot be downloaded.
        OSError: the file cannot be opened.
        ValueError: there are more or fewer names than classes, or the file is no text.
    """
    if classes is None:
        return outputs(count) if is_regression else own_names(network, count)
    if isinstance(classes, (str, Path)) and str(classes) != "imagenet":
        return read_names(Path(classes), count)
    names = imagenet_names() if isinstance(classes, (str, Path)) else [str(name) for name in classes]
    if names is None:
        raise ConnectionError(
            "ImageNet's class names are not on this machine and could not be downloaded: give a text file with "
            "one on each line"
        )
    if len(names) != count:
        raise ValueError(
            f"{counted(len(names), 'class name is', 'class names are')} given, and the network has "
            f"{counted(count, 'class', 'classes')}"
        )
    return names


def own_names(network: object, count: int) -> list[str] | None:
    """The class names of a network that was given by its name; None for any other network.

    Networks of keras.applications have ImageNet's if they have 1000 classes.
    """
    from rap_keras import models
    from rap_keras.shapes import CLASSES

    name = str(network).lower() if isinstance(network, (str, Path)) else ""
    if name in models.EMBEDDED:
        return list(CLASSES)
    return imagenet_names() if count == 1000 and models.is_network_name(name) else None


def imagenet_names() -> list[str] | None:
    """ImageNet's class names, which Keras downloads once; None if they cannot be had."""
    from rap_keras.engine import keras_graph

    file = keras_graph.downloads() / "imagenet_class_index.json"
    if not file.is_file():
        try:
            _download()
        except Exception:  # without a network connection: keras.utils.get_file raises plain Exception
            return None
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        return [index[str(number)][1].replace("_", " ") for number in range(1000)]
    except (OSError, ValueError, KeyError):  # an interrupted download; names are only a convenience
        return None


def _download() -> None:
    """Has Keras fetch its own file of ImageNet's classes."""
    import numpy as np
    from tensorflow import keras

    keras.applications.imagenet_utils.decode_predictions(np.zeros((1, 1000)), top=1)


def name_of(number: int, names: Sequence[str] | None) -> str:
    """What a class is called."""
    return f"class {number}" if names is None else names[number]


def outputs(count: int) -> list[str]:
    """What the outputs of a regression are called."""
    return [OUTPUT] if count == 1 else [f"{OUTPUT} {number}" for number in range(count)]


def quantity_of(names: Sequence[str] | None) -> str:
    """What an output is: "value" where it has the name of a regression's output, else "logit"."""
    return "value" if _kind(names) == OUTPUT else "logit"


def _kind(names: Sequence[str] | None) -> str:
    return "class" if names is None or list(names) != outputs(len(names)) else OUTPUT


def find_class(target: str, names: Sequence[str] | None, count: int) -> int:
    """The number of a class given by its number or name, upper or lower case.

    A name with commas, as ImageNet's "tench, Tinca tinca", is found by each of its parts too.

    Raises:
        ValueError: There is no such class, or several classes have that name.
    """
    kind = _kind(names)
    if target.removeprefix("-").isdecimal():
        if not 0 <= int(target) < count:
            all_of = "classes" if kind == "class" else "outputs"
            has = f"{kind} 0 only" if count == 1 else f"{all_of} 0 to {count - 1}"
            raise ValueError(f"there is no {kind} {target}: the network has {has}")
        if names is not None and target in names and names.index(target) != int(target):
            raise ValueError(
                f"{target!r} is the number of class {names[int(target)]!r}, and the name of class "
                f"{names.index(target)}: leave the names out, or give names that are no numbers"
            )
        return int(target)
    if names is None:
        raise ValueError(
            f"{target!r} is no number, and the classes have no names: give a number from 0 to "
            f"{count - 1}, or the names of all classes, in Python by classes=, in the command by --classes FILE"
            + ". Give several classes one by one, not separated by commas"
            * ("," in target)
        )
    wanted = target.strip().casefold()
    found = [number for number, name in enumerate(names) if name.casefold() == wanted]
    parts = [[part.strip().casefold() for part in name.split(",")] for name in names]
    found = found or [number for number, own in enumerate(parts) if wanted in own]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"several classes are called {target!r}, give one of {found}")
    known = {part: name for own, name in zip(parts, names) for part in own}
    close = difflib.get_close_matches(wanted, known, n=4)
    raise ValueError(
        f"unknown {kind} {target!r}: "
        + (
            f"did you mean {listed([repr(known[part]) for part in close], 'or')}?"
            if close
            else f"there {'is' if len(names) == 1 else 'are'} {listed(names, most=20)}"
        )
    )
