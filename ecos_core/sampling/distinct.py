"""Samplers without quotas see one sample of every group of near-duplicates; the others are left out with the
reason.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecos_core.clustering.members import Grouped, Members
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.pool import Floats, Integers, Pool
from ecos_core.sampling.ranking import DUPLICATE_GROUP
from ecos_core.sampling.selection import Omitted, Selection


@dataclass(frozen=True)
class DistinctPool:
    """``base`` without the samples of ``hidden``."""

    base: Pool
    hidden: Grouped

    @property
    def size(self) -> int:
        """Samples that may be chosen."""
        return self.base.size - len(self.hidden.sample_ids)

    @functools.cached_property
    def cluster_sizes(self) -> Integers:
        """int64 [R]."""
        sizes = self.base.cluster_sizes
        return np.asarray(sizes - np.bincount(self.hidden.clusters, minlength=len(sizes)), dtype=np.int64)

    @property
    def centroids(self) -> Floats:
        """float32 [R, d]."""
        return self.base.centroids

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.base.fingerprint

    def members(self, cluster: int) -> Members:
        """One cluster's samples but the hidden ones, in the base's order."""
        members = self.base.members(cluster)
        out = self.hidden.sample_ids[self.hidden.clusters == cluster].tolist()
        return members.take(np.flatnonzero(~np.isin(members.sample_ids.astype(str), out))) if out else members

    def grouped(self) -> None:
        """No group is left."""


def without_duplicates(sampler: Callable[..., Selection]) -> Callable[..., Selection]:
    """Let a sampler choose from one sample a group, when the configuration drops near-duplicates.

    Of a group stays what was ``selected`` earlier, else the sample of the smallest id: which one does not
    depend on the budget or the seed.
    """

    @functools.wraps(sampler)
    def run(
        pool: Pool,
        budget: int,
        *,
        scores: Scores | None,
        config: SamplerConfig,
        seed: int,
        selected: Sequence[str] = (),
    ) -> Selection:
        hidden = superfluous(pool.grouped(), selected) if config.drop_duplicates else None
        if hidden is None or not len(hidden.sample_ids):
            return sampler(pool, budget, scores=scores, config=config, seed=seed, selected=selected)
        view = DistinctPool(pool, hidden)
        chosen = sampler(view, budget, scores=scores, config=config, seed=seed, selected=selected)
        count = len(hidden.sample_ids)
        left_out = Omitted(
            hidden.sample_ids.astype(str),
            hidden.clusters,
            np.full(count, DUPLICATE_GROUP),
            np.zeros(count, np.int64),
        )
        return replace(chosen, omitted=left_out, cluster_size=pool.cluster_sizes)

    return run


def superfluous(grouped: Grouped | None, selected: Sequence[str] = ()) -> Grouped | None:
    """All of the groups but the one sample of each that stays (several, when several were selected)."""
    if grouped is None:
        return None
    before = np.isin(grouped.sample_ids.astype(str), list(selected))
    # By group, those selected earlier first, then by id: the first of each group stays.
    _, code = np.unique(grouped.groups.astype(str), return_inverse=True)
    order = np.lexsort((grouped.sample_ids.astype(str), ~before, code))
    first = np.ones(len(order), dtype=bool)
    first[1:] = code[order][1:] != code[order][:-1]
    stays = before.copy()
    stays[order[first]] = True
    return grouped.take(np.flatnonzero(~stays))
