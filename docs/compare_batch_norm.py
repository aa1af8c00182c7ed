"""Compares RAP's options batch_norm and variant on photos with boxes; the result is in batch_norm.md.

    python docs/compare_batch_norm.py SHARED

SHARED (or the environment variable RAP_KERAS_SHARED) is a folder with models/efficientnet_lite0.h5 and with
data/ILSVRC in the layout of the ImageNet 2012 localization challenge. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow import keras
from tqdm import tqdm

from rap_keras import RAP
from rap_keras.models import to_logits

SIZE = 224
BATCH = 8
OPTIONS = {
    "identity": {"batch_norm": "identity"},
    "fold": {"batch_norm": "fold"},
    "identity, reference": {"batch_norm": "identity", "variant": "reference"},
}


def crop_of(photo: Image.Image) -> tuple[int, int, int]:
    """Left, top and side of the square that the network sees: 224/256 of the short side."""
    side = round(min(photo.size) * SIZE / 256)
    return (photo.width - side) // 2, (photo.height - side) // 2, side


def network_input(photo: Image.Image) -> np.ndarray:
    """A photo as EfficientNet-Lite0 was trained on it."""
    left, top, side = crop_of(photo)
    square = photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return (np.asarray(square, np.float32) - 127) / 128


def box_mask(annotation: Path, photo: Image.Image) -> np.ndarray:
    """True inside of any box, after the photo's crop and resize."""
    left, top, side = crop_of(photo)
    mask = np.zeros((SIZE, SIZE), bool)
    for box in ElementTree.parse(annotation).iter("bndbox"):
        x0, y0, x1, y1 = (float(box.findtext(tag) or "nan") for tag in ("xmin", "ymin", "xmax", "ymax"))
        columns = np.clip(np.rint((np.array([x0, x1]) - left) * SIZE / side), 0, SIZE).astype(int)
        rows = np.clip(np.rint((np.array([y0, y1]) - top) * SIZE / side), 0, SIZE).astype(int)
        mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


def outside_inside_ratio(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Mean positive relevance outside of the box over that inside; NaN where it is undefined."""
    positive = np.maximum(heatmap, 0)
    if not mask.any() or mask.all() or not positive[mask].any():
        return np.nan
    return float(positive[~mask].mean() / positive[mask].mean())


def mean_iou(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Mean of the IoU of foreground and background; foreground is positive relevance above its mean."""
    positive = np.maximum(heatmap, 0)
    found = positive > positive.mean()
    both = [(found & mask).sum() / (found | mask).sum(), (~found & ~mask).sum() / max((~found | ~mask).sum(), 1)]
    return float(np.mean(both))


def interval(values: np.ndarray, statistic: Callable, digits: int = 3, draws: int = 10_000) -> str:
    """A statistic of the images with its bootstrap 95 % interval."""
    random = np.random.default_rng(0)
    drawn = statistic(values[random.integers(0, len(values), (draws, len(values)))], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{statistic(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def load(folder: Path) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Network inputs, box masks and classes of all photos."""
    classes = [line.split()[0] for line in (folder / "LOC_synset_mapping.txt").read_text().splitlines()]
    with open(folder / "LOC_val_solution.csv", newline="") as file:
        synset = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    xs, masks, labels = [], [], []
    for path in sorted((folder / "Data/CLS-LOC/val").glob("*.JPEG")):
        photo = Image.open(path).convert("RGB")
        xs.append(network_input(photo))
        masks.append(box_mask(folder / "Annotations/CLS-LOC/val" / f"{path.stem}.xml", photo))
        labels.append(classes.index(synset[path.stem]))
    return np.stack(xs), masks, np.array(labels)


def heatmaps(model: keras.Model, x: np.ndarray, options: dict) -> tuple[np.ndarray, float]:
    """Relevance summed over channels, and the seconds per photo."""
    analyzer = RAP(model, **options)
    analyzer.analyze(x[:BATCH])  # builds the graph
    start = time.perf_counter()
    found = [analyzer.analyze(x[i : i + BATCH]).sum(-1) for i in tqdm(range(0, len(x), BATCH), str(options))]
    return np.concatenate(found), (time.perf_counter() - start) / len(x)


class Scores(NamedTuple):
    """The results of one setting, photo by photo."""

    heatmaps: np.ndarray
    ratios: np.ndarray
    ious: np.ndarray
    seconds: float


def scores(model: keras.Model, x: np.ndarray, masks: list[np.ndarray], options: dict) -> Scores:
    """RAP with `options` on all photos, against their boxes."""
    found, seconds = heatmaps(model, x, options)
    ratios = [outside_inside_ratio(h, m) for h, m in zip(found, masks)]
    return Scores(found, np.array(ratios), np.array([mean_iou(h, m) for h, m in zip(found, masks)]), seconds)


def print_settings(results: dict[str, Scores], chosen: np.ndarray) -> None:
    """A table with one row for each setting, over the chosen photos."""
    print(
        "| setting | POS outside-inside ratio, median | ratio undefined | mIOU against the box, mean | s/photo |"
    )
    print("|---|---|---|---|---|")
    for name, found in results.items():
        ratios = found.ratios[chosen]
        finite = ratios[np.isfinite(ratios)]
        print(
            f"| {name} | {interval(finite, np.median)} | {len(ratios) - len(finite)} "
            f"| {interval(found.ious[chosen], np.mean)} | {found.seconds:.2f} |"
        )


def print_comparison(name: str, one: Scores, other: Scores) -> None:
    """A row: how alike the heatmaps of two settings are, and which is better on how many photos."""
    unlike = [1 - np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one.heatmaps, other.heatmaps)]
    ratio = one.ratios - other.ratios
    ratio = ratio[np.isfinite(ratio)]
    iou = one.ious - other.ious
    print(
        f"| {name} | {1 - np.median(unlike):.6f} | {1 - max(unlike):.6f} "
        f"| {100 * (ratio < 0).mean():.0f} %, {100 * (ratio > 0).mean():.0f} % | {interval(ratio, np.median, 6)} "
        f"| {100 * (iou > 0).mean():.0f} %, {100 * (iou < 0).mean():.0f} % | {interval(iou, np.mean, 6)} |"
    )


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shared", nargs="?", default=os.environ.get("RAP_KERAS_SHARED"), type=Path)
    shared = parser.parse_args().shared
    if shared is None:
        parser.error("name the folder of models and photos, or set RAP_KERAS_SHARED")
    tf.compat.v1.disable_eager_execution()
    model = keras.models.load_model(shared / "models/efficientnet_lite0.h5", compile=False)
    model = to_logits(model)
    x, masks, labels = load(shared / "data/ILSVRC")
    correct = model.predict(x, batch_size=BATCH, verbose=0).argmax(1) == labels
    print(f"{len(x)} photos, {correct.sum()} classified correctly, {BATCH} at a time\n")
    x, masks = x[correct], [mask for mask, right in zip(masks, correct) if right]
    results = {name: scores(model, x, masks, options) for name, options in OPTIONS.items()}
    small = np.array([mask.any() and mask.mean() < 0.5 for mask in masks])
    print(f"All {len(x)} photos:\n")
    print_settings(results, np.ones(len(x), bool))
    print(f"\nThe {small.sum()} photos whose boxes take less than half of the picture:\n")
    print_settings(results, small)
    print("\nAgainst `identity`, all photos:\n")
    print(
        "| setting | correlation, median | lowest | ratio: better, worse | median difference "
        "| mIOU: better, worse | mean difference |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in list(OPTIONS)[1:]:
        print_comparison(name, results[name], results["identity"])


if __name__ == "__main__":
    main()
