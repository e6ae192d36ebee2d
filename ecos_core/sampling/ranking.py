"""One cluster's picks in their order, whatever the budget: what a ranker gives, and the search of many clusters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ecos_core.sampling.pool import Members, Pool, over_clusters

Integers = npt.NDArray[np.int64]

DUPLICATE_GROUP = "near-duplicate: same duplicate group as one chosen"
DUPLICATE_RADIUS = "near-duplicate: within the duplicate radius of one chosen"


@dataclass(frozen=True)
class Ranking:
    """One cluster's picks in order: ``rows`` int64 [k] of its members, ``radii`` float32 [k], ``reasons``
    [k].

    ``spent``: there are no more. ``omitted_at_the_end``: rows found to be near-duplicates once all others
    are picked. ``omitted`` rows [m] were left out for ``omitted_reasons`` [m].
    """

    rows: Integers
    radii: npt.NDArray[np.float32]
    reasons: Sequence[str]
    spent: bool
    omitted: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    omitted_reasons: Sequence[str] = ()
    omitted_at_the_end: Integers = field(default_factory=lambda: np.zeros(0, np.int64))


# (cluster, members, rows taken before, how many picks are needed) -> at least that many, or all there are.
Ranker = Callable[[int, Members, Integers, int], Ranking]


@runtime_checkable
class BatchRanker(Protocol):
    """A ranker that can rank many clusters in one go, and says whether it should."""

    @property
    def many_at_once(self) -> bool:
        """Whether ``many`` is worth calling."""
        ...

    def many(self, asked: Sequence[tuple[int, Members, Integers, int]]) -> list[Ranking]:
        """The ranking of each cluster asked for: (cluster, members, before, needed)."""
        ...


# Of features that a batch ranker gets at once.
BATCH_BYTES = 2**30


@dataclass(frozen=True)
class Found:
    """A ranking with what outlives the members: ids, groups, omitted ids."""

    ranking: Ranking
    sample_ids: npt.NDArray[Any]
    groups: npt.NDArray[Any] | None
    omitted_ids: npt.NDArray[Any]
    late_ids: npt.NDArray[Any]


@dataclass(frozen=True)
class Request:
    """Look for ``needed`` picks in a cluster beside those taken ``before``, ids."""

    cluster: int
    needed: int
    before: tuple[str, ...]


def search(pool: Pool, ranker: Ranker, requests: Sequence[Request]) -> dict[int, Found]:
    """What is found, by cluster: one cluster at a time, or many at once where the ranker takes them so."""
    found: dict[int, Found] = {}
    work = functools.partial(_search_clusters, ranker)
    for together, rankings in over_clusters(pool, work, _batches(pool, ranker, requests)):
        found.update(zip((request.cluster for request in together), rankings, strict=True))
    return found


def _batches(pool: Pool, ranker: Ranker, requests: Sequence[Request]) -> list[tuple[Request, ...]]:
    """One cluster at a time, or as many as ``BATCH_BYTES`` hold where the ranker takes many at once."""
    if not (isinstance(ranker, BatchRanker) and ranker.many_at_once):
        return [(request,) for request in requests]
    batches: list[tuple[Request, ...]] = []
    room = 0
    for request in requests:
        size = int(pool.cluster_sizes[request.cluster]) * pool.centroids.shape[1] * 4
        if not batches or size > room:
            batches.append(())
            room = BATCH_BYTES
        batches[-1] += (request,)
        room -= size
    return batches


def _search_clusters(ranker: Ranker, pool: Pool, requests: tuple[Request, ...]) -> list[Found]:
    asked = []
    for request in requests:
        members = pool.members(request.cluster)
        before = np.flatnonzero(np.isin(members.sample_ids, request.before))
        asked.append((request.cluster, members, before, request.needed))
    return [
        _found(members, ranking)
        for (_, members, _, _), ranking in zip(asked, _rankings(ranker, asked), strict=True)
    ]


def _rankings(ranker: Ranker, asked: Sequence[tuple[int, Members, Integers, int]]) -> list[Ranking]:
    if isinstance(ranker, BatchRanker):
        return ranker.many(asked)
    return [ranker(*question) for question in asked]


def _found(members: Members, ranking: Ranking) -> Found:
    groups = members.duplicate_groups
    return Found(
        ranking=ranking,
        sample_ids=members.sample_ids[ranking.rows],
        groups=None if groups is None else groups[ranking.rows],
        omitted_ids=members.sample_ids[ranking.omitted],
        late_ids=members.sample_ids[ranking.omitted_at_the_end],
    )
