"""From what may be spent to the noise it takes, and from the noise to what it does to the scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy.accounting import account, epsilon_exact, epsilon_paper
from ecos_core.privacy.events import MAX_SIGMA, MIN_SIGMA, Adjacency, GaussianEvent, histogram_event

# The smallest sigma is found to this relative precision, always from the side that keeps the promise.
SIGMA_PRECISION = 1e-4
# Records per cluster and sigma at which the scores carry most for the budget (1 to 3 is good).
SIGNAL_TO_NOISE = 2.0


@dataclass(frozen=True)
class Plan:
    """``releases`` histograms with noise ``sigma`` (after Poisson sampling at ``gamma``), and what they cost.

    The epsilons are totals at ``delta``, with whatever was spent before; ``epsilon_paper`` is the
    original paper's accounting of the same noise, or None where there was other spending before.
    """

    sigma: float
    delta: float
    adjacency: Adjacency
    gamma: float
    releases: int
    epsilon: float
    epsilon_autodp: float
    epsilon_paper: float | None = None


def plan_sigma(
    epsilon: float,
    delta: float,
    *,
    adjacency: Adjacency = Adjacency.ADD_REMOVE,
    gamma: float = 1.0,
    releases: int = 1,
    spent: Sequence[GaussianEvent] = (),
) -> Plan:
    """The smallest sigma with which ``releases`` more histograms, on top of ``spent``, stay within
    ``epsilon``.

    The sigma is at most 1e-4 (relative) above the smallest and never below it.

    Raises InputError when epsilon or delta is out of range or no sigma up to 10^6 is enough,
    BudgetExceeded when ``spent`` alone is more than epsilon.
    """
    if not math.isfinite(epsilon) or epsilon <= 0.0:
        raise InputError(f"epsilon must be a positive number, got {epsilon:g}")
    already = epsilon_exact(spent, delta)
    if already >= epsilon:
        raise BudgetExceeded(already, already, epsilon, delta)

    def within(sigma: float) -> bool:
        release = histogram_event(sigma, adjacency, gamma, releases)
        return epsilon_exact([*spent, release], delta) <= epsilon

    guess = math.sqrt(2.0 * releases * math.log(1.25 / delta)) / epsilon
    sigma = _smallest(within, min(max(guess, MIN_SIGMA), MAX_SIGMA))
    if sigma is None:
        raise InputError(
            f"no sigma up to {MAX_SIGMA:g} reaches epsilon {epsilon:g} for {releases} release(s): "
            "allow a larger epsilon or fewer releases"
        )
    return plan_epsilon(sigma, delta, adjacency=adjacency, gamma=gamma, releases=releases, spent=spent)


def plan_epsilon(
    sigma: float,
    delta: float,
    *,
    adjacency: Adjacency = Adjacency.ADD_REMOVE,
    gamma: float = 1.0,
    releases: int = 1,
    spent: Sequence[GaussianEvent] = (),
) -> Plan:
    """What ``releases`` more histograms with noise ``sigma`` cost, on top of ``spent``. Raises InputError."""
    release = histogram_event(sigma, adjacency, gamma, releases)
    spend = account([*spent, release], delta)
    paper = None if spent else epsilon_paper([release], delta)
    return Plan(sigma, delta, release.adjacency, gamma, releases, spend.epsilon, spend.epsilon_autodp, paper)


def _smallest(within: Callable[[float], bool], guess: float) -> float | None:
    """The smallest sigma in range for which ``within`` holds, by bracketing and bisection of its
    logarithm."""
    low = high = guess
    if within(guess):
        while low > MIN_SIGMA and within(low := max(low / 2.0, MIN_SIGMA)):
            high = low
        if low == high:
            return low
    else:
        while not within(high := min(high * 2.0, MAX_SIGMA)):
            if high >= MAX_SIGMA:
                return None
            low = high
    while high / low > 1.0 + SIGMA_PRECISION:
        middle = math.sqrt(low * high)
        if within(middle):
            high = middle
        else:
            low = middle
    return high


def suggest_clusters(records: int, sigma: float) -> int:
    """How many clusters the client's order of magnitude of records supports at this noise: n / (R sigma)
    near 2.

    ``records`` is a number that the data owner chooses to state, never one measured for the server.
    Between 5 and 10,000.
    """
    if records < 1:
        raise InputError(f"records must be at least 1, got {records}")
    return int(min(max(round(records / (SIGNAL_TO_NOISE * sigma)), 5), 10_000))
