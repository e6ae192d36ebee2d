"""What releases cost together, however their questions were chosen: Gaussian differential privacy.

A release is *mu-GDP* when its answers on neighbouring data are no easier to tell apart than N(0, 1) from
N(mu, 1) (Dong, Roth, Su, JRSS B 2022), and *(mu, tail)-GDP* when that holds but for an event of probability
``tail``. Everything here is such a bound, so a set of releases costs two numbers (``Loss``).

**One vote.** For noise X, the best test of a shift by 1 is "k or more", so the trade-off curve is the polygon
through (P(X >= k), P(X < k - 1)). A Gaussian's curve is convex: it lies below the polygon if it does at the
corners, which is mu >= z(k) - z(k - 1) for every k, where z(k) is the normal quantile of P(X < k). ``vote_mu``
is the largest of these steps, evaluated for the sigma at hand; a corner whose power is at most ``LEAST_TAIL`` is
in the tail. It is near (1 + 1 / (24 sigma^2)) / sigma. From ``SMOOTH_SIGMA`` on a closed form is used.
Draw Y with density N(0, sigma^2 - r^2) times the periodic function w(y) = sum over integers x of
exp(-(x - y)^2 / (2 r^2)), and X from the discrete Gaussian of parameter r about Y: then X follows that of sigma, and
shifts with Y (Peikert, CRYPTO 2010). w is constant up to a factor of 1 + 1e-18 at r = 1.5 (Poisson summation), so X is
as private as the Gaussian Y, mu = 1 / sqrt(sigma^2 - r^2), up to that factor on delta: ``ROUNDING`` covers a billion.

**Many cells.** A shift by m is m steps (their corners reach farther, so more are looked at); cells have independent
noise: in all L2 sensitivity times ``vote_mu``.

**Poisson sampling** at rate gamma turns a trade-off curve f into gamma f + (1 - gamma) Id. With I = phi(quantile)
concave, the distance in quantiles between level and power of that curve grows towards the tail, so it is largest where
the power is ``tail``: that distance is the mu, ``tail`` the rest. Loose for small gamma, and the only bound we
know that stands when sigma is chosen after earlier answers.

**Composition.** A (mu, tail)-GDP answer can be made from the increment, over a time of mu^2, of a Brownian motion whose
drift is 0 on one data set and 1 on the other, unless a coin of probability ``tail`` gives all away (Blackwell). An
asker who chooses every question, noise and sampling rate after seeing the earlier answers therefore only chooses when
to look at *one* path; as long as the squares never sum to more than mu^2, and the tails to ``tail``, all that was seen
is (mu, tail)-GDP. So a limit on the sums is a privacy filter (Smith, Thakurta, "Fully Adaptive Composition for Gaussian
Differential Privacy", 2022), and (epsilon, delta) with

    delta = P(Z >= epsilon / mu - mu / 2) - e^epsilon P(Z >= epsilon / mu + mu / 2) + tail

(Balle, Wang, ICML 2018), Z standard normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from ecos_core.privacy.events import ONE_EACH, Adjacency, GaussianEvent

# Mass of the lattice that one release may give away in one cell.
LEAST_TAIL = 1e-30
# Where a cell may change by more than 1, corners are looked at up to here: enough for a mu of FARTHEST_MU.
FAR_TAIL, FARTHEST_MU = 1e-300, 25.0
# Of delta, what one sampled release may give away.
SAMPLED_TAIL = 1e-6
# From this sigma on, the closed form; its r.
SMOOTH_SIGMA, SMOOTHING = 128.0, 1.5
# Relative slack on mu and on delta, for what doubles and the closed form lose.
ROUNDING = 1e-9
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Loss:
    """What some releases cost together: the sum of their mu^2, and of their tails."""

    square: float = 0.0
    tail: float = 0.0

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.square + other.square, self.tail + other.tail)

    def __sub__(self, earlier: Loss) -> Loss:
        """What came after ``earlier``, a part of this."""
        return Loss(max(0.0, self.square - earlier.square), max(0.0, self.tail - earlier.tail))

    def within(self, epsilon: float, delta: float) -> bool:
        """Whether all of it is (epsilon, delta)-DP."""
        left = (delta - self.tail) * (1.0 - ROUNDING)
        return (
            left > 0.0
            and math.isfinite(self.square)
            and gaussian_delta(math.sqrt(self.square), epsilon) <= left
        )

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon >= 0 that it is ``within``, to 1e-12; infinite when the tails alone exceed
        delta."""
        return _epsilon(self, delta)


@lru_cache(maxsize=4096)
def _epsilon(loss: Loss, delta: float) -> float:
    if loss.within(0.0, delta):
        return 0.0
    if math.isinf(loss.square) or loss.tail * (1.0 + ROUNDING) >= delta:
        return math.inf
    high = 1.0
    while not loss.within(high, delta):
        high *= 2.0
    return _bisect(lambda epsilon: loss.within(epsilon, delta), 0.0, high)


def loss_of(event: GaussianEvent, delta: float) -> Loss:
    """The loss of an event in an account whose epsilon is at ``delta`` (which sets the tail of sampling)."""
    far = event.squared_sensitivity > ONE_EACH
    mu = event.sensitivity * vote_mu(event.sigma, FAR_TAIL if far else LEAST_TAIL)
    if far and mu > FARTHEST_MU:
        return Loss(math.inf)
    tail = LEAST_TAIL * event.squared_sensitivity
    square = mu**2
    parts, sides = event.sides
    # Replacing on disjoint cells is one record that leaves and one that comes, each with its own coin. On
    # cells that may be shared, sampling earns nothing.
    if event.gamma < 1.0 and (sides == 2 or event.adjacency is not Adjacency.REPLACE):
        share = SAMPLED_TAIL * delta
        one = mu * math.sqrt(parts / event.squared_sensitivity)
        square = min(square, sides * sampled_mu(one, event.gamma, share) ** 2)
        tail += sides * share
    return Loss(event.count * square, event.count * tail)


@lru_cache(maxsize=1 << 14)
def vote_mu(sigma: float, least: float = LEAST_TAIL) -> float:
    """mu of one vote under the discrete Gaussian of parameter ``sigma`` (at least 0.05), by the corners whose
    power is above ``least``."""
    if sigma >= SMOOTH_SIGMA:
        return (1.0 + ROUNDING) / math.sqrt(sigma**2 - SMOOTHING**2)
    # Farther out there is 1e-12 of ``least``, relative.
    reach = math.sqrt(-2.0 * math.log(least * 1e-12))
    weights = np.exp(-0.5 * (np.arange(math.ceil(reach * sigma) + 2) / sigma) ** 2)
    tails = (np.cumsum(weights[:0:-1])[::-1] / (2.0 * weights.sum() - 1.0)).tolist()
    before = -_NORMAL.inv_cdf(tails[0])
    largest = 2.0 * before
    for here, following in pairwise(tails):
        if here <= least or following == 0.0:
            break
        after = -_NORMAL.inv_cdf(following)
        largest, before = max(largest, after - before), after
    return largest * (1.0 + ROUNDING)


@lru_cache(maxsize=1 << 14)
def sampled_mu(mu: float, gamma: float, tail: float) -> float:
    """mu, but for ``tail``, of a mu-GDP release after Poisson sampling at rate ``gamma``."""
    place = -_NORMAL.inv_cdf(tail)

    def beyond(shift: float) -> bool:
        level = place + shift
        return (1.0 - gamma) * _upper(level) + gamma * _upper(level - mu) <= tail

    return _bisect(beyond, 0.0, mu) * (1.0 + ROUNDING)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The smallest delta at which telling N(mu, 1) from N(0, 1) is (epsilon, delta)-DP."""
    if mu == 0.0:
        return 0.0
    low, high = epsilon / mu - 0.5 * mu, epsilon / mu + 0.5 * mu
    # e^epsilon phi(high) = phi(low): so nothing overflows.
    return max(0.0, _upper(low) - _density(low) * _mills(high))


def mu_of(epsilon: float, delta: float) -> float:
    """The mu whose smallest epsilon at ``delta`` this is."""
    high = 1.0
    while gaussian_delta(high, epsilon) < delta:
        high *= 2.0
    return _bisect(lambda mu: gaussian_delta(mu, epsilon) >= delta, 0.0, high)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Where a property begins to hold between ``low`` and ``high``, from the side on which it does."""
    while high - low > 1e-12 * max(high, 1e-3):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _upper(z: float) -> float:
    """P(Z >= z)."""
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _mills(z: float) -> float:
    """P(Z >= z) / density(z) for z >= 0: far out its asymptotic series, within 1e-10."""
    if z < 30.0:
        return _upper(z) / _density(z)
    square = 1.0 / (z * z)
    return (1.0 - square * (1.0 - 3.0 * square * (1.0 - 5.0 * square * (1.0 - 7.0 * square)))) / z
