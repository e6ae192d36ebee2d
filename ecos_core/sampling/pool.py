"""What a sampler sees of a clustered lake: the clusters' sizes and centroids, and one cluster's members at a
time.

Nothing here loads the whole lake. The pool over a lake on disk lives in ``ecos_core.clustering.pool``; both
satisfy the same protocol. The global order of a pool's samples is: by cluster, then by row within the
cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from ecos_core.clustering.members import Grouped, Members
from ecos_core.errors import InputError
from ecos_core.threads import available_cores, in_order

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Strings = npt.NDArray[Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


# Of clusters searched side by side: each needs up to 300 MiB.
MOST_AT_ONCE = 4


class Pool(Protocol):
    """A clustered lake. ``cluster_sizes`` int64 [R], ``centroids`` float32 [R, d], ``fingerprint`` of the
    features."""

    @property
    def size(self) -> int:
        """Samples that may be chosen."""
        ...

    @property
    def cluster_sizes(self) -> Integers:
        """int64 [R]."""
        ...

    @property
    def centroids(self) -> Floats:
        """float32 [R, d]."""
        ...

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        ...

    def members(self, cluster: int) -> Members:
        """One cluster's samples, in an order that never changes."""
        ...

    def grouped(self) -> Grouped | None:
        """The samples in a group of near-duplicates; None where nobody looked."""
        ...


@runtime_checkable
class SpreadPool(Protocol):
    """A pool that has work on its clusters done elsewhere: ``work(pool, item)`` for every item, in any order."""

    def over_clusters(
        self, work: Callable[[Pool, Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Items with ``work(pool, item)``, in the order finished."""
        ...


def over_clusters(
    pool: Pool, work: Callable[[Pool, Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Items with ``work(pool, item)``, in order: here, a cluster a core, or as a ``SpreadPool`` does it."""
    if isinstance(pool, SpreadPool):
        yield from pool.over_clusters(work, items)
        return
    yield from side_by_side(lambda item: work(pool, item), items)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Items with ``work(item)``, in order, ``MOST_AT_ONCE`` at a time at the most. Each keeps to one core, which is
    faster than several cores on one, and makes sums that do not depend on the machine's number of cores."""
    from threadpoolctl import threadpool_limits

    workers = min(available_cores(), MOST_AT_ONCE)
    with threadpool_limits(1, user_api="blas"):
        yield from in_order(lambda item: (item, work(item)), items, workers=workers)


class ArrayPool:
    """A pool in memory, for tests and benchmarks.

    ``features`` [n, d], ``assignments`` int [n] in 0..R-1, ``centroids`` [R, d]. Within a cluster the given
    order is kept. Raises InputError when lengths differ, an assignment is out of range, or a sample id
    occurs twice.
    """

    def __init__(
        self,
        sample_ids: Sequence[str] | Strings,
        features: npt.NDArray[Any],
        assignments: npt.NDArray[np.integer[Any]],
        centroids: npt.NDArray[Any],
        *,
        labels: Sequence[str] | Strings | None = None,
        domains: Sequence[str] | Strings | None = None,
        duplicate_groups: npt.NDArray[Any] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self._ids = np.asarray(sample_ids)
        self._features = np.ascontiguousarray(features, dtype=np.float32)
        self._centroids = np.ascontiguousarray(centroids, dtype=np.float32)
        self._labels = None if labels is None else np.asarray(labels)
        self._domains = None if domains is None else np.asarray(domains)
        self._groups = None if duplicate_groups is None else np.asarray(duplicate_groups)
        assigned = np.asarray(assignments, dtype=np.int64)
        self._check(assigned)
        self._assigned = assigned
        self._rows = np.argsort(assigned, kind="stable")
        self._sizes = np.bincount(assigned, minlength=len(self._centroids)).astype(np.int64)
        self._ends = np.cumsum(self._sizes)
        self._fingerprint = fingerprint

    def _check(self, assigned: Integers) -> None:
        count = len(self._ids)
        columns: dict[str, npt.NDArray[Any] | None] = {
            "features": self._features,
            "assignments": assigned,
            "labels": self._labels,
        }
        columns |= {"domains": self._domains, "duplicate groups": self._groups}
        for name, column in columns.items():
            if column is not None and len(column) != count:
                raise InputError(f"pool: {len(column)} {name} for {count} sample ids; give one a sample")
        if count and not (assigned.min() >= 0 and assigned.max() < len(self._centroids)):
            raise InputError(f"pool: assignments must lie in 0..{len(self._centroids) - 1}")
        if len(np.unique(self._ids)) != count:
            raise InputError(
                "pool: a sample id occurs more than once; sample ids are content hashes, keep one each"
            )

    def grouped(self) -> Grouped | None:
        """The samples in a duplicate group, by id; None without groups."""
        if self._groups is None:
            return None
        rows = np.flatnonzero(in_a_group(self._groups))
        rows = rows[np.argsort(self._ids[rows], kind="stable")]
        return Grouped(self._ids[rows], self._groups[rows], self._assigned[rows])

    @property
    def size(self) -> int:
        """Samples that may be chosen."""
        return len(self._ids)

    @property
    def cluster_sizes(self) -> Integers:
        """int64 [R]."""
        return self._sizes

    @property
    def centroids(self) -> Floats:
        """float32 [R, d]."""
        return self._centroids

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        if self._fingerprint is None:
            digest = hashlib.sha256(np.ascontiguousarray(self._features).tobytes())
            digest.update(self._centroids.tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def members(self, cluster: int) -> Members:
        """One cluster's samples. Raises InputError for a cluster that is not there."""
        if not 0 <= cluster < len(self._sizes):
            raise InputError(f"pool: no cluster {cluster}, there are {len(self._sizes)}")
        end = int(self._ends[cluster])
        rows = self._rows[end - int(self._sizes[cluster]) : end]
        features = self._features[rows]
        distances = np.linalg.norm(features - self._centroids[cluster], axis=1).astype(np.float32)

        def column(values: npt.NDArray[Any] | None) -> npt.NDArray[Any] | None:
            return None if values is None else values[rows]

        return Members(
            self._ids[rows],
            distances,
            features,
            column(self._labels),
            column(self._domains),
            column(self._groups),
        )


def locate(pool: Pool, sample_ids: Sequence[str]) -> dict[str, int]:
    """The cluster of each of ``sample_ids``.

    Reads the clusters one by one until all are found. Raises InputError when some are not in the pool.
    """
    wanted = set(sample_ids)
    found: dict[str, int] = {}
    for cluster in np.flatnonzero(pool.cluster_sizes):
        if len(found) == len(wanted):
            break
        here = wanted.intersection(pool.members(int(cluster)).sample_ids.tolist())
        found.update(dict.fromkeys(here, int(cluster)))
    if len(found) < len(wanted):
        missing = sorted(wanted - found.keys())
        raise InputError(
            f"{len(missing)} of {len(wanted)} samples selected earlier are not in this pool "
            f"(first: {missing[0]}); use the selection that was made from this lake"
        )
    return found


def in_a_group(groups: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which samples belong to a duplicate group at all."""
    if np.issubdtype(groups.dtype, np.number):
        return np.asarray(groups >= 0)
    return np.array([value is not None and str(value) != "" for value in groups], dtype=bool)
