import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from ecos_core.errors import InputError
from ecos_core.features.projection import fit_projection


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    sample = (rng.normal(size=(500, 10)) * np.arange(10, 0, -1)).astype(np.float32)
    ours, peer = fit_projection(sample, 4), PCA(4, svd_solver="full").fit(sample)
    np.testing.assert_allclose(np.abs(ours.apply(sample)), np.abs(peer.transform(sample)), atol=1e-3)
    assert ours.explained == pytest.approx(peer.explained_variance_ratio_.sum(), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(2, 8), st.integers(0, 2**31))
def test_distances_never_grow_and_full_width_keeps_them(rows: int, width: int, seed: int) -> None:
    sample = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    keep = min(rows - 1, width)
    projection = fit_projection(sample, keep)
    np.testing.assert_allclose(projection.components.T @ projection.components, np.eye(keep), atol=1e-5)
    before = np.linalg.norm(sample[0] - sample[1:], axis=1)
    projected = projection.apply(sample)
    after = np.linalg.norm(projected[0] - projected[1:], axis=1)
    assert (after <= before * (1 + 1e-4) + 1e-4).all()
    if rows > width:
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


def test_same_sample_same_digest() -> None:
    sample = np.random.default_rng(1).normal(size=(64, 6))
    assert fit_projection(sample, 3).digest == fit_projection(sample.copy(), 3).digest
    assert fit_projection(sample, 3).digest != fit_projection(sample, 2).digest


@pytest.mark.parametrize("dimension", [0, -1, 7, 100])
def test_impossible_dimensions_are_refused(dimension: int) -> None:
    with pytest.raises(InputError, match="--projection"):
        fit_projection(np.zeros((64, 6)), dimension)


def test_nan_is_refused() -> None:
    sample = np.ones((10, 3))
    sample[4, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit_projection(sample, 2)
