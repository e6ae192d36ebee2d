"""Denoised scores: limits, non-negativity, better than clipping where that can be known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from ecos_core.errors import InputError
from ecos_core.sampling.denoising import DENOISE_METHODS, _posterior, denoise

COUNTS = st.lists(st.integers(-300, 5000), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.1, 200), st.sampled_from(DENOISE_METHODS))
def test_estimates_are_finite_and_not_negative(counts: list[int], sigma: float, method: str) -> None:
    found = denoise(np.array(counts), sigma, method)
    assert found.shape == (len(counts),)
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("method", DENOISE_METHODS)
def test_without_noise_counts_stay(method: str) -> None:
    counts = np.array([0, 5, 1000])
    found = denoise(counts, 0.0, method)
    assert found.tolist() == [0, 5, 1000]


@pytest.mark.parametrize("method", DENOISE_METHODS)
def test_noise_far_below_the_signal_changes_little(method: str) -> None:
    counts = np.array([0, 500, 1000, 2000, 0])
    found = denoise(counts, 0.01, method)
    np.testing.assert_allclose(found, counts, atol=0.05)


def test_slab_posterior_is_bayes_rule() -> None:
    counts, sigma, weight, mean = np.array([-12.0, 0.0, 9.0, 40.0]), 7.0, 0.3, 15.0
    in_slab, slab_mean, likelihood = _posterior(counts, sigma, weight, mean)
    total = 0.0
    for count, probability, expected in zip(counts, in_slab, slab_mean, strict=True):

        def joint(n: float, count: float = float(count)) -> float:
            return float(stats.expon.pdf(n, scale=mean) * stats.norm.pdf(count, n, sigma))

        slab = integrate.quad(joint, 0, 400)[0]
        first = integrate.quad(lambda n: n * joint(n), 0, 400)[0]
        spike = stats.norm.pdf(count, 0, sigma)
        assert probability == pytest.approx(weight * slab / (weight * slab + (1 - weight) * spike), rel=1e-6)
        assert expected == pytest.approx(first / slab, rel=1e-6)
        total += np.log(weight * slab + (1 - weight) * spike)
    assert likelihood == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("sigma", [6.0, 30.0])
def test_empirical_bayes_has_less_error_than_clipping(sigma: float) -> None:
    rng = np.random.default_rng(2)
    true = np.where(rng.random(200) < 0.2, rng.exponential(60, 200), 0.0).round()
    errors = {"clip": 0.0, "empirical_bayes": 0.0}
    for _ in range(20):
        noisy = np.rint(true + rng.normal(0, sigma, 200)).astype(int)
        for method in errors:
            errors[method] += float(((denoise(noisy, sigma, method) - true) ** 2).sum())
    assert errors["empirical_bayes"] < 0.8 * errors["clip"]


def test_above_ten_thousand_clusters_the_prior_is_fitted_on_all_of_the_range() -> None:
    rng = np.random.default_rng(5)
    true = np.where(rng.random(30_000) < 0.1, rng.exponential(80, 30_000), 0.0).round()
    noisy = np.rint(true + rng.normal(0, 6.0, 30_000)).astype(int)
    order = rng.permutation(30_000)
    found, few = denoise(noisy, 6.0), denoise(noisy[order][:9_000], 6.0)
    np.testing.assert_allclose(found[order][:9_000], few, rtol=0.02, atol=0.5)


def test_order_of_scores_is_kept() -> None:
    counts = np.arange(-50, 200, 7)
    assert (np.diff(denoise(counts, 20.0)) >= 0).all()


@pytest.mark.parametrize(
    ("counts", "sigma", "method", "words"),
    [
        ([1.0], -1.0, "clip", "sigma"),
        ([np.nan], 1.0, "clip", "finite"),
        ([1.0], 1.0, "magic", "choose from"),
    ],
)
def test_bad_arguments_are_refused(counts: list[float], sigma: float, method: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        denoise(np.array(counts), sigma, method)
