import numpy as np
import pytest

from ecos_core.clustering.members import Grouped
from ecos_core.errors import InputError
from ecos_core.sampling import SAMPLERS, SamplerConfig, Scores
from ecos_core.sampling.distinct import superfluous

SCORES = Scores(np.arange(8) * 10, 1.0)
ALONE = ("random", "k_center", "proximity", "dsir", "balanced")
# Samples 0..39 are in ten groups of four that reach across clusters.
GROUPS = np.array([f"g{i % 10}" if i < 40 else "" for i in range(200)], dtype=object)


def group_of(sample_id):
    return GROUPS[int(sample_id[1:])]


@pytest.mark.parametrize("name", [*ALONE, "ecos", "oracle"])
def test_no_sampler_chooses_two_of_a_group(make_pool, name):
    config = SamplerConfig(target_domain="photo")
    chosen = SAMPLERS[name](make_pool(duplicate_groups=GROUPS), 170, scores=SCORES, config=config, seed=3)
    groups = [group_of(sample_id) for sample_id in chosen.sample_id if group_of(sample_id)]
    assert len(chosen) == 170
    assert sorted(groups) == sorted(set(groups)) and len(groups) == 10
    left_out = set(chosen.omitted.sample_id.tolist())
    assert len(left_out) == 30 and not left_out & set(chosen.sample_id.tolist())
    assert {reason.split(":")[0] for reason in chosen.omitted.reason} == {"near-duplicate"}


@pytest.mark.parametrize("name", ALONE)
def test_a_smaller_budget_is_a_prefix(make_pool, name):
    pool = make_pool(duplicate_groups=GROUPS)
    large = SAMPLERS[name](pool, 100, scores=SCORES, config=SamplerConfig(), seed=3)
    small = SAMPLERS[name](pool, 30, scores=SCORES, config=SamplerConfig(), seed=3)
    assert small.sample_id.tolist() == large.sample_id[:30].tolist()
    assert small.omitted.before(30).sample_id.tolist() == large.omitted.before(30).sample_id.tolist()


@pytest.mark.parametrize("name", ALONE)
def test_what_was_selected_earlier_closes_its_group(make_pool, name):
    pool = make_pool(duplicate_groups=GROUPS)
    earlier = ("s00031", "s00014")
    chosen = SAMPLERS[name](
        pool, 172, scores=SCORES, config=SamplerConfig(allow_fewer=True), seed=1, selected=earlier
    )
    groups = {group_of(sample_id) for sample_id in chosen.sample_id.tolist()}
    assert not groups & {"g1", "g4"}
    assert not set(earlier) & set(chosen.sample_id.tolist())


@pytest.mark.parametrize("name", ALONE)
def test_without_the_rule_everything_may_be_chosen(make_pool, name):
    config = SamplerConfig(drop_duplicates=False)
    pool = make_pool(duplicate_groups=GROUPS)
    assert len(SAMPLERS[name](pool, 200, scores=SCORES, config=config, seed=1)) == 200
    with pytest.raises(InputError, match="larger than the pool of 170"):
        SAMPLERS[name](pool, 200, scores=SCORES, config=SamplerConfig(), seed=1)


def test_the_smallest_id_stays_unless_another_was_selected():
    ids = np.array(["a", "b", "c", "d"], dtype=object)
    grouped = Grouped(ids, np.array(["x", "x", "y", "y"], dtype=object), np.zeros(4, np.int64))
    assert superfluous(grouped).sample_ids.tolist() == ["b", "d"]
    assert superfluous(grouped, ["d"]).sample_ids.tolist() == ["b", "c"]
    assert superfluous(grouped, ["c", "d"]).sample_ids.tolist() == ["b"]
    assert superfluous(None) is None
