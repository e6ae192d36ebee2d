"""Where the time of cluster, score, denoise and choose goes, and that it grows linearly with the lake.

Synthetic features; 1, 2, 4 and 8 times the lake at a fixed number of clusters and a fixed budget. The
orchestrator's share is the benchmark ``orchestration``'s.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.k_center import clustered_rows
from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.kmeans import POINTS_PER_CENTROID, fit_kmeans
from ecos_core.sampling import SAMPLERS, ArrayPool, SamplerConfig, Scores
from ecos_core.sampling.denoising import denoise
from ecos_core.sampling.quotas import seat_order

EXPONENT_BAR = 1.05
QUOTAS_BAR_S = 2.0


def run(
    quick: bool = False, rows: int = 250_000, dim: int = 128, clusters: int = 100
) -> list[dict[str, Any]]:
    """A row a size with its stages, the exponent of growth, and the quotas of 100,000 clusters."""
    if quick:
        rows, dim, clusters = 20_000, 16, 5
    results = [_stages(rows * times, dim, clusters, rows // 100) for times in (1, 2, 4, 8)]
    growing = [row["assign_s"] + row["choose_s"] for row in results]
    exponent = float(np.polyfit(np.log([1, 2, 4, 8]), np.log(growing), 1)[0])
    results.append(
        {
            "name": "exponent of growth",
            "ratio": exponent,
            "bar": EXPONENT_BAR,
            "ok": exponent <= EXPONENT_BAR,
        }
    )
    return [*results, _quotas()]


def _stages(rows: int, dim: int, clusters: int, budget: int) -> dict[str, Any]:
    points = clustered_rows(rows, dim, clusters)[0]
    marks = [time.perf_counter()]
    sample = points[np.sort(np.random.default_rng(0).permutation(rows)[: POINTS_PER_CENTROID * clusters])]
    centroids = fit_kmeans(sample, clusters, seed=1).vectors
    marks.append(time.perf_counter())
    ids, _ = nearest(points, centroids)
    marks.append(time.perf_counter())
    pool = ArrayPool(np.arange(rows).astype(str), points, ids, centroids, fingerprint="synthetic")
    noisy = np.random.default_rng(1).integers(-10, 50, clusters)
    marks.append(time.perf_counter())
    scores = Scores(noisy, 6.0)
    SAMPLERS["ecos"](pool, budget, scores=scores, config=SamplerConfig(), seed=1)
    marks.append(time.perf_counter())
    fit, assign, _, choose = np.diff(marks).tolist()
    return {
        "name": f"{rows:,} x {dim}, R = {clusters}",
        "ours_s": fit + assign + choose,
        "fit_s": fit,
        "assign_s": assign,
        "choose_s": choose,
    }


def _quotas(clusters: int = 100_000, budget: int = 1_000_000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    true = rng.exponential(20, clusters) * (rng.random(clusters) < 0.3)
    noisy = np.rint(true + rng.normal(0, 6, clusters)).astype(np.int64)
    start = time.perf_counter()
    seats = seat_order(denoise(noisy, 6.0), rng.integers(1, 100, clusters), budget)
    seconds = time.perf_counter() - start
    name = f"denoise and quotas, R = {clusters:,}, B = {budget:,}"
    ok = seconds < QUOTAS_BAR_S and len(seats) == budget
    return {"name": name, "ours_s": seconds, "bar": QUOTAS_BAR_S, "ok": ok}
