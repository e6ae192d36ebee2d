"""A second round: cut the clusters that the first answer found hot into finer ones, and ask again.

The first release points at the part of the lake that matters; the second spends the rest of the privacy
budget on fine clusters there. Two releases of noise ``sigma * sqrt(2)`` cost what one of ``sigma`` costs
(Gaussian mechanisms compose by their inverse variances).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.kmeans import fit_kmeans
from ecos_core.clustering.members import Grouped
from ecos_core.errors import InputError
from ecos_core.sampling.by_score import denoised, needed_scores
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.pool import Floats, Integers, Members, Pool, locate
from ecos_core.sampling.quotas import allocate
from ecos_core.storage import canonical_json, sha256_hex


@dataclass(frozen=True)
class RefinedPool:
    """A pool whose hot clusters are cut finer; the others stay as they are. Members are read from ``base``.

    ``parents`` int64 [R']: the base cluster of each; ``centroids`` float32 [R', d] go to the client.
    """

    base: Pool
    parents: Integers
    centroids: Floats
    cluster_sizes: Integers

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def fingerprint(self) -> str:
        return sha256_hex(canonical_json([self.base.fingerprint, sha256_hex(self.centroids.tobytes())]))

    def grouped(self) -> Grouped | None:
        """Those of the base pool, each in the cluster that it is in now."""
        known = self.base.grouped()
        if known is None:
            return None
        cluster_of = locate(self, known.sample_ids.tolist())
        clusters = [cluster_of[sample_id] for sample_id in known.sample_ids.tolist()]
        return replace(known, clusters=np.array(clusters, dtype=np.int64))

    def members(self, cluster: int) -> Members:
        """The parent's members that are nearest this cluster's centroid among its siblings."""
        siblings = np.flatnonzero(self.parents == self.parents[cluster])
        members = self.base.members(int(self.parents[cluster]))
        if len(siblings) == 1:
            return members
        ids, distances = nearest(members.features, self.centroids[siblings])
        rows = np.flatnonzero(siblings[ids] == cluster)
        part = members.take(rows)
        return Members(
            part.sample_ids,
            distances[rows],
            part.features,
            part.labels,
            part.domains,
            part.duplicate_groups,
        )


def refine(
    pool: Pool, scores: Scores, config: SamplerConfig, *, clusters: int, seed: int, hot_share: float = 0.95
) -> RefinedPool:
    """Cut the hottest clusters, which together hold ``hot_share`` of the estimated counts, into ``clusters``
    in all.

    A hot cluster is cut in proportion to its estimated count, into no more parts than it has samples. Raises
    InputError when ``clusters`` is below 1, ``hot_share`` is not in (0, 1], or the scores are not this
    pool's.
    """
    if clusters < 1 or not 0 < hot_share <= 1:
        raise InputError(
            f"second round: {clusters} clusters, hot share {hot_share}; give at least 1, and 0 to 1"
        )
    estimated = denoised(pool, needed_scores("second round", pool, scores), config)
    hot = _hot(estimated, hot_share)
    weights = np.where(hot, estimated, 0.0)
    parts = allocate(weights, np.where(hot, pool.cluster_sizes, 0), clusters)
    parents, centroids, sizes = [], [], []
    for cluster, count in enumerate(np.maximum(parts, 1).tolist()):
        vectors, members = _cut(pool, cluster, count, seed)
        parents += [cluster] * len(vectors)
        centroids.append(vectors)
        sizes.append(members)
    return RefinedPool(
        pool,
        np.array(parents, dtype=np.int64),
        np.concatenate(centroids),
        np.concatenate(sizes).astype(np.int64),
    )


def sigma_of_each_round(sigma: float, rounds: int) -> float:
    """The noise of each of ``rounds`` releases that together cost what one release of ``sigma`` costs."""
    return sigma * math.sqrt(rounds)


def _hot(estimated: npt.NDArray[np.float64], hot_share: float) -> npt.NDArray[np.bool_]:
    order = np.argsort(-estimated, kind="stable")
    reached = np.cumsum(estimated[order])
    last = int(np.searchsorted(reached, hot_share * reached[-1]))
    hot = np.zeros(len(estimated), dtype=bool)
    hot[order[: last + 1]] = estimated[order[: last + 1]] > 0
    return hot


def _cut(pool: Pool, cluster: int, count: int, seed: int) -> tuple[Floats, Integers]:
    """(centroids [count, d], sizes [count]) of one cluster cut into ``count``."""
    if count == 1:
        return pool.centroids[[cluster]], pool.cluster_sizes[[cluster]]
    features = pool.members(cluster).features
    vectors = fit_kmeans(features, count, seed=seed).vectors
    return vectors, np.bincount(nearest(features, vectors)[0], minlength=count).astype(np.int64)
