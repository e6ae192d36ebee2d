"""Facility location: each pick is the best by brute force, outliers come last, prefixes agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.sampling import facility
from ecos_core.sampling.facility import greedy_facility_location


def cost(features: np.ndarray, centres: list[int]) -> float:
    return float((((features[:, None] - features[centres]) ** 2).sum(axis=2)).min(axis=1).sum())


@settings(max_examples=40, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 10**6), data=st.data())
def test_every_pick_lowers_the_cost_most(n: int, seed: int, data: st.DataObject) -> None:
    features = np.random.default_rng(seed).normal(size=(n, 3))
    covered = data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n - 1))
    k = data.draw(st.integers(1, n - len(covered)))
    picks = greedy_facility_location(features, k, covered=np.array(covered, dtype=int)).indices.tolist()
    assert len(set(picks) | set(covered)) == k + len(covered)
    for i, pick in enumerate(picks):
        chosen = covered + picks[:i]
        best = min(cost(features, [*chosen, row]) for row in range(n) if row not in chosen)
        assert cost(features, [*chosen, pick]) <= best + 1e-3 * (1 + best)
    shorter = greedy_facility_location(features, max(1, k // 2), covered=np.array(covered, dtype=int))
    assert shorter.indices.tolist() == picks[: max(1, k // 2)]


def test_typical_rows_come_before_outliers() -> None:
    rng = np.random.default_rng(3)
    features = np.concatenate([rng.normal(size=(30, 2)), rng.normal(size=(30, 2)) + 8, [[100.0, 0.0]]])
    picks = greedy_facility_location(features[:-1], 4)
    assert {int(row) // 30 for row in picks.indices[:2]} == {0, 1}
    assert np.isnan(picks.radii[0])
    assert picks.radii[1] > 5


def test_equal_rows_are_all_picked_in_the_end() -> None:
    assert sorted(greedy_facility_location(np.ones((6, 2)), 6).indices.tolist()) == list(range(6))


def blobs(rows: int, count: int, seed: int = 0) -> np.ndarray:
    """Rows float32 [rows, 32] about ``count`` centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count, 32))
    return (centres[rng.integers(count, size=rows)] + 0.5 * rng.standard_normal((rows, 32))).astype(
        np.float32
    )


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of a hundred are large, so that cells of cells are seen too."""
    monkeypatch.setattr(facility, "EXACT_ROWS", 100)
    monkeypatch.setattr(facility, "CELL_ROWS", 40)
    monkeypatch.setattr(facility, "LEAST_SAMPLE", 90)
    monkeypatch.setattr(facility, "ROWS_A_CELL", 8)


@pytest.mark.usefixtures("small_cells")
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6), k=st.integers(1, 300), less=st.integers(1, 300), covered=st.integers(0, 30)
)
def test_in_a_large_cluster_fewer_picks_are_the_first_of_more(
    seed: int, k: int, less: int, covered: int
) -> None:
    features, before = blobs(700, 20, seed), np.arange(0, 10 * covered, 10)
    picks = greedy_facility_location(features, k, covered=before).indices.tolist()
    assert len(set(picks)) == k and not set(picks) & set(before.tolist())
    shorter = min(less, k)
    assert greedy_facility_location(features, shorter, covered=before).indices.tolist() == picks[:shorter]


@pytest.mark.usefixtures("small_cells")
def test_all_of_a_large_cluster_can_be_picked() -> None:
    features = np.concatenate([blobs(300, 5), np.ones((80, 32), np.float32)])
    assert sorted(greedy_facility_location(features, 380).indices.tolist()) == list(range(380))


@pytest.mark.parametrize("centres", [10, 60])
def test_a_large_cluster_is_served_nearly_as_well_as_by_the_exact_choice(
    centres: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = blobs(4000, centres)
    exact = objective(features, greedy_facility_location(features, 80).indices)
    monkeypatch.setattr(facility, "EXACT_ROWS", 1500)
    in_cells = objective(features, greedy_facility_location(features, 80).indices)
    even = objective(features, np.linspace(0, 3999, 80).astype(int))
    assert in_cells <= exact + 0.1 * (even - exact)


def objective(features: np.ndarray, picks: np.ndarray) -> float:
    """Mean squared distance to the nearest pick."""
    squared = ((features[:, None] - features[picks]) ** 2).sum(axis=2)
    return float(squared.min(axis=1).mean())


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="picks asked"):
        greedy_facility_location(np.random.default_rng(0).normal(size=(3, 2)), 5)
