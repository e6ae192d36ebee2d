"""ECOS: seats in proportion to the client's denoised scores, diverse picks inside each cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.denoising import denoise
from ecos_core.sampling.facility import greedy_facility_location
from ecos_core.sampling.filling import fill
from ecos_core.sampling.k_center import Picks
from ecos_core.sampling.k_center_device import Search, k_center_on
from ecos_core.sampling.outside import OutsideShare, outside_by_cluster, outside_share, power_for, typical_for
from ecos_core.sampling.pool import Members, Pool, in_a_group
from ecos_core.sampling.ranking import DUPLICATE_GROUP, DUPLICATE_RADIUS, Ranker, Ranking
from ecos_core.sampling.selection import FARTHEST, NEAREST, REPRESENTATIVE, Selection

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def ecos(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """Denoise, weight, Webster's quotas, then facility location or k-center inside each cluster.

    Where the client was asked how much of it lies outside the lake and ``config.power`` is ``auto``, that share says
    how concentrated the seats are (``outside.power_for``), and every reason says so.
    """
    return _by_score("ecos", pool, budget, scores, config, selected)


def ecos_paper(
    pool: Pool,
    budget: int,
    *,
    scores: Scores | None,
    config: SamplerConfig,
    seed: int,
    selected: Sequence[str] = (),
) -> Selection:
    """The plain reading of the paper: scores clipped at 0, k-center in clusters, nothing dropped."""
    plain = config.model_copy(
        update={
            "diversity": "k_center",
            "denoise": "clip",
            "power": 1.0,
            "drop_duplicates": False,
            "duplicate_radius": 0.0,
        }
    )
    return _by_score("ecos_paper", pool, budget, scores, plain, selected)


def _by_score(
    name: str, pool: Pool, budget: int, scores: Scores | None, config: SamplerConfig, selected: Sequence[str]
) -> Selection:
    noisy = needed_scores(name, pool, scores)
    clean = denoised(noisy, config)
    share = outside_share(noisy)
    follows = config.power == "auto"
    power = power_for(share) if config.power == "auto" else config.power
    chosen = fill(
        name,
        pool,
        budget,
        weigh(clean + outside_by_cluster(noisy) if follows and power < 1.0 else clean, power),
        diverse_ranker(config, typical=typical_for(power) if follows else None),
        config=config,
        selected=selected,
        noisy=noisy.noisy.astype(np.float64),
        scores=clean,
    )
    if share is None or not follows:
        return chosen
    return replace(chosen, reason=np.char.add(chosen.reason, f"; {_rule(share, power)}"))


def _rule(share: OutsideShare, power: float) -> str:
    """What the outside share made of the seats, in words."""
    if not share.known:
        return "seats follow the scores: too few records to tell how much is outside the lake"
    said = f"about {share.share:.0%} of the client is outside the lake"
    return f"seats follow the scores: {said}" if power >= 1.0 else f"seats spread (power {power:.2g}): {said}"


def needed_scores(name: str, pool: Pool, scores: Scores | None) -> Scores:
    """Raises InputError when there are no scores or not one a cluster."""
    clusters = len(pool.cluster_sizes)
    if scores is None:
        raise InputError(f"sampler '{name}' needs the client's scores; ask the client first or use 'random'")
    if len(scores.noisy) != clusters:
        raise InputError(
            f"{len(scores.noisy)} scores for {clusters} clusters: "
            "these scores belong to another clustering; ask again"
        )
    return scores


def denoised(scores: Scores, config: SamplerConfig) -> Doubles:
    """Estimated counts [R]."""
    return denoise(scores.noisy, scores.sigma, config.denoise)


def weigh(estimated: Doubles, power: float) -> Doubles:
    """Weights [R] from estimated counts: to a power, at most 1."""
    largest = estimated.max(initial=0.0)
    return np.asarray((estimated / largest) ** power if largest > 0 else estimated, dtype=np.float64)


def diverse_ranker(config: SamplerConfig, *, typical: int | None = None) -> Ranker:
    """Diverse picks among the members left after duplicate groups are reduced to one sample each.

    ``typical``: under facility location, a cluster's picks beyond so many are the farthest from those chosen.
    """

    if config.diversity == "k_center":
        return _FarthestFirst(config)

    def rank(cluster: int, members: Members, before: Integers, needed: int) -> Ranking:
        kept, dropped = distinct(members, before, config)
        return _most_representative(members, kept, dropped, before, needed, config.duplicate_radius, typical)

    return rank


def distinct(members: Members, before: Integers, config: SamplerConfig) -> tuple[Integers, Integers]:
    """(rows to choose from, rows dropped): of a duplicate group the member nearest the centroid stays, or
    none when one was selected before.
    """
    groups = members.duplicate_groups
    everyone = np.setdiff1d(np.arange(len(members)), before)
    if groups is None or not config.drop_duplicates:
        return everyone, np.zeros(0, dtype=np.int64)
    grouped = in_a_group(groups)
    chosen = set(groups[before][grouped[before]].tolist())
    dropped = []
    for row in everyone[np.argsort(members.distances[everyone], kind="stable")].tolist():
        if grouped[row]:
            group = groups[row].item() if hasattr(groups[row], "item") else groups[row]
            if group in chosen:
                dropped.append(row)
            chosen.add(group)
    out = np.array(sorted(dropped), dtype=np.int64)
    return np.setdiff1d(everyone, out), out


@dataclass(frozen=True)
class _FarthestFirst:
    """Greedy k-center from the member nearest the centroid; it stops by itself at near-duplicates."""

    config: SamplerConfig

    @property
    def many_at_once(self) -> bool:
        return self.config.k_center_on == "gpu"

    def __call__(self, cluster: int, members: Members, before: Integers, needed: int) -> Ranking:
        return self.many([(cluster, members, before, needed)])[0]

    def many(self, asked: Sequence[tuple[int, Members, Integers, int]]) -> list[Ranking]:
        """The ranking of each cluster asked for: (cluster, members, before, needed)."""
        kept = [distinct(members, before, self.config) for _, members, before, _ in asked]
        searches = [
            _search(members, rows, before, needed)
            for (_, members, before, needed), (rows, _) in zip(asked, kept, strict=True)
        ]
        radius = self.config.duplicate_radius
        found = k_center_on(self.config.k_center_on, searches, radius if radius > 0 else None)
        return [
            _ranked(search, picks, before, rows, dropped)
            for search, picks, (_, _, before, _), (rows, dropped) in zip(
                searches, found, asked, kept, strict=True
            )
        ]


def _search(members: Members, kept: Integers, before: Integers, needed: int) -> Search:
    use = np.concatenate([before, kept])
    distances = members.distances[use]
    return Search(
        members.features[use],
        min(needed + 1, len(kept)),  # one more than needed shows whether only near-duplicates are left
        None if len(before) or not len(kept) else int(np.argmin(distances)),
        np.arange(len(before)),
        distances,
    )


def _ranked(search: Search, picks: Picks, before: Integers, kept: Integers, dropped: Integers) -> Ranking:
    spent = len(picks) < search.k or len(picks) == len(kept)
    rows = np.concatenate([before, kept])[picks.indices]
    near = np.setdiff1d(kept, rows) if spent else np.zeros(0, dtype=np.int64)
    start = [NEAREST] if search.first is not None and len(picks) else []
    return Ranking(
        rows=rows,
        radii=picks.radii,
        reasons=start + [FARTHEST] * (len(rows) - len(start)),
        spent=spent,
        omitted=dropped,
        omitted_reasons=[DUPLICATE_GROUP] * len(dropped),
        omitted_at_the_end=near,
    )


def _most_representative(
    members: Members,
    kept: Integers,
    dropped: Integers,
    before: Integers,
    needed: int,
    duplicate_radius: float,
    typical: int | None,
) -> Ranking:
    """Greedy facility location after near-duplicates are thinned out; beyond ``typical`` picks, farthest first."""
    near = _within(members, kept, before, duplicate_radius)
    kept = np.setdiff1d(kept, near)
    use = np.concatenate([before, kept])
    picks = greedy_facility_location(
        members.features[use], min(needed, len(kept)), covered=np.arange(len(before)), typical=typical
    )
    rows = use[picks.indices]
    first = len(rows) if typical is None else min(len(rows), max(typical - len(before), 0))
    return Ranking(
        rows=rows,
        radii=picks.radii,
        reasons=[REPRESENTATIVE] * first + [FARTHEST] * (len(rows) - first),
        spent=len(rows) == len(kept),
        omitted=np.concatenate([dropped, near]),
        omitted_reasons=[DUPLICATE_GROUP] * len(dropped) + [DUPLICATE_RADIUS] * len(near),
    )


def _within(members: Members, kept: Integers, before: Integers, radius: float) -> Integers:
    """Rows of ``kept`` that lie within ``radius`` of one that stays: nearest the centroid first, or of
    ``before``."""
    if radius <= 0 or len(kept) == 0:
        return np.zeros(0, dtype=np.int64)
    order = kept[np.argsort(members.distances[kept], kind="stable")]
    features = members.features[order]
    near = np.zeros(len(order), dtype=bool)
    for row in before:
        near |= np.linalg.norm(features - members.features[row], axis=1) <= radius
    for position in range(len(order)):
        if not near[position]:
            after = features[position + 1 :]
            near[position + 1 :] |= np.linalg.norm(after - features[position], axis=1) <= radius
    return np.sort(order[near])
