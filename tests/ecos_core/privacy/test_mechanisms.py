"""The sampler against the closed-form law. The noise is real, so each test may fail by chance once in a
million."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
from scipy import stats

from ecos_core.errors import InputError
from ecos_core.privacy import exact_sampler, mechanisms
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
    source = inspect.getsource(mechanisms) + inspect.getsource(exact_sampler)
    assert "random." not in source
    assert "seed=" not in source


@pytest.mark.parametrize("sigma", [0.4, 6.12, 30.7])
def test_opendp_draws_from_the_same_law(sigma: float) -> None:
    """The second witness: OpenDP's sampler of the same distribution, two samples against each other."""
    dp = pytest.importorskip("opendp.measurements")
    from opendp.domains import atom_domain, vector_domain
    from opendp.metrics import l2_distance
    from opendp.mod import enable_features

    enable_features("contrib")
    theirs = dp.make_gaussian(vector_domain(atom_domain(T="i64")), l2_distance(T=float), scale=sigma)
    samples = np.array(theirs([0] * DRAWS)), discrete_gaussian_noise(DRAWS, sigma)
    assert chi_square_p(samples[0], sigma) > CHANCE
    x, probability = law(sigma)
    bulk = x[probability * DRAWS >= 10]
    tables = [[(np.clip(draws, bulk[0], bulk[-1]) == value).sum() for value in bulk] for draws in samples]
    assert stats.chi2_contingency(np.array(tables)).pvalue > CHANCE


class Words:
    """Random words that a test chooses; fails when more are taken than it gave."""

    def __init__(self, *words: int) -> None:
        self._words = iter(words)

    def __iter__(self) -> Words:
        return self

    def __next__(self) -> int:
        return next(self._words)


def test_a_coin_is_decided_digit_by_digit() -> None:
    """1/3 is 0x5555… in every word: a smaller word decides for True, a larger for False, an equal one asks on."""
    third = (2**64 - 1) // 3
    coin = exact_sampler._bernoulli
    assert coin(Words(third - 1), 1, 3)
    assert not coin(Words(third + 1), 1, 3)
    assert coin(Words(third, third, third - 1), 1, 3)
    assert not coin(Words(third, third, third + 1), 1, 3)
    assert coin(Words(), 5, 5)
    assert not coin(Words(1), 0, 5)


def test_whole_numbers_below_an_end_are_uniform() -> None:
    assert exact_sampler._uniform(Words(7), 1) == 0
    assert [exact_sampler._uniform(Words(word), 6) for word in range(6)] == list(range(6))
    assert exact_sampler._uniform(Words(6, 7, 8 + 5), 6) == 5


@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 3), (1, 1), (7, 2), (10**40, 3 * 10**40)])
def test_exponential_coins_fall_as_often_as_they_should(numerator: int, denominator: int) -> None:
    words = exact_sampler._random_words()
    heads = sum(exact_sampler._bernoulli_exp(words, numerator, denominator) for _ in range(DRAWS))
    expected = math.exp(-numerator / denominator)
    assert stats.binomtest(heads, DRAWS, min(1.0, expected)).pvalue > CHANCE


def test_every_word_is_of_the_systems_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system's bytes replaced the draws are determined by them: there is no other source."""
    blocks = [bytes(np.random.default_rng(seed).integers(0, 256, 4096, np.uint8)) for seed in range(200)]
    drawn = []
    for _ in range(2):
        feed = iter(blocks)
        monkeypatch.setattr(exact_sampler.os, "urandom", lambda count, feed=feed: next(feed)[:count])
        drawn.append(exact_sampler.draw_discrete_gaussian(500, 6.12))
    assert drawn[0] == drawn[1]
