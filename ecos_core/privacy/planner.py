"""From what may be spent to the noise it takes, and from the noise to what it does to the scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy.accounting import (
    autodp_is_here,
    epsilon_autodp,
    epsilon_charged,
    epsilon_paper,
)
from ecos_core.privacy.events import (
    MAX_SIGMA,
    MIN_SIGMA,
    Adjacency,
    GaussianEvent,
    histogram_event,
    knn_events,
)

# The smallest sigma is found to this relative precision, always from the side that keeps the promise.
SIGMA_PRECISION = 1e-4
# The paper's Poisson sampling rate.
PAPER_GAMMA = 0.8
# Records per cluster and sigma at which the scores carry most for the budget: docs/study.md.
SIGNAL_TO_NOISE = 3.0
FEWEST_CLUSTERS, MOST_CLUSTERS = 10, 10_000
# An account that is below this counts as empty: no noise that can be planned for is so large.
_LEAST_SPENT = 1e-3
# Less noise than this is no event that the accountants take for votes, whose sensitivity is sqrt(2).
_LEAST_KNN_SIGMA = 1.0


@dataclass(frozen=True)
class Plan:
    """``releases`` histograms with noise ``sigma`` (after Poisson sampling at ``gamma``), and what they cost.

    The epsilons are totals at ``delta``, with whatever was spent before; ``epsilon_autodp`` is None where autodp is
    not installed. ``epsilon_paper`` is the original paper's accounting of the same noise, or None where there
    was other spending before.
    """

    sigma: float
    delta: float
    adjacency: Adjacency
    gamma: float
    releases: int
    epsilon: float
    epsilon_autodp: float | None
    epsilon_paper: float | None = None
    paper_gamma: float | None = None


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

    Raises InputError when epsilon or delta is out of range or no sigma up to 10^5 is enough,
    BudgetExceeded when ``spent`` alone is more than epsilon.
    """

    def cost(sigma: float) -> float:
        return epsilon_charged([*spent, _release(sigma, adjacency, gamma, releases)], delta)

    sigma = _smallest_within(cost, epsilon, delta, spent, releases, "releases")
    return plan_epsilon(sigma, delta, adjacency=adjacency, gamma=gamma, releases=releases, spent=spent)


def plan_knn(
    epsilon: float,
    delta: float,
    *,
    queries: int,
    adjacency: Adjacency = Adjacency.ADD_REMOVE,
    gamma: float = 1.0,
) -> float:
    """The smallest sigma, of both the screening and the vote, with which ``queries`` private kNN labels stay
    within ``epsilon``.

    Raises InputError when epsilon, delta or queries is out of range or no sigma up to 10^5 is enough.
    """
    if queries < 1:
        raise InputError(f"queries must be at least 1, got {queries}")

    def cost(sigma: float) -> float:
        sigma = max(sigma, _LEAST_KNN_SIGMA)
        return epsilon_charged(
            knn_events(sigma, sigma, adjacency=adjacency, gamma=gamma, queries=queries), delta
        )

    return max(_smallest_within(cost, epsilon, delta, (), queries, "labels"), _LEAST_KNN_SIGMA)


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
    release = _release(sigma, adjacency, gamma, releases)
    events = [*spent, release]
    paper = paper_gamma = None
    if not spent:
        paper_gamma = gamma if gamma < 1.0 else PAPER_GAMMA
        paper = epsilon_paper([histogram_event(sigma, adjacency, paper_gamma, releases)], delta)
    return Plan(
        sigma=release.sigma,
        delta=delta,
        adjacency=release.adjacency,
        gamma=release.gamma,
        releases=releases,
        epsilon=epsilon_charged(events, delta),
        epsilon_autodp=epsilon_autodp(events, delta) if autodp_is_here() else None,
        epsilon_paper=paper,
        paper_gamma=paper_gamma,
    )


def _smallest_within(
    cost: Callable[[float], float],
    epsilon: float,
    delta: float,
    spent: Sequence[GaussianEvent],
    count: int,
    what: str,
) -> float:
    """The smallest sigma that keeps ``cost`` within ``epsilon``. Raises InputError, BudgetExceeded."""
    if not math.isfinite(epsilon) or epsilon <= 0.0:
        raise InputError(f"epsilon must be a positive number, got {epsilon:g}")
    already = epsilon_charged(spent, delta)
    if already >= epsilon:
        raise BudgetExceeded(already, already, epsilon, delta)
    sigma = _smallest(cost, epsilon, _guess(cost, epsilon, delta))
    if sigma is None:
        raise InputError(
            f"no sigma up to {MAX_SIGMA:g} reaches epsilon {epsilon:g} for {count:,} {what}: "
            f"allow a larger epsilon or fewer {what}"
        )
    return sigma


def _release(sigma: float, adjacency: Adjacency, gamma: float, releases: int) -> GaussianEvent:
    if releases < 1:
        raise InputError(f"releases must be at least 1, got {releases}")
    return histogram_event(sigma, adjacency, gamma, releases)


def _guess(cost: Callable[[float], float], epsilon: float, delta: float) -> float:
    """About the sigma for ``epsilon``: sigma epsilon changes little, so one look at the cost is enough."""
    first = min(max(math.sqrt(2.0 * math.log(1.25 / delta)) / epsilon, 1.0), MAX_SIGMA)
    return min(max(first * max(cost(first) / epsilon, 0.1), MIN_SIGMA), MAX_SIGMA)


def _smallest(cost: Callable[[float], float], epsilon: float, guess: float) -> float | None:
    """The smallest sigma in range with ``cost(sigma) <= epsilon``, at most ``SIGMA_PRECISION`` above it.

    A bracket around the guess, then its two ends are drawn together: log cost is nearly a straight line
    in log sigma, so a step just to either side of where the line crosses mostly ends the search.
    """
    low = high = guess
    while cost(high) > epsilon:
        if high >= MAX_SIGMA:
            return None
        low, high = high, min(high * 1.3, MAX_SIGMA)
    while cost(low) <= epsilon:
        if low <= MIN_SIGMA:
            return low
        low, high = max(low / 1.3, MIN_SIGMA), low
    while high / low > 1.0 + SIGMA_PRECISION:
        for candidate in (*_crossing(low, cost(low), high, cost(high), epsilon), math.sqrt(low * high)):
            if low < candidate < high:
                low, high = (candidate, high) if cost(candidate) > epsilon else (low, candidate)
    return high


def _crossing(low: float, above: float, high: float, below: float, epsilon: float) -> tuple[float, ...]:
    """Just left and right of where the line through both ends, in logarithms, meets ``epsilon``."""
    if not 0.0 < below < above < math.inf:
        return ()
    share = math.log(above / epsilon) / math.log(above / below)
    middle = low * (high / low) ** share
    return middle * (1.0 - 0.4 * SIGMA_PRECISION), middle * (1.0 + 0.4 * SIGMA_PRECISION)


def suggest_clusters(records: int, sigma: float) -> int:
    """How many clusters the client's order of magnitude of records supports at this noise: n / (R sigma)
    near ``SIGNAL_TO_NOISE``, and R from 10 to 10,000.

    ``records`` is a number that the data owner chooses to state, never one measured for the server.
    """
    if records < 1:
        raise InputError(f"records must be at least 1, got {records}")
    return int(min(max(round(records / (SIGNAL_TO_NOISE * sigma)), FEWEST_CLUSTERS), MOST_CLUSTERS))


@dataclass(frozen=True)
class ScoreNoise:
    """What the noise does to the scores of ``clusters`` clusters; the last four need the number of records.

    Attributes:
        empty_above_2_sigma: how many of the clusters would show more than 2 sigma if all were empty.
        records_needed: records with which signal to noise would be ``SIGNAL_TO_NOISE``.
        signal_to_noise: average score over sigma; 1 to 3 is good, below 0.3 the ranking is mostly noise.
        wrong_order: chance that a cluster with twice the average score and one with the average swap ranks.
        noise_share: share of the clipped scores that is noise, if every second cluster is empty.
        suggested_clusters: number of clusters that the records support at this noise.
    """

    clusters: int
    empty_above_2_sigma: float
    records_needed: int
    records: int | None = None
    signal_to_noise: float | None = None
    wrong_order: float | None = None
    noise_share: float | None = None
    suggested_clusters: int | None = None


def score_noise(sigma: float, *, clusters: int | None = None, records: int | None = None) -> ScoreNoise:
    """Figures of ``ScoreNoise``; give one of the two numbers at least. The normal law stands for the
    discrete.

    Raises InputError when both are missing or one is below 1.
    """
    if clusters is None:
        if records is None:
            raise InputError("give the number of clusters or of records")
        clusters = suggest_clusters(records, sigma)
    if clusters < 1:
        raise InputError(f"clusters must be at least 1, got {clusters}")
    needed = math.ceil(SIGNAL_TO_NOISE * clusters * sigma)
    noise = ScoreNoise(clusters, clusters * _normal_tail(2.0), needed)
    if records is None:
        return noise
    suggested = suggest_clusters(records, sigma)
    average = records / clusters
    # The mean of a centred normal clipped at 0 is sigma / sqrt(2 pi).
    clipped = 0.5 * clusters * sigma / math.sqrt(2.0 * math.pi)
    return replace(
        noise,
        records=records,
        signal_to_noise=average / sigma,
        wrong_order=_normal_tail(average / (math.sqrt(2.0) * sigma)),
        noise_share=clipped / (records + clipped),
        suggested_clusters=suggested,
    )


def _normal_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))
