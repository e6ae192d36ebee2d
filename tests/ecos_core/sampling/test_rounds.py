"""The second round cuts only what is hot, and its pool holds the same samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling.pool import ArrayPool
from ecos_core.sampling.rounds import refine, sigma_of_each_round
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores


def test_hot_clusters_are_cut_and_no_sample_is_lost(make_pool: Callable[..., ArrayPool]) -> None:
    pool = make_pool(size=800)
    scores = Scores(np.array([300, 0, 0, 0, 200, 0, 0, 0]), sigma=1.0)
    refined = refine(pool, scores, SamplerConfig(), clusters=10, seed=1)
    assert np.count_nonzero(refined.parents == 0) == 6
    assert np.count_nonzero(refined.parents == 4) == 4
    assert len(refined.parents) == len(refined.centroids) == 6 + 10
    members = [refined.members(cluster) for cluster in range(len(refined.parents))]
    assert [len(part) for part in members] == refined.cluster_sizes.tolist()
    ids = np.concatenate([part.sample_ids for part in members])
    assert len(ids) == len(set(ids.tolist())) == pool.size
    for part, centroid in zip(members, refined.centroids, strict=True):
        expected = np.linalg.norm(part.features - centroid, axis=1)
        np.testing.assert_allclose(part.distances, expected, rtol=1e-4, atol=1e-4)
    again = Scores(np.arange(16), sigma=1.0)
    assert len(SAMPLERS["ecos"](refined, 50, scores=again, config=SamplerConfig(), seed=1)) == 50
    assert refined.fingerprint != pool.fingerprint


def test_two_rounds_cost_what_one_does() -> None:
    assert sigma_of_each_round(6.0, 2) == pytest.approx(6.0 * 2**0.5)


def test_impossible_refinements_are_refused(make_pool: Callable[..., ArrayPool]) -> None:
    scores = Scores(np.ones(8, dtype=np.int64), sigma=1.0)
    with pytest.raises(InputError, match="give at least 1"):
        refine(make_pool(), scores, SamplerConfig(), clusters=0, seed=1)
    with pytest.raises(InputError, match="2 scores for 8 clusters"):
        refine(make_pool(), Scores(np.ones(2, dtype=np.int64), 1.0), SamplerConfig(), clusters=3, seed=1)
