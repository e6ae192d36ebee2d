"""An empirical lower bound on epsilon: attack many releases on neighbouring data and see how well it works.

The attacker knows all but one record and looks at the one cell that the record may be in. Two kinds of
attack:

* *distance*: is the answer above a threshold? The rates of error are bounded by Clopper-Pearson and
  compared with the Gaussian trade-off that the release claims (Nasr et al., USENIX Security 2023): at
  most 1 / mu of noise a vote.
* *grain*: does the answer have a bit that only one of the two counts can give? Floating-point noise has
  (Mironov, CCS 2012). This one is bounded without assuming any law: epsilon >= log((p - delta) / q).

A bound above the claim proves the claim wrong, with the confidence asked for; one below it proves nothing
more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import GaussianEvent
from ecos_core.privacy.gaussian import Loss

# The world (False: without the record, True: with it) -> the cell's answers, shape (trials, repeats):
# each trial is one request, asked ``repeats`` times.
Ask = Callable[[bool], NDArray[np.generic]]

# Thresholds in units of sigma around the middle between the two counts.
THRESHOLDS = (-1.0, 0.0, 1.0)


@dataclass(frozen=True)
class AuditReport:
    """``epsilon_lower`` holds with ``confidence`` at ``delta``; ``caught`` when it is above what was
    claimed."""

    trials: int
    epsilon_lower: float
    epsilon_claimed: float
    delta: float
    confidence: float
    attack: str

    @property
    def caught(self) -> bool:
        """Whether more epsilon was seen than was claimed."""
        return self.epsilon_lower > self.epsilon_claimed


def audit(
    ask: Ask, claim: GaussianEvent, *, count: int, delta: float, confidence: float = 0.95
) -> AuditReport:
    """Attack a release that claims to cost what ``claim`` does for every request, however often it is asked.

    ``count``: the cell's true count without the record; with it the claim allows one more.

    Raises InputError when the two worlds differ in shape or there is nothing to look at.
    """
    without, present = np.asarray(ask(False)), np.asarray(ask(True))
    if without.ndim != 2 or without.shape != present.shape or not len(without):
        raise InputError(f"audit needs two arrays (trials, repeats), got {without.shape} and {present.shape}")
    # Every bound is a pair of rates, and each attack is one of several: the risk is shared evenly.
    attacks = len(THRESHOLDS) + 1
    risk = (1.0 - confidence) / attacks
    found = [
        (
            distance_bound(without, present, count + 0.5 + shift * claim.sigma, risk, delta),
            f"threshold {shift:+g} sigma",
        )
        for shift in THRESHOLDS
    ]
    found.append((grain_bound(without, present, count, risk, delta), "grain of the numbers"))
    lower, attack = max(found)
    return AuditReport(len(without), lower, epsilon_charged([claim], delta), delta, confidence, attack)


def distance_bound(
    without: NDArray[np.generic], present: NDArray[np.generic], threshold: float, risk: float, delta: float
) -> float:
    """Epsilon of the Gaussian trade-off that passes through the worst rates compatible with what was seen."""
    false_alarms = int(np.count_nonzero(without.mean(axis=1) >= threshold))
    hits = int(np.count_nonzero(present.mean(axis=1) >= threshold))
    from scipy.special import ndtri

    low, high = (
        rate_bounds(hits, len(present), risk / 2)[0],
        rate_bounds(false_alarms, len(without), risk / 2)[1],
    )
    separation = float(ndtri(low) - ndtri(high))
    # The analytic Gaussian: what the attacker sees is a mean, not the lattice.
    return Loss(max(0.0, separation) ** 2).epsilon(delta)


def grain_bound(
    without: NDArray[np.generic], present: NDArray[np.generic], count: int, risk: float, delta: float
) -> float:
    """log((p - delta) / q) for: the answer, near 0, is finer than ``count + 1`` plus a floating-point
    number can be."""
    if count != 0:
        raise InputError("the grain attack looks at an empty cell: audit with count 0")

    def fine(answers: NDArray[np.generic]) -> int:
        values = answers[:, 0].astype(np.float64)
        near = np.abs(values) < 0.5
        steps = values[near] * 2.0**53
        return int(np.count_nonzero(steps != np.rint(steps)))

    seen, opposite = fine(without), fine(present)
    low, high = rate_bounds(seen, len(without), risk / 2)[0], rate_bounds(opposite, len(present), risk / 2)[1]
    return max(0.0, math.log((low - delta) / high)) if low > delta else 0.0


def rate_bounds(events: int, trials: int, risk: float) -> tuple[float, float]:
    """Clopper-Pearson: the rate is above the first, and below the second, each but for ``risk``."""
    from scipy.special import betaincinv

    low = 0.0 if events == 0 else float(betaincinv(events, trials - events + 1, risk))
    high = 1.0 if events == trials else float(betaincinv(events + 1, trials - events, 1.0 - risk))
    return low, high
