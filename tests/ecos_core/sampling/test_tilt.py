"""The tilt of the lake's shares: it recovers a tilt, and it borrows strength where counts alone say little."""

from __future__ import annotations

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling.denoising import denoise
from ecos_core.sampling.tilt import tilted, tilted_counts

CLUSTERS, RECORDS = 100, 800


def tilted_client(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes [R], centroids [R, 8] and a client's true counts [R], whose shares are a tilt of the lake's."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(50, 150, CLUSTERS).astype(np.float64)
    centroids = rng.normal(size=(CLUSTERS, 8))
    shares, _ = tilted(np.log(sizes / sizes.sum()), centroids @ rng.normal(scale=0.5, size=8))
    return sizes, centroids, RECORDS * shares


def test_little_noise_recovers_the_counts() -> None:
    sizes, centroids, counts = tilted_client(0)
    found = tilted_counts(counts, 0.1, sizes, centroids)
    np.testing.assert_allclose(found, counts, atol=0.5)


def test_under_strong_noise_neighbours_help() -> None:
    gains = []
    for seed in range(5):
        sizes, centroids, counts = tilted_client(seed)
        noisy = counts + np.random.default_rng(seed + 100).normal(scale=31.0, size=CLUSTERS)
        error = {
            method: np.abs(
                denoise(noisy, 31.0, method, cluster_sizes=sizes, centroids=centroids) - counts
            ).sum()
            for method in ("empirical_bayes", "clip", "tilt")
        }
        gains.append(error["tilt"] / min(error["empirical_bayes"], error["clip"]))
    assert np.exp(np.mean(np.log(gains))) < 0.8


def test_a_client_that_no_tilt_explains_keeps_its_counts() -> None:
    sizes, centroids, _ = tilted_client(1)
    counts = np.zeros(CLUSTERS)
    counts[7] = 5000.0
    found = denoise(counts, 5.0, "tilt", cluster_sizes=sizes, centroids=centroids)
    assert found[7] == pytest.approx(5000, rel=0.01)
    assert np.delete(found, 7).max() < 15


def test_the_order_and_the_scale_of_the_centroids_do_not_matter() -> None:
    sizes, centroids, counts = tilted_client(2)
    noisy = counts + np.random.default_rng(3).normal(scale=10.0, size=CLUSTERS)
    order = np.random.default_rng(4).permutation(CLUSTERS)
    found = tilted_counts(noisy, 10.0, sizes, centroids)
    moved = tilted_counts(noisy[order], 10.0, sizes[order], 7.0 * centroids[order] + 3.0)
    np.testing.assert_allclose(moved, found[order], rtol=1e-3, atol=0.05)


def test_an_empty_cluster_gets_nothing() -> None:
    sizes, centroids, counts = tilted_client(5)
    sizes[3] = 0
    found = denoise(counts + 20, 10.0, "tilt", cluster_sizes=sizes, centroids=centroids)
    assert found[3] == 0


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="3 clusters' centroids"):
        denoise(np.ones(3), 1.0, "tilt", cluster_sizes=np.ones(3))
    with pytest.raises(InputError, match="all empty"):
        denoise(np.ones(3), 1.0, "tilt", cluster_sizes=np.zeros(3), centroids=np.eye(3))
