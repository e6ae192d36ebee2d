"""Plans are inverse pairs of the accountants, on the safe side."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import Adjacency, histogram_event, knn_events
from ecos_core.privacy.planner import (
    plan_epsilon,
    plan_knn,
    plan_sigma,
    score_noise,
    suggest_clusters,
)

DELTA = 1e-5


def test_the_papers_epsilon_needs_less_noise_than_the_paper_used() -> None:
    """Sigma 6.12 (add/remove) or 8.65 (replace) for the 0.582 that took 10 and a fifth of the data."""
    assert plan_sigma(0.582, DELTA).sigma == pytest.approx(6.125, abs=0.003)
    assert plan_sigma(0.582, DELTA, adjacency=Adjacency.REPLACE).sigma == pytest.approx(8.657, abs=0.003)
    assert plan_epsilon(10, DELTA, gamma=0.8).epsilon_paper == pytest.approx(0.5821, abs=1e-4)
    assert plan_epsilon(10, DELTA).epsilon_paper == pytest.approx(0.5821, abs=1e-4)


@settings(max_examples=8, deadline=None)
@given(
    epsilon=st.floats(0.01, 8.0),
    delta=st.sampled_from([1e-7, 1e-5, 1e-3]),
    adjacency=st.sampled_from(Adjacency),
    releases=st.integers(1, 30),
)
def test_sigma_and_epsilon_are_inverse(
    epsilon: float, delta: float, adjacency: Adjacency, releases: int
) -> None:
    plan = plan_sigma(epsilon, delta, adjacency=adjacency, releases=releases)
    assert plan.epsilon <= epsilon
    assert plan_epsilon(plan.sigma, delta, adjacency=adjacency, releases=releases) == plan
    less = histogram_event(plan.sigma * (1 - 2e-4), adjacency, count=releases)
    assert epsilon_charged([less], delta) > epsilon


@pytest.mark.parametrize("gamma", [0.1, 0.8])
def test_sigma_after_subsampling(gamma: float) -> None:
    plan = plan_sigma(0.3, DELTA, gamma=gamma, releases=4)
    assert plan.epsilon <= 0.3
    assert plan.epsilon == pytest.approx(0.3, rel=2e-3)


def test_earlier_spending_counts() -> None:
    spent = [histogram_event(8)]
    plan = plan_sigma(1.0, DELTA, spent=spent)
    assert epsilon_charged([*spent, histogram_event(plan.sigma)], DELTA) == plan.epsilon <= 1.0
    assert plan.sigma > plan_sigma(1.0, DELTA).sigma
    assert plan.epsilon_paper is None
    with pytest.raises(BudgetExceeded):
        plan_sigma(0.4, DELTA, spent=spent)


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"epsilon": -1.0}, {"epsilon": float("nan")}, {"delta": 0.0}, {"releases": 0}]
)
def test_wrong_plans_are_refused(wrong: dict[str, float]) -> None:
    options = {"epsilon": 1.0, "delta": DELTA, **wrong}
    with pytest.raises(InputError):
        plan_sigma(**options)  # type: ignore[arg-type]


def test_a_plan_out_of_reach_says_so() -> None:
    with pytest.raises(InputError, match="fewer releases"):
        plan_sigma(1e-6, 1e-9, releases=1000)


def test_clusters_follow_the_signal_to_noise() -> None:
    assert suggest_clusters(1000, 6.12) == 54
    assert suggest_clusters(10, 100.0) == 10
    assert suggest_clusters(10**9, 1.0) == 10_000
    good, bad = score_noise(6.12, clusters=80, records=1000), score_noise(30.0, clusters=80, records=1000)
    assert 1 < good.signal_to_noise < 3 < 10 * bad.signal_to_noise  # type: ignore[operator]
    assert good.wrong_order < bad.wrong_order < 0.5  # type: ignore[operator]
    assert score_noise(6.12, clusters=50).records_needed == 918
    for wrong in ({}, {"clusters": 0}, {"records": 0}):
        with pytest.raises(InputError):
            score_noise(6.12, **wrong)


@pytest.mark.parametrize(("epsilon", "queries", "gamma"), [(0.5, 40, 1.0), (2.0, 300, 1.0), (2.0, 300, 0.3)])
def test_knn_labels_get_the_smallest_sigma_that_keeps_the_promise(
    epsilon: float, queries: int, gamma: float
) -> None:
    sigma = plan_knn(epsilon, 1e-5, queries=queries, gamma=gamma)

    def cost(sigma: float) -> float:
        return epsilon_charged(
            knn_events(sigma, sigma, adjacency=Adjacency.ADD_REMOVE, gamma=gamma, queries=queries), 1e-5
        )

    assert cost(sigma) <= epsilon < cost(sigma * (1 - 2e-4))


def test_knn_labels_never_get_less_noise_than_can_be_accounted_for() -> None:
    assert plan_knn(50.0, 1e-5, queries=1) == 1.0
    with pytest.raises(InputError, match="fewer labels"):
        plan_knn(1e-4, 1e-9, queries=1_000_000)
    with pytest.raises(InputError, match="at least 1"):
        plan_knn(1.0, 1e-5, queries=0)
