"""The one place that sums what records contribute: every bound is held, whatever an operation says or does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.client import release
from ecos_core.client.contributions import UNIT_SCALE, clean_sum, poisson_mask, shortened
from ecos_core.client.operations.operation import Record, Sum
from ecos_core.client.operations.score import ScoreParameters, ask, coverage
from ecos_core.client.records import PrivateFeatures
from tests.client_support import some_centroids, some_features

SEEDS = st.integers(0, 2**32 - 1)


def held_of(features: np.ndarray, units: np.ndarray | None = None) -> PrivateFeatures:
    count = len(features)
    return PrivateFeatures(features, [None] * count, np.arange(count) if units is None else units)


def scores(clusters: int = 7, **options: Any) -> Sum:
    return Sum(coverage, (clusters,), 5.0, centroids=some_centroids(clusters), **options)


@given(SEEDS, st.integers(0, 199))
def test_a_record_moves_one_cell_by_one(seed: int, left_out: int) -> None:
    features = some_features(200, seed)
    whole = clean_sum(held_of(features), scores(), by_unit=False)
    rest = clean_sum(held_of(np.delete(features, left_out, axis=0)), scores(), by_unit=False)
    assert sorted((whole - rest).tolist()) == [0] * 6 + [1]


def with_reach(radius: float, clusters: int = 7) -> Sum:
    radii, regions = np.full(clusters, radius, np.float32), np.arange(clusters, dtype=np.int64) % 2
    asked = ScoreParameters(sigma=5.0, fingerprint="any")
    return ask(asked, {"centroids": some_centroids(clusters), "radii": radii, "regions": regions})


@given(SEEDS, st.integers(0, 199), st.floats(0, 4, width=32))
def test_with_radii_a_record_still_moves_one_cell_by_one(seed: int, left_out: int, radius: float) -> None:
    features = some_features(200, seed)
    whole = clean_sum(held_of(features), with_reach(radius), by_unit=False)
    rest = clean_sum(held_of(np.delete(features, left_out, axis=0)), with_reach(radius), by_unit=False)
    assert sorted((whole - rest).tolist()) == [0] * 8 + [1]


def test_every_record_votes_inside_or_for_its_clusters_region() -> None:
    held = held_of(some_features(200))
    plain = clean_sum(held, scores(), by_unit=False)
    inside = clean_sum(held, with_reach(1e6), by_unit=False)
    assert inside.tolist() == [*plain.tolist(), 0, 0]
    beyond = clean_sum(held, with_reach(0), by_unit=False)
    assert beyond.tolist() == [0] * 7 + [plain[::2].sum(), plain[1::2].sum()]


@given(SEEDS, st.integers(0, 9))
def test_a_unit_moves_the_sum_by_at_most_one_in_l2(seed: int, left_out: int) -> None:
    units = np.random.default_rng(seed).integers(0, 10, 100)
    features, kept = some_features(100, seed), units != left_out
    whole = clean_sum(held_of(features, units), scores(), by_unit=True)
    rest = clean_sum(held_of(features[kept], units[kept]), scores(), by_unit=True)
    assert ((whole - rest) ** 2).sum() <= UNIT_SCALE**2


def test_a_unit_with_one_record_has_one_whole_vote() -> None:
    held = held_of(some_features(50))
    shares = clean_sum(held, scores(4), by_unit=True)
    assert np.array_equal(shares, UNIT_SCALE * clean_sum(held, scores(4), by_unit=False))


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 10**6), max_size=10), st.integers(1, 9))
def test_a_shortened_vector_keeps_to_its_norm_and_its_direction(vector: dict[int, int], bound: int) -> None:
    found = shortened(vector, bound)
    square = sum(weight * weight for weight in found.values())
    assert square <= UNIT_SCALE**2 * bound
    length = sum(weight * weight for weight in vector.values()) ** 0.5
    wanted = min(1.0, bound**0.5 / max(length, 1e-9)) * UNIT_SCALE
    assert all(
        abs(found[cell] - weight * wanted) <= 1 + 1e-9 * wanted * weight for cell, weight in vector.items()
    )


def raising(record: Record) -> Mapping[int, int]:
    raise ZeroDivisionError


WRONG: dict[str, Any] = {
    "twice": lambda record: {record.nearest: 2},
    "two cells": lambda record: {0: 1, 1: 1},
    "huge": lambda record: {0: 2**63},
    "negative": lambda record: {0: -1},
    "beyond the cells": lambda record: {7: 1},
    "before the cells": lambda record: {-1: 1},
    "a fraction": lambda record: {0: 0.5},
    "not a number": lambda record: {0: float("nan")},
    "numpy's": lambda record: {0: np.int64(2**40)},
    "truth": lambda record: {True: True},
    "nothing": lambda record: None,
    "raises": raising,
}


@pytest.mark.parametrize("by_unit", [False, True])
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_record_that_breaks_the_bound_contributes_nothing(wrong: str, by_unit: bool) -> None:
    """And is alone in it: the others count."""
    held, query = held_of(some_features(200)), scores()

    def sometimes(record: Record) -> Mapping[int, int]:
        return WRONG[wrong](record) if record.nearest == 3 else coverage(record)

    honest = clean_sum(held, query, by_unit=by_unit)
    found = clean_sum(held, replace(query, contribution=sometimes), by_unit=by_unit)
    expected = np.where(np.arange(7) == 3, 0, honest)
    assert honest[3] > 0 and np.array_equal(found, expected)


def test_a_larger_bound_may_be_claimed() -> None:
    held = held_of(some_features(20))
    query = replace(scores(), contribution=lambda record: {0: 1, 1: 2}, squared_bound=5)
    assert clean_sum(held, query, by_unit=False).tolist() == [20, 40, 0, 0, 0, 0, 0]
    assert not clean_sum(held, replace(query, squared_bound=4), by_unit=False).any()


@settings(max_examples=20)
@given(st.floats(0.01, 0.99))
def test_poisson_mask_keeps_the_share(gamma: float) -> None:
    kept = int(poisson_mask(20_000, gamma).sum())
    assert abs(kept - 20_000 * gamma) < 6 * np.sqrt(20_000 * gamma * (1 - gamma)) + 1


@pytest.mark.parametrize("by_unit", [False, True])
def test_noise_is_drawn_before_the_data_is_read(monkeypatch: pytest.MonkeyPatch, by_unit: bool) -> None:
    order: list[str] = []
    draw, add = release.discrete_gaussian_noise, release.clean_sum

    def noise(count: int, sigma: float) -> np.ndarray:
        order.append("noise")
        return draw(count, sigma)

    def data(*arguments: Any, **options: Any) -> np.ndarray:
        order.append("data")
        return add(*arguments, **options)

    monkeypatch.setattr(release, "discrete_gaussian_noise", noise)
    monkeypatch.setattr(release, "clean_sum", data)
    release._counts(held_of(some_features(5)), scores(), by_unit=by_unit)
    assert order == ["noise", "data"]


@pytest.mark.parametrize("by_unit", [False, True])
def test_the_noise_has_the_asked_deviation(by_unit: bool) -> None:
    held = held_of(some_features(300))
    query = replace(scores(400), sigma=5.0)
    clean = clean_sum(held, query, by_unit=False)
    noise = release._counts(held, query, by_unit=by_unit)["counts"] - clean
    assert 4.0 < noise.std() < 6.2 and abs(noise.mean()) < 1.5
