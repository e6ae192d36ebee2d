"""Claim: of several selections, the one nearer to the client's noised histogram trains the better model, so
that samplers can be compared without a label where the lake holds something near the client.

For every cell of ``pacs`` that is measured: KL reduction (``ecos_core.sampling.divergence``) of the sampler's
picks against one noised answer of the client, and the accuracy that the table has. Correlation is by
rank (Spearman) over the samplers of one split and budget, then the mean over splits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import pacs
from benchmarks.accuracy import default_home
from benchmarks.grid import (
    ALL_SAMPLERS,
    Cell,
    Grid,
    ImageSet,
    Job,
    JobData,
    cell_key,
    jobs_of,
    noisy_histogram,
    planned_sigma,
    select,
)
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.sampling.denoising import denoise
from ecos_core.sampling.divergence import kl_reduction
from ecos_core.storage import Location

SAMPLERS = ("ecos", "proximity", "dsir", "random", "k_center", "balanced")


def run(
    data_root: Path | None = None,
    *,
    epsilon: float = 0.582,
    quick: bool = False,
    out: Path = Path(),
    home: Path = Path(),
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Rows {pool, budget, correlation, low, high, splits, samplers}; ``ecos bench pacs`` must have been run before
    with these samplers and the same home. ``low`` and ``high``: the interval of the mean over the splits."""
    home = default_home() if home == Path() else home
    images = ImageSet.load(pacs.prepare(data_root, home, progress=progress))
    grid = Grid(clients=pacs.DOMAINS, samplers=ALL_SAMPLERS, epsilon=epsilon)
    jobs = jobs_of(grid)[:1] if quick else jobs_of(grid)
    points: list[dict[str, Any]] = []
    for done, job in enumerate(jobs):
        progress(Progress("proximity", done, len(jobs), "splits"))
        points += _points(images, grid, job, home / "bench" / "cells")
    rows = summarise(points)
    out = home / "bench" / "proximity" if out == Path() else out
    result = {"name": "proximity", "grid": grid.model_dump(mode="json"), "rows": rows}
    Location.of(out / "proximity.json").write_bytes(json.dumps(result, indent=1, allow_nan=False).encode())
    return {"rows": rows, "results": str(out / "proximity.json")}


def _points(images: ImageSet, grid: Grid, job: Job, store: Path) -> list[dict[str, Any]]:
    """One point a sampler and budget of a split; kept beside the cells."""
    kept = store.parent / "proximity" / f"{cell_key(grid, images.digest, job, 'proximity points')}.json"
    if not kept.exists():
        Location.of(kept).write_bytes(json.dumps(_measured(images, grid, job, store)).encode())
    found: list[dict[str, Any]] = json.loads(kept.read_text())
    return found


def _measured(images: ImageSet, grid: Grid, job: Job, store: Path) -> list[dict[str, Any]]:
    data = JobData(images, job, grid)
    sigma = planned_sigma(grid.epsilon, grid.delta)
    sizes = data.pool.cluster_sizes
    answer = denoise(noisy_histogram(data, sigma, 1.0), sigma)
    cluster_of = dict(zip(data.pool._ids.tolist(), data.pool._assigned.tolist(), strict=True))
    points = []
    for sampler in SAMPLERS:
        path = store / f"{cell_key(grid, images.digest, job, sampler)}.json"
        cells = [
            Cell(**{**row, "accuracies": tuple(row["accuracies"])}) for row in json.loads(path.read_text())
        ]
        noise = sigma if sampler in ("ecos", "proximity", "dsir") else None
        picked = select(data, sampler, max(grid.budgets), noise, seed=job.seed)
        for cell in cells:
            counts = np.bincount([cluster_of[name] for name in picked[: cell.budget]], minlength=len(sizes))
            figure = kl_reduction(answer, sizes, counts)
            names = {"pool": job.pool, "client": job.client, "seed": job.seed, "sampler": sampler}
            points.append({**names, "budget": cell.budget, "kl": figure, "accuracy": cell.accuracy})
    return points


def summarise(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean rank correlation over the splits, by pool and budget."""
    from scipy.stats import spearmanr

    from ecos_core.training.evaluation import spread

    rows = []
    for pool, budget in dict.fromkeys((point["pool"], point["budget"]) for point in points):
        splits: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for point in points:
            if (point["pool"], point["budget"]) == (pool, budget):
                splits.setdefault((point["client"], point["seed"]), []).append(point)
        found = [
            float(spearmanr([p["kl"] for p in members], [p["accuracy"] for p in members]).statistic)
            for members in splits.values()
        ]
        figure = spread(found)
        rows.append(
            {
                "pool": pool,
                "budget": budget,
                "correlation": figure.mean,
                "low": figure.low,
                "high": figure.high,
                "splits": len(found),
                "samplers": len(SAMPLERS),
            }
        )
    return rows
