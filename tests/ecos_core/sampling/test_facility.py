"""Facility location: each pick is the best by brute force, outliers come last, prefixes agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
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


def test_large_clusters_are_judged_by_an_even_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facility, "MOST_REFERENCES", 20)
    monkeypatch.setattr(facility, "MOST_CANDIDATES", 30)
    features = np.random.default_rng(0).normal(size=(100, 3))
    picks = greedy_facility_location(features, 60)
    assert len(set(picks.indices.tolist())) == 60
    assert greedy_facility_location(features, 10).indices.tolist() == picks.indices[:10].tolist()


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="picks asked"):
        greedy_facility_location(np.random.default_rng(0).normal(size=(3, 2)), 5)
