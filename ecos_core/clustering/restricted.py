"""A pool without what may not be used, its members marked with the near-duplicates that the lake knows of."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.members import Members
from ecos_core.clustering.pool import LakePool
from ecos_core.lake.licences import LicenceFilter, licence_filter
from ecos_core.lake.near_duplicates import stored_near_duplicates


@dataclass(frozen=True)
class RestrictedPool:
    """``pool`` seen through a licence filter (None: everything) and groups of near-duplicates by sample id.

    Sizes are those of what may be used. The centroids stay: a client's scores answer them.
    """

    pool: LakePool
    licences: LicenceFilter | None
    group_of: Mapping[str, str]

    @property
    def size(self) -> int:
        return int(self.cluster_sizes.sum())

    @functools.cached_property
    def cluster_sizes(self) -> NDArray[np.int64]:
        """int64 [R]. With a filter every member's id is read once."""
        if self.licences is None:
            return self.pool.cluster_sizes
        clusters = range(len(self.pool.cluster_sizes))
        allowed = (self.licences.mask(self.pool.sample_ids(cluster)).sum() for cluster in clusters)
        return np.fromiter(allowed, dtype=np.int64)

    @property
    def centroids(self) -> NDArray[np.float32]:
        """float32 [R, d]."""
        return self.pool.centroids

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.pool.fingerprint

    def members(self, cluster: int) -> Members:
        """One cluster's members that may be used, in the pool's order."""
        members = self.pool.members(cluster)
        if self.licences is not None:
            members = members.take(np.flatnonzero(self.licences.mask(members.sample_ids)))
        if not self.group_of:
            return members
        groups: list[Any] = [self.group_of.get(sample_id, "") for sample_id in members.sample_ids]
        return replace(members, duplicate_groups=np.array(groups, dtype=object))


def restricted_pool(
    pool: LakePool, licence_allow: Sequence[str] = ()
) -> tuple[RestrictedPool, dict[str, Any]]:
    """The pool under the lake's own licence rule, ``licence_allow`` and its stored near-duplicates.

    Also what restricts it, for a selection's record: ``licences`` (allowed, normal form) and
    ``near_duplicates`` (digest), each where there is one. Raises InputError when no image is left.
    """
    snapshot = pool.lake.snapshot(pool.clustering.snapshot_id)
    licences = licence_filter(pool.lake, snapshot, licence_allow)
    known = stored_near_duplicates(pool.lake, snapshot)
    record: dict[str, Any] = {}
    if licences is not None:
        record["licences"] = sorted(licences.allowed)
    if known is not None:
        record["near_duplicates"] = known.digest
    return RestrictedPool(pool, licences, known.group_of if known else {}), record
