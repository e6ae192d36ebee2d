"""Samplers that look at the lake's own columns: the oracle (domains) and balanced quotas (labels or
domains)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.sampling.by_score import diverse_ranker
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.distinct import without_duplicates
from ecos_core.sampling.filling import check_budget, fill
from ecos_core.sampling.listing import selection_of
from ecos_core.sampling.pool import Members, Pool, locate
from ecos_core.sampling.quotas import seat_order
from ecos_core.sampling.ranking import Ranker, Ranking
from ecos_core.sampling.selection import Selection

Integers = npt.NDArray[np.int64]


def oracle(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """Knows which images are of the client's domain: seats in proportion to their number, k-center among
    them.

    An upper reference, not something a user can do. Only when they are all chosen come the other domains.
    """
    if config.target_domain is None:
        raise InputError("sampler 'oracle' needs the client's domain: set target_domain")
    domains = column_of(pool, "domain")
    inside = domains == config.target_domain
    if not inside.any():
        raise InputError(f"target_domain '{config.target_domain}': no sample of the pool is of that domain")
    counts = _per_cluster(inside, pool.cluster_sizes)
    return fill(
        "oracle",
        pool,
        budget,
        counts.astype(np.float64),
        _inside_first(config),
        config=config,
        selected=selected,
        scores=counts.astype(np.float64),
    )


@without_duplicates
def balanced(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """Equal quotas for every label or domain of the lake, at random within each."""
    earlier = locate(pool, selected) if selected else {}
    wanted = check_budget(pool, budget, config, len(earlier))
    values, codes = np.unique(column_of(pool, config.balance_by), return_inverse=True)
    sizes = np.bincount(codes, minlength=len(values))
    seats = seat_order(np.ones(len(values)), sizes, min(wanted + len(earlier), pool.size))
    shuffled = np.random.default_rng(seed).permutation(pool.size)
    by_value = [shuffled[codes[shuffled] == code] for code in range(len(values))]
    positions = np.empty(len(seats), dtype=np.int64)
    for code, rows in enumerate(by_value):
        here = seats == code
        positions[here] = rows[: here.sum()]
    return selection_of(
        "balanced", pool, positions, wanted, earlier, f"random within an equal share a {config.balance_by}"
    )


def _inside_first(config: SamplerConfig) -> Ranker:
    """Farthest first among the members of the target domain, then among the others."""
    diverse = diverse_ranker(config)

    def rank(cluster: int, members: Members, before: Integers, needed: int) -> Ranking:
        if members.domains is None:
            raise InputError(f"cluster {cluster}: its samples have no domain")
        inside = np.asarray(members.domains).astype(str) == config.target_domain
        near = _rank_part(diverse, cluster, members, np.flatnonzero(inside), before, needed)
        if len(near.rows) >= needed:
            return replace(near, spent=near.spent and bool(inside.all()))
        chosen = np.concatenate([before, near.rows])
        rest = _rank_part(diverse, cluster, members, np.flatnonzero(~inside), chosen, needed - len(near.rows))
        return Ranking(
            rows=np.concatenate([near.rows, rest.rows]),
            radii=np.concatenate([near.radii, rest.radii]),
            reasons=[*near.reasons, *rest.reasons],
            spent=rest.spent,
            omitted=np.concatenate([near.omitted, rest.omitted]),
            omitted_reasons=[*near.omitted_reasons, *rest.omitted_reasons],
            omitted_at_the_end=rest.omitted_at_the_end,
        )

    return rank


def _rank_part(
    ranker: Ranker, cluster: int, members: Members, part: Integers, before: Integers, needed: int
) -> Ranking:
    """``ranker`` on the rows of ``part`` only, with ``before`` as covered; rows of the answer are the
    members'."""
    use = np.concatenate([before, np.setdiff1d(part, before)]).astype(np.int64)
    ranking = ranker(cluster, members.take(use), np.arange(len(before)), needed)
    return replace(
        ranking,
        rows=use[ranking.rows],
        omitted=use[ranking.omitted],
        omitted_at_the_end=use[ranking.omitted_at_the_end],
    )


def column_of(pool: Pool, name: str) -> npt.NDArray[Any]:
    """The ``label`` or ``domain`` of every sample in the pool's global order. Raises InputError where there
    is none."""
    parts = []
    for cluster in np.flatnonzero(pool.cluster_sizes).tolist():
        members = pool.members(cluster)
        column = members.labels if name == "label" else members.domains
        if column is None:
            raise InputError(
                f"the pool's samples have no {name}; ingest the lake with one or use another sampler"
            )
        parts.append(np.asarray(column).astype(str))
    return np.concatenate(parts)


def _per_cluster(flags: npt.NDArray[np.bool_], sizes: Integers) -> Integers:
    before = np.concatenate([[0], np.cumsum(flags)])
    ends = np.cumsum(sizes)
    return np.asarray(before[ends] - before[ends - sizes], dtype=np.int64)
