"""The sampler against the closed-form law. The noise is real, so each test may fail by chance once in a
million."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from scipy import stats

from ecos_core.errors import InputError
from ecos_core.privacy import mechanisms
from ecos_core.privacy.mechanisms import discrete_gaussian_noise

CHANCE = 1e-6
DRAWS = 20_000


def law(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Integers and their probabilities, proportional to exp(-x^2 / (2 sigma^2))."""
    reach = math.ceil(40 * sigma)
    x = np.arange(-reach, reach + 1)
    weights = np.exp(-(x**2) / (2 * sigma**2))
    return x, weights / weights.sum()


def chi_square_p(draws: np.ndarray, sigma: float) -> float:
    """Of the counts of each integer, those with fewer than ten expected put together at each end."""
    x, probability = law(sigma)
    bulk = x[probability * len(draws) >= 10]
    clipped = np.clip(draws, bulk[0], bulk[-1])
    observed = np.array([(clipped == value).sum() for value in bulk])
    inside = np.clip(x, bulk[0], bulk[-1])
    expected = np.array([probability[inside == value].sum() for value in bulk]) * len(draws)
    return float(stats.chisquare(observed, expected).pvalue)


@pytest.mark.parametrize("sigma", [0.4, 1 / 3, 6.12, 30.7])
def test_counts_follow_the_closed_form(sigma: float) -> None:
    assert chi_square_p(discrete_gaussian_noise(DRAWS, sigma), sigma) > CHANCE


@pytest.mark.parametrize("sigma", [0.7, 6.12])
@pytest.mark.parametrize("reach", [2.0, 3.3])
def test_tails_are_neither_light_nor_heavy(sigma: float, reach: float) -> None:
    x, probability = law(sigma)
    draws = discrete_gaussian_noise(DRAWS, sigma)
    for beyond, expected in (
        (draws >= reach * sigma, probability[x >= reach * sigma].sum()),
        (draws <= -reach * sigma, probability[x <= -reach * sigma].sum()),
    ):
        assert stats.binomtest(int(beyond.sum()), DRAWS, expected).pvalue > CHANCE


def test_draws_are_independent_and_centred() -> None:
    draws = discrete_gaussian_noise(DRAWS, 6.12).astype(float)
    assert abs(draws.mean()) < 5 * 6.12 / math.sqrt(DRAWS)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 5 / math.sqrt(DRAWS)
    assert stats.binomtest(int((draws > 0).sum()), int((draws != 0).sum()), 0.5).pvalue > CHANCE


@pytest.mark.parametrize(
    "fault",
    [
        lambda sigma: np.rint(np.random.default_rng().normal(0, sigma, DRAWS)).astype(int),
        lambda sigma: discrete_gaussian_noise(DRAWS, sigma * 1.05),
        lambda sigma: discrete_gaussian_noise(DRAWS, sigma) // 2 * 2,
    ],
    ids=["rounded floats", "five per cent more", "even numbers only"],
)
def test_the_test_sees_another_law(fault) -> None:
    assert chi_square_p(fault(0.7), 0.7) < CHANCE


def test_type_and_size() -> None:
    assert discrete_gaussian_noise(0, 5.0).shape == (0,)
    assert discrete_gaussian_noise(7, 5.0).shape == (7,)
    assert discrete_gaussian_noise(7, 1e5).dtype == np.int64


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_sigma_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(InputError, match="sigma"):
        discrete_gaussian_noise(3, sigma)


@pytest.mark.parametrize("count", [-1, 10**9])
def test_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(InputError, match="draws"):
        discrete_gaussian_noise(count, 5.0)


def test_no_seed_can_be_given_or_set() -> None:
    assert list(inspect.signature(discrete_gaussian_noise).parameters) == ["count", "sigma"]
    draws = []
    for _ in range(2):
        np.random.seed(1)
        draws.append(discrete_gaussian_noise(50, 1000.0))
    assert not np.array_equal(*draws)
    source = inspect.getsource(mechanisms)
    assert "random." not in source
    assert "seed=" not in source


def test_without_opendp_the_same_law_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanisms, "_has_opendp", lambda: False)
    monkeypatch.setattr(mechanisms, "_opendp_gaussian", None)
    test_no_seed_can_be_given_or_set()
    for sigma in (0.4, 1 / 3, 1.0, 6.12, 30.7):
        assert chi_square_p(discrete_gaussian_noise(8000, sigma), sigma) > CHANCE
    for sigma in (0.7, 6.12):
        test_tails_are_neither_light_nor_heavy(sigma, 2.0)
