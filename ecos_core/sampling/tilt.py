"""The lake's shares, tilted: clusters that lie near each other in feature space differ from the lake alike.

p_r ~ q_r exp(w . c_r), where q_r is the cluster's share of the lake and c_r its centroid, is the least change of
the lake (in relative entropy) with a given mean feature (Csiszar 1975). A few principal directions of the
centroids are enough, and the change is fitted to the noisy counts. Weak answers of neighbouring
clusters support each other, which no rule that looks at one count at a time can do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from ecos_core.errors import InputError

Doubles = npt.NDArray[np.float64]

_DIRECTIONS = 64
# Standard deviations of a tilt's coefficients, for centroids whose mean squared norm is 1: from a little to much.
_SCALES = (0.5, 1.0, 2.0, 4.0)


def principal_directions(
    sizes: Doubles, centroids: npt.NDArray[np.floating], directions: int
) -> tuple[Doubles, Doubles]:
    """Mean [d] of the lake and its ``directions`` principal directions [k, d], from centroids [R, d] weighted by
    ``sizes`` [R]: no sample is read."""
    points = np.asarray(centroids, dtype=np.float64)
    mean = np.average(points, axis=0, weights=sizes)
    weighted = (points - mean) * np.sqrt(sizes / sizes.sum())[:, None]
    return mean, np.linalg.svd(weighted, full_matrices=False)[2][:directions]


def tilted(log_lake: Doubles, energy: Doubles) -> tuple[Doubles, float]:
    """Shares [R] in proportion to exp(``log_lake`` + ``energy``), and the logarithm of their sum before."""
    together = log_lake + energy
    largest = together.max()
    unscaled = np.exp(together - largest)
    return unscaled / unscaled.sum(), float(largest + np.log(unscaled.sum()))


def tilted_counts(
    counts: Doubles, sigma: float, sizes: Doubles, centroids: npt.NDArray[np.floating]
) -> Doubles:
    """Counts float64 [R] that a tilt of the lake explains: the prior means for ``denoising``.

    ``counts`` [R] with Gaussian noise of standard deviation ``sigma`` > 0; ``sizes`` [R] of the lake's clusters;
    ``centroids`` [R, d]. The coefficients are normal around 0; fits for several spreads are averaged by their
    evidence (Laplace's approximation, MacKay 1992), so that nothing is tuned. Raises InputError when all
    clusters are empty.
    """
    if sizes.sum() <= 0:
        raise InputError("denoise 'tilt': the lake's clusters are all empty")
    mean, axes = principal_directions(sizes, centroids, _DIRECTIONS)
    points = (np.asarray(centroids, dtype=np.float64) - mean) @ axes.T
    points /= max(float(np.sqrt((sizes / sizes.sum()) @ (points**2).sum(axis=1))), 1e-12)
    log_lake = np.log(np.maximum(sizes, 1e-12) / sizes.sum())
    fits = [_fit(counts, sigma, log_lake, points * scale) for scale in _SCALES]
    evidence = np.array([found for _, found in fits])
    weights = np.exp(evidence - evidence.max())
    together = sum(weight * fitted for weight, (fitted, _) in zip(weights / weights.sum(), fits, strict=True))
    return np.where(sizes > 0, together, 0.0)


def _fit(counts: Doubles, sigma: float, log_lake: Doubles, points: Doubles) -> tuple[Doubles, float]:
    """Expected counts [R] of the most probable tilt with standard normal coefficients, and its log evidence."""

    def expected(tilt: Doubles) -> tuple[Doubles, float]:
        shares, _ = tilted(log_lake, points @ tilt)
        # The total that fits best; never below what the noise alone may show.
        return shares, max(float(counts @ shares / (shares @ shares)), sigma)

    def objective(tilt: Doubles) -> tuple[float, Doubles]:
        shares, total = expected(tilt)
        misfit = (total * shares - counts) / sigma
        slope = total * misfit / sigma
        gradient = points.T @ (shares * (slope - slope @ shares)) + tilt
        return 0.5 * float(misfit @ misfit + tilt @ tilt), gradient

    start = np.zeros(points.shape[1])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 300})
    shares, total = expected(found.x)
    jacobian = (total / sigma) * shares[:, None] * (points - shares @ points)
    curvature = np.eye(len(found.x)) + jacobian.T @ jacobian
    return total * shares, -float(found.fun) - 0.5 * float(np.linalg.slogdet(curvature)[1])
