"""Centroid coverage (Hong et al., NeurIPS 2022): how many private records have centroid r as their nearest.

One record, one vote, so the L2 sensitivity of the histogram is 1 under add/remove and sqrt(2) under
replacement. The noise is drawn before the data is looked at.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecos_core.client.operations.nearest import nearest_centroids
from ecos_core.client.operations.sampling import poisson_mask
from ecos_core.privacy.events import Adjacency, GaussianEvent, histogram_event
from ecos_core.privacy.mechanisms import discrete_gaussian_noise

UNIT_SCALE = 256  # fixed-point steps of one vote when a unit's votes are shared out


def privacy_event(sigma: float, adjacency: str, gamma: float) -> GaussianEvent:
    """What one answer spends. Under ``unit`` votes and noise are counted in steps of 1 / UNIT_SCALE."""
    if adjacency == "unit":
        return GaussianEvent(sigma * UNIT_SCALE, UNIT_SCALE, Adjacency.UNIT, gamma)
    return histogram_event(sigma, Adjacency(adjacency), gamma)


def clean_histogram(
    features: npt.NDArray[np.floating], centroids: npt.NDArray[np.floating], gamma: float = 1.0
) -> npt.NDArray[np.int64]:
    """The exact counts, int64 [R]. Private: nothing but a noised copy may leave the caller.

    ``gamma`` below 1 lets each record count with that probability, independently (fresh randomness of the
    system).
    """
    counts = np.zeros(len(centroids), np.int64)
    mask = poisson_mask(len(features), gamma)
    start = 0
    for nearest in nearest_centroids(features, centroids):
        chosen = nearest[mask[start : start + len(nearest)]]
        counts += np.bincount(chosen, minlength=len(centroids))
        start += len(nearest)
    return counts


def noised_histogram(
    features: npt.NDArray[np.floating],
    centroids: npt.NDArray[np.floating],
    sigma: float,
    *,
    gamma: float = 1.0,
    units: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """What may be released once its event is in the ledger: int64 [R], may be negative.

    With ``units`` (int64 [n], the unit of each record) each unit's votes are rescaled to L2 norm at most 1.
    """
    if units is None:
        noise = discrete_gaussian_noise(len(centroids), sigma)
        return noise + clean_histogram(features, centroids, gamma)
    noise = discrete_gaussian_noise(len(centroids), sigma * UNIT_SCALE)
    fine = noise + clean_unit_histogram(features, centroids, units, gamma)
    return np.floor_divide(fine + UNIT_SCALE // 2, UNIT_SCALE)


def clean_unit_histogram(
    features: npt.NDArray[np.floating],
    centroids: npt.NDArray[np.floating],
    units: npt.NDArray[np.int64],
    gamma: float = 1.0,
) -> npt.NDArray[np.int64]:
    """Votes in steps of 1/UNIT_SCALE, int64 [R]: each unit's vector has L2 norm at most UNIT_SCALE. Private.

    Rounding is towards zero, so the norm never exceeds the bound. ``gamma`` chooses whole units.
    """
    nearest = np.concatenate([np.empty(0, np.int64), *nearest_centroids(features, centroids)])
    names, dense = np.unique(units, return_inverse=True)
    pairs, votes = np.unique(np.stack([dense, nearest]), axis=1, return_counts=True)
    squares = np.bincount(pairs[0], weights=votes.astype(np.float64) ** 2, minlength=len(names))
    shares = np.floor(UNIT_SCALE * votes / np.sqrt(squares)[pairs[0]] * (1 - 1e-12)).astype(np.int64)
    shares[~poisson_mask(len(names), gamma)[pairs[0]]] = 0
    counts = np.zeros(len(centroids), np.int64)
    np.add.at(counts, pairs[1], shares)
    return counts
