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

Floats = npt.NDArray[np.float64]
DenoiseMethod = Literal["empirical_bayes", "clip"]
DENOISE_METHODS: tuple[str, ...] = get_args(DenoiseMethod)

_EM_STEPS = 200
_MOST_TO_FIT = 10_000
_STARTS = (0.25, 1.0, 4.0, 16.0)


def denoise(noisy: npt.NDArray[Any], sigma: float, method: str = "empirical_bayes") -> Floats:
    """Estimated counts, float64 [R], never negative.

    ``noisy`` [R] counts with Gaussian noise of standard deviation ``sigma`` (0: none); ``method``: the default, or
    ``clip`` at 0, the paper's reading. Raises InputError on an unknown method, a negative sigma or non-finite counts.
    """
    counts = np.asarray(noisy, dtype=np.float64)
    if counts.ndim != 1 or not np.isfinite(counts).all():
        raise InputError(f"scores: one finite number a cluster is needed, found shape {counts.shape}")
    if not np.isfinite(sigma) or sigma < 0:
        raise InputError(f"sigma {sigma}: must be finite and not negative")
    if method not in DENOISE_METHODS:
        raise InputError(f"denoise '{method}': choose from {', '.join(DENOISE_METHODS)}")
    if sigma == 0 or len(counts) == 0 or method == "clip":
        return np.maximum(counts, 0.0)
    return empirical_bayes(counts, sigma)


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
