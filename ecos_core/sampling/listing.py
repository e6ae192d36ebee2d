"""A selection from a plain list of positions in the pool's global order, for samplers without quotas."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.sampling.pool import Pool
from ecos_core.sampling.selection import Omitted, Selection

Integers = npt.NDArray[np.int64]


def selection_of(
    sampler: str,
    pool: Pool,
    positions: Integers,
    wanted: int,
    earlier: dict[str, int],
    reason: str,
    *,
    radii: npt.NDArray[np.float32] | None = None,
    noisy: npt.NDArray[np.float64] | None = None,
    scores: npt.NDArray[np.float64] | None = None,
) -> Selection:
    """The samples at ``positions`` int64 [m >= wanted] in that order, those chosen ``earlier`` passed over,
    the first ``wanted`` of the rest. ``radii`` float32 [m]; ``noisy`` and ``scores`` float64 [R]."""
    sizes = pool.cluster_sizes
    clusters, ids = sample_ids_at(pool, positions)
    keep = np.flatnonzero(~np.isin(ids, list(earlier)))[:wanted]
    unknown = np.full(len(sizes), np.nan)
    return Selection(
        sampler=sampler,
        sample_id=ids[keep],
        cluster=clusters[keep],
        radius=np.full(len(keep), np.nan, np.float32) if radii is None else radii[keep],
        reason=np.full(len(keep), reason),
        cluster_size=sizes,
        cluster_noisy=unknown if noisy is None else noisy,
        cluster_score=unknown if scores is None else scores,
        cluster_taken=np.bincount(list(earlier.values()), minlength=len(sizes)).astype(np.int64),
        omitted=Omitted.nothing(),
    )


def sample_ids_at(pool: Pool, positions: Integers) -> tuple[Integers, npt.NDArray[Any]]:
    """(cluster, sample id) at each position of the pool's global order; reads only the clusters touched."""
    ends = np.cumsum(pool.cluster_sizes)
    clusters = np.searchsorted(ends, positions, side="right").astype(np.int64)
    rows = positions - (ends - pool.cluster_sizes)[clusters]
    ids = np.empty(len(positions), dtype=object)
    order = np.argsort(clusters, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1):
        if len(part):
            ids[part] = pool.members(int(clusters[part[0]])).sample_ids[rows[part]]
    return clusters, ids.astype(str)
