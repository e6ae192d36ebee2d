"""Private moments: sensitivity of what the client sums, and the tilt that matches its mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling.moments import INTEGER_SCALE, moment_query, scores_from_moments, tilted_shares
from ecos_core.sampling.pool import ArrayPool


def test_no_record_moves_the_sum_by_more_than_the_sensitivity(make_pool: Callable[..., ArrayPool]) -> None:
    query = moment_query(make_pool(), 3)
    wild = np.random.default_rng(0).normal(size=(500, 5)) * np.logspace(-6, 8, 500)[:, None]
    encoded = query.encode(wild)
    assert np.linalg.norm(encoded.astype(float), axis=1).max() <= query.sensitivity
    assert (encoded[:, -1] == int(INTEGER_SCALE / np.sqrt(2))).all()


def test_without_noise_the_tilted_lake_has_the_clients_mean(make_pool: Callable[..., ArrayPool]) -> None:
    pool = make_pool(size=600)
    query = moment_query(pool, 2)
    target = query.project(pool.centroids[[1, 2, 3]]).mean(axis=0)
    shares = tilted_shares(pool, query, target, 0.0)
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(query.project(pool.centroids).T @ shares, target, atol=1e-3)


def test_scores_prefer_the_clients_clusters_and_strong_noise_gives_the_lake_back(
    make_pool: Callable[..., ArrayPool],
) -> None:
    pool = make_pool(size=600)
    query = moment_query(pool, 4)
    client = np.repeat(pool.centroids[[2]], 300, axis=0)
    answer = query.encode(client).sum(axis=0)
    scores = scores_from_moments(pool, query, answer, sigma=1.0)
    assert scores.noisy.argmax() == 2
    assert scores.sigma == 0
    drowned = scores_from_moments(pool, query, answer, sigma=1e6)
    lake = pool.cluster_sizes / pool.size
    np.testing.assert_allclose(drowned.noisy / drowned.noisy.sum(), lake, atol=1e-3)


def test_wrong_sizes_are_refused(make_pool: Callable[..., ArrayPool]) -> None:
    pool = make_pool()
    with pytest.raises(InputError, match="9 directions"):
        moment_query(pool, 9)
    with pytest.raises(InputError, match="answered"):
        scores_from_moments(pool, moment_query(pool, 2), np.zeros(2, dtype=np.int64), 1.0)
