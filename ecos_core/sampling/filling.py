"""From weights to picks: seats in the order of Webster's method, each filled by the next pick of its cluster.

A cluster's picks do not depend on the budget, and neither does the order of seats, so the first b picks of B
are the b-budget answer. How many distinct samples a cluster holds is known only once it has been searched to
its end: caps are lowered as that comes to light and the seats given out again, which ends at the same order
as if they had been known.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError
from ecos_core.sampling.config import SamplerConfig
from ecos_core.sampling.pool import Pool, in_a_group, locate
from ecos_core.sampling.quotas import relative, seat_order
from ecos_core.sampling.ranking import DUPLICATE_GROUP, DUPLICATE_RADIUS, Found, Ranker, Request, search
from ecos_core.sampling.selection import Omitted, Selection

Integers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def check_budget(pool: Pool, budget: int, config: SamplerConfig, chosen_before: int = 0) -> int:
    """New picks to make. Raises InputError on a budget below 1, already used up, or larger than the pool."""
    if budget < 1:
        raise InputError(f"budget {budget}: ask for at least one sample")
    if chosen_before >= budget:
        raise InputError(
            f"budget {budget}: {chosen_before} samples were selected earlier; ask for more than those"
        )
    if budget > pool.size and not config.allow_fewer:
        raise InputError(
            f"budget {budget} is larger than the pool of {pool.size} samples; "
            "lower it or allow fewer (allow_fewer)"
        )
    return min(budget, pool.size) - chosen_before


def fill(
    sampler: str,
    pool: Pool,
    budget: int,
    weights: Doubles,
    ranker: Ranker,
    *,
    config: SamplerConfig,
    selected: Sequence[str] = (),
    capacities: Integers | None = None,
    noisy: Doubles | None = None,
    scores: Doubles | None = None,
) -> Selection:
    """Give out ``budget`` seats (those ``selected`` earlier included) by ``weights`` [R] and fill them.

    ``capacities`` int64 [R]: at most so many from each cluster, by default its size. ``noisy`` and
    ``scores`` [R] are reported with the picks. Raises InputError as ``check_budget`` does, and when
    duplicates leave too few.
    """
    earlier = locate(pool, selected) if selected else {}
    wanted = check_budget(pool, budget, config, len(earlier))
    filling = _Filling(pool, weights, ranker, earlier, wanted, capacities)
    clusters, rows = filling.run()
    if len(rows) < wanted and not config.allow_fewer:
        raise InputError(
            f"budget {budget}: only {len(rows) + len(earlier)} of {pool.size} samples can be chosen, "
            "the rest are near-duplicates or excluded; lower the budget or allow fewer (allow_fewer)"
        )
    unknown = np.full(len(pool.cluster_sizes), np.nan)
    columns = filling.columns(clusters, rows)
    return Selection(
        sampler=sampler,
        sample_id=columns[0],
        cluster=clusters,
        radius=columns[1],
        reason=columns[2],
        cluster_size=pool.cluster_sizes,
        cluster_noisy=unknown if noisy is None else np.asarray(noisy, dtype=np.float64),
        cluster_score=unknown if scores is None else scores,
        cluster_taken=filling.taken,
        omitted=filling.omitted(clusters),
    )


class _Filling:
    """The state of one ``fill``: what is known of each cluster opened so far, and the caps learnt."""

    def __init__(
        self,
        pool: Pool,
        weights: Doubles,
        ranker: Ranker,
        earlier: dict[str, int],
        wanted: int,
        capacities: Integers | None,
    ) -> None:
        sizes = pool.cluster_sizes
        self.pool, self.weights, self.ranker, self.wanted = pool, weights, ranker, wanted
        self.shares, self.last_shares = relative(weights), relative(sizes)
        self.earlier: dict[int, list[str]] = {}
        for sample_id, cluster in earlier.items():
            self.earlier.setdefault(cluster, []).append(sample_id)
        self.taken = np.bincount(list(earlier.values()), minlength=len(sizes)).astype(np.int64)
        self.caps = np.maximum(sizes if capacities is None else np.minimum(capacities, sizes), self.taken)
        self.found: dict[int, Found] = {}
        self.crossing: list[tuple[int, int, int]] = []

    def run(self) -> tuple[Integers, Integers]:
        """(cluster, position among the cluster's picks) of every pick, in order."""
        while True:
            seats = seat_order(
                self.weights, self.caps, self.wanted, taken=self.taken, last_weights=self.pool.cluster_sizes
            )
            if not self._search(seats):
                break
        order = np.argsort(seats, kind="stable")
        counts = np.bincount(seats, minlength=len(self.caps))
        position = np.empty(len(seats), dtype=np.int64)
        position[order] = np.arange(len(seats)) - np.repeat(np.cumsum(counts) - counts, counts)
        if self._groups_repeat(seats, position):
            return self._walk()
        return seats, position

    def _search(self, seats: Integers) -> bool:
        """Rank every cluster for its seats; lower the caps of those that hold fewer. True when a cap fell."""
        fell = False
        needed = np.bincount(seats, minlength=len(self.caps))
        self._rank([(row, int(needed[row])) for row in np.flatnonzero(needed).tolist()])
        for cluster in np.flatnonzero(needed).tolist():
            if self._have(cluster, int(needed[cluster])) < needed[cluster]:
                self.caps[cluster] = self.taken[cluster] + len(self.found[cluster].sample_ids)
                fell = True
        return fell

    def _have(self, cluster: int, needed: int) -> int:
        """Picks known in the cluster after looking for ``needed``."""
        self._rank([(cluster, needed)])
        return len(self.found[cluster].sample_ids)

    def _rank(self, wanted: Sequence[tuple[int, int]]) -> None:
        """Look for so many picks in each of these clusters, where they are not known yet."""
        missing = [
            Request(cluster, needed, tuple(self.earlier.get(cluster, ())))
            for cluster, needed in wanted
            if (known := self.found.get(cluster)) is None
            or (len(known.sample_ids) < needed and not known.ranking.spent)
        ]
        self.found.update(search(self.pool, self.ranker, missing))

    def _groups_chosen_earlier(self) -> set[Any]:
        chosen: set[Any] = set()
        for cluster, sample_ids in self.earlier.items():
            members = self.pool.members(cluster)
            if members.duplicate_groups is not None:
                groups = members.duplicate_groups[np.isin(members.sample_ids, sample_ids)]
                chosen.update(groups[in_a_group(groups)].tolist())
        return chosen

    def _groups_repeat(self, seats: Integers, position: Integers) -> bool:
        """Whether one duplicate group was chosen from two clusters, or earlier."""
        if all(found.groups is None for found in self.found.values()):
            return False
        seen: set[Any] = self._groups_chosen_earlier()
        counts = np.bincount(seats, minlength=len(self.caps))
        for cluster in np.flatnonzero(counts).tolist():
            groups = self.found[cluster].groups
            if groups is not None:
                used = groups[: counts[cluster]]
                here = set(used[in_a_group(used)].tolist())
                if seen & here:
                    return True
                seen |= here
        return False

    def _walk(self) -> tuple[Integers, Integers]:
        """Seat by seat, passing over picks whose duplicate group is chosen already: the seat stays the
        cluster's."""
        closed = self._groups_chosen_earlier()
        next_pick = dict.fromkeys(range(len(self.caps)), 0)
        held = self.taken.copy()
        heap = [
            entry for cluster in range(len(self.caps)) if (entry := self._entry(cluster, held)) is not None
        ]
        heapq.heapify(heap)
        clusters: list[int] = []
        positions: list[int] = []
        while heap and len(clusters) < self.wanted:
            *_, cluster = heapq.heappop(heap)
            position = self._next_open(cluster, next_pick[cluster], closed, len(clusters))
            if position is None:
                continue
            clusters.append(cluster)
            positions.append(position)
            next_pick[cluster] = position + 1
            held[cluster] += 1
            if (entry := self._entry(cluster, held)) is not None:
                heapq.heappush(heap, entry)
        return np.array(clusters, dtype=np.int64), np.array(positions, dtype=np.int64)

    def _entry(self, cluster: int, held: Integers) -> tuple[bool, float, int] | None:
        if held[cluster] >= self.caps[cluster]:
            return None
        last = self.shares[cluster] == 0
        shares = self.last_shares if last else self.shares
        return bool(last), -float(shares[cluster]) / (2.0 * held[cluster] + 1.0), cluster

    def _next_open(self, cluster: int, position: int, closed: set[Any], picks: int) -> int | None:
        """The cluster's next pick whose group is open, which closes the group; None when there is none."""
        while self._have(cluster, position + 1) > position:
            groups = self.found[cluster].groups
            group = (
                None
                if groups is None or not in_a_group(groups[position : position + 1])[0]
                else groups[position]
            )
            if group is None or group not in closed:
                closed.add(group)
                return position
            self.crossing.append((cluster, position, picks))
            position += 1
        return None

    def columns(
        self, clusters: Integers, positions: Integers
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Sample ids, radii and reasons of the picks."""
        ids = np.empty(len(clusters), dtype=object)
        radii = np.empty(len(clusters), dtype=np.float32)
        reasons = np.empty(len(clusters), dtype=object)
        for cluster in np.unique(clusters).tolist():
            here = clusters == cluster
            found = self.found[cluster]
            ids[here] = found.sample_ids[positions[here]]
            radii[here] = found.ranking.radii[positions[here]]
            reasons[here] = np.asarray(found.ranking.reasons, dtype=object)[positions[here]]
        return ids.astype(str), radii, reasons.astype(str)

    def omitted(self, clusters: Integers) -> Omitted:
        """Samples left out of the clusters that were opened."""
        rows: list[tuple[str, int, str, int]] = []
        for cluster in np.unique(clusters).tolist():
            found = self.found[cluster]
            seats = np.flatnonzero(clusters == cluster)
            passed_over = sum(where == cluster for where, _, _ in self.crossing)
            all_used = found.ranking.spent and len(seats) + passed_over >= len(found.sample_ids)
            for sample_id, reason in zip(
                found.omitted_ids.tolist(), found.ranking.omitted_reasons, strict=True
            ):
                rows.append((sample_id, cluster, reason, int(seats[0]) + 1))
            if all_used:
                late = found.late_ids.tolist()
                rows += [(sample_id, cluster, DUPLICATE_RADIUS, int(seats[-1]) + 1) for sample_id in late]
        rows += [
            (str(self.found[cluster].sample_ids[position]), cluster, DUPLICATE_GROUP, picks + 1)
            for cluster, position, picks in self.crossing
        ]
        if not rows:
            return Omitted.nothing()
        ids, where, why, at = zip(*rows, strict=True)
        return Omitted(
            np.array(ids), np.array(where, dtype=np.int64), np.array(why), np.array(at, dtype=np.int64)
        )
