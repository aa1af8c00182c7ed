"""What a run was made with. It is kept beside the results, and compared before a run is continued."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from rap_keras.basics import whole_file
from rap_keras.benchmark import heatmap_kinds as kinds
from rap_keras.benchmark import parts
from rap_keras.benchmark.evaluate import Benchmark
from rap_keras.datasets import images
from rap_keras.datasets.images import Preprocessing
from rap_keras.engine import keras_graph
from rap_keras.hosts import choice
from rap_keras.patterns import Patterns
from rap_keras.patterns.stored import digest_of, weights_digest

_FILE = "manifest.json"
_CIRCUMSTANCES = ("machine", "begun", "command")
"""What may differ between a run and its continuation."""
_BESIDE, _UNABLE = "heatmaps beside the methods' own", "methods that cannot explain this network"
_OF_ANALYZERS = ("methods", _BESIDE, _UNABLE, "patterns")
"""What is not known before the analyzers are built."""


def describe(benchmark: Benchmark, model: str, command: str = "") -> dict[str, Any]:
    """The manifest of a run: everything that the results depend on, and the machine, the time and the command."""
    manifest = {
        "model": model,
        "model_fingerprint": weights_digest(benchmark.model),
        "dataset": benchmark.dataset.name,
        "dataset_digest": benchmark.dataset.digest,
        "images": len(benchmark.dataset.names),
        "methods": list(benchmark.analyzers),
        _BESIDE: kinds.added(benchmark.analyzers),
        _UNABLE: dict(benchmark.unable),
        "patterns": {name: _digest(analyzer) for name, analyzer in benchmark.analyzers.items()},
        "preprocessing": _name(benchmark.preprocessing),
        "size": benchmark.size,
        "short_side": benchmark.short_side,
        "options": asdict(benchmark.options),
        "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not set"),  # it changes the last digits
        "versions": {
            "rap_keras": version("rap-keras"),
            # Its __version__ is wrong.
            "innvestigate": version("innvestigate") if choice.has_innvestigate() else "not installed",
            "keras": keras_graph.version(),
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "gpus": gpu_names(),
        },
        "begun": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
    }
    return json.loads(json.dumps(manifest))  # tuples become lists, as in what is read back


def begin(output: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest of a new run, or makes sure that a run in `output` is continued with the same settings.

    Returns:
        The manifest of the run, as it was written when the run began.

    Raises:
        ValueError: there is another run in `output`, and the message names every difference; or its manifest is
            damaged.
        FileNotFoundError: there are results in `output` without a manifest.
        OSError: `output` cannot be written.
    """
    file = output / _FILE
    if file.exists():
        return _same(output, manifest, _CIRCUMSTANCES)
    if parts.finished(output):
        raise FileNotFoundError(
            f"{file} is missing, so nobody knows which options the results in {output} were made with: put it "
            "back, choose another folder, or delete this one"
        )
    whole_file.write(file, f"{json.dumps(manifest, indent=2)}\n".encode())
    return manifest


def refuse_another_run(output: Path, benchmark: Benchmark, model: str) -> None:
    """Raises ValueError if a folder holds another run, as `begin` does, before the analyzers are built."""
    if (output / _FILE).exists():
        _same(output, describe(benchmark, model), (*_CIRCUMSTANCES, *_OF_ANALYZERS))


def _same(output: Path, new: dict[str, Any], apart_from: tuple[str, ...]) -> dict[str, Any]:
    """The manifest in a folder; raises ValueError if it is damaged, or differs in more than `apart_from`."""
    file = output / _FILE
    try:
        old = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(old, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}): choose another folder, or delete this one") from error
    compared = ({key: value for key, value in one.items() if key not in apart_from} for one in (old, new))
    differences = list(_differences("", *compared))
    if differences:
        raise ValueError(
            f"{output} holds a run with other options ({'; '.join(differences)}): continue it with the same "
            "options, or choose another folder"
        )
    return old


def _digest(analyzer: Any) -> str | None:
    """A digest of the patterns that an analyzer uses; None if it uses none."""
    patterns = getattr(analyzer, "_patterns", None)
    return digest_of(patterns.arrays.values()) if isinstance(patterns, Patterns) else None


def _name(preprocessing: Preprocessing) -> str:
    function = images.find_preprocessing(preprocessing) if isinstance(preprocessing, str) else preprocessing
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', repr(function))}"


def _differences(where: str, old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(f"{where} {key}".strip(), old.get(key), new.get(key))
    elif old != new:
        yield f"{where}: {_short(old)} there, {_short(new)} here"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def gpu_names() -> list[str]:
    """The names of the GPUs that TensorFlow sees."""
    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [str(gpu.get("device_name", "GPU")) for gpu in details]
