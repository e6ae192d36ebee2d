"""The discrete Gaussian in whole numbers only, for the client's light install (OpenDP's library alone takes
263 MB).

Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", NeurIPS 2020, algorithms 1 to 3.
All arithmetic is exact, on Python's integers; all randomness is the operating system's (``secrets``). About
50 microseconds a draw.
"""

from __future__ import annotations

import secrets
from fractions import Fraction


def draw_discrete_gaussian(count: int, sigma: float) -> list[int]:
    """``count`` independent draws, P(x) proportional to exp(-x^2 / (2 sigma^2)); ``sigma`` is taken
    exactly.
    """
    variance = Fraction(sigma) ** 2
    scale = int(sigma) + 1
    return [_gaussian(variance.numerator, variance.denominator, scale) for _ in range(count)]


def _gaussian(numerator: int, denominator: int, scale: int) -> int:
    """Algorithm 3: a discrete Laplace draw, kept with probability exp(-(|y| - v / t)^2 / (2 v))."""
    while True:
        y = _laplace(scale)
        gap = abs(y) * scale * denominator - numerator
        if _bernoulli_exp(gap * gap, 2 * numerator * denominator * scale * scale):
            return y


def _laplace(scale: int) -> int:
    """Algorithm 2 for a whole scale t: P(y) proportional to exp(-|y| / t)."""
    while True:
        rest = secrets.randbelow(scale)
        if not _bernoulli_exp(rest, scale):
            continue
        wholes = 0
        while _bernoulli_exp(1, 1):
            wholes += 1
        size = rest + scale * wholes
        negative = secrets.randbelow(2)
        if negative and size == 0:
            continue
        return -size if negative else size


def _bernoulli_exp(numerator: int, denominator: int) -> bool:
    """Algorithm 1: True with probability exp(-numerator / denominator), for a ratio of at least 0."""
    while numerator > denominator:
        if not _bernoulli_exp_at_most_one(1, 1):
            return False
        numerator -= denominator
    return _bernoulli_exp_at_most_one(numerator, denominator)


def _bernoulli_exp_at_most_one(numerator: int, denominator: int) -> bool:
    k = 1
    while secrets.randbelow(denominator * k) < numerator:
        k += 1
    return k % 2 == 1
