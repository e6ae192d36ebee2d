"""Greedy k-center against a naive float64 implementation, its guarantee, and known faults of others."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.sampling.k_center import greedy_k_center


def naive(
    features: np.ndarray, k: int, first: int | None, covered: list[int]
) -> tuple[list[int], list[float]]:
    """Float64 pairwise differences, the farthest next, ties to the lowest row."""
    points = features.astype(np.float64)
    picks: list[int] = []
    radii: list[float] = []
    nearest = np.full(len(points), np.inf)
    for centre in covered:
        nearest = np.minimum(nearest, ((points - points[centre]) ** 2).sum(axis=1))
    nearest[covered] = -1
    for i in range(k):
        row = first if i == 0 and first is not None else int(np.argmax(nearest >= nearest.max() - 1e-9))
        picks.append(row)
        radii.append(float(np.sqrt(nearest[row])) if np.isfinite(nearest[row]) else float("nan"))
        nearest = np.minimum(nearest, ((points - points[row]) ** 2).sum(axis=1))
        nearest[covered + picks] = -1
    return picks, radii


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 60), d=st.integers(1, 6), seed=st.integers(0, 10**6), grid=st.booleans(), data=st.data()
)
def test_picks_are_those_of_a_naive_reference(
    n: int, d: int, seed: int, grid: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, size=(n, d)) if grid else rng.normal(size=(n, d))
    features = features.astype(np.float32)
    covered = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n - 1))
    free = sorted(set(range(n)) - set(covered))
    k = data.draw(st.integers(1, len(free)))
    first = None if covered and data.draw(st.booleans()) else data.draw(st.sampled_from(free))
    picks, radii = naive(features, k, first, covered)
    centroid = np.linalg.norm(features - features.mean(axis=0), axis=1)
    for distances in (None, centroid):
        found = greedy_k_center(
            features, k, first=first, covered=np.array(covered, dtype=int), centroid_distances=distances
        )
        assert found.indices.tolist() == picks
        np.testing.assert_allclose(found.radii, radii, atol=1e-5)


@pytest.mark.parametrize("clustered", [True, False])
def test_picks_are_naive_where_the_front_is_small_against_the_rows(clustered: bool) -> None:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(3000, 16)).astype(np.float32)
    if clustered:
        features += 6 * rng.normal(size=(40, 16))[rng.integers(40, size=3000)].astype(np.float32)
    features[1000:1100] = features[:100]
    picks, radii = naive(features, 300, 7, [])
    found = greedy_k_center(features, 300, first=7)
    assert found.indices.tolist() == picks
    np.testing.assert_allclose(found.radii, radii, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 4))
def test_radius_is_within_twice_the_best(seed: int, k: int) -> None:
    features = np.random.default_rng(seed).normal(size=(9, 2))
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    best = min(distances[:, list(centres)].min(axis=1).max() for centres in combinations(range(9), k))
    picks = greedy_k_center(features, k, first=0)
    assert distances[:, picks.indices].min(axis=1).max() <= 2 * best + 1e-9


def test_first_pick_is_returned_and_covered_rows_do_not_use_up_k() -> None:
    features = np.arange(10.0)[:, None]
    assert greedy_k_center(features, 3, first=4).indices.tolist() == [4, 9, 0]
    found = greedy_k_center(features, 2, covered=np.array([0]))
    assert found.indices.tolist() == [9, 4]
    assert found.radii.tolist() == [9.0, 4.0]


def test_stops_before_a_pick_within_the_radius() -> None:
    features = np.array([[0.0], [0.1], [5.0], [5.05], [9.0]])
    found = greedy_k_center(features, 5, first=0, stop_radius=0.5)
    assert found.indices.tolist() == [0, 4, 2]


def test_far_from_the_origin_nothing_is_lost_to_cancellation() -> None:
    features = (np.random.default_rng(0).normal(size=(500, 8)) + 3000).astype(np.float32)
    picks, radii = naive(features, 60, 0, [])
    found = greedy_k_center(features, 60, first=0)
    assert found.indices.tolist() == picks
    np.testing.assert_allclose(found.radii, radii, rtol=1e-5)


def test_more_picks_than_rows_and_bad_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="4 picks asked, 3 of 3"):
        greedy_k_center(np.zeros((3, 2)), 4)
    with pytest.raises(InputError, match="must not be negative"):
        greedy_k_center(np.zeros((3, 2)), -1)
    with pytest.raises(InputError, match="must be finite"):
        greedy_k_center(np.array([[0.0], [np.nan]]), 1)
