"""Greedy k-center over the whole pool: diversity without proximity, as in active learning (Sener and
Savarese 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.distinct import without_duplicates
from ecos_core.sampling.filling import check_budget
from ecos_core.sampling.k_center_device import Search, k_center_on
from ecos_core.sampling.listing import selection_of
from ecos_core.sampling.pool import Pool, locate
from ecos_core.sampling.selection import FARTHEST, Selection


@without_duplicates
def k_center(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """Farthest first from a seeded random sample. Holds all features of the pool in memory (4 bytes a
    number), and with ``k_center_on: gpu`` in the GPU's too."""
    earlier = locate(pool, selected) if selected else {}
    wanted = check_budget(pool, budget, config, len(earlier))
    parts = [pool.members(int(cluster)) for cluster in np.flatnonzero(pool.cluster_sizes)]
    features = np.concatenate([part.features for part in parts])
    covered = np.flatnonzero(np.isin(np.concatenate([part.sample_ids for part in parts]), list(earlier)))
    first = None if len(covered) else int(np.random.default_rng(seed).integers(pool.size))
    picks = k_center_on(config.k_center_on, [Search(features, wanted, first, covered)])[0]
    return selection_of("k_center", pool, picks.indices, wanted, earlier, FARTHEST, radii=picks.radii)
