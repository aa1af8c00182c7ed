"""Makes docs/applications.md, or docs/applications_keras_3.md with Keras 3: RAP on every network of Keras.

    python docs/make_applications.py                             # all of them, takes an hour or two
    python docs/make_applications.py VGG16 ...                   # only these, other rows stay as they are
    python docs/make_applications.py --contrastive VGG16 ...     # contrastive RAP: applications_contrastive.md

Each network runs in a process of its own. It is built for the smallest photos that it takes and 10 classes, with
random kernels, offsets and scales (`rap_keras.engine.checks.conservation.lively_weights`), and explained for two
photos of noise, 0 to 255, that went through its own preprocessing.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path
from time import perf_counter

FOLDER = Path(__file__).parent
MINUTES = 15
GIGABYTES = 18

CONTRASTIVE = "--contrastive" in sys.argv

HEAD = """\
# {method} on the networks of keras.applications, Keras {keras}

{which} of `keras.applications` (TensorFlow {tensorflow}), with random weights and non-trivial statistics of
BatchNormalization, in inference mode, on two photos of noise in the smallest size that it takes. Excess is the
violation of conservation in units of what float32 allows, max(1e-3 |logit|, 1e-5 sum |R|): up to 1 relevance is
conserved. The worse of both photos counts: "input" is from the logit to the heatmap, "layer" at any single layer.
"seconds" is the time from the model to the sums at all layers, most of it for building the graph; other work on
the machine makes it longer. "GB" is the process's peak memory.

{seed}Made by `{command}` on {date}, {machine}. The script says how the
weights were chosen.
{summary}

| network | input | layers | conserved | excess at input | excess at layer | finite | seconds | GB |
|---|---|---|---|---|---|---|---|---|
"""


SEED = """\
Relevance starts with the signed contributions of the head to the log-odds; what the biases of the head keep counts
as arrived. The logit in the formula is then the sum of the contributions.

"""


def examine(name: str) -> dict[str, object]:
    """The page's figures of one network."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    resource.setrlimit(resource.RLIMIT_DATA, (GIGABYTES << 30, GIGABYTES << 30))
    import numpy as np

    from rap_keras import RAP, ContrastiveRAP, NotAnalyzeableModelException, models
    from rap_keras.engine.checks.conservation import check, lively_weights

    build = models.applications()[name.lower()]
    size = smallest_size(build)
    model = build(weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None)
    lively_weights(model)
    noise = np.random.default_rng(1).integers(0, 256, (2, size, size, 3)).astype(np.float32)
    x = models.own_preprocessing(name)(noise)
    start = perf_counter()
    try:
        analyzer = ContrastiveRAP(model) if CONTRASTIVE else RAP(model)
    except NotAnalyzeableModelException as error:
        return {"size": size, "refused": str(error)}
    found = check(analyzer, x)
    seconds = perf_counter() - start
    worst = max(found.layers, key=lambda layer: layer.excess)
    return {
        "size": size,
        "layers": len(found.layers),
        "conserved": found.excess <= 1 and not found.not_conserved(),
        "input": found.excess,
        "layer": worst.excess,
        "worst": worst.name,
        "finite": bool(found.finite) and not found.not_finite(),
        "logits": found.seed.tolist(),
        "not_conserved": found.not_conserved(),
        "seconds": seconds,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def smallest_size(build) -> int:
    """Side of the smallest square photo that a network takes: Keras says so when given less."""
    try:
        build(weights=None, input_shape=(1, 1, 3))
    except ValueError as error:
        found = re.search(r"at least (\d+)x", str(error))
        if found:
            return int(found.group(1))
        raise
    return 1


def row(name: str) -> str:
    """The network's row of the table, from a process of its own."""
    command = [sys.executable, __file__, "--examine", name, *(["--contrastive"] if CONTRASTIVE else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
    except subprocess.TimeoutExpired:
        return f"| {name} | | | no: more than {MINUTES} minutes | | | | | |"
    print(done.stdout.strip() or done.stderr[-2000:], flush=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1][:150]
        return f"| {name} | | | no: stopped with status {done.returncode}, {reason} | | | | | |"
    found = json.loads(done.stdout.splitlines()[-1])
    size = f"{found['size']}x{found['size']}"
    no = "**no**"
    if "refused" in found:
        return f"| {name} | {size} | | refused: {' '.join(found['refused'].split())} | | | | | |"
    return (
        f"| {name} | {size} | {found['layers']} | {'yes' if found['conserved'] else no} | {found['input']:.2g} "
        f"| {found['layer']:.2g} ({found['worst']}) | {'yes' if found['finite'] else no} "
        f"| {found['seconds']:.0f} | {found['gigabytes']:.1f} |"
    )


def write(rows: dict[str, str]) -> None:
    """Writes the page, with the networks in alphabetical order."""
    import tensorflow as tf

    from rap_keras.engine.keras_graph import version

    good = sum("| yes |" in text and "**no**" not in text for text in rows.values())
    head = HEAD.format(
        method="Contrastive RAP" if CONTRASTIVE else "RAP",
        which="Some networks" if CONTRASTIVE else "Every network",
        seed=SEED if CONTRASTIVE else "",
        command="python docs/make_applications.py" + (" --contrastive NETWORK ..." if CONTRASTIVE else ""),
        keras=version(),
        tensorflow=tf.__version__,
        date=date.today(),
        machine=f"{os.cpu_count()} cores {platform.machine()}, no GPU, Python {platform.python_version()}",
        summary=f"{len(rows)} networks, relevance finite and conserved at every layer in {good}.",
    )
    page().write_text(head + "".join(rows[name] + "\n" for name in sorted(rows)))


def page() -> Path:
    """The page for the installed Keras."""
    from rap_keras.engine.keras_graph import KERAS_3

    if CONTRASTIVE:
        return FOLDER / "applications_contrastive.md"
    return FOLDER / ("applications_keras_3.md" if KERAS_3 else "applications.md")


def main(names: list[str]) -> None:
    """Writes the page again after every network, so that nothing is lost if it is interrupted."""
    from rap_keras.models import applications

    known = sorted(build.__name__ for build in applications().values())
    lines = page().read_text().splitlines() if page().exists() else []
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    rows = {name: line for name, line in rows.items() if name in known}
    for name in names or known:
        rows[name] = row(name)
        write(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--examine"]:
        print(json.dumps(examine(sys.argv[2])))
    else:
        main([argument for argument in sys.argv[1:] if argument != "--contrastive"])
