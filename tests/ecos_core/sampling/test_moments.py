"""Private moments: the tilt that matches the client's mean. What the client sums: tests/ecos_core/client."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ecos_core.client.operations.moments import encoded
from ecos_core.client.protocol import MOMENT_SCALE
from ecos_core.errors import InputError
from ecos_core.sampling.moments import moment_query, scores_from_moments, tilted_shares
from ecos_core.sampling.pool import ArrayPool


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
    sums = encoded(client, query.directions, query.mean, query.radius).sum(axis=0) / MOMENT_SCALE
    scores = scores_from_moments(pool, query, sums, sigma=1.0)
    assert scores.noisy.argmax() == 2
    assert scores.sigma == 0
    drowned = scores_from_moments(pool, query, sums, sigma=1e6)
    lake = pool.cluster_sizes / pool.size
    np.testing.assert_allclose(drowned.noisy / drowned.noisy.sum(), lake, atol=1e-3)


def test_wrong_sizes_are_refused(make_pool: Callable[..., ArrayPool]) -> None:
    pool = make_pool()
    with pytest.raises(InputError, match="9 directions"):
        moment_query(pool, 9)
    with pytest.raises(InputError, match="answered"):
        scores_from_moments(pool, moment_query(pool, 2), np.zeros(2), 1.0)
