from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.client.operations.nearest import nearest_centroids
from ecos_core.errors import InputError


def nearest(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *nearest_centroids(features, centroids)])


@pytest.mark.parametrize("dimension", [1, 2, 64, 128, 1280])
def test_agrees_with_the_plain_distances(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    features = rng.normal(size=(500, dimension)).astype(np.float32)
    centroids = rng.normal(size=(40, dimension)).astype(np.float32)
    distances = ((features[:, None] - centroids[None]).astype(np.float64) ** 2).sum(axis=2)
    found = nearest(features, centroids)
    best = distances.min(axis=1)
    assert np.all(distances[np.arange(500), found] <= best + 1e-3 * (1 + best))
    assert np.mean(found == distances.argmin(axis=1)) > 0.99


@given(st.integers(0, 2**32 - 1), st.integers(0, 299))
def test_a_record_votes_the_same_whoever_else_is_there(seed: int, left_out: int) -> None:
    """Near-ties everywhere: were the sum's order to matter, taking a record out would move others' votes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(300, 24)).astype(np.float32)
    base = rng.normal(size=24).astype(np.float32)
    centroids = base + rng.normal(size=(16, 24)).astype(np.float32) * np.float32(1e-7)
    whole = nearest(features, centroids)
    assert np.array_equal(
        np.delete(whole, left_out), nearest(np.delete(features, left_out, axis=0), centroids)
    )


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features, centroids = rng.normal(size=(1000, 16)).astype(np.float32), rng.normal(size=(9, 16))
    whole = nearest(features, centroids)
    monkeypatch.setattr("ecos_core.client.operations.nearest.CHUNK_BYTES", 16 * 8 * 7)
    assert np.array_equal(whole, nearest(features, centroids))


def test_far_away_records_still_vote_once() -> None:
    features = np.array([[1e30, -1e30], [0.0, 0.0], [3.4e38, 3.4e38]], np.float32)
    found = nearest(features, np.array([[1.0, -1.0], [0.0, 0.0]], np.float32))
    assert found.tolist()[:2] == [0, 1]
    assert len(found) == 3


def test_one_centroid_at_zero_takes_all() -> None:
    assert nearest(np.ones((3, 2), np.float32), np.zeros((1, 2), np.float32)).tolist() == [0, 0, 0]


def test_no_records_no_votes() -> None:
    assert nearest(np.empty((0, 2), np.float32), np.zeros((1, 2), np.float32)).size == 0


def test_another_dimension_is_refused() -> None:
    with pytest.raises(InputError, match="dimensions"):
        list(nearest_centroids(np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)))
