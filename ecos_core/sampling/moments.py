"""Private moments: the client's mean feature in a few directions, and the lake's shares tilted to match it.

One release of k + 1 integers that is tied to no clustering (``ecos_core.client.operations.moments``): the
noised sum over the client's records of the projected feature, shortened to L2 norm 1, and a constant 1 that
counts the records, all over sqrt(2), so that one record moves the sum by at most 1. Any later clustering is
served by the regularised maximum-entropy tilt p_r ~ q_r exp(l . c_r) whose mean is the client's (Csiszar
1975; Dudik, Phillips and Schapire, COLT 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from ecos_core.errors import InputError
from ecos_core.sampling.config import Scores
from ecos_core.sampling.pool import Floats, Pool
from ecos_core.sampling.tilt import principal_directions, tilted

Doubles = npt.NDArray[np.float64]

_SHARE_SCALE = 10**9


@dataclass(frozen=True)
class MomentQuery:
    """What is asked: ``directions`` float32 [k, d] and ``mean`` float32 [d] of the lake, ``radius`` (feature
    units) beyond which a projected feature is clipped."""

    directions: Floats
    mean: Floats
    radius: float

    def project(self, features: npt.NDArray[np.floating]) -> Doubles:
        """Features [n, d] to [n, k], of L2 norm at most 1."""
        centred = np.asarray(features, dtype=np.float64) - self.mean
        inside = centred @ self.directions.astype(np.float64).T / self.radius
        norms = np.linalg.norm(inside, axis=1, keepdims=True)
        return np.asarray(inside / np.maximum(norms, 1.0), dtype=np.float64)


def moment_query(pool: Pool, directions: int) -> MomentQuery:
    """The lake's ``directions`` principal directions, from its centroids weighted by size: no sample is read.

    The radius is the 90 % quantile of the centroids' projected norms, by size. Raises InputError when there
    are fewer clusters or feature numbers than directions.
    """
    sizes, centroids = pool.cluster_sizes.astype(np.float64), pool.centroids
    if not 1 <= directions <= min(centroids.shape[1], np.count_nonzero(sizes)):
        raise InputError(
            f"moments: {directions} directions from {len(sizes)} clusters of {centroids.shape[1]} numbers"
        )
    mean, axes = principal_directions(sizes, centroids, directions)
    norms = np.linalg.norm((centroids - mean) @ axes.T, axis=1)
    order = np.argsort(norms)
    reached = np.cumsum(sizes[order]) / sizes.sum()
    radius = float(norms[order][np.searchsorted(reached, 0.9)])
    return MomentQuery(axes.astype(np.float32), mean.astype(np.float32), max(radius, 1e-6))


def scores_from_moments(pool: Pool, query: MomentQuery, sums: Doubles, sigma: float) -> Scores:
    """Scores for any clustering from one answer: shares in billionths, noise already dealt with (sigma 0).

    ``sums`` float64 [k + 1]: the client's noised sums, a record's numbers of L2 norm at most 1; ``sigma``:
    their noise, that of a counting query at the same privacy. Raises InputError on a wrong length.
    """
    if sums.shape != (len(query.directions) + 1,):
        raise InputError(f"moments: {sums.shape} numbers answered, {len(query.directions) + 1} asked")
    count = max(float(sums[-1]), sigma, 1e-9)
    shares = tilted_shares(pool, query, sums[:-1] / count, (sigma / count) ** 2)
    return Scores(np.rint(shares * _SHARE_SCALE).astype(np.int64), 0.0)


def tilted_shares(pool: Pool, query: MomentQuery, mean: Doubles, variance: float) -> Doubles:
    """Shares float64 [R] that sum to 1: the least change of the lake's that explains ``mean`` [k] up to
    noise of ``variance`` a coordinate (a Gaussian penalty on l)."""
    sizes = pool.cluster_sizes.astype(np.float64)
    log_lake = np.log(np.maximum(sizes, 1e-12) / sizes.sum())
    points = query.project(pool.centroids)

    def objective(tilt: Doubles) -> tuple[float, Doubles]:
        shares, log_total = tilted(log_lake, points @ tilt)
        value = log_total - tilt @ mean + 0.5 * variance * float(tilt @ tilt)
        return float(value), points.T @ shares - mean + variance * tilt

    found = minimize(objective, np.zeros(len(mean)), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.where(sizes > 0, tilted(log_lake, points @ found.x)[0], 0.0)
