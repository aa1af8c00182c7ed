"""Makes docs/networks.md: what today's networks get from each method.

    python docs/make_networks.py                          # all of them, takes about an hour
    python docs/make_networks.py --only ViT Bert ...      # those whose names have one of these; other rows stay

The networks are in `networks_of_hub.py`, `texts_of_hub.py` and `networks_of_keras_io.py`. They have random kernels
and scales (`rap_keras.engine.checks.conservation.lively_weights`), and explain two samples of noise, or of random
tokens, the last of which is padding. It needs Keras 3 and keras_hub.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow import keras

import rap_keras
from rap_keras import conservation
from rap_keras.engine.checks.conservation import lively_weights
from rap_keras.engine.keras_graph import input_names
from rap_keras.hosts.native.creation import NAMES
from rap_keras.hosts.titles import title

sys.path.insert(0, str(Path(__file__).parent))
import networks_of_hub
import networks_of_keras_io
import texts_of_hub

PAGE = Path(__file__).parent / "networks.md"
METHODS = [name for name in ("rap", "rap.contrastive", "lrp.epsilon", "lrp.attn", "gradient") if name in NAMES]
GROUPS: dict[str, dict[str, Callable[[], keras.Model]]] = {}
LENGTH, MINUTES = 6, 10

HEAD = """\
# Today's networks

What each method gives for the networks of keras_hub {hub}, and for networks like those in the examples of
keras.io, built small in our own words. All have random weights. A class of keras_hub that is not listed is a
network that is, with another end: `BertMaskedLM` and `GPT2CausalLM` stand for those of other backbones. A backbone
has a Dense layer behind it, on its pooled output or on the mean of what it gives.

- **RAP** and **contrastive RAP**: "yes" if relevance is finite, and its sum is what it began with within
  max(1e-3 |logit|, 1e-5 sum |R|), by `rap_keras.conservation.check`.
- **LRP** and **AttnLRP**: "yes" if relevance is finite. Its sum is not the logit, as biases and epsilon keep a
  part.
- **Gradient**: "yes" if it equals that of `tf.GradientTape` within 2 % of its length (rounding switches ReLUs);
  at tokens it is the length at the vectors of the embedding.

Made by `python docs/make_networks.py` on {date}, {machine}, Keras {keras}, TensorFlow {tensorflow}.
{summary}
"""


def groups() -> dict[str, dict[str, Callable[[], keras.Model]]]:
    """The networks by their headings and names."""
    import keras_hub

    def of(networks: dict[str, Any]) -> dict[str, Callable[[], keras.Model]]:
        return {name: lambda build=build: build(keras_hub.models) for name, build in networks.items()}

    return {
        "keras_hub: images": of(networks_of_hub.IMAGES),
        "keras_hub: encoders of text": of(texts_of_hub.ENCODERS),
        "keras_hub: text that is generated, and several kinds of input": of(texts_of_hub.OTHERS),
        "Networks like those of keras.io": networks_of_keras_io.NETWORKS,
    }


def samples(model: keras.Model) -> list[np.ndarray]:
    """Two samples for each input of a model."""
    random = np.random.default_rng(1)
    found = []
    for name, x in zip(input_names(model), model.inputs):
        shape = (2, *(n or (2 * LENGTH if len(x.shape) > 2 else LENGTH) for n in x.shape[1:]))
        if "mask_positions" in name:
            array = np.tile(np.arange(shape[1]), (2, 1))
        elif "mask" in name:
            array = np.ones(shape)
            array[:, shape[1] - 1 :] = 0
        elif "kind" in name or "segment" in name:
            array = np.full(shape, "1" in name)
        elif "int" in str(x.dtype):
            array = random.integers(1, 19, shape)
        else:
            array = random.normal(size=shape)
        found.append(array.astype(str(x.dtype)))
    return found


def cells(build: Callable[[], keras.Model]) -> tuple[dict[str, str], str]:
    """The cell of each method, and why those that are refused are."""
    model = rap_keras.to_logits(build())
    lively_weights(model)
    xs = samples(model)
    x = xs if len(xs) > 1 else xs[0]
    found, reasons = {}, []
    for name in METHODS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = _cell(name, model, x, xs)
        except rap_keras.NotAnalyzeableModelException as error:
            found[name] = "refused"
            reasons.append(_cause(error))
        except Exception as error:  # one broken network must not hide the others
            if name == "lrp.attn" and "has no attention" in str(error):
                found[name] = "no attention"
                continue
            found[name] = "**stops**"
            reasons.append(f"{type(error).__name__}: {_cause(error)}")
    return found, "; ".join(dict.fromkeys(reasons))


def _cause(error: Exception) -> str:
    """What a refusal says, without its ways out, which are the same for many."""
    text = " ".join(str(error).split()).partition(" Write its call")[0].partition(", so call the model on")[0]
    return text if len(text) < 300 else f"{text[:300]} ..."


def _cell(name: str, model: keras.Model, x: Any, xs: list[np.ndarray]) -> str:
    analyzer = rap_keras.create_analyzer(name, model)
    found = analyzer.analyze(x)
    arrays = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list) else [found]
    if not all(np.isfinite(array).all() for array in arrays):
        return "**not finite**"
    if name.startswith("rap"):
        check = conservation.check(analyzer, x)
        return "yes" if check.finite and check.excess <= 1 else f"**sum off ({check.excess:.2g})**"
    if name != "gradient":
        return "yes"
    right = of_tape(model, xs)
    same = [np.linalg.norm(a - b) <= 0.02 * np.linalg.norm(b) for a, b in zip(arrays, right) if b is not None]
    return "yes" if all(same) and any(same) else "**differs**"


def of_tape(model: keras.Model, xs: list[np.ndarray]) -> list[np.ndarray | None]:
    """The gradient of the highest logit; at tokens its length at their vectors, None where none is looked up."""
    tensors = [tf.constant(x) for x in xs]
    with vectors(model, xs) as looked_up, tf.GradientTape() as tape:
        tape.watch(tensors)
        given = dict(zip(input_names(model), tensors)) if isinstance(model.input, dict) else tensors
        y = model(given if len(xs) > 1 or isinstance(given, dict) else tensors[0], training=False)
        tape_of = tf.reduce_sum(tf.reduce_max(tf.reshape(y, [2, -1]), 1))
        deltas = [looked_up.get(number) for number in range(len(xs))]
    sources = [t if d is None else d for t, d in zip(tensors, deltas)]
    gradients = tape.gradient(tape_of, sources)
    return [
        None if g is None else np.linalg.norm(g, axis=-1) if d is not None else np.asarray(g)
        for g, d in zip(gradients, deltas)
    ]


@contextmanager
def vectors(model: keras.Model, xs: list[np.ndarray]) -> Any:
    """Lets embeddings add a variable to what they look up for an input; the variables by the inputs' numbers."""
    found: dict[int, tf.Variable] = {}
    changed = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Embedding)]

    def adding(call: Callable) -> Callable:
        def look_up(ids: Any, *args: Any, **kwargs: Any) -> Any:
            y = call(ids, *args, **kwargs)
            for number, x in enumerate(xs):
                if np.array_equal(np.asarray(tf.convert_to_tensor(ids)), x):
                    found.setdefault(number, tf.Variable(tf.zeros_like(y)))
                    return y + found[number]
            return y

        return look_up

    for layer in changed:
        object.__setattr__(layer, "call", adding(layer.call))
    try:
        yield found
    finally:
        for layer in changed:
            object.__delattr__(layer, "call")


def row(name: str, build: Callable[[], keras.Model]) -> str:
    """The network's row of the table."""
    start = perf_counter()

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"more than {MINUTES} minutes")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(60 * MINUTES)
    try:
        found, reason = cells(build)
    except Exception as error:
        found, reason = {}, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    finally:
        signal.alarm(0)
    keras.backend.clear_session()
    gc.collect()
    each = " | ".join(found.get(method, "**no**") for method in METHODS)
    seconds, gigabytes = perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = f"| {name} | {each} | {reason.replace('|', '/')} |"
    print(f"{line} {seconds:.0f} s, {gigabytes:.1f} GB", flush=True)
    return line


def write(rows: dict[str, str]) -> None:
    """Writes the page with the rows that there are."""
    import keras_hub

    tables, counts = [], []
    for heading, networks in groups().items():
        known = [rows[name] for name in networks if name in rows]
        taken = sum("refused" not in line and "**" not in line for line in known)
        counts.append(f"{heading}: {taken} of {len(known)} taken with all methods.")
        titles = " | ".join(map(title, METHODS))
        tables += [f"## {heading}", "", f"| network | {titles} | why refused |", "|---" * (len(METHODS) + 2) + "|"]
        tables += [*known, ""]
    head = HEAD.format(
        hub=keras_hub.__version__,
        keras=keras.__version__,
        tensorflow=tf.__version__,
        date=date.today(),
        machine=f"{os.cpu_count()} cores {platform.machine()}, no GPU, Python {platform.python_version()}",
        summary=" ".join(counts),
    )
    PAGE.write_text(f"{head}\n" + "\n".join(tables), encoding="utf-8")


def main(only: list[str]) -> None:
    """Writes the page again after every network, so that nothing is lost if it is interrupted."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    for networks in groups().values():
        for name, build in networks.items():
            if not only or any(part in name for part in only):
                rows[name] = row(name, build)
                write(rows)


if __name__ == "__main__":
    main([argument for argument in sys.argv[1:] if argument != "--only"])
