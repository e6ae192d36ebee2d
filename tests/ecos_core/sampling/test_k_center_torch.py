"""The batched torch search picks what the exact search picks."""

from __future__ import annotations

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling.k_center import greedy_k_center
from ecos_core.sampling.k_center_torch import greedy_k_center_groups


def test_groups_of_all_sizes_agree_with_the_exact_search() -> None:
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(size, 8)).astype(np.float32) for size in (1, 3, 40, 41, 90, 500)]
    counts = [1, 2, 10, 41, 30, 60]
    firsts = [0, 1, 5, 0, 3, 499]
    found = greedy_k_center_groups(groups, counts, firsts)
    for rows, count, first, picks in zip(groups, counts, firsts, found, strict=True):
        expected = greedy_k_center(rows, count, first=first)
        assert picks.indices.tolist() == expected.indices.tolist()
        np.testing.assert_allclose(picks.radii, expected.radii, rtol=1e-3)


def test_bfloat16_features_lose_only_their_own_rounding() -> None:
    torch = pytest.importorskip("torch")
    rows = np.random.default_rng(1).normal(size=(300, 16)).astype(np.float32)
    rounded = torch.from_numpy(rows).bfloat16().float().numpy()
    found = greedy_k_center_groups([rows], [50], [7], precision="bfloat16")[0]
    expected = greedy_k_center(rounded, 50, first=7)
    assert found.indices.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(found.radii, expected.radii, rtol=1e-3)


def test_more_picks_than_rows_are_refused() -> None:
    with pytest.raises(InputError, match="group 0 has 2 rows for 3 picks"):
        greedy_k_center_groups([np.zeros((2, 2))], [3], [0])


def test_covered_rows_and_the_radius_to_stop_at_mean_what_they_mean_in_the_exact_search() -> None:
    rng = np.random.default_rng(2)
    groups = [rng.normal(size=(size, 6)).astype(np.float32) for size in (150, 140)]
    covered = [np.array([5, 149, 70]), np.zeros(0, np.int64)]
    found = greedy_k_center_groups(groups, [60, 50], [None, 3], covered=covered, stop_radius=2.2)
    for rows, count, first, done, picks in zip(groups, [60, 50], [None, 3], covered, found, strict=True):
        expected = greedy_k_center(rows, count, first=first, covered=done, stop_radius=2.2)
        assert len(picks) < count
        assert picks.indices.tolist() == expected.indices.tolist()
        np.testing.assert_allclose(picks.radii, expected.radii, rtol=1e-3)


@pytest.mark.parametrize(
    ("first", "covered", "message"),
    [
        (None, [], "needs a first pick or covered rows"),
        (3, [3], "no free row 3"),
        (9, [], "no free row 9"),
    ],
)
def test_a_start_that_is_none_is_refused(first: int | None, covered: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        greedy_k_center_groups([np.eye(4, dtype=np.float32)], [1], [first], covered=[np.array(covered, int)])


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        greedy_k_center_groups([np.array([[0.0], [np.nan]], np.float32)], [1], [0])
