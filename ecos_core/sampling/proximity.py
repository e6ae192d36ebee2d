"""Proximity alone: the clusters of the highest scores, whole, without quotas or diversity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecos_core.sampling.by_score import denoised, needed_scores
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.distinct import without_duplicates
from ecos_core.sampling.filling import check_budget
from ecos_core.sampling.listing import selection_of
from ecos_core.sampling.pool import Pool, locate
from ecos_core.sampling.selection import Selection


@without_duplicates
def proximity(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """Clusters by falling denoised score, members by rising distance to their centroid."""
    given = needed_scores("proximity", pool, scores)
    clean = denoised(given, config)
    earlier = locate(pool, selected) if selected else {}
    wanted = check_budget(pool, budget, config, len(earlier))
    starts = np.cumsum(pool.cluster_sizes) - pool.cluster_sizes
    positions: list[np.ndarray] = []
    missing = min(wanted + len(earlier), pool.size)
    for cluster in np.argsort(-clean, kind="stable").tolist():
        if missing <= 0:
            break
        nearest = np.argsort(pool.members(cluster).distances, kind="stable")
        positions.append(starts[cluster] + nearest)
        missing -= len(nearest)
    return selection_of(
        "proximity",
        pool,
        np.concatenate(positions),
        wanted,
        earlier,
        "near the centroid of a high-scoring cluster",
        noisy=given.noisy.astype(np.float64),
        scores=clean,
    )
