"""Denoised scores: free post-processing of what the client answered.

The noise is known exactly (sigma), so a rule can adapt to the signal. The default is an empirical-Bayes
posterior mean under a spike-and-slab prior: a count is 0 with probability 1 - w, else exponential with mean
m; both are fitted by expectation-maximisation to the noisy counts. With Gaussian noise all its steps have
closed forms: the slab's marginal is an exponentially modified Gaussian, its posterior a normal truncated at
0.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import special

from ecos_core.errors import InputError
from ecos_core.sampling.tilt import tilted_counts

Floats = npt.NDArray[np.float64]
DenoiseMethod = Literal["empirical_bayes", "clip", "threshold", "lake_prior", "simplex", "tilt"]
DENOISE_METHODS: tuple[str, ...] = get_args(DenoiseMethod)

_EM_STEPS = 200
_MOST_TO_FIT = 10_000
_STARTS = (0.25, 1.0, 4.0, 16.0)


def denoise(
    noisy: npt.NDArray[Any],
    sigma: float,
    method: str = "empirical_bayes",
    *,
    threshold: float = 2.0,
    cluster_sizes: npt.NDArray[Any] | None = None,
    centroids: npt.NDArray[Any] | None = None,
) -> Floats:
    """Estimated counts, float64 [R], never negative.

    ``noisy`` [R] counts with Gaussian noise of standard deviation ``sigma`` (0: none); ``threshold`` in
    units of sigma; ``cluster_sizes`` [R] of the lake, needed by ``lake_prior`` and ``tilt``, which also needs
    the ``centroids`` [R, d]. Raises InputError on an unknown method, a negative sigma, non-finite counts, or
    sizes or centroids that are missing or of another length.
    """
    counts = np.asarray(noisy, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all():
        raise InputError(f"scores: one finite number a cluster is needed, found shape {counts.shape}")
    if not np.isfinite(sigma) or sigma < 0:
        raise InputError(f"sigma {sigma}: must be finite and not negative")
    if method not in DENOISE_METHODS:
        raise InputError(f"denoise '{method}': choose from {', '.join(DENOISE_METHODS)}")
    if method in ("lake_prior", "tilt") and (cluster_sizes is None or len(cluster_sizes) != len(counts)):
        raise InputError(f"denoise '{method}': needs the {len(counts)} clusters' sizes in the lake")
    if method == "tilt" and (centroids is None or len(centroids) != len(counts)):
        raise InputError(f"denoise 'tilt': needs the {len(counts)} clusters' centroids")
    if sigma == 0 or len(counts) == 0:
        return np.maximum(counts, 0.0)
    if method == "empirical_bayes":
        return empirical_bayes(counts, sigma)
    if method == "threshold":
        return np.where(counts >= threshold * sigma, np.maximum(counts, 0.0), 0.0)
    if method == "lake_prior":
        return shrink_to_lake(counts, sigma, np.asarray(cluster_sizes, dtype=np.float64))
    if method == "tilt":
        sizes = np.asarray(cluster_sizes, dtype=np.float64)
        return shrink_to_tilt(counts, sigma, sizes, np.asarray(centroids))
    if method == "simplex":
        return project_to_simplex(counts, max(float(counts.sum()), sigma))
    return np.maximum(counts, 0.0)


def empirical_bayes(counts: Floats, sigma: float) -> Floats:
    """Posterior means under the spike-and-slab prior of greatest marginal likelihood over several starts."""
    fitted_on = counts
    if len(counts) > _MOST_TO_FIT:
        # Even quantiles hold all that two numbers can be fitted to.
        fitted_on = np.sort(counts)[np.linspace(0, len(counts) - 1, _MOST_TO_FIT).astype(np.int64)]
    fits = [_fit(fitted_on, sigma, sigma * start) for start in _STARTS]
    _, weight, mean = max(fits, key=lambda fit: fit[0])
    in_slab, slab_mean, _ = _posterior(counts, sigma, weight, mean)
    return np.asarray(in_slab * slab_mean, dtype=np.float64)


def _fit(counts: Floats, sigma: float, mean: float) -> tuple[float, float, float]:
    """Expectation-maximisation for the slab's weight and mean: (log likelihood, weight, mean)."""
    weight, last = 0.5, -np.inf
    for _ in range(_EM_STEPS):
        in_slab, slab_mean, likelihood = _posterior(counts, sigma, weight, mean)
        if likelihood - last < 1e-9 * abs(likelihood):
            break
        last = likelihood
        weight = float(np.clip(in_slab.mean(), 1e-6, 1.0 - 1e-6))
        mean = max(float((in_slab * slab_mean).sum() / in_slab.sum()), 1e-3 * sigma)
    return last, weight, mean


def _posterior(counts: Floats, sigma: float, weight: float, mean: float) -> tuple[Floats, Floats, float]:
    """(probability of the slab [R], mean given the slab [R], log likelihood of all)."""
    shifted = counts / sigma - sigma / mean
    log_cdf = special.log_ndtr(shifted)
    log_slab = np.log(weight) - np.log(mean) + 0.5 * (sigma / mean) ** 2 - counts / mean + log_cdf
    log_spike = np.log1p(-weight) - 0.5 * (counts / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)
    log_total = np.logaddexp(log_slab, log_spike)
    slab_mean = _truncated_normal_mean(shifted, sigma)
    return np.exp(log_slab - log_total), slab_mean, float(log_total.sum())


def _truncated_normal_mean(shifted: Floats, sigma: float) -> Floats:
    """Posterior means [R] of an exponential prior under Gaussian noise: of a normal truncated at 0.

    ``shifted`` [R]: its mean before truncation in units of sigma, count / sigma - sigma / prior mean.
    """
    # phi / Phi is the inverse Mills ratio, safe in logarithms far below 0.
    mills = np.exp(-0.5 * shifted**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(shifted))
    return np.maximum(sigma * (shifted + mills), 0.0)


def shrink_to_tilt(counts: Floats, sigma: float, sizes: Floats, centroids: npt.NDArray[Any]) -> Floats:
    """Posterior means under exponential priors whose means are what a tilt of the lake explains."""
    prior = np.maximum(tilted_counts(counts, sigma, sizes, centroids), 1e-3 * sigma)
    return np.where(sizes > 0, _truncated_normal_mean(counts / sigma - sigma / prior, sigma), 0.0)


def shrink_to_lake(counts: Floats, sigma: float, sizes: Floats) -> Floats:
    """Linear shrinkage towards the lake's shares (James and Stein's rule with a known prior mean), clipped
    at 0."""
    if sizes.sum() <= 0:
        raise InputError("denoise 'lake_prior': the lake's clusters are all empty")
    prior = sizes / sizes.sum() * max(float(counts.sum()), 0.0)
    spread = float(((counts - prior) ** 2).mean())
    keep = max(0.0, 1.0 - sigma**2 / spread) if spread > 0 else 0.0
    return np.maximum(prior + keep * (counts - prior), 0.0)


def project_to_simplex(counts: Floats, total: float) -> Floats:
    """The nearest point (L2) with no negative entry and the sum ``total`` (Duchi et al., ICML 2008, figure
    1)."""
    falling = np.sort(counts)[::-1]
    excess = (np.cumsum(falling) - total) / np.arange(1, len(counts) + 1)
    last = int(np.flatnonzero(falling > excess)[-1])
    return np.maximum(counts - excess[last], 0.0)
