"""The outside share of a simulated client, its interval, and what the sampler makes of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.outside import (
    LEAST_POWER,
    OutsideShare,
    nearest_clusters,
    outside_by_cluster,
    outside_share,
    power_for,
    typical_for,
)
from ecos_core.sampling.pool import ArrayPool
from ecos_core.sampling.samplers import SAMPLERS

MakePool = Callable[..., ArrayPool]
REGIONS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def answered(share: float, records: int, sigma: float, seed: int) -> Scores:
    """A client with this share outside beyond the 5 % that are expected, mostly in region 1, and rounded noise."""
    rng = np.random.default_rng(seed)
    outside = round(records * (0.05 + 0.95 * share))
    counts = np.concatenate([rng.multinomial(records - outside, rng.dirichlet(np.ones(8))), [0, outside]])
    noisy = counts + np.rint(rng.normal(0, sigma, 10)).astype(np.int64)
    return Scores(noisy[:8], sigma, noisy[8:], REGIONS)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 0.8])
def test_the_interval_holds_the_share_as_often_as_it_says(share: float) -> None:
    for sigma, records in ((6.0, 400), (31.0, 900)):
        found = [outside_share(answered(share, records, sigma, seed)) for seed in range(300)]
        held = np.mean(
            [estimate is not None and estimate.low <= share <= estimate.high for estimate in found]
        )
        assert held >= 0.92


def test_without_noise_the_share_is_exact() -> None:
    found = outside_share(Scores(np.array([30, 0]), 0.0, np.array([70]), np.array([0, 0])))
    assert found is not None and found.known
    assert found.low == pytest.approx(found.high) == pytest.approx(found.share) == pytest.approx(0.65 / 0.95)


def test_too_few_records_for_the_noise_cannot_be_told_and_change_nothing() -> None:
    for seed in range(20):
        found = outside_share(answered(0.5, 40, 31.0, seed))
        assert found is not None and not found.known
        assert power_for(found) == 1.0
    nothing = outside_share(Scores(np.zeros(8, np.int64), 6.0, np.zeros(2, np.int64), REGIONS))
    assert nothing is not None and (nothing.low, nothing.high) == (0.0, 1.0)


def test_power_falls_smoothly_with_the_share_and_never_for_a_near_lake() -> None:
    powers = [power_for(OutsideShare(s, s, s, s)) for s in np.linspace(0, 1, 101)]
    assert powers[0] == powers[10] == 1.0 and powers[-1] == LEAST_POWER
    steps = np.diff(powers)
    assert (steps <= 0).all() and steps.min() > -0.05
    assert power_for(None) == 1.0 and typical_for(1.0) is None
    typical = [typical_for(power) for power in powers if power < 1]
    assert typical == sorted(typical, reverse=True) and typical[-1] == 10
    near = [power_for(outside_share(answered(0.02, 800, 6.0, seed))) for seed in range(100)]
    assert min(near) == 1.0


def test_outside_votes_are_spread_over_their_region() -> None:
    scores = Scores(np.arange(8), 1.0, np.array([-5, 80]), REGIONS)
    assert outside_by_cluster(scores).tolist() == [0, 0, 0, 0, 20, 20, 20, 20]
    assert nearest_clusters(scores, np.array([9.0, 9, 9, 9, 1, 3, 2, 4]), most=3) == [7, 5, 6]


@pytest.mark.parametrize(
    "outside, regions", [(np.array([1]), None), (None, REGIONS), (np.array([1]), REGIONS)]
)
def test_outside_counts_that_do_not_fit_are_refused(
    outside: np.ndarray | None, regions: np.ndarray | None
) -> None:
    with pytest.raises(InputError, match="region"):
        Scores(np.arange(8), 1.0, outside, regions)


def test_a_near_lake_is_chosen_from_as_without_the_question(make_pool: MakePool) -> None:
    pool, scores = make_pool(), answered(0.0, 800, 6.0, 1)
    asked = SAMPLERS["ecos"](pool, 60, scores=scores, config=SamplerConfig(power="auto"), seed=1)
    plain = SAMPLERS["ecos"](pool, 60, scores=Scores(scores.noisy, 6.0), config=SamplerConfig(), seed=1)
    assert asked.sample_id.tolist() == plain.sample_id.tolist()
    assert all("seats follow the scores: about" in reason for reason in asked.reason)
    assert set(plain.reason) == {"represents the cluster best"}


def test_a_far_lake_is_spread_over_and_every_pick_says_so(make_pool: MakePool) -> None:
    pool, scores, config = make_pool(), answered(0.7, 800, 6.0, 1), SamplerConfig(power="auto")
    far = SAMPLERS["ecos"](pool, 120, scores=scores, config=config, seed=1)
    straight = SAMPLERS["ecos"](pool, 120, scores=scores, config=SamplerConfig(), seed=1)
    assert far.cluster_quota.max() < straight.cluster_quota.max()
    assert all("seats spread (power 0.25): about" in reason for reason in far.reason)
    for cluster in np.unique(far.cluster):
        farthest = ["farthest" in reason for reason in far.reason[far.cluster == cluster]]
        assert farthest == [place >= 10 for place in range(len(farthest))]
    assert not any("seats" in reason for reason in straight.reason)
    for budget in (1, 7, 33, 99):
        small = SAMPLERS["ecos"](pool, budget, scores=scores, config=config, seed=1)
        assert small.sample_id.tolist() == far.sample_id[:budget].tolist()
