"""The paper's accounting: Renyi divergences of Poisson-subsampled Gaussians.

For whole orders a >= 2 and s = sensitivity^2 / (2 sigma^2) the Renyi divergence of one release is

    R(a) = 1/(a-1) log[(1-g)^(a-1) (1 + (a-1) g) + sum_{j=2..a} C(a,j) (1-g)^(a-j) g^j exp(j (j-1) s)]

(Zhu and Wang, ICML 2019, theorem 8; Mironov, Talwar, Zhang 2019). (a-1) R(a) is convex in a, so a
conversion that adds a constant to it and divides by a-1 has a single valley, which is found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from ecos_core.privacy.events import GaussianEvent

MAX_ORDER = 1 << 14


def epsilon_paper(events: Sequence[GaussianEvent], delta: float) -> float:
    """The paper's accounting: sensitivity sqrt(2) whatever the adjacency, and the classic conversion
    epsilon = min over a of R(a) + log(1/delta) / (a-1). Valid but loose.

    Reproduces the published 1.227, 0.582, 0.224, ... at gamma 0.8 (Hong et al., NeurIPS 2022).
    """
    if not events:
        return 0.0

    def converted(order: int) -> float:
        total = sum(event.count * divergence(order, event.gamma, event.sigma**-2) for event in events)
        return total + math.log(1.0 / delta) / (order - 1)

    return _valley(converted)


@lru_cache(maxsize=1 << 14)
def divergence(order: int, gamma: float, scale: float) -> float:
    """R(order) of the module's docstring, in nats; ``scale`` is sensitivity^2 / (2 sigma^2)."""
    if gamma == 1.0:
        return order * scale
    log_in, log_out = math.log(gamma), math.log1p(-gamma)
    j = np.arange(2, order + 1, dtype=np.float64)
    terms = _log_binomials(order)[2:] + (order - j) * log_out + j * log_in + j * (j - 1) * scale
    first = (order - 1) * log_out + math.log1p((order - 1) * gamma)
    peak = max(first, float(terms.max()))
    return (peak + math.log(math.exp(first - peak) + float(np.exp(terms - peak).sum()))) / (order - 1)


@lru_cache(maxsize=512)
def _log_binomials(order: int) -> np.ndarray:
    """log C(order, j) for j = 0..order."""
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, order + 1)))])
    return factorials[-1] - factorials - factorials[::-1]


def _valley(converted: Callable[[int], float]) -> float:
    """The smallest value over the whole orders from 2 to ``MAX_ORDER`` of a function with a single valley."""
    low, high = 2, MAX_ORDER
    while low < high:
        middle = (low + high) // 2
        if converted(middle + 1) < converted(middle):
            low = middle + 1
        else:
            high = middle
    return converted(low)
