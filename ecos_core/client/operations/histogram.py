"""Noised histograms of votes: one record, one vote in at most one cell.

L2 sensitivity 1 under add/remove, sqrt(2) under replacement; under ``unit`` each unit's votes are rescaled to
L2 norm at most 1, in steps of 1 / UNIT_SCALE so that everything stays an integer. Noise is drawn before the
votes are counted: ``votes`` is a function that reads the data, and it is called second.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ecos_core.client.operations.sampling import poisson_mask
from ecos_core.privacy.events import Adjacency, GaussianEvent, histogram_event
from ecos_core.privacy.mechanisms import discrete_gaussian_noise

UNIT_SCALE = 256
ABSTAIN = -1

Integers = npt.NDArray[np.int64]


def privacy_event(sigma: float, adjacency: str, gamma: float) -> GaussianEvent:
    """What one answer spends. Under ``unit`` votes and noise are counted in steps of 1 / UNIT_SCALE."""
    if adjacency == "unit":
        return GaussianEvent(sigma * UNIT_SCALE, UNIT_SCALE, Adjacency.UNIT, gamma)
    return histogram_event(sigma, Adjacency(adjacency), gamma)


def noised_histogram(
    votes: Callable[[], Integers],
    cells: int,
    sigma: float,
    *,
    gamma: float = 1.0,
    units: Integers | None = None,
) -> Integers:
    """What may be released once its event is in the ledger: int64 [cells], may be negative.

    ``votes()`` gives each record's cell, int64 [n], or ABSTAIN. ``gamma`` below 1 lets each record (with
    ``units``, int64 [n]: each unit) count with that probability, independently.
    """
    if units is None:
        noise = discrete_gaussian_noise(cells, sigma)
        return noise + clean_histogram(votes(), cells, gamma)
    return whole_votes(noised_unit_histogram(votes, cells, sigma, units, gamma))


def noised_unit_histogram(
    votes: Callable[[], Integers], cells: int, sigma: float, units: Integers, gamma: float = 1.0
) -> Integers:
    """What may be released under ``unit``, in steps of 1 / UNIT_SCALE: int64 [cells]."""
    noise = discrete_gaussian_noise(cells, sigma * UNIT_SCALE)
    return noise + clean_unit_histogram(votes(), cells, units, gamma)


def whole_votes(steps: Integers) -> Integers:
    """Counts in steps of 1 / UNIT_SCALE, rounded to whole votes."""
    return np.floor_divide(steps + UNIT_SCALE // 2, UNIT_SCALE)


def clean_histogram(votes: Integers, cells: int, gamma: float = 1.0) -> Integers:
    """The exact counts, int64 [cells]. Private: nothing but a noised copy may leave the caller."""
    counted = votes[poisson_mask(len(votes), gamma) & (votes != ABSTAIN)]
    return np.bincount(counted, minlength=cells).astype(np.int64)


def clean_unit_histogram(votes: Integers, cells: int, units: Integers, gamma: float = 1.0) -> Integers:
    """Votes in steps of 1 / UNIT_SCALE, int64 [cells]: each unit's vector has L2 norm at most UNIT_SCALE.
    Private.

    Rounding is towards zero, so the norm never exceeds the bound.
    """
    voting = votes != ABSTAIN
    names, dense = np.unique(units[voting], return_inverse=True)
    pairs, cast = np.unique(np.stack([dense, votes[voting]]), axis=1, return_counts=True)
    squares = np.bincount(pairs[0], weights=cast.astype(np.float64) ** 2, minlength=len(names))
    shares = np.floor(UNIT_SCALE * cast / np.sqrt(squares)[pairs[0]] * (1 - 1e-12)).astype(np.int64)
    shares[~poisson_mask(len(names), gamma)[pairs[0]]] = 0
    counts = np.zeros(cells, np.int64)
    np.add.at(counts, pairs[1], shares)
    return counts
