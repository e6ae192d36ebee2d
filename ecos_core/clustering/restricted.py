"""A pool without what may not be used, its members marked with the near-duplicates that the lake knows of."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.duplicates import in_clusters as grouped_in
from ecos_core.clustering.duplicates import stored_duplicates
from ecos_core.clustering.members import Grouped, Members
from ecos_core.clustering.pool import LakePool
from ecos_core.lake.licences import LicenceFilter, licence_filter
from ecos_core.lake.near_duplicates import stored_near_duplicates


@dataclass(frozen=True)
class RestrictedPool:
    """``pool`` seen through a licence filter (None: everything) and known groups of near-duplicates.

    Sizes are those of what may be used. The centroids stay: a client's scores answer them.
    """

    pool: LakePool
    licences: LicenceFilter | None
    known: Grouped | None

    @property
    def size(self) -> int:
        """Samples that may be chosen."""
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

    @functools.cached_property
    def _group_of(self) -> dict[str, str]:
        grouped = self.grouped()
        return {} if grouped is None else dict(zip(grouped.sample_ids, grouped.groups, strict=True))

    def grouped(self) -> Grouped | None:
        """The samples in a group that may be used; None when the lake knows of none."""
        if self.known is None or self.licences is None:
            return self.known
        return self.known.take(self.licences.mask(self.known.sample_ids))

    def members(self, cluster: int) -> Members:
        """One cluster's members that may be used, in the pool's order."""
        members = self.pool.members(cluster)
        if self.licences is not None:
            members = members.take(np.flatnonzero(self.licences.mask(members.sample_ids)))
        if not self._group_of:
            return members
        groups: list[Any] = [self._group_of.get(sample_id, "") for sample_id in members.sample_ids]
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
    record: dict[str, Any] = {}
    if licences is not None:
        record["licences"] = sorted(licences.allowed)
    known: Grouped | None = None
    if (found := stored_duplicates(pool.clustering)) is not None:
        known, record["near_duplicates"] = found.grouped, found.digest
    elif (looks := stored_near_duplicates(pool.lake, snapshot)) is not None:
        known, record["near_duplicates"] = in_clusters(pool, looks.group_of), looks.digest
    return RestrictedPool(pool, licences, known), record


def in_clusters(pool: LakePool, group_of: Mapping[str, str]) -> Grouped:
    """Groups that were found without a clustering, with the clusters of their samples; ids are read once."""
    cluster_of: dict[str, int] = {}
    for cluster in np.flatnonzero(pool.cluster_sizes).tolist() if group_of else []:
        here = group_of.keys() & set(pool.sample_ids(cluster).tolist())
        cluster_of.update(dict.fromkeys(here, cluster))
    return grouped_in({sample_id: group_of[sample_id] for sample_id in cluster_of}, cluster_of)
