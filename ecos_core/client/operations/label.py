"""Labels for public points by private k nearest neighbours (Zhu et al., CVPR 2020, algorithm 1).

For each point two separate Poisson subsamples of the private records are drawn. In the first, the largest
vote of the K nearest plus noise is held against a threshold (screening); in the second, the noisy votes'
largest is the label. Both are paid for every point, labelled or not, so that the charge does not depend on
the data. All noise is integer and is drawn before the data is read.

Under ``unit`` adjacency a unit is one voter: for each point only its nearest record stands, and the subsamples are
drawn among units. A unit more then swaps at most one neighbour, as a record does otherwise, however many
records it has.

A record is near or far as a function of itself and the point alone: the same exact integer arithmetic as in
``nearest``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.client.operations.histogram import ABSTAIN, Integers
from ecos_core.client.operations.labels import label_numbers
from ecos_core.client.operations.nearest import integer_scale, rounded
from ecos_core.client.operations.sampling import poisson_mask
from ecos_core.client.operations.task import Context, Task, only_array
from ecos_core.client.protocol import Arrays, Floats, LabelParameters, Request, canonical_points, parse
from ecos_core.privacy.events import Adjacency, knn_events
from ecos_core.privacy.mechanisms import discrete_gaussian_noise

UNLABELLED = -1
BLOCK_BYTES = 32 * 2**20  # of the table of closeness
_RECORDS_AT_ONCE = 65_536


def prepare(context: Context, header: dict[str, Any], arrays: Arrays) -> Task:
    """Hold a request against the policy. Raises InputError, PolicyError."""
    asked = parse(LabelParameters, header, "label request")
    given = only_array(arrays, "points", "<f4")
    for sigma in (asked.screening_sigma, asked.argmax_sigma):
        context.policy.check_mechanism(sigma, asked.adjacency)
    held = context.features(asked.fingerprint, given)
    context.policy.check_points(len(given))
    points = canonical_points(given, "points")
    labels = label_numbers(held, asked.classes)
    events = knn_events(
        asked.screening_sigma,
        asked.argmax_sigma,
        adjacency=Adjacency(asked.adjacency),
        gamma=asked.gamma,
        queries=len(points),
    )

    units = held.units if asked.adjacency == "unit" else None

    def answer() -> Arrays:
        return {"labels": private_knn(held.features, labels, points, asked, units)}

    return Task(Request(asked, {"points": points}), events, answer)


def private_knn(
    features: Floats,
    labels: Integers,
    points: Floats,
    asked: LabelParameters,
    units: Integers | None = None,
) -> Integers:
    """int64 [m]: the place in ``classes`` of each point's label, or UNLABELLED. ``units`` int64 [n]: whose records
    they are, when all of a unit are to be protected together."""
    classes = len(asked.classes)
    screening = discrete_gaussian_noise(len(points), asked.screening_sigma)
    voting = discrete_gaussian_noise(len(points) * classes, asked.argmax_sigma).reshape(len(points), classes)
    found = np.full(len(points), UNLABELLED, np.int64)
    rows = max(1, BLOCK_BYTES // (8 * max(1, len(features))))
    standing = None if units is None else NearestOfUnit(units)
    for start in range(0, len(points), rows):
        for offset, row in enumerate(closeness(features, points[start : start + rows])):
            number = start + offset
            voters = slice(None) if standing is None else standing(row)
            first, second = (
                neighbour_votes(row[voters], labels[voters], asked.neighbours, classes, asked.gamma)
                for _ in range(2)
            )
            if first.max() + screening[number] > asked.threshold:
                found[number] = np.argmax(second + voting[number])
    return found


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
    row: npt.NDArray[np.float64], labels: Integers, neighbours: int, classes: int, gamma: float
) -> Integers:
    """Votes int64 [C] of the ``neighbours`` closest of a fresh Poisson subsample; records earlier in the list
    win ties. Private."""
    chosen = np.flatnonzero(poisson_mask(len(row), gamma))
    if len(chosen) > neighbours:
        values = row[chosen]
        least = np.partition(values, len(values) - neighbours)[len(values) - neighbours]
        nearer, level = chosen[values > least], chosen[values == least]
        chosen = np.concatenate([nearer, level[: neighbours - len(nearer)]])
    cast = labels[chosen]
    return np.bincount(cast[cast != ABSTAIN], minlength=classes).astype(np.int64)


def closeness(features: Floats, points: Floats) -> npt.NDArray[np.float64]:
    """float64 [m, n], whole numbers: the larger, the nearer (2 x . p - |x|^2, scaled); exact, whatever the
    order.
    """
    scale, limit = integer_scale(points)
    table = 2 * rounded(points, scale, limit)
    found = np.empty((len(points), len(features)))
    for start in range(0, len(features), _RECORDS_AT_ONCE):
        part = rounded(features[start : start + _RECORDS_AT_ONCE], scale, limit)
        found[:, start : start + len(part)] = table @ part.T - (part**2).sum(axis=1)
    return found
