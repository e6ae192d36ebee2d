from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.client.operations import score
from ecos_core.client.operations.sampling import poisson_mask
from tests.client_support import DIMENSION, some_centroids, some_features

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS, st.integers(0, 199))
def test_a_record_moves_one_cell_by_one(seed: int, left_out: int) -> None:
    features, centroids = some_features(200, seed), some_centroids(7)
    change = score.clean_histogram(features, centroids) - score.clean_histogram(
        np.delete(features, left_out, axis=0), centroids
    )
    assert sorted(change.tolist()) == [0] * 6 + [1]


@given(SEEDS, st.integers(0, 9))
def test_a_unit_moves_the_histogram_by_at_most_one_in_l2(seed: int, left_out: int) -> None:
    rng = np.random.default_rng(seed)
    features, centroids = some_features(100, seed), some_centroids(7)
    units = rng.integers(0, 10, 100)
    kept = units != left_out
    whole = score.clean_unit_histogram(features, centroids, units)
    change = whole - score.clean_unit_histogram(features[kept], centroids, units[kept])
    assert np.linalg.norm(change) <= score.UNIT_SCALE


def test_a_unit_with_one_image_has_one_whole_vote() -> None:
    features, centroids = some_features(50), some_centroids(4)
    shared = score.clean_unit_histogram(features, centroids, np.arange(50))
    plain = score.clean_histogram(features, centroids)
    assert np.all(np.abs(shared / score.UNIT_SCALE - plain) <= plain / score.UNIT_SCALE)


@settings(max_examples=20)
@given(st.floats(0.01, 0.99))
def test_poisson_mask_keeps_the_share(gamma: float) -> None:
    kept = int(poisson_mask(20_000, gamma).sum())
    assert abs(kept - 20_000 * gamma) < 6 * np.sqrt(20_000 * gamma * (1 - gamma)) + 1


def test_noise_is_drawn_before_the_data_is_read(monkeypatch) -> None:
    order: list[str] = []
    draw = score.discrete_gaussian_noise

    def noise(count: int, sigma: float) -> np.ndarray:
        order.append("noise")
        return draw(count, sigma)

    def read(*arguments: object) -> np.ndarray:
        order.append("data")
        return np.zeros(5, np.int64)

    monkeypatch.setattr(score, "discrete_gaussian_noise", noise)
    monkeypatch.setattr(score, "clean_histogram", read)
    monkeypatch.setattr(score, "clean_unit_histogram", read)
    features, centroids = some_features(), some_centroids()
    score.noised_histogram(features, centroids, 2.0)
    score.noised_histogram(features, centroids, 2.0, units=np.zeros(200, np.int64))
    assert order == ["noise", "data"] * 2


def test_the_noise_has_the_asked_deviation() -> None:
    features, centroids = some_features(300), np.vstack([some_centroids(400), np.full((1, DIMENSION), 50)])
    clean = score.clean_histogram(features, centroids)
    for units in (None, np.arange(300)):
        noise = score.noised_histogram(features, centroids, 5.0, units=units) - clean
        assert 4.0 < noise.std() < 6.2
        assert abs(noise.mean()) < 1.5
