import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.clustering import assignment
from ecos_core.clustering.assignment import nearest
from ecos_core.errors import InputError


def brute_force(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.linalg.norm(features[:, None].astype(np.float64) - centroids[None].astype(np.float64), axis=2)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 70),
    clusters=st.integers(1, 20),
    width=st.integers(1, 16),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    half=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_agrees_with_all_pairs_in_float64(
    rows: int, clusters: int, width: int, scale: float, half: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(rows, width)) * scale).astype(np.float16 if half else np.float32)
    centroids = (rng.normal(size=(clusters, width)) * scale).astype(np.float32)
    ids, distances = nearest(features, centroids)
    every = brute_force(features, centroids)
    assert ids.dtype == np.int32 and distances.dtype == np.float32
    np.testing.assert_allclose(distances, every[np.arange(rows), ids], rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(distances, every.min(axis=1) if rows else [], rtol=1e-4, atol=1e-5 * scale)


def test_a_point_on_a_centroid_has_distance_zero_and_ties_go_to_the_lower_id() -> None:
    centroids = np.array([[3.0, 4.0], [0.1, 0.2], [3.0, 4.0]], np.float32)
    ids, distances = nearest(centroids, centroids)
    assert ids.tolist() == [0, 1, 0]
    assert distances.tolist() == [0, 0, 0]


def test_the_answer_does_not_depend_on_how_the_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features, centroids = rng.normal(size=(3000, 24)), rng.normal(size=(50, 24))
    ids, distances = nearest(features, centroids)
    parts = [nearest(features[start : start + 700], centroids) for start in range(0, 3000, 700)]
    np.testing.assert_array_equal(ids, np.concatenate([part[0] for part in parts]))
    monkeypatch.setattr(assignment, "CHUNK_SCORES", 64 * 50)
    again, other = nearest(features, centroids)
    np.testing.assert_array_equal(ids, again)
    np.testing.assert_array_equal(distances, other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    features, centroids = np.ones((5, 3), np.float32), np.ones((2, 3), np.float32)
    features[2, 1] = bad
    with pytest.raises(InputError, match="feature"):
        nearest(features, centroids)
    with pytest.raises(InputError, match="centroid"):
        nearest(centroids, features)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="same extractor"):
        nearest(np.ones((5, 3)), np.ones((2, 4)))
    with pytest.raises(InputError, match="no centroids"):
        nearest(np.ones((5, 3)), np.ones((0, 3)))


def test_every_float16_is_widened_exactly_and_what_is_not_finite_refused() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(1, -1)
    wide = np.empty(finite.shape, np.float32)
    assignment._widen(finite, wide)
    np.testing.assert_array_equal(wide, finite.astype(np.float32))
    for bad in every[~np.isfinite(every)][[0, 1, -1, 1023]]:
        with pytest.raises(InputError, match="NaN or infinite"):
            nearest(np.array([[1, bad]], np.float16), np.ones((1, 2), np.float32))
