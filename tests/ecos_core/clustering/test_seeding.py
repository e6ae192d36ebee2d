import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.clustering.seeding import POINTS_PER_SEED, seeds, subsample


@given(st.integers(0, 50), st.integers(2, 30))
def test_every_far_group_gets_a_seed(seed: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    centres = np.arange(groups)[:, None] * np.array([100.0, -50.0])
    owners = rng.permutation(np.repeat(np.arange(groups), 30))
    points = (centres[owners] + rng.normal(size=(len(owners), 2))).astype(np.float32)
    found = seeds(points, groups, rng)
    nearest = np.linalg.norm(found[:, None] - centres[None], axis=2).argmin(axis=1)
    assert sorted(nearest.tolist()) == list(range(groups))


@pytest.mark.parametrize("clusters", [1, 50, 100])
def test_seeds_are_rows_of_the_sample_and_differ(clusters: int) -> None:
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    found = seeds(points, clusters, np.random.default_rng(1))
    rows = {row.tobytes() for row in points}
    assert len({row.tobytes() for row in found} & rows) == clusters


def test_equal_points_still_give_as_many_seeds() -> None:
    found = seeds(np.ones((40, 2), np.float32), 5, np.random.default_rng(0))
    assert found.shape == (5, 2) and (found == 1).all()


def test_better_than_a_random_start() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, 16)) * 3
    points = (centres[rng.integers(200, size=6000)] + 0.3 * rng.normal(size=(6000, 16))).astype(np.float32)

    def potential(start: np.ndarray) -> float:
        return float(((points[:, None] - start[None]) ** 2).sum(2).min(1).sum())

    drawn = subsample(points, 200, np.random.default_rng(1))
    assert potential(seeds(points, 200, np.random.default_rng(1))) < 0.2 * potential(drawn)


def test_only_a_subsample_is_looked_at() -> None:
    assert (
        len(subsample(np.zeros((1000, 2), np.float32), 7 * POINTS_PER_SEED, np.random.default_rng(0))) == 140
    )
