"""Private k nearest neighbours (Zhu et al., CVPR 2020, algorithm 1): the votes of the K records nearest to each point.

**Statement.** For each point, two neighbouring data sets change the largest vote by at most 1 and the votes by at most
the root of 2 in L2. **Proof.** A record's closeness to a point is a whole number and a function of the two alone
(``kernels.nearest``), ties go to the earlier record, and neither changes with other records: so one record (unit) more
enters the K nearest and pushes out at most one, or does not enter; one replaced by another swaps at most one. Each of
the K adds at most one vote, checked in integers (``contributions.bounded``). Under ``unit`` a unit stands with its
nearest record only. Two separate Poisson subsamples of records (units) serve the two releases.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ecos_core.client.contributions import bounded, label_numbers, poisson_mask
from ecos_core.client.kernels.nearest import closeness
from ecos_core.client.operations.operation import ABSTAIN, Neighbours, Record
from ecos_core.client.records import PrivateFeatures

UNLABELLED = -1
BLOCK_BYTES = 32 * 2**20  # of the table of closeness

Integers = npt.NDArray[np.int64]


def noised_labels(
    held: PrivateFeatures, query: Neighbours, screening: Integers, voting: Integers, *, by_unit: bool
) -> Integers:
    """int64 [m]: the place in ``classes`` of each point's label, or UNLABELLED.

    ``screening`` int64 [m] and ``voting`` int64 [m, C]: noise that was drawn before.
    """
    found = np.full(len(query.points), UNLABELLED, np.int64)
    for point, (first, second) in enumerate(clean_votes(held, query, by_unit=by_unit)):
        if first.max() + screening[point] > query.threshold:
            found[point] = np.argmax(second + voting[point])
    return found


def clean_votes(
    held: PrivateFeatures, query: Neighbours, *, by_unit: bool
) -> Iterator[tuple[Integers, Integers]]:
    """For each point the votes int64 [C] of two subsamples. Private."""
    cells = votes_of(held, query)
    rows = max(1, BLOCK_BYTES // (8 * max(1, len(held.features))))
    standing = NearestOfUnit(held.units) if by_unit else None
    for start in range(0, len(query.points), rows):
        for row in closeness(held.features, query.points[start : start + rows]):
            voters = slice(None) if standing is None else standing(row)
            first, second = (
                neighbour_votes(row[voters], cells[voters], query.neighbours, len(query.classes), query.gamma)
                for _ in range(2)
            )
            yield first, second


def votes_of(held: PrivateFeatures, query: Neighbours) -> Integers:
    """int64 [n]: the class that each record votes for, or ABSTAIN. Private."""
    votes = []
    for label in label_numbers(held.labels, query.classes):
        vector = bounded(query.contribution, Record(ABSTAIN, 0, label, ABSTAIN), len(query.classes), 1)
        votes.append(next((cell for cell, weight in vector.items() if weight), ABSTAIN))
    return np.array(votes, np.int64).reshape(-1)


class NearestOfUnit:
    """Picks each unit's nearest record to a point, the earlier one of equals. ``units`` int64 [n], private."""

    def __init__(self, units: Integers) -> None:
        self._order = np.argsort(units, kind="stable")
        _, self._starts, lengths = np.unique(units[self._order], return_index=True, return_counts=True)
        self._unit = np.repeat(np.arange(len(lengths)), lengths)

    def __call__(self, row: npt.NDArray[np.float64]) -> Integers:
        """Records int64 [units], in the units' order, for a row of ``closeness`` float64 [n]."""
        if not len(row):
            return self._order
        sorted_row = row[self._order]
        best = np.maximum.reduceat(sorted_row, self._starts)
        candidates = np.flatnonzero(sorted_row == best[self._unit])
        unit = self._unit[candidates]
        first = np.concatenate([[True], unit[1:] != unit[:-1]])
        return self._order[candidates[first]]


def neighbour_votes(
    row: npt.NDArray[np.float64], votes: Integers, neighbours: int, classes: int, gamma: float
) -> Integers:
    """Votes int64 [C] of the ``neighbours`` closest of a fresh Poisson subsample; records earlier in the list
    win ties. Private."""
    chosen = np.flatnonzero(poisson_mask(len(row), gamma))
    if len(chosen) > neighbours:
        values = row[chosen]
        least = np.partition(values, len(values) - neighbours)[len(values) - neighbours]
        nearer, level = chosen[values > least], chosen[values == least]
        chosen = np.concatenate([nearer, level[: neighbours - len(nearer)]])
    cast = votes[chosen]
    return np.bincount(cast[cast != ABSTAIN], minlength=classes).astype(np.int64)
