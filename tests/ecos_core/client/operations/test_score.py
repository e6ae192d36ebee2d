from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.client.operations import histogram
from ecos_core.client.operations.sampling import poisson_mask
from ecos_core.client.operations.score import coverage_votes
from tests.client_support import some_centroids, some_features

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(0, 199))
def test_a_record_moves_one_cell_by_one(seed: int, left_out: int) -> None:
    features, centroids = some_features(200, seed), some_centroids(7)
    whole = histogram.clean_histogram(coverage_votes(features, centroids), 7)
    rest = histogram.clean_histogram(coverage_votes(np.delete(features, left_out, axis=0), centroids), 7)
    assert sorted((whole - rest).tolist()) == [0] * 6 + [1]


@given(SEEDS, st.integers(0, 9))
def test_a_unit_moves_the_histogram_by_at_most_one_in_l2(seed: int, left_out: int) -> None:
    rng = np.random.default_rng(seed)
    votes, units = rng.integers(-1, 7, 100), rng.integers(0, 10, 100)
    kept = units != left_out
    whole = histogram.clean_unit_histogram(votes, 7, units)
    change = whole - histogram.clean_unit_histogram(votes[kept], 7, units[kept])
    assert np.linalg.norm(change) <= histogram.UNIT_SCALE


def test_a_unit_with_one_image_has_one_whole_vote() -> None:
    votes = coverage_votes(some_features(50), some_centroids(4))
    shared = histogram.clean_unit_histogram(votes, 4, np.arange(50))
    plain = histogram.clean_histogram(votes, 4)
    assert np.all(np.abs(shared / histogram.UNIT_SCALE - plain) <= plain / histogram.UNIT_SCALE)


def test_who_abstains_is_not_counted() -> None:
    votes = np.array([0, 1, histogram.ABSTAIN, 1])
    assert histogram.clean_histogram(votes, 3).tolist() == [1, 2, 0]
    assert histogram.clean_unit_histogram(np.full(3, histogram.ABSTAIN), 2, np.arange(3)).tolist() == [0, 0]


@settings(max_examples=20)
@given(st.floats(0.01, 0.99))
def test_poisson_mask_keeps_the_share(gamma: float) -> None:
    kept = int(poisson_mask(20_000, gamma).sum())
    assert abs(kept - 20_000 * gamma) < 6 * np.sqrt(20_000 * gamma * (1 - gamma)) + 1


def test_noise_is_drawn_before_the_data_is_read(monkeypatch) -> None:
    order: list[str] = []
    draw = histogram.discrete_gaussian_noise

    def noise(count: int, sigma: float) -> np.ndarray:
        order.append("noise")
        return draw(count, sigma)

    def votes() -> np.ndarray:
        order.append("data")
        return np.zeros(5, np.int64)

    monkeypatch.setattr(histogram, "discrete_gaussian_noise", noise)
    histogram.noised_histogram(votes, 5, 2.0)
    histogram.noised_histogram(votes, 5, 2.0, units=np.zeros(5, np.int64))
    assert order == ["noise", "data"] * 2


def test_the_noise_has_the_asked_deviation() -> None:
    votes = np.arange(300)
    clean = histogram.clean_histogram(votes, 400)
    for units in (None, np.arange(300)):
        noise = histogram.noised_histogram(lambda: votes, 400, 5.0, units=units) - clean
        assert 4.0 < noise.std() < 6.2
        assert abs(noise.mean()) < 1.5
