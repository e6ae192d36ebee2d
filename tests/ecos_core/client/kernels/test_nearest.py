from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.client.kernels import nearest as module
from ecos_core.client.kernels.nearest import integer_scale, nearest_centroids, outside, rounded
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


def exact_scores(features: np.ndarray, centroids: np.ndarray) -> list[list[int]]:
    """2 x . c - |c|^2 of the rounded numbers, in Python's integers."""
    scale, limit = integer_scale(centroids)
    whole = rounded(centroids, scale, limit).astype(int).tolist()
    part = np.empty(features.shape, np.float32)
    module.whole_numbers(features, scale, limit, part)
    return [
        [sum(2 * a * b - b * b for a, b in zip(record, centroid, strict=True)) for centroid in whole]
        for record in part.astype(int).tolist()
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 24, 300]), st.floats(-8, 1), st.floats(-3, 3))
def test_votes_are_those_of_exact_integers(seed: int, dimension: int, spread: float, size: float) -> None:
    """From centroids far apart to nearly equal ones, with the largest score in exact integers as the judge."""
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(20, dimension)) * 10**size).astype(np.float32)
    base = rng.normal(size=dimension)
    centroids = (base + rng.normal(size=(6, dimension)) * 10**spread).astype(np.float32)
    scores = exact_scores(features, centroids)
    assert nearest(features, centroids).tolist() == [row.index(max(row)) for row in scores]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 7, 128, 1280]), st.floats(-4, 1))
def test_no_float32_score_is_further_off_than_the_bound(seed: int, dimension: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(10, dimension)).astype(np.float32)
    centroids = (rng.normal(size=dimension) + rng.normal(size=(4, dimension)) * 10**spread).astype(np.float32)
    scale, limit = integer_scale(centroids)
    whole = rounded(centroids, scale, limit)
    part = np.empty(features.shape, np.float32)
    module.whole_numbers(features, scale, limit, part)
    norms = (whole**2).sum(axis=1)
    true = 2 * part.astype(np.float64) @ whole.T - norms
    bound = module.error_bound(part, float(np.sqrt(norms.max())))
    table = np.concatenate([2 * whole, -norms[:, None]], axis=1).astype(np.float32)
    beside_one = np.concatenate([part, np.ones((10, 1), np.float32)], axis=1)
    for order in (np.arange(dimension + 1), rng.permutation(dimension + 1)):
        one_by_one = np.zeros((10, 4), np.float32)
        for column in order:  # the worst order to add in: a term at a time
            one_by_one += beside_one[:, column, None] * table[:, column]
        for found in (one_by_one, beside_one[:, order] @ table[:, order].T):
            assert np.all(np.abs(found - true) <= bound[:, None])


def test_near_ties_are_found_and_settled_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second look the votes of near-ties would differ from the exact ones."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(2000, 64)).astype(np.float32)
    base = rng.normal(size=64)
    centroids = (base + rng.normal(size=(30, 64)) * 3e-5).astype(np.float32)
    judged = [row.index(max(row)) for row in exact_scores(features[:300], centroids)]
    assert nearest(features, centroids)[:300].tolist() == judged
    monkeypatch.setattr(module, "error_bound", lambda part, longest: np.full(len(part), -1.0))
    assert nearest(features, centroids)[:300].tolist() != judged


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features, centroids = rng.normal(size=(1000, 16)).astype(np.float32), rng.normal(size=(9, 16))
    whole = nearest(features, centroids)
    monkeypatch.setattr(module, "CHUNK_SCORES", 9 * 7)
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


def test_outside_is_that_of_whole_numbers_also_at_the_edge() -> None:
    """Against Python's own integers; a radius that a record just reaches is not passed."""
    rng = np.random.default_rng(2)
    centroids = rng.normal(size=(5, 16)).astype(np.float32)
    features = rng.normal(size=(400, 16)).astype(np.float32)
    places = nearest(features, centroids)
    scale, limit = integer_scale(centroids)
    rows = rounded(features, scale, limit).astype(np.int64).tolist()
    whole = rounded(centroids, scale, limit).astype(np.int64).tolist()
    squares = [
        sum((a - b) ** 2 for a, b in zip(row, whole[own], strict=True))
        for row, own in zip(rows, places.tolist(), strict=True)
    ]
    radii = np.quantile(np.sqrt(squares) / scale, [0, 0.2, 0.5, 0.8, 1]).astype(np.float32)
    reach = [round(float(radius) * scale) ** 2 for radius in radii.astype(np.float64)]
    expected = [int(square > reach[own]) for square, own in zip(squares, places.tolist(), strict=True)]
    found = outside(features, centroids, radii, places)
    assert found.tolist() == expected and 0 < sum(expected) < 400
    for row in range(0, 400, 37):
        assert outside(features[row : row + 1], centroids, radii, places[row : row + 1])[0] == expected[row]


def test_a_record_on_the_radius_is_inside_and_one_step_beyond_is_not() -> None:
    centroids = np.array([[1, 0], [0, -1]], np.float32)
    scale, _ = integer_scale(centroids)
    features = np.array([[1.5, 0], [1.5 + 1 / scale, 0], [1, 0]], np.float32)
    places, radii = np.zeros(3, np.int64), np.array([0.5, 0], np.float32)
    assert outside(features, centroids, radii, places).tolist() == [0, 1, 0]
    assert outside(features, centroids, np.zeros(2, np.float32), places).tolist() == [1, 1, 0]
    assert outside(1e30 * features, centroids, np.full(2, 1e6, np.float32), places).tolist() == [0, 0, 0]
