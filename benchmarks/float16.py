"""What it costs to store features in half the bytes: float16, the lake's default, against float32.

On the digits of ``benchmarks.digits`` (8,997 images, EfficientNet-Lite0, 128 px, norm 1), each row a question:

* ``assigned alike``: the same centroids; the share of images with the same nearest one. The bar is 0.99.
* ``inertia``: k-means fitted on either, judged on the float32 features; a ratio. The bar is 1.01.
* ``picked alike``: ECOS on the same noised scores; the share of picks that are the same image.
* ``probe accuracy``: a linear probe on so many images, tested on a fifth that it never saw, in points; the
  difference is taken seed by seed. The bar is half a point.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.accuracy import default_home
from benchmarks.digits import pictures
from benchmarks.grid import ImageSet
from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.kmeans import fit_kmeans
from ecos_core.progress import ProgressSink, silent
from ecos_core.sampling import SAMPLERS, ArrayPool, SamplerConfig, Scores

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
ALIKE_BAR, INERTIA_BAR, POINTS_BAR = 0.99, 1.01, 0.5
TEST_SHARE = 0.2


def run(
    quick: bool = False,
    clusters: int = 100,
    budget: int = 300,
    train: int = 1_000,
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    home: Path = Path(),
    progress: ProgressSink = silent,
) -> list[Row]:
    """The rows; quick ones look at random numbers instead of digits."""
    if quick:
        images, clusters, budget, train, seeds = _random_images(), 10, 30, 200, (1, 2)
    else:
        place = default_home() if home == Path() else home
        images = ImageSet.load(pictures(progress).features(place, image_size=128, progress=progress))
    return compare_types(images, clusters, budget, train, seeds)


def compare_types(
    images: ImageSet, clusters: int, budget: int, train: int, seeds: tuple[int, ...]
) -> list[Row]:
    """The four questions about one data set."""
    full = images.features
    half = full.astype(np.float16).astype(np.float32)
    fitted = fit_kmeans(full, clusters, seed=0).vectors
    refitted = fit_kmeans(half, clusters, seed=0).vectors
    own, other = nearest(full, fitted)[0], nearest(half, fitted)[0]
    alike = float((own == other).mean())
    inertia = _inertia(full, refitted) / _inertia(full, fitted)
    picked, picked_half = (_picks(images, features, fitted, own, budget) for features in (full, half))
    same_picks = len(picked & picked_half) / budget
    accuracies = [(_probe(images, full, train, seed), _probe(images, half, train, seed)) for seed in seeds]
    points = [100 * (b - a) for a, b in accuracies]
    worst = abs(fmean(points))
    return [
        {
            "name": "assigned alike",
            "images": len(full),
            "clusters": clusters,
            "ratio": alike,
            "bar": ALIKE_BAR,
            "ok": alike >= ALIKE_BAR,
        },
        {
            "name": "inertia, float16 over float32",
            "ratio": inertia,
            "bar": INERTIA_BAR,
            "ok": inertia <= INERTIA_BAR,
        },
        {"name": f"picked alike, B = {budget:,}", "ratio": same_picks},
        {
            "name": f"probe accuracy, {train:,} images",
            "float32": 100 * fmean(a for a, _ in accuracies),
            "float16": 100 * fmean(b for _, b in accuracies),
            "points": fmean(points),
            "points_std": stdev(points),
            "seeds": list(seeds),
            "bar": POINTS_BAR,
            "ok": worst <= POINTS_BAR,
        },
    ]


def _inertia(points: Array, vectors: Array) -> float:
    return float((nearest(points, vectors)[1].astype(np.float64) ** 2).mean())


def _picks(images: ImageSet, features: Array, centroids: Array, assigned: Array, budget: int) -> set[str]:
    """ECOS on scores that both types answer alike."""
    pool = ArrayPool(images.sample_ids, features, assigned, centroids)
    noisy = np.random.default_rng(1).integers(-10, 50, len(centroids))
    config = SamplerConfig()
    chosen = SAMPLERS["ecos"](pool, budget, scores=Scores(noisy, 6.0), config=config, seed=1)
    return set(chosen.sample_id.tolist())


def _probe(images: ImageSet, features: Array, train: int, seed: int) -> float:
    from ecos_core.training.evaluation import evaluate
    from ecos_core.training.linear_probe import train_linear_probe

    order = np.random.default_rng(seed).permutation(len(features))
    test, rows = np.split(order, [round(TEST_SHARE * len(order))])
    rows = rows[:train]
    probe = train_linear_probe(features[rows], images.labels[rows], seed=seed)
    found = evaluate(probe.predict_proba(features[test]), images.labels[test], probe.classes)
    return float(found.accuracy)


def _random_images() -> ImageSet:
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=600)
    features = rng.normal(size=(4, 16))[labels] + 0.3 * rng.normal(size=(600, 16))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    ids = np.array([f"{row:064x}" for row in range(600)])
    return ImageSet(ids, features.astype(np.float32), labels.astype(str), np.full(600, "d"), "")
