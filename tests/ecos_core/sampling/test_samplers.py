"""Every sampler: size, no repeats, deterministic, prefix property, earlier selections, refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling.pool import ArrayPool
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores, sampler_named

MakePool = Callable[..., ArrayPool]
CONFIG = SamplerConfig(target_domain="photo")
SCORES = Scores(np.array([40, -3, 12, 0, 7, 80, 2, -9]), sigma=5.0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_budget_is_met_without_repeats_and_the_seed_decides(name: str, make_pool: MakePool) -> None:
    pool = make_pool()
    chosen = SAMPLERS[name](pool, 60, scores=SCORES, config=CONFIG, seed=3)
    assert len(chosen) == 60
    assert len(set(chosen.sample_id.tolist())) == 60
    again = SAMPLERS[name](pool, 60, scores=SCORES, config=CONFIG, seed=3)
    assert again.sample_id.tolist() == chosen.sample_id.tolist()
    for sample_id, cluster in zip(chosen.sample_id, chosen.cluster, strict=True):
        assert sample_id in pool.members(int(cluster)).sample_ids


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("diversity", ["facility", "k_center"])
@pytest.mark.parametrize("budget", [1, 7, 59, 150])
def test_first_picks_are_the_smaller_budgets_answer(
    name: str, budget: int, diversity: str, make_pool: MakePool
) -> None:
    groups = np.random.default_rng(1).integers(-150, 30, size=200)
    pool = make_pool(duplicate_groups=groups)
    config = CONFIG.model_copy(update={"duplicate_radius": 1.2, "allow_fewer": True, "diversity": diversity})
    everything = SAMPLERS[name](pool, 200, scores=SCORES, config=config, seed=1)
    if budget > len(everything):
        budget = len(everything)
    small = SAMPLERS[name](pool, budget, scores=SCORES, config=config, seed=1)
    prefix = everything.prefix(budget)
    assert small.sample_id.tolist() == prefix.sample_id.tolist()
    assert small.quota.tolist() == prefix.quota.tolist()
    assert small.reason.tolist() == prefix.reason.tolist()
    np.testing.assert_array_equal(small.radius, prefix.radius)
    assert sorted(small.omitted.sample_id.tolist()) == sorted(prefix.omitted.sample_id.tolist())


@pytest.mark.parametrize("name", SAMPLERS)
def test_earlier_selection_counts_and_is_not_repeated(name: str, make_pool: MakePool) -> None:
    pool = make_pool()
    earlier = SAMPLERS["random"](pool, 20, scores=None, config=CONFIG, seed=9).sample_id.tolist()
    chosen = SAMPLERS[name](pool, 50, scores=SCORES, config=CONFIG, seed=3, selected=earlier)
    assert len(chosen) == 30
    assert not set(earlier) & set(chosen.sample_id.tolist())
    assert chosen.cluster_quota.sum() == 50


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("budget", "words"), [(0, "budget 0"), (-4, "budget -4"), (201, "201 .* 200")])
def test_impossible_budgets_are_refused_by_name(
    name: str, budget: int, words: str, make_pool: MakePool
) -> None:
    with pytest.raises(InputError, match=words):
        SAMPLERS[name](make_pool(), budget, scores=SCORES, config=CONFIG, seed=0)


def test_unknown_sampler_and_missing_scores_are_refused(make_pool: MakePool) -> None:
    with pytest.raises(InputError, match="choose from ecos"):
        sampler_named("best")
    for name in ("ecos", "ecos_paper", "proximity", "dsir"):
        with pytest.raises(InputError, match="needs the client's scores"):
            SAMPLERS[name](make_pool(), 5, scores=None, config=CONFIG, seed=0)
        with pytest.raises(InputError, match="3 scores for 8 clusters"):
            SAMPLERS[name](make_pool(), 5, scores=Scores(np.array([1, 2, 3]), 1.0), config=CONFIG, seed=0)


def test_sample_selected_earlier_but_not_in_the_pool_is_refused(make_pool: MakePool) -> None:
    with pytest.raises(InputError, match="1 of 2 samples selected earlier are not in this pool"):
        SAMPLERS["ecos"](make_pool(), 5, scores=SCORES, config=CONFIG, seed=0, selected=["s00001", "gone"])


def test_near_duplicates_are_dropped_with_their_reason(make_pool: MakePool) -> None:
    groups = np.where(np.arange(200) < 40, np.arange(200) // 2, -1)
    for diversity in ("facility", "k_center"):
        config = SamplerConfig(diversity=diversity, duplicate_radius=1.0, allow_fewer=True)
        chosen = SAMPLERS["ecos"](
            make_pool(duplicate_groups=groups), 200, scores=SCORES, config=config, seed=1
        )
        rows = {int(sample_id[1:]) for sample_id in chosen.sample_id}
        assert max(np.bincount(groups[sorted(rows & set(range(40)))])) == 1
        assert {reason.split(":")[0] for reason in chosen.omitted.reason} == {"near-duplicate"}
        assert len(chosen) + len(chosen.omitted.sample_id) == 200
        assert not set(chosen.omitted.sample_id.tolist()) & set(chosen.sample_id.tolist())


def test_duplicates_leave_too_few_for_the_budget(make_pool: MakePool) -> None:
    groups = np.zeros(200, dtype=int)
    with pytest.raises(InputError, match="only 1 of 200"):
        SAMPLERS["ecos"](make_pool(duplicate_groups=groups), 5, scores=SCORES, config=CONFIG, seed=0)


def test_group_chosen_earlier_is_not_chosen_again(make_pool: MakePool) -> None:
    groups = np.where(np.arange(200) < 100, 7, -1)
    pool = make_pool(duplicate_groups=groups)
    chosen = SAMPLERS["ecos"](pool, 90, scores=SCORES, config=CONFIG, seed=0, selected=["s00003"])
    assert all(int(sample_id[1:]) >= 100 for sample_id in chosen.sample_id)
