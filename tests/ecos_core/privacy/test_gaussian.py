"""The bound that is charged: its steps, its inverse, and adversaries who choose each question after the answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ecos_core.privacy.events import Adjacency, GaussianEvent, histogram_event
from ecos_core.privacy.gaussian import (
    FAR_TAIL,
    SMOOTH_SIGMA,
    Loss,
    gaussian_delta,
    loss_of,
    mu_of,
    sampled_mu,
    vote_mu,
)

Floats = NDArray[np.float64]


@settings(max_examples=60, deadline=None)
@given(sigma=st.floats(0.05, 300.0))
def test_every_corner_of_the_polygon_lies_above_the_gaussian_curve(sigma: float) -> None:
    """By scipy's quantiles, to 1e-250 of the mass, also where the closed form is used."""
    from scipy.special import ndtri

    reach = math.ceil(38 * sigma) + 2
    law = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    tails = np.cumsum(law[::-1])[::-1][reach + 1 :] / law.sum()
    places = -ndtri(tails[tails > 1e-250])
    steps = np.append(2 * places[0], np.diff(places))
    assert steps.max() <= vote_mu(sigma, FAR_TAIL)
    assert vote_mu(sigma) == pytest.approx(vote_mu(sigma, FAR_TAIL), rel=1e-9)
    assert vote_mu(sigma) <= (1 + 0.046 / sigma**2 + 1e-4) / sigma or sigma < 1


def test_more_noise_is_less_mu_across_the_change_of_form() -> None:
    sigmas = [0.05, 0.1, 0.5, 1, 2, 6.12, 50, SMOOTH_SIGMA * (1 - 1e-4), SMOOTH_SIGMA, 1e3, 1e5]
    mus = [vote_mu(sigma) for sigma in sigmas]
    assert mus == sorted(mus, reverse=True)


@settings(max_examples=60, deadline=None)
@given(mu=st.floats(1e-4, 40.0), delta=st.floats(1e-10, 1e-2))
def test_epsilon_and_mu_are_inverse(mu: float, delta: float) -> None:
    epsilon = Loss(mu**2).epsilon(delta)
    assert gaussian_delta(mu, epsilon) <= delta
    if epsilon > 1e-6:
        assert gaussian_delta(mu, epsilon * (1 - 1e-6)) > delta * (1 - 1e-4)
        assert mu_of(epsilon, delta) == pytest.approx(mu, rel=1e-6)


def test_the_analytic_gaussian_against_an_integral() -> None:
    grid = np.linspace(-40, 60, 2_000_001)
    for mu, epsilon in ((0.2, 0.6), (1.0, 3.0), (5.0, 30.0)):
        density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
        moved = np.exp(-0.5 * (grid - mu) ** 2) / math.sqrt(2 * math.pi)
        integral = np.maximum(moved - math.exp(epsilon) * density, 0).sum() * (grid[1] - grid[0])
        assert gaussian_delta(mu, epsilon) == pytest.approx(integral, rel=1e-5)


@pytest.mark.parametrize(("mu", "gamma"), [(0.1, 0.8), (0.5, 0.3), (1.0, 0.05), (3.0, 0.5)])
def test_after_sampling_every_power_above_the_tail_is_that_of_the_bound(mu: float, gamma: float) -> None:
    from scipy.special import ndtr, ndtri

    bound = sampled_mu(mu, gamma, 1e-9)
    level = np.linspace(-9, 9, 10_001)
    power = (1 - gamma) * ndtr(-level) + gamma * ndtr(mu - level)
    kept = (power > 1e-9) & (power < 1 - 1e-9)
    assert (level + ndtri(power))[kept].max() <= bound < mu


def test_losses_add_up_and_tails_are_charged() -> None:
    event = histogram_event(10, gamma=0.8)
    one, many = loss_of(event, 1e-5), loss_of(event.times(500), 1e-5)
    assert many.square == pytest.approx(500 * one.square) and many.tail == pytest.approx(500 * one.tail)
    assert loss_of(event.times(2_000_000), 1e-5).epsilon(1e-5) == math.inf
    # A record that is replaced in cells that need not differ: sampling earns nothing.
    assert loss_of(GaussianEvent(10, 1.0, Adjacency.REPLACE, 0.5), 1e-5) == loss_of(
        GaussianEvent(10, 1.0, Adjacency.REPLACE), 1e-5
    )


# Adversaries. Two neighbouring data sets; the first answer is seen, then the second question chosen.


def laws(event: GaussianEvent, removing: bool) -> tuple[Floats, Floats]:
    """The cell's law on the two data sets, on one lattice."""
    reach = math.ceil(13 * event.sigma)
    x = np.arange(-reach, reach + 2)
    without = np.exp(-0.5 * (x / event.sigma) ** 2)
    moved = np.exp(-0.5 * ((x - 1) / event.sigma) ** 2)
    without, moved = without / without.sum(), moved / moved.sum()
    mixed = (1 - event.gamma) * without + event.gamma * moved
    return (mixed, without) if removing else (without, mixed)


def stick(event: GaussianEvent, epsilons: Floats, removing: bool) -> Floats:
    """Hockey-stick divergence of one release at each epsilon, which may be negative."""
    first, second = laws(event, removing)
    ratio = np.log(first) - np.log(second)
    order = np.argsort(ratio)
    mass, other = np.cumsum(first[order][::-1])[::-1], np.cumsum(second[order][::-1])[::-1]
    at = np.searchsorted(ratio[order], epsilons, side="right")
    mass, other = np.append(mass, 0.0), np.append(other, 0.0)
    return np.maximum(0.0, mass[at] - np.exp(epsilons) * other[at])


def worst_delta(
    first: GaussianEvent, choices: Sequence[GaussianEvent], epsilon: float, removing: bool
) -> float:
    """delta of an adversary who, after the first answer, asks whichever of the choices serves it best, or stops."""
    mine, other = laws(first, removing)
    left = epsilon - (np.log(mine) - np.log(other))
    best = np.maximum(0.0, 1.0 - np.exp(np.minimum(left, 50.0)))
    for event in choices:
        best = np.maximum(best, stick(event, left, removing))
    return float((mine * best).sum())


def allowed(
    first: GaussianEvent, events: Sequence[GaussianEvent], limit: Callable[[Sequence[GaussianEvent]], bool]
) -> list[GaussianEvent]:
    return [event for event in events if limit([first, event])]


SIGMAS = [1.0 * 1.03**step for step in range(160)]


@pytest.mark.parametrize("gammas", [(1.0,), (1.0, 0.8, 0.3, 0.05)])
@pytest.mark.parametrize(("sigma", "epsilon"), [(5.0, 1.5), (1.2, 5.0), (2.0, 5.0), (3.0, 2.0)])
def test_whoever_chooses_noise_and_rate_after_looking_stays_within_delta(
    sigma: float, epsilon: float, gammas: tuple[float, ...]
) -> None:
    """Every noise from 1 to 113 that the limit allows at each rate, on adding and on removing."""
    delta = 1e-5
    events = [histogram_event(noise, gamma=gamma) for noise in SIGMAS for gamma in gammas]

    def fits(asked: Sequence[GaussianEvent]) -> bool:
        return sum((loss_of(event, delta) for event in asked), Loss()).within(epsilon, delta)

    for rate in gammas:
        first = histogram_event(sigma, gamma=rate)
        choices = allowed(first, events, fits)
        if not choices:
            continue
        for removing in (True, False):
            assert worst_delta(first, choices, epsilon, removing) <= delta


def test_the_adversary_beats_an_account_without_the_margins() -> None:
    """The test above has teeth: the lattice taken for a Gaussian, or sampling for an average, is broken by it."""
    delta = 1e-5

    def continuous(asked: Sequence[GaussianEvent]) -> bool:
        return Loss(sum(event.sigma**-2 for event in asked)).within(5.0, delta)

    def averaged(asked: Sequence[GaussianEvent]) -> bool:
        return Loss(sum((event.gamma * vote_mu(event.sigma)) ** 2 for event in asked)).within(3.0, delta)

    plain = [histogram_event(1.0 * 1.003**step) for step in range(700)]
    first = histogram_event(1.5)
    assert worst_delta(first, allowed(first, plain, continuous), 5.0, True) > 1.05 * delta
    events = [histogram_event(noise, gamma=gamma) for noise in SIGMAS for gamma in (1.0, 0.3, 0.05)]
    first = histogram_event(2.0)
    assert worst_delta(first, allowed(first, events, averaged), 3.0, True) > 3 * delta
