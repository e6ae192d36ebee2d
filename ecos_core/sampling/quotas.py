"""Seats for clusters: the divisor method of Webster and Sainte-Lague with a cap on every cluster.

The next seat goes to the cluster with the largest ``weight / (2 * seats + 1)`` that is not full. The method
is house-monotone (Balinski and Young, *Fair Representation*, 1982): a larger budget never takes a seat away,
so the first b seats of B are the b-budget answer. Ties go to the lower cluster number.

Clusters of weight zero get seats only once all others are full; then in proportion to ``last_weights``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError

Integers = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

_TINY = 1e-200


def allocate(
    weights: npt.NDArray[Any],
    capacities: npt.NDArray[Any],
    budget: int,
    *,
    taken: npt.NDArray[Any] | None = None,
) -> Integers:
    """Seats for each cluster, int64 [R], not counting those ``taken``; see ``seat_order`` for the arguments.

    The sum is min(budget, free places) exactly.
    """
    seats = seat_order(weights, capacities, budget, taken=taken)
    return np.bincount(seats, minlength=len(weights)).astype(np.int64)


def seat_order(
    weights: npt.NDArray[Any],
    capacities: npt.NDArray[Any],
    budget: int,
    *,
    taken: npt.NDArray[Any] | None = None,
    last_weights: npt.NDArray[Any] | None = None,
) -> Integers:
    """The cluster of each seat in the order given, int64 [min(budget, free places)].

    ``weights`` [R] finite and not negative; ``capacities`` int [R]; ``taken`` int [R] places already filled,
    which count as seats the cluster holds; ``last_weights`` [R] rule among clusters of weight zero, by
    default their capacities. Raises InputError on a negative budget, weight or capacity.
    """
    shares = np.asarray(weights, dtype=np.float64)
    caps = np.asarray(capacities, dtype=np.int64)
    held = np.zeros_like(caps) if taken is None else np.asarray(taken, dtype=np.int64)
    _check(shares, caps, held, budget)
    free = np.maximum(caps - held, 0)
    first = _divisor_order(shares, held, np.where(shares > 0, free, 0), budget)
    left = budget - len(first)
    rest = np.where(shares > 0, 0, free)
    if left <= 0 or not rest.any():
        return first
    tail = np.asarray(caps if last_weights is None else last_weights, dtype=np.float64)
    return np.concatenate([first, _divisor_order(tail, held, np.where(tail > 0, rest, 0), left)])


def _check(shares: Weights, caps: Integers, held: Integers, budget: int) -> None:
    if budget < 0:
        raise InputError(f"budget {budget}: must not be negative")
    if shares.ndim != 1 or shares.shape != caps.shape or caps.shape != held.shape:
        raise InputError(
            f"quotas: {shares.shape} weights, {caps.shape} capacities, {held.shape} taken; "
            "give one each a cluster"
        )
    if not np.isfinite(shares).all() or (shares < 0).any():
        raise InputError("quotas: weights must be finite and not negative")
    if (caps < 0).any() or (held < 0).any():
        raise InputError("quotas: capacities and places taken must not be negative")


def _divisor_order(shares: Weights, held: Integers, free: Integers, budget: int) -> Integers:
    """Seats by falling ``share / (2 s + 1)`` with s = held, held + 1, ...: sort only those that can win."""
    budget = min(budget, int(free.sum()))
    if budget == 0:
        return np.zeros(0, dtype=np.int64)
    shares = relative(shares)
    counts = _seats_above(shares, held, free, _lowest_winning_priority(shares, held, free, budget))
    clusters = np.repeat(np.arange(len(shares)), counts)
    position = np.arange(len(clusters)) - np.repeat(np.cumsum(counts) - counts, counts)
    priority = shares[clusters] / (2.0 * (held[clusters] + position) + 1.0)
    order = np.lexsort((position, clusters, -priority))
    return clusters[order[:budget]].astype(np.int64)


def relative(weights: npt.NDArray[Any]) -> Weights:
    """Weights over the largest; positive ones stay far enough above 0 to be divided by any number of
    seats."""
    shares = np.asarray(weights, dtype=np.float64)
    return np.where(shares > 0, np.maximum(shares / max(shares.max(initial=0.0), _TINY), _TINY), 0.0)


def _seats_above(shares: Weights, held: Integers, free: Integers, priority: float) -> Integers:
    """How many free places of each cluster have at least this priority (rounded up by one for safety)."""
    with np.errstate(over="ignore", divide="ignore"):
        total = np.floor((shares / priority + 1.0) / 2.0) + 1.0
    return np.minimum(np.maximum(np.minimum(total, 2.0**62) - held, 0), free).astype(np.int64)


def _lowest_winning_priority(shares: Weights, held: Integers, free: Integers, budget: int) -> float:
    """A priority that at least ``budget`` places reach, and few more: bisection on a logarithmic scale."""
    positive = free > 0
    low = float(np.log((shares[positive] / (2.0 * (held + free)[positive] + 1.0)).min()))
    high = 0.0
    for _ in range(60):
        middle = (low + high) / 2.0
        counts = np.floor((shares / np.exp(middle) + 1.0) / 2.0)
        if np.clip(counts - held, 0, free).sum() >= budget:
            low = middle
        else:
            high = middle
        if high - low < 1e-12:
            break
    return float(np.exp(low))
