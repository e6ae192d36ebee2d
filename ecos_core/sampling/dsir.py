"""Importance resampling over the clusters (DSIR: Xie et al., NeurIPS 2023): proximity by chance, no
diversity."""

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
def dsir(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """The largest log(p/q) + Gumbel noise: draws without replacement in proportion to p/q.

    p is the client's denoised share of a sample's cluster, q the lake's. Clusters of score zero come last.
    """
    given = needed_scores("dsir", pool, scores)
    clean = denoised(given, config)
    earlier = locate(pool, selected) if selected else {}
    wanted = check_budget(pool, budget, config, len(earlier))
    sizes = pool.cluster_sizes
    ratio = np.divide(clean, sizes, out=np.zeros_like(clean), where=sizes > 0)
    with np.errstate(divide="ignore"):
        logs = np.where(ratio > 0, np.log(ratio), np.log(np.finfo(np.float64).tiny))
    keys = np.repeat(logs, sizes) + np.random.default_rng(seed).gumbel(size=pool.size)
    count = min(wanted + len(earlier), pool.size)
    highest = np.argpartition(-keys, count - 1)[:count]
    positions = highest[np.lexsort((highest, -keys[highest]))]
    return selection_of(
        "dsir",
        pool,
        positions,
        wanted,
        earlier,
        "drawn in proportion to client's share over lake's share",
        noisy=given.noisy.astype(np.float64),
        scores=clean,
    )
