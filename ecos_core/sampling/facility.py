"""Greedy facility location: the samples that together lie nearest to all members of a cluster.

k-center minimises the largest distance and so reaches for outliers first; this minimises the mean squared
distance, so a small budget goes to what is typical. Each pick lowers the sum over members of the squared
distance to the nearest pick the most; the gains are submodular, so greedy is within 1 - 1/e of the best
(Nemhauser, Wolsey and Fisher 1978) and an old gain is an upper bound (lazy evaluation, Minoux 1978).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.sampling.k_center import Picks, greedy_k_center

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

# Beyond these sizes an even sample stands for all members, so that memory stays within 256 MiB a cluster.
MOST_REFERENCES = 2048
MOST_CANDIDATES = 32_768
_BATCH = 64


def greedy_facility_location(
    features: npt.NDArray[Any], k: int, *, covered: npt.NDArray[Any] | None = None
) -> Picks:
    """``k`` rows of ``features`` [n, d] in the order picked; ``covered`` rows [m] count as picked before.

    ``radii`` are the picks' L2 distances to the nearest pick before them, as in k-center. When nothing is
    left to gain the rest is picked farthest first. The first b picks of k are the picks for b. Raises
    InputError as ``greedy_k_center`` does.
    """
    before = np.unique(np.asarray([] if covered is None else covered, dtype=np.int64))
    chosen = _by_gain(np.asarray(features, dtype=np.float32), k, before)
    rest = k - len(chosen)
    if rest == 0:
        return Picks(chosen, _radii(features, chosen, before))
    tail = greedy_k_center(features, rest, covered=np.concatenate([before, chosen]))
    return Picks(
        np.concatenate([chosen, tail.indices]), np.concatenate([_radii(features, chosen, before), tail.radii])
    )


def _by_gain(rows: Floats, k: int, before: Integers) -> Integers:
    """Rows in the order of their gain, at most ``k``, until nothing is gained."""
    free = np.setdiff1d(np.arange(len(rows)), before)
    references, candidates = _evenly(np.arange(len(rows)), MOST_REFERENCES), _evenly(free, MOST_CANDIDATES)
    if len(candidates) == 0 or k <= 0:
        return np.zeros(0, dtype=np.int64)
    squared = _squared_distances(rows[candidates], rows[references])
    scale = float(squared.max())
    left = _squared_distances(rows[references], rows[before]).min(axis=1) if len(before) else None
    gains = np.full(len(candidates), np.inf)
    chosen: list[int] = []
    while len(chosen) < min(k, len(candidates)):
        best, gain = _best(squared, left, gains)
        if gain <= 1e-6 * scale:
            break
        chosen.append(best)
        left = squared[best] if left is None else np.minimum(left, squared[best])
        gains[best] = -np.inf
    return candidates[np.array(chosen, dtype=np.int64)]


def _best(squared: Floats, left: Floats | None, gains: npt.NDArray[np.float64]) -> tuple[int, float]:
    """The candidate of the largest gain (ties: the lowest) and that gain; brings the highest bounds up to
    date."""
    if left is None:
        # Nothing chosen yet: the medoid. Its gain is relative to the worst first choice.
        totals = squared.sum(axis=1, dtype=np.float64)
        best = int(np.argmin(totals))
        return best, float(totals.max() - totals[best]) + float(squared.max())
    current, batch = -np.inf, _BATCH
    fresh = np.zeros(len(gains), dtype=bool)
    while True:
        waiting = np.flatnonzero(~fresh & (gains >= current) & (gains > -np.inf))
        if len(waiting) == 0:
            best = int(np.argmax(np.where(fresh, gains, -np.inf)))
            return best, float(gains[best])
        unknown = np.isinf(gains[waiting]).any()
        top = waiting if unknown else waiting[np.argsort(-gains[waiting], kind="stable")[:batch]]
        for start in range(0, len(top), 256):
            part = top[start : start + 256]
            gains[part] = np.maximum(left - squared[part], 0.0).sum(axis=1, dtype=np.float64)
        fresh[top] = True
        batch *= 2
        current = float(gains[fresh].max())


def _evenly(rows: Integers, most: int) -> Integers:
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _squared_distances(rows: Floats, others: Floats) -> Floats:
    squares = np.einsum("nd,nd->n", rows, rows)[:, None] - 2.0 * (rows @ others.T)
    squares += np.einsum("nd,nd->n", others, others)
    return np.asarray(np.maximum(squares, 0.0), dtype=np.float32)


def _radii(features: npt.NDArray[Any], chosen: Integers, before: Integers) -> Floats:
    rows = np.asarray(features, dtype=np.float32)
    centres = np.concatenate([before, chosen])
    radii = np.full(len(chosen), np.nan, dtype=np.float32)
    for i, row in enumerate(chosen.tolist()):
        earlier = centres[: len(before) + i]
        if len(earlier):
            radii[i] = np.linalg.norm(rows[earlier] - rows[row], axis=1).min()
    return radii
