"""What each record adds to the sum of moments: bounded, exact, and its own affair."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.client.operations.moments import encoded
from ecos_core.client.protocol import MOMENT_SCALE

SEEDS = st.integers(0, 2**32 - 1)


def some_query(seed: int, k: int = 3, d: int = 6) -> tuple[np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(k, d)).astype(np.float32), rng.normal(size=d).astype(np.float32), 0.7


@given(SEEDS)
def test_no_record_moves_the_sum_by_more_than_the_sensitivity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    wild = (rng.normal(size=(200, 6)) * np.logspace(-6, 8, 200)[:, None]).astype(np.float32)
    rows = encoded(wild, *some_query(seed))
    assert (rows.astype(object) ** 2).sum(axis=1).max() <= MOMENT_SCALE**2
    assert (rows[:, -1] == int(MOMENT_SCALE / np.sqrt(2))).all()


@given(SEEDS, st.integers(0, 99))
def test_a_record_s_row_is_the_same_whoever_else_is_there(seed: int, record: int) -> None:
    features = np.random.default_rng(seed).normal(size=(100, 6)).astype(np.float32)
    query = some_query(seed)
    alone = encoded(features[record : record + 1], *query)
    assert np.array_equal(encoded(features, *query)[record], alone[0])
    others = np.concatenate([features[record:], features[:record]])
    assert np.array_equal(encoded(others, *query)[0], alone[0])


def test_the_sum_is_that_of_the_projected_features() -> None:
    directions, mean, radius = some_query(1)
    features = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    inside = (features - mean).astype(np.float64) @ directions.T / radius
    inside /= np.maximum(np.linalg.norm(inside, axis=1, keepdims=True), 1.0)
    expected = inside.sum(axis=0) / np.sqrt(2)
    found = encoded(features, directions, mean, radius).sum(axis=0) / MOMENT_SCALE
    np.testing.assert_allclose(found[:-1], expected, atol=500 / MOMENT_SCALE)
    assert abs(found[-1] - 500 / np.sqrt(2)) < 500 / MOMENT_SCALE
