"""A lake's pool that says how far the search of its clusters is, and has it done by tasks on a Ray cluster or here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.members import Grouped, Members
from ecos_core.clustering.pool import LakePool
from ecos_core.clustering.restricted import RestrictedPool, restricted_pool
from ecos_core.features.ray_tasks import Workplace, run_on_ray
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.sampling.pool import Floats, Integers, Pool, side_by_side
from ecos_core.storage import Location

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class EnginePool:
    """``base``, restricted to ``licence_allow``. With ``ray`` its clusters are worked on in tasks, for the same
    picks; the lake must then be readable from every node. ``version``: changes with whatever restricts ``base``;
    a worker that has another one open opens the pool anew.
    """

    base: RestrictedPool
    licence_allow: tuple[str, ...] = ()
    engine: Workplace = "local"
    progress: ProgressSink = silent
    version: str = ""

    @property
    def size(self) -> int:
        """Samples that may be chosen."""
        return self.base.size

    @property
    def cluster_sizes(self) -> Integers:
        """int64 [R]."""
        return self.base.cluster_sizes

    @property
    def centroids(self) -> Floats:
        """float32 [R, d]."""
        return np.asarray(self.base.centroids)

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.base.fingerprint

    def members(self, cluster: int) -> Members:
        """One cluster's members, read here."""
        return self.base.members(cluster)

    def grouped(self) -> Grouped | None:
        """The samples in a group of near-duplicates."""
        return self.base.grouped()

    def over_clusters(
        self, work: Callable[[Pool, Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """``work(pool, item)`` for each; on Ray in the order finished, as ``run_on_ray``."""
        todo = list(items)
        if len(todo) == 1:  # one more pick of one cluster
            yield todo[0], work(self.base, todo[0])
            return
        finished = (
            self._on_ray(work, todo)
            if self.engine == "ray"
            else side_by_side(lambda item: work(self.base, item), todo)
        )
        for done, pair in enumerate(finished, start=1):
            self.progress(Progress("choose in clusters", done, len(todo), "clusters"))
            yield pair

    def _on_ray(
        self, work: Callable[[Pool, Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        pool = self.base.pool
        clustering = pool.clustering
        where = (
            str(pool.lake.location),
            str(clustering.root),
            clustering.id,
            self.licence_allow,
            self.version,
        )
        return run_on_ray(_on_worker, items, where, work, gpu=False)


def _on_worker(where: tuple[str, str, str, tuple[str, ...], str], work: Callable[..., Any], item: Any) -> Any:
    return work(_pool(*where), item)


@functools.lru_cache(maxsize=1)
def _pool(
    lake_url: str, root: str, clustering_id: str, licence_allow: tuple[str, ...], version: str
) -> RestrictedPool:
    """Opened once a worker and version."""
    clustering = Clustering.at(Location.of(root), clustering_id)
    return restricted_pool(LakePool(Lake.open(lake_url), clustering), licence_allow)[0]
