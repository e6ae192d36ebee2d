from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.client.kernels.nearest import closeness
from ecos_core.client.knn import NearestOfUnit, neighbour_votes
from tests.client_support import some_centroids, some_features


@given(st.integers(0, 2**32 - 1), st.integers(0, 99), st.integers(1, 120))
def test_a_record_swaps_at_most_one_neighbour(seed: int, left_out: int, neighbours: int) -> None:
    """The sensitivities that are accounted for: 1 for the largest vote, sqrt(2) for the votes."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (100, 8)).astype(np.float32)  # many ties
    labels = rng.integers(-1, 4, 100)
    row = closeness(features, some_centroids(1))[0]
    whole = neighbour_votes(row, labels, neighbours, 4, 1.0)
    kept = np.arange(100) != left_out
    part_row = closeness(features[kept], some_centroids(1))[0]
    part = neighbour_votes(part_row, labels[kept], neighbours, 4, 1.0)
    assert np.sum((whole - part) ** 2) <= 2
    assert abs(whole.max() - part.max()) <= 1


@given(st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(1, 12))
def test_a_unit_swaps_at_most_one_neighbour(seed: int, left_out: int, neighbours: int) -> None:
    """A person with many images near the point moves the votes no more than one with one image."""
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (100, 8)).astype(np.float32)  # many ties
    labels, units = rng.integers(-1, 4, 100), rng.integers(0, 10, 100)

    def votes(kept: np.ndarray) -> np.ndarray:
        row = closeness(features[kept], some_centroids(1))[0]
        standing = NearestOfUnit(units[kept])(row)
        assert sorted(units[kept][standing]) == sorted(set(units[kept]))
        for record in standing:  # the nearest of its unit, the earliest of equals
            same = np.flatnonzero(units[kept] == units[kept][record])
            assert record == same[np.argmax(row[same])]
        return neighbour_votes(row[standing], labels[kept][standing], neighbours, 4, 1.0)

    whole, part = votes(np.ones(100, bool)), votes(units != left_out)
    assert np.sum((whole - part) ** 2) <= 2
    assert abs(whole.max() - part.max()) <= 1


def test_no_records_no_votes() -> None:
    assert NearestOfUnit(np.empty(0, np.int64))(np.empty(0)).tolist() == []


def test_the_nearest_are_the_nearest() -> None:
    features, points = some_features(300), some_centroids(6)
    distances = ((features[None] - points[:, None]) ** 2).sum(axis=2)
    nearest = np.argsort(distances, axis=1)[:, :10]
    found = np.argsort(-closeness(features, points), axis=1, kind="stable")[:, :10]
    assert np.mean(np.sort(nearest) == np.sort(found)) > 0.97


def test_fewer_records_than_neighbours_all_vote() -> None:
    votes = neighbour_votes(np.zeros(3), np.array([0, 1, 1]), 10, 2, 1.0)
    assert votes.tolist() == [1, 2]
