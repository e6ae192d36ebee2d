"""The audit stays under an honest claim and finds what is planted. Chance of a false result: below 1 in
1,000."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.privacy import DELTA, honest, planted_faults
from ecos_core.errors import InputError
from ecos_core.privacy.audit import audit, distance_bound, rate_bounds
from ecos_core.privacy.events import histogram_event

SIGMA = 2.0  # epsilon 2.01
TRIALS = 4_000


@pytest.mark.parametrize("sigma", [30.7, 6.12, 2.0])
def test_an_honest_release_stays_under_its_claim(sigma: float) -> None:
    report = audit(honest(sigma, TRIALS), histogram_event(sigma), count=0, delta=DELTA, confidence=0.999)
    assert not report.caught
    assert report.epsilon_lower < report.epsilon_claimed


def test_the_bound_is_not_empty() -> None:
    report = audit(honest(SIGMA, TRIALS), histogram_event(SIGMA), count=0, delta=DELTA)
    assert report.epsilon_lower > 0.5 * report.epsilon_claimed


@pytest.mark.parametrize("fault", ["sigma halved", "memo ignored", "one vote counted twice", "float noise"])
def test_a_planted_fault_is_caught(fault: str) -> None:
    report = audit(planted_faults(SIGMA, TRIALS)[fault], histogram_event(SIGMA), count=0, delta=DELTA)
    assert report.caught, report


def test_clopper_pearson_bounds() -> None:
    """Textbook values: 5 of 100 lies in 0.0164..0.1128 at 95 % (two-sided)."""
    assert rate_bounds(5, 100, 0.025) == pytest.approx((0.0164, 0.1128), abs=1e-4)
    assert rate_bounds(0, 100, 0.025) == pytest.approx((0.0, 0.0362), abs=1e-4)
    assert rate_bounds(100, 100, 0.025) == pytest.approx((0.9638, 1.0), abs=1e-4)


def test_two_equal_worlds_show_nothing() -> None:
    answers = np.arange(100.0)[:, None]
    assert distance_bound(answers, answers, 50.0, 0.01, DELTA) == 0.0


def test_worlds_of_different_shape_are_refused() -> None:
    with pytest.raises(InputError, match="two arrays"):
        audit(lambda present: np.zeros((3 + present, 1)), histogram_event(5), count=0, delta=DELTA)
    with pytest.raises(InputError, match="count 0"):
        audit(lambda present: np.zeros((3, 1)), histogram_event(5), count=4, delta=DELTA)
